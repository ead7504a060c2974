"""Columns of kept records: what is read is what was written, and codes are one for each combination there is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from detector.core.access import Column
from replay import columns
from replay.columns import over, pair, timed, together

texts = st.lists(st.sampled_from(["a", "b", "", "\u202ec", None]), min_size=4, max_size=4)


@given(st.lists(texts, min_size=1, max_size=30))
def test_combinations_have_one_code_each(rows):
    """Runs of like rows or not."""
    codes, met = together([Column.of(column) for column in zip(*rows, strict=True)])
    assert [met[code] for code in codes.tolist()] == [tuple(row) for row in rows]
    assert len(set(met)) == len(met) == len(set(map(tuple, rows)))


@pytest.mark.parametrize("dense", [1, 1 << 22])
@given(st.lists(st.tuples(st.integers(0, 2**30), st.integers(0, 9)), max_size=30))
def test_pairs_have_one_code_each(dense, rows):
    """By a table of all there could be, or by what there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "DENSE", dense)
        first, second = zip(*rows, strict=True) if rows else ((), ())
        codes, pairs = pair(pa.array(first, pa.int32()).to_numpy(), pa.array(second, pa.int32()).to_numpy(), 10)
    assert [divmod(pairs[code], 10) for code in codes.tolist()] == rows
    assert len(set(pairs.tolist())) == len(pairs)


@given(st.lists(st.tuples(st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 2 * 86_400)), max_size=20))
def test_times_are_told_as_iso_8601(rows):
    """From year 1 on; before 1970, too."""
    first, last = [start for start, _ in rows], [start + more for start, more in rows]
    moments = {name: pa.array(column, pa.int64()).cast(pa.timestamp("s", "UTC")) for name, column in
               (("first", first), ("last", last))}  # fmt: skip
    told = timed(pa.table(moments))
    for name, column in (("first", first), ("last", last)):
        assert told[name].to_pylist() == [f"{moment}Z" for moment in np.array(column, "datetime64[s]").astype(str)]


def test_files_come_in_order_and_each_with_its_own_texts(tmp_path):
    """Over several row groups, with nulls; a column that is not there, or that holds nothing, is null."""
    files, wanted = [], []
    for number in range(9):
        rows = [{"text": None if n % 3 == 0 else f"{number}.{n % 4}", "number": n or None, "none": None,
                 "time": 1_777_636_800 + n, "hash": 2**63 + n} for n in range(10)]  # fmt: skip
        schema = pa.schema([("text", pa.string()), ("number", pa.int64()), ("none", pa.string()),
                            ("time", pa.timestamp("s", "UTC")), ("hash", pa.uint64())])  # fmt: skip
        files.append(tmp_path / f"{number}.parquet")
        parquet.write_table(pa.Table.from_pylist(rows, schema), files[-1], row_group_size=4)
        wanted.append([(one["text"], one["number"] or -1, None, one["time"], one["hash"], -1) for one in rows])

    def read(piece):
        names = [piece.text("text").texts(), piece.number("number"), piece.text("none").texts(), piece.seconds("time")]
        return [*zip(*names, piece.hashes("hash"), piece.number("absent"), strict=True)]

    assert list(over(files, ("text", "number", "none", "time", "hash", "absent"), read)) == wanted
