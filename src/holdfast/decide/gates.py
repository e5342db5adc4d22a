"""Must a candidate go live? Judged against the live release on the newest labelled rows, which neither was fitted on.

Both answer the same rows, so the difference of their losses is paired; rows of one window are dependent, so the windows are the
units. Three verdicts: better and worse need an interval that lies on one side of zero; otherwise there is not enough data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from holdfast.stats import metrics
from holdfast.stats.intervals import Estimate, paired_difference

if TYPE_CHECKING:
    import numpy.typing as npt

    from holdfast.core.contract import Output

__all__ = ["Comparison", "compare", "headline"]

Verdict = Literal["better", "worse", "not enough data"]


class Comparison(msgspec.Struct, frozen=True):
    """Candidate against live on the same rows."""

    verdict: Verdict
    metric: str
    live: Estimate
    candidate: Estimate
    difference: Estimate
    """Mean loss of the candidate minus that of the live release: negative is better."""
    rows: int
    since: int
    until: int
    """Event times of the first and last row, microseconds UTC."""

    @property
    def sentence(self) -> str:
        """For a person."""
        say = {
            "better": "the candidate is better",
            "worse": "the candidate is worse",
            "not enough data": "not enough data to tell",
        }[self.verdict]
        return (
            f"{say}: {self.metric} {self.candidate.value:.4g} [{self.candidate.low:.4g}, {self.candidate.high:.4g}] "
            f"against {self.live.value:.4g} [{self.live.low:.4g}, {self.live.high:.4g}] of the live release on "
            f"{self.rows} newest labelled rows; mean loss differs by {self.difference.value:+.4g} "
            f"[{self.difference.low:+.4g}, {self.difference.high:+.4g}]"
        )


def headline(output: Output) -> str:
    """The one metric that people are shown first: rmse of a regression, error_rate of a classification."""
    return "rmse" if output.task == "regression" else "error_rate"


def compare(
    output: Output,
    truth: npt.NDArray[np.float64],
    live: npt.NDArray[np.float64],
    candidate: npt.NDArray[np.float64],
    times: npt.NDArray[np.int64],
    window_us: int,
) -> Comparison:
    """Judge on n rows.

    Args:
        output: the contract's output.
        truth: numbers, or class indices [n].
        live: predictions [n], or probabilities [n, k], of the live release.
        candidate: the same of the candidate.
        times: event times [n], microseconds UTC.
        window_us: rows of one such span count as one unit.
    """
    windows = times // window_us
    losses = [metrics.loss(output.task, truth, _said(output, p), scale=output.scale) for p in (live, candidate)]
    difference = paired_difference(losses[1], losses[0], clusters=windows)
    verdict: Verdict = "not enough data"
    if difference.high < 0.0:
        verdict = "better"
    elif difference.low > 0.0:
        verdict = "worse"
    metric = headline(output)
    shown = [_metrics(output, truth, p, windows)[metric] for p in (live, candidate)]
    return Comparison(verdict, metric, shown[0], shown[1], difference, len(truth), int(times.min()), int(times.max()))


def _said(output: Output, prediction: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return prediction[:, 1] if output.task == "binary" else prediction


def _metrics(
    output: Output, truth: npt.NDArray[np.float64], prediction: npt.NDArray[np.float64], windows: npt.NDArray[np.int64]
) -> dict[str, Estimate]:
    said = _said(output, prediction)
    if output.task == "regression":
        return metrics.regression(truth, said, scale=output.scale, windows=windows)
    if output.task == "binary":
        return metrics.binary(truth, said, threshold=output.threshold, windows=windows)
    return metrics.multiclass(truth, said, windows=windows)
