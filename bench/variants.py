"""Variants of a small convolutional network on MNIST: size, time, quality, and what is chosen for which objectives.

python -m bench.variants DATA [--write FILE]

The network is trained on 7000 of the 10 000 images and judged on the others. One search measures all variants; then the same
figures are asked for several objectives. `--write` puts the tables into a page of the documentation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch

import holdfast
from holdfast.build.optimise.search import Report
from holdfast.cli.variants import report_of
from holdfast.core.choose import choose
from holdfast.core.variant import Objectives

WISHES = {
    "nothing but speed that costs no answer": Objectives(),
    "at most half a point of accuracy": Objectives(max_quality_loss=0.005),
    "at most one point, half the size": Objectives(max_quality_loss=0.01, max_mb=0.42),
    "at most one point, a fifth of the size": Objectives(max_quality_loss=0.01, max_mb=0.16),
    "at most five points, a tenth of the size": Objectives(max_quality_loss=0.05, max_mb=0.08),
    "half a point, a hundredth of the size": Objectives(max_quality_loss=0.005, max_mb=0.008),
}


def pictures(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 1, 28, 28] of grey values up to 255, and their digits."""
    found = duckdb.read_parquet(str(file)).order("position").project("pixels, digit").fetchnumpy()
    images = np.stack([np.asarray(one) for one in found["pixels"]]).astype(np.float32)
    return images.reshape(-1, 1, 28, 28), np.asarray(found["digit"]).astype(int)


class Reader(torch.nn.Module):
    """Two convolutions and two products; reads grey values as they are, answers logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 5, padding=2),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(16, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(1568, 128),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(128, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images / 255.0)


def trained(images: np.ndarray, digits: np.ndarray, epochs: int = 3) -> Reader:
    """Fitted on these; the same each time."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Reader().train()
    steps = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for start in range(0, len(images), 64):
            some = torch.from_numpy(images[start : start + 64])
            loss = torch.nn.functional.cross_entropy(net(some), torch.from_numpy(digits[start : start + 64]))
            steps.zero_grad()
            loss.backward()
            steps.step()
    return net.eval()


def searched(
    data: Path, folder: Path, *, fitted: int = 7000, judged: int = 3000, epochs: int = 3, rows: int = 1
) -> Report:
    """Train, build with a search, and what it found."""
    images, digits = pictures(data / "mnist_10k" / "mnist_10k.parquet")
    order = np.random.default_rng(0).permutation(len(images))
    fit, rest = order[:fitted], order[fitted : fitted + judged]
    workspace = holdfast.create_workspace(folder)
    release = holdfast.build_release(
        trained(images[fit], digits[fit], epochs),
        images[rest],
        digits[rest],
        workspace=workspace,
        name="digits",
        objectives={"rows": rows, "max_quality_loss": 0.01},
    )
    return report_of(workspace, release.digest)[1]


def picks(report: Report) -> dict[str, str]:
    """What is chosen for each of the objectives, or why nothing is."""
    found = {name: choose(report.variants, wanted) for name, wanted in WISHES.items()}
    return {name: choice.chosen or choice.why for name, choice in found.items()}


def page(reports: list[Report]) -> str:
    """The tables as Markdown."""
    parts = []
    for report in reports:
        where = report.machine
        judged = f"quality on {report.rows:,} images that neither trained nor calibrated"
        machine = f"{where['processors']} processors ({where['processor']}), ONNX Runtime {where['onnxruntime']}"
        parts += [
            f"\n{report.objectives.rows} images a request, {machine}; {judged}:\n",
            "| variant | MiB | p50, ms | p99, ms | images/s | memory, MiB | accuracy | lost, 95 % interval | changed |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        parts += [
            f"| {one.name} | {one.mb:.3f} | {one.p50_ms:.3f} | {one.p99_ms:.3f} | {max(one.batches.values()):,.0f} "
            f"| {one.memory_mb:.0f} | {one.quality:.4f} | {one.loss.value:+.4f} [{one.loss.low:+.4f}, {one.loss.high:+.4f}] "
            f"| {one.flips} |"
            for one in report.variants
        ]
        parts += ["", "| objectives | chosen |", "|---|---|"]
        parts += [f"| {name} | {chosen} |" for name, chosen in picks(report).items()]
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> None:
    data = Path(arguments[0])
    reports: list[Any] = []
    for rows in (1, 32):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            reports.append(searched(data, Path(folder), rows=rows))
        print(f"{rows} rows a request: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    text = page(reports)
    print(text)
    if "--write" in arguments:
        target = Path(arguments[arguments.index("--write") + 1])
        before, mark, _ = target.read_text(encoding="utf-8").partition("<!-- measured -->\n")
        target.write_text(before + mark + text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
