"""CSV for spreadsheets: no text of a log becomes a formula, a line, or another cell; all else comes back as it was."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.spreadsheet import FORMULA, cell, sheet, sheet_rows


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2+3", "@SUM(A1)", " =1", "\uff1dcmd", "\t=1", "=cmd|' /C calc'!A0"])
def test_a_formula_is_a_text(text):
    assert cell(text).startswith("'")


@given(st.lists(st.lists(st.text() | st.integers() | st.none(), min_size=2, max_size=2), max_size=5))
def test_whatever_the_texts_there_are_as_many_rows_and_cells(rows):
    """And none begins as a formula does; numbers are numbers, negative ones too."""
    got = read(sheet(["a", "b"], [dict(zip("ab", row, strict=True)) for row in rows]))
    assert len(got) == len(rows) + 1
    for row, cells in zip(rows, got[1:], strict=True):
        for value, shown in zip(row, cells, strict=True):
            if isinstance(value, str):
                assert shown.strip()[:1] not in FORMULA or not shown.strip()
                assert "\n" not in shown
            else:
                assert shown == ("" if value is None else str(value))


texts = st.text() | st.sampled_from(["=1", "-a", " @b", 'c,"d', "e\nf"])


@given(st.lists(st.tuples(texts | st.none(), st.lists(texts, max_size=2), st.integers(-9, 9) | st.none()), max_size=5))
def test_a_table_is_written_as_its_rows_are(rows):
    """Column by column: the same bytes, the guard against formulas too."""
    types = [("a", pa.string()), ("b", pa.list_(pa.string())), ("c", pa.int64())]
    named = [dict(zip("abc", row, strict=True)) for row in rows]
    table = pa.Table.from_pylist(named, pa.schema(types))
    assert "a,b,c\n" + sheet_rows(table).decode() == sheet(["a", "b", "c"], named)


def test_plain_texts_stay():
    assert read(sheet(["key"], [{"key": 'raw/a "b", c.wav'}, {"key": "é"}, {"key": ["x", "y"]}]))[1:] == [
        ['raw/a "b", c.wav'], ["é"], ["x y"],
    ]  # fmt: skip
