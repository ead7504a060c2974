"""Rows of tallies as tests write them: (group, second, credentials, item)."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

T0 = 1_777_626_000
ALIKE = (0xABCD_0000_0000_0000, 0xABCD_0000_0000_0001, 0xABCD_0000_0000_0002)
"""Groups that differ only in the bits the packed sort puts the second into."""

row_ = st.tuples(
    st.sampled_from([1, 2, *ALIKE, (1 << 64) - 1]),
    st.one_of(st.integers(T0, T0 + 4), st.integers(T0, T0 + 9000)),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 1 << 63]),
)
cuts_ = st.lists(st.lists(row_, min_size=1, max_size=30), min_size=1, max_size=6)


def columns(rows):
    dtypes = (np.uint64, np.int64, np.uint64, np.uint64)
    return tuple(np.array(column, dtype) for column, dtype in zip(zip(*rows, strict=True), dtypes, strict=True))


def rows_of(run):
    return list(zip(*(column.tolist() for column in run), strict=True))
