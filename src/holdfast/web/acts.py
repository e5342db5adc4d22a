"""State-changing steps that a person takes through the console or the control API: translate, delegate, nothing else."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

from holdfast.core.names import unique_prefix
from holdfast.decide import actions
from holdfast.monitor.life import accept as accept_alarm
from holdfast.predictions.compact import clock

if TYPE_CHECKING:
    from holdfast.core.alarm import Alarm
    from holdfast.core.deployment import Deployment
    from holdfast.web.site import Site

__all__ = ["accept", "canary", "deploy", "promote", "rollback"]


def deploy(site: Site, name: str, release: str) -> Deployment:
    """Make a release (digest, short or whole) live at once."""
    return actions.deploy(site.database, _actor(site, name), name, _digest(site, release))[0]


def canary(site: Site, name: str, release: str, share: float) -> Deployment:
    """Let a release answer for a share of the keys."""
    return actions.start_canary(site.database, _actor(site, name), name, _digest(site, release), share)[0]


def promote(site: Site, name: str) -> Deployment:
    """The canary becomes live."""
    return actions.promote(site.database, _actor(site, name), name)[0]


def rollback(site: Site, name: str) -> Deployment:
    """Stop the canary, or return to the previous live release."""
    return actions.rollback(site.database, _actor(site, name), name)[0]


def accept(site: Site, alarm_id: str) -> Alarm:
    """Say that what an alarm saw is the new normal."""
    with site.database.begin() as stores:
        alarm = stores.alarms.get(alarm_id)
    profile = site.release(alarm.release).profile
    return accept_alarm(site.database, profile, alarm_id, _clock(site, alarm.deployment), per_year=site.per_year)


def _digest(site: Site, text: str) -> str:
    digest = unique_prefix(text, site.digests())
    site.release(digest)  # refuses what was tampered with before anything points to it
    return digest


def _clock(site: Site, name: str) -> int:
    with site.database.begin() as stores:
        return clock(stores, name, site.clock())


def _actor(site: Site, name: str) -> actions.Actor:
    return actions.Actor(getpass.getuser(), _clock(site, name), site.run)
