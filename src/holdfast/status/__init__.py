"""What is where since when: pure reads, told in the same values by the CLI, the control API and the console."""

from __future__ import annotations

from holdfast.status.overview import overview, release_summaries, release_summary
from holdfast.status.sources import ReleaseView, Sources, disk_bytes, server
from holdfast.status.story import story
from holdfast.status.values import DeploymentView, Overview, ReleaseSummary, Row

__all__ = [
    "DeploymentView",
    "Overview",
    "ReleaseSummary",
    "ReleaseView",
    "Row",
    "Sources",
    "disk_bytes",
    "overview",
    "release_summaries",
    "release_summary",
    "server",
    "story",
]
