"""A tree that differs from its commit is refused; so is one that git cannot read."""

import pytest

from holdfast.build.gates import require_clean
from holdfast.errors import GateRefused

DIRTY = {"commit": "c0ffee" * 6, "dirty": True, "changes": "a" * 64}
UNREADABLE = {"commit": "", "dirty": True, "why": "fatal: detected dubious ownership"}


@pytest.mark.parametrize("code", [{}, {"commit": "c0ffee", "dirty": False}])
def test_a_commit_and_no_git_at_all_are_fine(code):
    require_clean(code, allow_dirty=False)


@pytest.mark.parametrize(("code", "told"), [(DIRTY, "c0ffeec0ffee"), (UNREADABLE, "dubious ownership")])
def test_all_else_needs_the_users_word(code, told):
    with pytest.raises(GateRefused, match=told) as refused:
        require_clean(code, allow_dirty=False)
    assert "--allow-dirty" in refused.value.next_step
    assert refused.value.exit_code == 3
    require_clean(code, allow_dirty=True)
