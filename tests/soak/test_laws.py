"""New examples are looked for, and what failed is told even if the time was over before the file was."""

from __future__ import annotations

import pytest

from soak import laws

PASSES = "@given(st.integers())\ndef test_all(n):\n    assert n == n\n"
FAILS = "@given(st.integers())\ndef test_small(n):\n    assert n < 100\n"
IS_CUT = "def test_cut():\n    raise KeyboardInterrupt\n\n\ntest_cut = pytest.mark.hypothesis(test_cut)\n"
LASTS = "@given(st.integers())\ndef test_slow(n):\n    time.sleep(30)\n"


@pytest.mark.parametrize(
    ("tests", "seconds", "failed"),
    [(PASSES, 60, ""), (FAILS, 60, "test_small"), (FAILS + IS_CUT, 60, "test_small"), (PASSES + LASTS, 4, "")],
)
def test_a_law_that_fails_is_told(tmp_path, tests, seconds, failed):
    """Whole or cut; what takes too long is no failure."""
    (tmp_path / "tests").mkdir()
    head = "import time\nimport pytest\nfrom hypothesis import given\nfrom hypothesis import strategies as st\n"
    (tmp_path / "tests" / "test_it.py").write_text(f"{head}\n\n{tests}")
    name, said = next(laws.runs(seconds, 1, tmp_path))
    assert name == "tests/test_it.py"
    assert bool(said) is bool(failed)
    assert failed in said
