"""The model card: one page that says what a release is for, how good it was on held-out rows, what it promises, where it ends.

It is part of the release, so it holds nothing that changes from build to build. Its head is the metadata that Hugging Face
reads: https://huggingface.co/docs/hub/model-cards. What is found out later is added to it when it is shown
(`holdfast.release.card`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from holdfast.core.contract import Contract, Field
from holdfast.core.names import short
from holdfast.core.profile import DAY, HOUR, Profile
from holdfast.core.release import Manifest

__all__ = ["make_card"]

KINDS = {"binary": "one of two classes", "multiclass": "one of several classes", "regression": "a number"}


def make_card(manifest: Manifest, contract: Contract, profile: Profile, notes: Sequence[str], purpose: str = "") -> str:
    """The card, Markdown."""
    parts = [
        _metadata(manifest, contract, profile),
        f"# {manifest.name}\n",
        purpose or _purpose(contract),
        _section("Data", _data(manifest, profile)),
        _section("Takes", _fields(contract)),
        _section("Performance on rows it was not fitted on", _performance(contract, profile)),
        *([_section("Performance by slice", _slices(contract, profile))] if profile.slices else []),
        _section("Parity with the original", _parity(manifest)),
        _section("Alarms", _alarms(profile)),
        _section("Limits", _limits(contract, profile, notes)),
        _section("Lineage", _lineage(manifest)),
    ]
    return "\n".join(parts)


def _metadata(manifest: Manifest, contract: Contract, profile: Profile) -> str:
    """Task, tags and results, as Hugging Face's hub reads them."""
    task = _hub_task(contract)
    metrics = [{"type": name, "value": round(m["value"], 6)} for name, m in profile.performance.items()]
    dataset = {"type": "tabular", "name": str(manifest.data.get("file") or "reference")}
    if digest := manifest.data.get("sha256"):
        dataset["revision"] = str(digest)
    head: dict[str, Any] = {
        "library_name": manifest.runtime,
        "pipeline_tag": task,
        "tags": sorted({"holdfast", manifest.runtime, manifest.model.flavour, contract.output.task}),
    }
    if metrics:
        result = {"task": {"type": task}, "dataset": dataset, "metrics": metrics}
        head["metrics"] = [metric["type"] for metric in metrics]
        head["model-index"] = [{"name": manifest.name, "results": [result]}]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)}---\n"


def _hub_task(contract: Contract) -> str:
    """The hub's name for what the model does."""
    features = contract.features
    if contract.output.task == "regression":
        return "tabular-regression"
    if len(features) == 1 and features[0].datatype == "BYTES" and features[0].categories is None:
        return "text-classification"
    return "image-classification" if len(contract.shape) > 1 else "tabular-classification"


def _section(title: str, body: str) -> str:
    return f"\n## {title}\n\n{body}"


def _purpose(contract: Contract) -> str:
    output = contract.output
    classes = f" ({', '.join(output.classes[:10])})" if output.classes else ""
    unit = f" in {output.unit}" if output.unit else ""
    return f"Predicts `{output.label}`, {KINDS[output.task]}{classes}{unit}, from {len(contract.features)} columns."


def _data(manifest: Manifest, profile: Profile) -> str:
    if not profile.rows:
        return "No reference rows were given."
    span = ""
    if profile.start is not None and profile.end is not None:
        span = f", {_day(profile.start)} to {_day(profile.end)}"
    name = manifest.data.get("file") or "a table in memory"
    return f"{profile.rows} reference rows from {name}{span} (SHA-256 `{short(str(manifest.data.get('sha256', '')))}`)."


def _fields(contract: Contract) -> str:
    rows = ["| column | type | range or categories | missing | marks |", "|---|---|---|---|---|"]
    rows += [
        f"| {_cell(field.name)} | {field.datatype} | {_range(field)} | {'yes' if field.nullable else 'no'} "
        f"| {', '.join([*field.marks, *([] if field.feature else ['not a feature'])])} |"
        for field in contract.fields
    ]
    return "\n".join(rows)


def _range(field: Field) -> str:
    if field.categories is not None:
        names = ", ".join(map(_cell, field.categories[:6]))
        return names if len(field.categories) <= 6 else f"{names} and {len(field.categories) - 6} more"
    if field.minimum is not None and field.maximum is not None:
        return f"{field.minimum:.6g} to {field.maximum:.6g}"
    return "any"


