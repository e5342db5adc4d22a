"""A town's house prices in production for 400 days, as values: a seeded world that fills a database for pages to draw.

Three releases, late labels, a slow inflation that was retrained away, a feed fault that was repaired, and a change of
demand that is still open. Nothing is monitored here: alarms and evidence are written as the story has them, so that
pages can be judged by eye and by test without running a model.
"""

from __future__ import annotations

from math import log10
from typing import NamedTuple

import msgspec
import numpy as np

from holdfast.core.alarm import Alarm
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.deployment import Deployment
from holdfast.core.ports import Database
from holdfast.core.prediction import Label
from holdfast.core.profile import DAY, LOSS, OUTPUT, RESIDUAL, Profile, Series, WindowRule
from holdfast.core.release import Manifest, ModelSource
from holdfast.core.window import Window
from holdfast.errors import NotFound
from holdfast.monitor.watch import Progress
from holdfast.stats.counts import ColumnSpec, Counts, fit_spec

DAY0 = 19_723  # 2024-01-01
TYPES = ("flat", "terraced", "semi-detached", "detached", "penthouse")
SALES = 120
SENTENCE = "at most one false alarm a year on average over all 8 columns and all time"


class Bundle(NamedTuple):
    """An opened release, as `status` needs it."""

    digest: str
    manifest: Manifest
    contract: Contract
    profile: Profile


def contract() -> Contract:
    return Contract(
        fields=(
            Field(name="sold_at", datatype="BYTES", feature=False, marks=("timestamp",)),
            Field(name="sale_id", datatype="BYTES", feature=False, marks=("key",)),
            Field(name="area_sqft", datatype="FP64", minimum=250.0, maximum=4200.0, importance=0.5),
            Field(name="rooms", datatype="INT64", minimum=1.0, maximum=8.0, importance=0.2),
            Field(name="age_years", datatype="FP64", nullable=True, minimum=0.0, maximum=140.0, importance=0.1),
            Field(name="kind", datatype="BYTES", categories=TYPES, importance=0.2),
            Field(name="garden", datatype="BOOL"),
        ),
        output=Output(task="regression", label="price", scale="log", unit="EUR"),
    )


def houses(rng: np.random.Generator, n: int, *, demand: bool = False, metric: bool = False) -> dict[str, np.ndarray]:
    mix = (0.30, 0.22, 0.25, 0.20, 0.03) if demand else (0.45, 0.18, 0.20, 0.13, 0.04)
    kind = rng.choice(TYPES, n, p=mix)
    area = np.exp(rng.normal(6.9, 0.35, n)) * np.where(kind == "flat", 0.75, 1.15)
    age = np.where(rng.random(n) < 0.03, np.nan, rng.gamma(2.0, 18.0, n))
    return {
        "area_sqft": area * 0.0929 if metric else area,
        "rooms": np.clip(np.round(area / 330), 1, 8),
        "age_years": age,
        "kind": kind.astype(object),
        "garden": np.where(rng.random(n) < np.where(kind == "flat", 0.2, 0.9), "true", "false").astype(object),
    }


def specs(rng: np.random.Generator) -> list[ColumnSpec]:
    data = houses(rng, 6000)
    found = [fit_spec(name, values, "input") for name, values in data.items()]
    price = np.exp(rng.normal(12.6, 0.4, 6000))
    error = rng.normal(0, 0.12, 6000)
    return [
        *found,
        fit_spec(OUTPUT, price, "output"),
        fit_spec(LOSS, abs(error), "loss"),
        fit_spec(RESIDUAL, error, "residual"),
    ]


