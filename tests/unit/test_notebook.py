"""Values in a notebook: whole, escaped, with their stylesheet, without a script."""

from __future__ import annotations

import msgspec
import pytest
from tests import houses

from holdfast import notebook, status
from holdfast.core.profile import DAY
from holdfast.testing import MemoryDatabase


@pytest.fixture(name="view", scope="module")
def view_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    database = MemoryDatabase()
    town = houses.fill(database, days=60)
    sources = status.Sources(database, town.release, town.digests, folder, folder)
    now = (houses.DAY0 + 60) * DAY
    return status.overview(sources, now), status.story(sources, "house-prices", now)


def test_everything_shows_itself(view):
    overview, story = view
    for value in (overview, story.alarms[0], story.columns[0], {"a": "<b>"}):
        drawn = notebook.show(value)._repr_html_()
        assert len(drawn) < 200_000
        assert "<script" not in drawn
        assert "<b>" not in drawn
    assert "house-prices" in notebook.show(overview)
    assert "svg" in notebook.show(story.columns[0])


def test_an_alarms_sentence_is_text(view):
    alarm = msgspec.structs.replace(view[1].alarms[0], sentence="<script>", closed=1, closing="returned")
    assert "&lt;script&gt;" in notebook.show(alarm)
    assert "closed: returned" in notebook.show(alarm)