def _performance(contract: Contract, profile: Profile) -> str:
    if not profile.performance:
        return "Not known: no labelled reference rows were given."
    scale = contract.output.scale
    note = f"Errors are on the {scale} scale.\n\n" if scale != "identity" else ""
    rows = ["| metric | value | interval | units | method |", "|---|---|---|---|---|"]
    for name, metric in profile.performance.items():
        interval = f"{_number(metric['low'])} to {_number(metric['high'])} ({metric['level']:.0%})"
        rows.append(f"| {name} | {_number(metric['value'])} | {interval} | {metric['n']} | {metric['method']} |")
    return note + "\n".join(rows)


def _slices(contract: Contract, profile: Profile) -> str:
    """The first metric of each slice: where the whole lies outside its interval, the model serves it differently."""
    name = "rmse" if contract.output.task == "regression" else "error_rate"
    whole = profile.performance.get(name, {}).get("value")
    rows = [f"| slice | {name} | interval | rows | |", "|---|---|---|---|---|"]
    for part in profile.slices:
        metric = part["metrics"].get(name)
        if metric is None:
            continue
        low, high = metric["low"], metric["high"]
        outside = whole is not None and not low <= whole <= high
        rows.append(
            f"| {_cell(part['column'])} = {_cell(part['value'])} | {_number(metric['value'])} "
            f"| {_number(low)} to {_number(high)} | {part['rows']} | {'differs from the whole' if outside else ''} |"
        )
    return "\n".join(rows)


def _cell(text: str) -> str:
    """Text of the data in a table: no bar and no line end gets out of its cell."""
    return " ".join(text.replace("|", "\\|").split())[:80]


def _parity(manifest: Manifest) -> str:
    found: dict[str, Any] = manifest.parity
    if manifest.runtime == "python":
        return (
            f"The release is the original itself, with its libraries. Asked again, backwards and in other company, it "
            f"answered all of {found['rows']} rows alike: all differences are below {found['all_below']:.0e} of the output "
            f"scale ({found['tolerance']:.0e} is allowed)."
        )
    return (
        f"The ONNX graph answers as the original did on {found['rows']} rows ({found['on']}) and on "
        f"{found['boundary_rows']} rows at thresholds, with missing and unseen values: all differences are below "
        f"{found['all_below']:.0e} of the output scale ({found['tolerance']:.0e} is allowed)."
    )


def _alarms(profile: Profile) -> str:
    rule = profile.rule
    if rule.kind == "time":
        window = {HOUR: "an hour", DAY: "a day"}.get(rule.length_us, f"{rule.length_us / HOUR:g} hours")
    else:
        window = f"{rule.rows} predictions"
    windows = f"{len(profile.windows.counts)} reference windows of {window}"
    return f"{profile.calibration.get('sentence', '')} {windows}; loss is judged every {rule.label_rows} labels."


def _limits(contract: Contract, profile: Profile, notes: Sequence[str]) -> str:
    lines = [
        "- Values outside the ranges above are answered, counted and watched; nothing is known of how good those answers are."
    ]
    refusing = [field.name for field in contract.fields if field.on_violation == "reject"]
    if refusing:
        lines.append(f"- Refused outside their range or categories: {', '.join(refusing)}.")
    calendar = [field.name for field in contract.fields if "calendar" in field.marks]
    if calendar:
        lines.append(f"- Not watched for drift, because they leave their range by construction: {', '.join(calendar)}.")
    if profile.start is None:
        lines.append("- The reference has no event times: seasons and slow changes inside it are not known.")
    return "\n".join([*lines, *(f"- {note}" for note in notes)])


def _lineage(manifest: Manifest) -> str:
    model = manifest.model
    lines = [f"- Model: {model.uri} ({model.flavour})" + (f", training run {model.run_id}" if model.run_id else "")]
    if manifest.code:
        dirty = ", with uncommitted changes" if manifest.code.get("dirty") else ""
        lines.append(f"- Code: commit {str(manifest.code['commit'])[:12]}{dirty}")
    lines.append(f"- Built by {', '.join(f'{name} {version}' for name, version in manifest.builder.items())}")
    if manifest.parent:
        lines.append(f"- Retrained from release {short(manifest.parent)}")
    return "\n".join(lines) + "\n"


def _day(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
