import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.blocks import BLOCK, in_blocks


@given(rows=st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 7]), inputs=st.integers(1, 3))
def test_blocks_answer_like_one_run_and_none_is_larger(rows, inputs):
    seen = []

    def run(feeds):
        seen.append({len(values) for values in feeds.values()})
        return [sum(feeds.values()), feeds["0"][:, :1]]

    feeds = {str(i): np.random.default_rng(i).normal(size=(rows, 2)) for i in range(inputs)}
    found = in_blocks(run, feeds)
    for one, whole in zip(found, run(feeds), strict=True):
        np.testing.assert_array_equal(one, whole)
    assert all(len(sizes) == 1 and max(sizes) <= BLOCK for sizes in seen[:-1])