def bundle(
    digest: str, version: str, rng: np.random.Generator, columns: list[ColumnSpec], start: int, rmse: float
) -> Bundle:
    inputs = [s for s in columns if s.group in {"input", "output"}]
    late = [s for s in columns if s.group in {"loss", "residual"}]
    windows, labels = [], []
    for _ in range(60):
        data = houses(rng, SALES) | {OUTPUT: np.exp(rng.normal(12.6, 0.4, SALES))}
        error = rng.normal(0, 0.12, SALES)
        windows.append(Counts.of(inputs, data).to_bytes())
        labels.append(Counts.of(late, {LOSS: abs(error), RESIDUAL: error}).to_bytes())
    starts = tuple((start - 60 + i) * DAY for i in range(60))
    return Bundle(
        digest,
        Manifest(
            format=1,
            name="house-prices",
            task="regression",
            files=(),
            model=ModelSource(
                uri=f"models:/house-prices/{version}", name="house-prices", version=version, flavour="sklearn", files=()
            ),
            data={"file": "sales.parquet", "rows": 7200},
            code={},
            builder={"holdfast": "0.1.0"},
            parity={"rows": 6000, "beyond_tolerance": 0},
        ),
        contract(),
        Profile(
            columns=tuple(s.to_dict() for s in columns),
            importance={"area_sqft": 0.5, "kind": 0.2, "rooms": 0.2, "age_years": 0.1},
            rule=WindowRule(kind="time", length_us=DAY, rows=SALES, label_rows=SALES),
            rows=7200,
            start=starts[0],
            end=starts[-1] + DAY,
            windows=Series(starts, tuple(windows)),
            labels=Series(starts, tuple(labels)),
            performance={
                "rmse": {
                    "value": rmse,
                    "low": rmse - 0.003,
                    "high": rmse + 0.003,
                    "n": 7200,
                    "level": 0.95,
                    "method": "t by windows",
                }
            },
            calibration={"runs": [], "too_short": [], "not_guaranteed": []},
        ),
    )


class Town(NamedTuple):
    """The database's contents beside it: releases by digest."""

    releases: dict[str, Bundle]

    def release(self, digest: str) -> Bundle:
        if digest not in self.releases:
            raise NotFound(f"no release '{digest}'", next_step="holdfast list")
        return self.releases[digest]

    def digests(self) -> list[str]:
        return list(self.releases)


