"""Runs the tests on every mutant of the core's heart; those that no test notices are survivors.

Rules of this file
- A mutant runs in a fork of this process, which has imported all but the program and its tests: no start-up for each.
- It meets a few examples of every test first, and more only if it survives those. The first test that fails ends it. A
  mutant that takes much more CPU than the program does is noticed, too.
- A survivor that cannot be told from the program is explained in `explained.toml`; any other is a failure.
- What became of a mutant is kept in `.soak` for as long as its module and the tests that hold it stay as they are: the
  next run goes on. A change elsewhere may, rarely, let a killed one live; without `.soak/mutants.json` all are tried.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import resource
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import grimp

from soak.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
EXPLAINED = ROOT / "soak" / "explained.toml"
IMPORTED_ONCE = ("pytest", "hypothesis", "detector.watches", "tests.streams", "tests.servers")
PROGRAM = ("detector", "replay")


def _tests(file: str, *names: str) -> tuple[str, ...]:
    """These tests of a file."""
    return tuple(f"{file}::test_{name}" for name in names)


WINDOWS = _tests(
    "tests/laws/test_windows.py", "exactly_the_threshold_fires_and_one_below_does_not",
    "a_record_leaves_the_window_after_exactly_one_window", "a_burst_across_a_buckets_edge_is_one_burst",
    "two_crossings_one_window_apart_are_one_episode_and_a_second_more_are_two",
    "distinct_members_that_return_count_once_in_every_window", "an_episode_is_cut_a_day_after_it_opened",
    "the_peak_is_at_the_first_second_with_the_largest_value", "long_windows_count_in_minutes",
    "an_exception_raises_the_limit_until_its_day_ends", "engine_agrees_with_oracle",
    "order_cuts_and_duplicates_do_not_change_findings",
)  # fmt: skip
"""The laws of windows but those of the cap, which take long."""
IN_TIME = _tests(
    "tests/laws/test_engine.py", "a_finding_opens_with_the_record_that_suffices_and_closes_one_window_after_its_last",
    "a_peak_that_doubles_is_told_again_and_a_small_rise_is_not", "a_late_record_is_judged_and_its_finding_says_late",
    "late_records_that_join_two_closed_findings_keep_both_alert_ids",
    "a_window_in_minutes_is_not_closed_while_its_last_minute_may_still_grow",
    "a_record_without_a_value_at_a_level_belongs_to_no_group_there",
    "new_exceptions_keep_the_windows_and_are_held_against_what_was_counted",
    "evidence_of_a_long_poll_is_that_of_the_findings_own_time", "memory_is_let_go_behind_the_horizon",
)  # fmt: skip
"""What the daemon tells, step by step."""
SHARED = _tests(
    "tests/laws/test_memory.py", "what_is_counted_alike_is_held_once", "rules_find_together_what_each_finds_alone"
)


def _of_kinds(kind: str, *tests: str) -> tuple[str, ...]:
    """These tests of the kinds, and the laws for all kinds, as they are for this one."""
    laws = "words[{}]", "columns[{}]", "removal[{}]", "restart[{}-1]", "memory[{}-1]", "reload[{}-1]"
    alike = (f"tests/laws/test_conformance.py::test_{law.format(kind)}" for law in laws)
    return (*(f"tests/laws/test_kinds.py::test_{test}" for test in tests), *alike)


FIRSTS = _of_kinds(
    "first_seen", "what_the_new_do", "first_seen", "an_earlier_record_takes_a_finding_back",
    "a_late_record_takes_back_what_was_closed", "private_addresses_are_never_new",
    "what_was_let_go_is_known_all_the_same",
)  # fmt: skip
SEQUENCES = (
    "tests/laws/test_memory.py::test_what_is_counted_alike_is_held_once",
    *_of_kinds(
        "sequence", "the_latest_second_from_which_on_so_many_were_seen",
        "only_who_may_have_done_all_steps_is_looked_at", "a_group_is_warm_for_as_long_as_its_last_step_may_follow",
        "evidence_is_of_all_steps_though_they_came_poll_by_poll",
        "who_did_it_hours_apart_in_one_poll_is_told_by_name_both_times", "sequence",
    ),
)  # fmt: skip
HEART = {
    "window": ("tests/core/test_window.py", *WINDOWS),
    "episode": ("tests/core/test_episode.py", *WINDOWS, *IN_TIME),
    "tally": ("tests/core/test_tally.py", "tests/core/test_counted.py", *WINDOWS),
    "screen": ("tests/core/test_screen.py", *WINDOWS),
    "crossing": (
        "tests/core/test_crossing.py", *IN_TIME, *_tests("tests/laws/test_conformance.py", "horizon[scope]"),
        *_of_kinds("first_seen", "first_seen", "a_late_record_takes_back_what_was_closed"),
        *_of_kinds("sequence", "sequence", "evidence_is_of_all_steps_though_they_came_poll_by_poll"), *WINDOWS,
    ),
    "threshold": (
        "tests/core/test_crossing.py", *SHARED[:1], *IN_TIME, *_of_kinds("threshold"), *_of_kinds("received"), *WINDOWS,
    ),
    "counts": ("tests/core/test_counts.py", *SHARED),
    "counted": ("tests/core/test_counted.py", *SHARED, *WINDOWS, *IN_TIME, *_of_kinds("sequence", "sequence")),
    "met": ("tests/core/test_met.py", "tests/core/test_principals.py"),
    "dedup": ("tests/core/test_dedup.py", "tests/laws/test_dedup.py"),
    "ids": ("tests/core/test_ids.py", "tests/core/test_dedup.py"),
    "bloom": ("tests/core/test_bloom.py", "tests/core/test_ids.py"),
    "runs": ("tests/core/test_runs.py", "tests/core/test_tally.py", "tests/core/test_ids.py"),
    "part": ("tests/core/test_part.py", "tests/core/test_ids.py"),
    "made": ("tests/core/test_made.py",),
    "spans": ("tests/core/test_spans.py", "tests/laws/test_silence.py"),
    "audited": ("tests/core/test_audited.py", "tests/laws/test_unaudited.py"),
    "unaudited": ("tests/laws/test_unaudited.py", *_of_kinds("unaudited")),
    "received": ("tests/laws/test_received.py", *_of_kinds("received")),
    "sequence": SEQUENCES,
    "first_seen": ("tests/core/test_first_seen.py", *FIRSTS),
    "firsts": ("tests/core/test_firsts.py", *FIRSTS, "tests/core/test_first_seen.py"),
}  # fmt: skip
"""Module of detector.core → the tests that hold it, quick ones first."""

EXAMPLES = (8, 40)
"""How many examples of a hypothesis test a mutant meets at most, round by round."""

ASKED = "_hypothesis_internal_use_settings"
"""Where hypothesis keeps what a test asks for; it has no other way to ask for less."""

KILLED, SURVIVED, UNTRIED = "killed", "survived", "not tried yet"


class Fate(NamedTuple):
    """What became of a mutant of a module, and why it may survive (empty: it may not)."""

    module: str
    mutant: Mutant
    fate: str
    why: str = ""

    def __str__(self) -> str:
        place = f"detector/core/{self.module}.py:{self.mutant.line}"
        return f"{place}: no test notices\n  - {self.mutant.was}\n  + {self.mutant.now}"


class Explained(NamedTuple):
    """A survivor that is none: a line of a module, what it may become, and why that is the same program."""

    module: str
    was: str
    now: tuple[str, ...]
    why: str


def hunt(seconds: float, cache: Path, chosen: Sequence[str] = (), seed: int = 0) -> Iterator[Fate]:
    """The fates of mutants, the known ones first, for so long; those not tried by then are left for the next time."""
    end = time.monotonic() + seconds
    known, reasons = _Known(cache), explained()
    waiting = [(module, one) for module in chosen or HEART for one in mutants(_path(module).read_text())]
    random.Random(seed or None).shuffle(waiting)
    for module, mutant in sorted(waiting, key=lambda item: not known.fate(*item)):
        why = _why(reasons, module, mutant)
        fate = SURVIVED if why else known.fate(module, mutant)
        if not fate and time.monotonic() < end:
            fate = known.learn(module, mutant, _fate(module, mutant, known.usual(module)))
        yield Fate(module, mutant, fate or UNTRIED, why)


def _why(reasons: Sequence[Explained], module: str, mutant: Mutant) -> str:
    """Why a mutant may survive; empty if it may not."""
    return next((e.why for e in reasons if (e.module, e.was) == (module, mutant.was) and mutant.now in e.now), "")


def explained() -> list[Explained]:
    """The survivors that are explained."""
    listed = tomllib.loads(EXPLAINED.read_text())["survivor"]
    return [Explained(one["module"], one["was"], tuple(one["now"]), one["why"]) for one in listed]


def outdated() -> list[Explained]:
    """Explanations of what is no longer there."""
    there = {(module, one.was, one.now) for module in HEART for one in mutants(_path(module).read_text())}
    return [one for one in explained() if not all((one.module, one.was, now) in there for now in one.now)]


def _path(module: str) -> Path:
    return ROOT / "detector" / "core" / f"{module}.py"


class _Known:
    """What earlier runs learnt: by module its state, the fates of its mutants and the CPU seconds its tests take."""

    def __init__(self, cache: Path) -> None:
        self._path = cache / "mutants.json"
        self._kept: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def fate(self, module: str, mutant: Mutant) -> str:
        """What became of a mutant, or an empty text."""
        return str(self._of(module)["fates"].get(_digest(mutant.source), ""))

    def learn(self, module: str, mutant: Mutant, fate: str) -> str:
        """Keep a fate."""
        self._of(module)["fates"][_digest(mutant.source)] = fate
        self._path.write_text(json.dumps(self._kept))
        return fate

    def usual(self, module: str) -> list[float]:
        """CPU seconds the tests of a module take, round by round; they have to pass."""
        kept = self._of(module)
        for most in EXAMPLES[len(kept["usual"]) :]:
            status, used = _forked(module, _path(module).read_text(), 600, most)
            if status:
                raise SystemExit(f"the tests of detector.core.{module} fail without a fault in it (status {status})")
            kept["usual"].append(used)
        return [*kept["usual"]]

    def _of(self, module: str) -> dict[str, Any]:
        kept: dict[str, Any] | None = self._kept.get(module)
        if kept is None or kept["state"] != _state(module):
            kept = self._kept[module] = {"state": _state(module), "fates": {}, "usual": []}
        return kept


@cache
def _state(module: str) -> str:
    """Digest of a module, of the tests that hold it and of what those tests are made with."""
    tests = sorted({test.partition("::")[0] for test in HEART[module]})
    files = [_path(module), *(ROOT / test for test in tests), *sorted((ROOT / "tests").glob("*.py"))]
    return _digest("\0".join([*HEART[module], str(EXAMPLES), *(path.read_text() for path in files)]))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _fate(module: str, mutant: Mutant, usual: Sequence[float]) -> str:
    rounds = zip(EXAMPLES, usual, strict=True)
    killed = any(_forked(module, mutant.source, 2 * seconds + 5, most)[0] for most, seconds in rounds)
    return KILLED if killed else SURVIVED


def _forked(module: str, source: str, limit: float, most: int) -> tuple[int, float]:
    """Pytest's exit status (negative: a signal) with this source in the module's place, and the CPU seconds it took."""
    for name in IMPORTED_ONCE:
        importlib.import_module(name)
    anew = _built_on(f"detector.core.{module}")
    child = os.fork()
    if child == 0:
        try:
            _in_child(module, anew, source, limit, most)
        finally:
            os._exit(1)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def _in_child(module: str, anew: set[str], source: str, limit: float, most: int) -> None:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 2))
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for name in anew:
        _forget(name)
    sys.meta_path.insert(0, _Instead(f"detector.core.{module}", source))
    options = ["-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]
    os._exit(int(pytest.main([*options, *HEART[module]], plugins=[_Quickly(most)])))


def _built_on(name: str) -> set[str]:
    """What has to be imported anew with another source of a module: it, all of the program that needs it, all tests."""
    return {
        name,
        *_graph().find_downstream_modules(name),
        *(one for one in sys.modules if one.partition(".")[0] == "tests"),
    }


def _forget(name: str) -> None:
    """A module, also as its package knows it: `from package import module` looks there first."""
    sys.modules.pop(name, None)
    package, _, module = name.rpartition(".")
    if package in sys.modules:
        vars(sys.modules[package]).pop(module, None)


@cache
def _graph() -> grimp.ImportGraph:
    """What of the program imports what; the same for all mutants, which change no imports that count."""
    return grimp.build_graph(*PROGRAM, cache_dir=None)


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source

    def find_spec(self, fullname: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._name, "exec"), module.__dict__)


class _Quickly:
    """A pytest plugin: the same few examples every time, and no time is spent on making a failing one smaller."""

    def __init__(self, most: int) -> None:
        self._most = most

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutants", deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate), database=None
        )
        settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: Sequence[Any]) -> None:
        """Tests may ask for more examples than there is time for."""
        from hypothesis import is_hypothesis_test, settings

        for test in (item.obj for item in items if is_hypothesis_test(item.obj)):
            asked: settings = getattr(test, ASKED)
            setattr(test, ASKED, settings(asked, max_examples=min(asked.max_examples, self._most)))
