"""The card of a release as it stands today: what was built in, and what was signed, measured and decided since.

The card in the release never changes. What came later is added when somebody looks: every statement that a trusted key has
signed, and what the trail says of where the release went to work and on whose word. As Markdown for a repository or a hub, or
as one HTML page that needs nothing else and asks nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from holdfast.core.event import Event
from holdfast.release.bundle import Release
from holdfast.release.keys import Keys
from holdfast.release.trust import RELEASE, Statement

__all__ = ["card_page", "living_card"]

_LONG_AGO: Final = 10**15
"""Whole numbers beyond are times, microseconds since 1970: this one is in 2001."""
_VERSION: Final = re.compile(r":v\d+$")
STYLE: Final = """
body{font:16px/1.55 system-ui,sans-serif;color:#1d2430;background:#fff;max-width:54rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.9rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #d9dee6;padding-bottom:.25rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
td,th{padding:.3rem .7rem;border-bottom:1px solid #e6e9ef;text-align:left}
code{background:#f2f4f7;padding:.1em .3em;border-radius:3px}
@media(prefers-color-scheme:dark){body{color:#e4e7ec;background:#14181f}h2,td,th{border-color:#333b47}code{background:#232a34}}
"""


def living_card(
    release: Release, signed: Sequence[tuple[Statement, str]], keys: Keys, events: Iterable[Event] = ()
) -> str:
    """The card with what came later, Markdown. `signed`: statements and the ids of their keys (`bundle.signed`)."""
    parts = [release.card.rstrip("\n"), _signatures(release, signed, keys)]
    said = [statement for statement, _ in signed if statement.predicate_type != RELEASE]
    if said:
        parts.append("## Audits, measurements and approvals\n\n" + "\n\n".join(map(_statement, said)))
    own = [event for event in events if event.release == release.digest]
    if own:
        parts.append("## Decisions\n\n" + "\n".join(map(_event, own)))
    return "\n\n".join(parts) + "\n"


def card_page(markdown: str, title: str) -> str:
    """The card as a page: text of the data stays text, nothing is loaded and nothing runs."""
    from markdown_it import MarkdownIt

    _, _, body = (
        markdown.removeprefix("---\n").partition("\n---\n") if markdown.startswith("---\n") else ("", "", markdown)
    )
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{html}</body></html>\n"
    )


def _signatures(release: Release, signed: Sequence[tuple[Statement, str]], keys: Keys) -> str:
    lines = [f"## Signatures\n\nRelease `{release.digest}`, signed by"]
    for keyid in sorted({key for statement, key in signed if statement.predicate_type == RELEASE}):
        name = keys[keyid].name
        lines.append(f"- `{keyid[:12]}`" + (f" ({_plain(name)})" if name else ""))
    return "\n".join([lines[0], "", *lines[1:]])


def _statement(statement: Statement) -> str:
    """A heading, the sentence that the statement offers, and its plain facts."""
    facts = {name: value for name, value in statement.predicate.items() if name != "sentence"}
    lines = [f"### {_plain(_VERSION.sub('', statement.predicate_type.removeprefix('urn:holdfast:')))}", ""]
    if sentence := statement.predicate.get("sentence"):
        lines += [_plain(str(sentence)), ""]
    return "\n".join([*lines, *(f"- {_plain(name)}: {_fact(value)}" for name, value in facts.items() if value != "")])


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        flat = ", ".join(f"{name} {inner}" for name, inner in value.items() if not isinstance(inner, (Mapping, list)))
        return _plain(flat) or f"{len(value)} entries"
    if isinstance(value, (list, tuple)):
        plain = [str(one) for one in value if not isinstance(one, (Mapping, list))]
        named = [one for one in value if isinstance(one, Mapping)]
        told = plain + [" ".join(str(inner) for inner in list(one.values())[:4]) for one in named]
        return _plain("; ".join(told)) or "none"
    if isinstance(value, int) and value > _LONG_AGO:
        return _time(value)
    return _plain(f"{value:.6g}" if isinstance(value, float) else str(value))


def _event(event: Event) -> str:
    where = f" as {_plain(event.deployment)}" if event.deployment else ""
    return f"- {_time(event.at)}: {_plain(event.verb)}{where}" + (f", by {_plain(event.actor)}" if event.actor else "")


def _time(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _plain(text: str) -> str:
    """Text of others: one line, and no Markdown of theirs."""
    short_ = " ".join(text.split())[:500]
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#~" else c for c in short_)