def fill(database: Database, *, name: str = "house-prices", seed: int = 1, days: int = 400, prefix: str = "a") -> Town:
    """Write the story of one deployment."""
    rng = np.random.default_rng(seed)
    first, second, third = (f"{seed}{i}" + rng.bytes(31).hex() for i in range(3))
    columns = specs(rng)
    begins = {first: 0, second: days * 11 // 20, third: days * 19 // 20}
    town = Town({d: bundle(d, str(i + 1), rng, columns, DAY0 + begins[d], 0.121) for i, d in enumerate(begins)})
    with database.begin() as stores:
        _traffic(stores, town, rng, name, begins, days)
        _alarms(stores, name, first, second, days, prefix)
        _trail(stores, name, (first, second, third), begins)
        stores.monitors.save(name, second, msgspec.msgpack.encode(Progress(done={"windows": DAY0 + days - 1})))
        stores.cursors.set(f"replay/{name}", (DAY0 + days) * DAY)
        stores.labels.add(name, [Label(value=1.0, key=f"sale-{i}") for i in range(240)], received=0, clock=0)
        stores.labels.mark_joined([w.id for w in stores.labels.waiting(name, 232)])
    return town


def _traffic(stores, town, rng, name, begins, days) -> None:
    digests = list(begins)
    for day in range(days):
        live = digests[1] if day >= begins[digests[1]] else digests[0]
        inflation = 0.004 * max(0, min(day, begins[digests[1]]) - days * 0.3) / 3.5
        fault = days * 0.7 <= day < days * 0.7 + 10
        demand = day >= days * 0.86
        plan = [(live, "live", 1.0)]
        if day >= begins[digests[2]]:
            plan = [(live, "live", 0.9), (digests[2], "canary", 0.1)]
        for digest, track, share in plan:
            n = max(int(rng.poisson(SALES * (0.6 if (DAY0 + day) % 7 > 4 else 1.1)) * share), 1)
            error = rng.normal(
                (inflation if live == digests[0] else 0.0) + (0.08 if demand else 0.0) + (0.9 if fault else 0.0),
                0.12,
                n,
            )
            specs_ = [ColumnSpec.from_dict(c) for c in town.releases[digest].profile.columns]
            data = houses(rng, n, demand=demand, metric=fault) | {OUTPUT: np.exp(rng.normal(12.6, 0.4, n))}
            data |= {LOSS: abs(error), RESIDUAL: error}
            start = (DAY0 + day) * DAY
            one = {
                "deployment": name,
                "release": digest,
                "track": track,
                "number": DAY0 + day,
                "start": start,
                "end": start + DAY,
            }
            inputs = Counts.of([s for s in specs_ if s.group in {"input", "output"}], data)
            stores.windows.add(
                [
                    Window(
                        stream="windows",
                        rows=n,
                        counts=inputs.to_bytes(),
                        sums={"n": n, "requests": n, "latency_us": float(n * rng.normal(900, 60)), "refused": 0.0},
                        **one,
                    )
                ]
            )
            seen = min(1.0, max(0.0, (days - day - 14) / 28)) * 0.96
            k = int(n * seen)
            if k and not fault:
                late = Counts.of(
                    [s for s in specs_ if s.group in {"loss", "residual"}], {c: v[:k] for c, v in data.items()}
                )
                sums = {
                    "n": k,
                    "loss": float(abs(error[:k]).sum()),
                    "loss2": float((error[:k] ** 2).sum()),
                    "residual": float(error[:k].sum()),
                    "errors": 0.0,
                }
                for stream in ("events", "labels"):
                    stores.windows.add([Window(stream=stream, rows=k, counts=late.to_bytes(), sums=sums, **one)])
        level = 0.02 * float(np.exp(rng.normal(0, 0.6)))
        rise = (
            max(0.0, inflation - 0.05) * 40
            if live == digests[0]
            else (400.0 if fault else (30.0 if demand and day > days * 0.9 else 0.0))
        )
        part = {
            "area_sqft": 0.1 * level,
            "kind": 0.2 * level + rise * demand,
            "__residual__": rise * (not demand and not fault),
        }
        stores.monitors.record(
            name,
            live,
            [
                {
                    "stream": "windows",
                    "number": DAY0 + day,
                    "at": (DAY0 + day + 1) * DAY,
                    "evidence": log10(level + rise),
                    "columns": {c: log10(v + 1e-4) for c, v in part.items()},
                }
            ],
        )


def _alarms(stores, name: str, first: str, second: str, days: int, prefix: str) -> None:
    def at(share: float) -> int:
        return (DAY0 + int(days * share)) * DAY

    common = {"deployment": name, "threshold": SENTENCE}
    stores.alarms.save(
        Alarm(
            id=f"{prefix}1",
            release=first,
            opened=at(0.42),
            monitors=("__residual__:mean", "__loss__:mean"),
            columns=("__residual__", "__loss__"),
            evidence=1.3,
            onset=at(0.31),
            onset_low=at(0.27),
            onset_high=at(0.36),
            shape="gradual",
            ramp_days=120.0,
            cause="concept",
            sentence="Prices have been rising slowly since about 4 May 2024 while the houses stayed the same: the model says too little.",
            action="holdfast retrain house-prices",
            closed=at(0.55),
            closing="new release",
            **common,
        )
    )
    stores.alarms.save(
        Alarm(
            id=f"{prefix}2",
            release=second,
            opened=at(0.7) + DAY,
            monitors=("area_sqft:mean", "area_sqft:out_of_range"),
            columns=("area_sqft",),
            evidence=410.0,
            onset=at(0.7),
            onset_low=at(0.7),
            onset_high=at(0.7) + DAY,
            shape="sudden",
            cause="pipeline fault",
            sentence="area_sqft fell to about a tenth on 7 October 2024, below everything in the reference: a unit or a feed has changed.",
            action="repair the feed; do not retrain",
            closed=at(0.7) + 12 * DAY,
            closing="returned",
            ended=at(0.7) + 10 * DAY,
            **common,
        )
    )
    stores.alarms.save(
        Alarm(
            id=f"{prefix}3",
            release=second,
            opened=at(0.9),
            monitors=("kind:category:flat", "kind:category:detached"),
            columns=("kind", "garden"),
            evidence=2.4,
            onset=at(0.86),
            onset_low=at(0.855),
            onset_high=at(0.87),
            shape="sudden",
            cause="covariate",
            sentence="Since about 10 December 2024 flats are 30 % of sales instead of 45 %, and detached houses 20 % instead of 13 %.",
            action="wait for labels, or holdfast retrain house-prices",
            **common,
        )
    )


def _trail(stores, name: str, digests: tuple[str, str, str], begins: dict[str, int]) -> None:
    first, second, third = digests
    when = {d: (DAY0 + begins[d]) * DAY for d in digests}
    stores.trail.append("deploy", at=when[first], deployment=name, release=first, actor="ada")
    stores.trail.append(
        "canary", at=when[second] - 7 * DAY, deployment=name, release=second, actor="ada", data={"share": 0.1}
    )
    stores.trail.append("promote", at=when[second], deployment=name, release=second, actor="ada")
    stores.trail.append("canary", at=when[third], deployment=name, release=third, actor="grace", data={"share": 0.1})
    stores.deployments.save(
        Deployment(
            name=name,
            live=second,
            since=when[second],
            previous=(first,),
            canary=third,
            canary_share=0.1,
            canary_since=when[third],
            salt="s",
        )
    )
