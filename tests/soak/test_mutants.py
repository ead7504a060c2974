"""Mutants are the same module with one fault; a survivor is named, an explained one is not."""

from __future__ import annotations

import ast
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from soak import __main__ as soak
from soak import survivors
from soak.mutants import mutants

SOURCE = '''
"""Docstring: 1 < 2."""
LIMIT: int = 3


def total(values: list[int], seen: set[int]) -> int:
    """Docstring: a + b."""
    out = 0
    for value in values:
        if value not in seen and (value) < LIMIT:
            out += max(value, 1)
            seen.add(value)
    return out << 1
'''


def changes(source):
    return {(one.line, one.was, one.now) for one in mutants(source)}


@pytest.mark.parametrize(
    ("line", "now"),
    [
        (3, "LIMIT: int = 4"),
        (3, "LIMIT: int = 2"),
        (8, "out = 1"),
        (10, "if value in seen and (value) < LIMIT:"),
        (10, "if value not in seen or (value) < LIMIT:"),
        (10, "if value not in seen and (value) <= LIMIT:"),
        (10, "if not (value not in seen and (value) < LIMIT):"),
        (11, "out += min(value, 1)"),
        (11, "pass"),
        (12, "pass"),
        (13, "return out >> 1"),
        (13, "return None"),
    ],
)
def test_every_kind_of_fault_is_made(line, now):
    """Operators, comparisons, numbers, conditions, counterparts, statements left out."""
    assert (line, now) in {(at, after) for at, _, after in changes(SOURCE)}


def test_each_mutant_is_another_module_that_can_be_compiled():
    """None is the program itself, none is there twice; neither annotations nor docstrings are touched."""
    found = mutants(SOURCE)
    parsed = {ast.dump(ast.parse(one.source)) for one in found}
    assert len(parsed) == len(found)
    assert ast.dump(ast.parse(SOURCE)) not in parsed
    assert all('"""Docstring: 1 < 2."""' in one.source and '"""Docstring: a + b."""' in one.source for one in found)
    assert all("values: list[int], seen: set[int]" in one.source for one in found)


def apart(function, *arguments):
    """Its result in a fresh process, as `make soak` has one: mutants are tried in forks of it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def fates_are_verdicts(tmp_path):
    """See the test below."""
    monkeypatch = pytest.MonkeyPatch()
    killed, survivor = (
        next(one for one in mutants(survivors._path("window").read_text()) if one.now == now)
        for now in ("DAY = 86401", "return np.ones(0, np.intp)")
    )
    monkeypatch.setattr(survivors, "mutants", lambda _: [killed, survivor])
    monkeypatch.setattr(survivors, "HEART", {"window": ("tests/core/test_window.py",)})
    monkeypatch.setattr(survivors, "explained", list)
    fates = {one.mutant.now: one.fate for one in survivors.hunt(60, tmp_path)}
    assert fates == {killed.now: survivors.KILLED, survivor.now: survivors.SURVIVED}
    monkeypatch.setattr(survivors, "_fate", lambda *_: pytest.fail("its fate is known"))
    assert soak.main(["--only", "mutants", "--cache", str(tmp_path), "--minutes", "0"]) == 1
    reason = survivors.Explained("window", survivor.was, (survivor.now,), "no zeros are no ones")
    monkeypatch.setattr(survivors, "explained", lambda: [reason])
    assert soak.main(["--only", "mutants", "--cache", str(tmp_path), "--minutes", "0"]) == 0


def test_the_fate_of_a_mutant_is_its_tests_verdict(tmp_path):
    """A fault that tests notice is killed, one that they do not is named; explained, it is not; and fates are kept."""
    apart(fates_are_verdicts, tmp_path)


def test_a_mutant_that_never_ends_is_killed():
    """By its CPU time, whatever else the machine does."""
    source = survivors._path("window").read_text().replace("        start = end\n", "        pass\n")
    status, used = apart(survivors._forked, "window", source, 3, 8)
    assert status < 0 or status == 1
    assert used < 10


def test_explanations_have_reasons():
    """And each is of a module that is tried."""
    assert all(one.why and one.now and one.module in survivors.HEART for one in survivors.explained())
