"""`python -m soak --minutes 30`: fuzzing, mutants and laws for so long, then what was found. Exit status 1 if anything.

Everything it keeps lies in `.soak`: what the fuzzer learnt (`corpus`), inputs that fail (`found`), fates of mutants.
"""

from __future__ import annotations

import argparse
import collections
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from detector.errors import InputError
from replay import java
from soak import kernel, laws, spark, survivors
from soak.survivors import ROOT, SURVIVED
from tests import flood

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
OPEN = ROOT / "tests" / "fuzz" / "open.toml"
PARTS = {
    "cloudtrail": 0.2, "server_access": 0.1, "access_audit": 0.05, "envelope": 0.05, "kernel": 0.1,
    "mutants": 0.2, "laws": 0.1, "kills": 0.15, "spark": 0.05,
}  # fmt: skip
"""Part → its share of the time. The first four are targets of the fuzzer."""

MESSAGES, KILLS = 200_000, 1_000
A_SECOND = 150
"""Messages of the flood for each second of its time, so that it comes to its end."""
MEMORY = 400 << 20
"""Bytes that a daemon may hold in it."""

GRACE = 120
"""Seconds a fuzzer may take beyond its time: to read its corpus, and to make what fails smaller."""


def main(arguments: Sequence[str] | None = None) -> int:
    """All parts one after the other; the exit status."""
    chosen = _options().parse_args(arguments)
    whole = sum(PARTS[part] for part in chosen.only)
    chosen.cache.mkdir(exist_ok=True)
    (chosen.cache / ".gitignore").write_text("*\n")
    problems = 0
    for part in chosen.only:
        seconds = 60 * chosen.minutes * PARTS[part] / whole
        print(f"--- {part}, {seconds:.0f} s", flush=True)
        match part:
            case "mutants":
                problems += _mutants(seconds, chosen)
            case "laws":
                problems += _laws(laws.runs(seconds, chosen.seed))
            case "kills":
                problems += _kills(seconds, chosen)
            case "spark":
                problems += _spark(seconds, chosen)
            case "kernel":
                problems += _kernel(seconds, chosen)
            case _:
                problems += _fuzz(part, seconds, chosen)
    print(f"--- {problems} problems" if problems else "--- nothing found")
    return 1 if problems else 0


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser("python -m soak", description="looks for faults for a while")
    options.add_argument("--minutes", type=float, default=30, help="how long in all (30)")
    options.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="which parts (all)")
    options.add_argument(
        "--modules", nargs="+", choices=list(survivors.HEART), default=[], help="mutants of these (all)"
    )
    options.add_argument("--seed", type=int, default=0, help="0: another one every time")
    options.add_argument("--cache", type=Path, default=ROOT / ".soak", help="where it keeps what it learns (.soak)")
    return options


def _fuzz(target: str, seconds: float, chosen: argparse.Namespace) -> int:
    """Fuzz one target in a process of its own: it may die of what it finds."""
    learnt, found, log = (chosen.cache / name for name in (f"corpus/{target}", "found", f"{target}.log"))
    learnt.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(found / target, ignore_errors=True)
    (found / target).mkdir(parents=True)
    options = ["--found", str(found), "--seconds", str(int(seconds)), "--seed", str(chosen.seed)]
    command = [sys.executable, "-m", "soak.fuzz", target, str(learnt), str(CORPUS / target), *options]
    with log.open("wb") as out:
        try:
            subprocess.run(command, cwd=ROOT, stdout=out, stderr=out, check=False, timeout=seconds + GRACE)
        except subprocess.TimeoutExpired:
            (found / target / "stuck.txt").write_text("the fuzzer did not come to its end\n")
    said = log.read_text("utf-8", "replace")
    print(*re.findall(r"(?m)^(?:atheris is not .*|\d+ inputs$|Done .*)", said)[-2:], *_coverage(said), sep="\n")
    return _told(found / target, said)


def _coverage(said: str) -> list[str]:
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", said)
    return ["covered {} edges, {} features, {} inputs kept".format(*reached[-1])] if reached else []


def _told(found: Path, said: str) -> int:
    """Say what failed, new or known; how much of it is new."""
    known = {fault["how"] for fault in tomllib.loads(OPEN.read_text())["fault"]}
    new = 0
    for path in sorted(found.iterdir()):
        how = path.read_text().strip() if path.suffix == ".txt" else ""
        if path.suffix == ".txt" or not path.with_name(f"{path.name}.txt").exists():
            new += how not in known
            print(f"{'known' if how in known else 'FOUND'}: {how or 'the fuzzer died of it'}: {path.with_suffix('')}")
    if not re.search(r"(?m)^Done |^\d+ inputs$", said):
        print(f"FOUND: the fuzzer did not end by itself:\n{said[-2000:]}")
        new += 1
    return new


def _mutants(seconds: float, chosen: argparse.Namespace) -> int:
    """Try mutants; name those that survive, and explanations that explain nothing any more."""
    tally: collections.Counter[tuple[str, str]] = collections.Counter()
    survived = 0
    for one in survivors.hunt(seconds, chosen.cache, chosen.modules, chosen.seed):
        tally[one.module, "explained" if one.why else one.fate] += 1
        if one.fate == SURVIVED and not one.why:
            survived += 1
            print(f"FOUND: {one}", flush=True)
    for gone in survivors.outdated():
        print(f"explained.toml: no such mutant any more: {gone.module}: {gone.was}")
    for (module, fate), count in sorted(tally.items()):
        print(f"{module}: {count} {fate}")
    return survived


def _kernel(seconds: float, chosen: argparse.Namespace) -> int:
    """Run the kernel's tests with new examples under sanitizers."""
    folder = (chosen.cache / "kernel").resolve()
    try:
        environment = kernel.sanitized(folder)
    except RuntimeError as error:
        print(f"the kernel cannot be compiled with sanitizers: {error}")
        return 1
    return _laws(laws.runs(seconds, chosen.seed, folder, kernel.TESTS, environment))


def _kills(seconds: float, chosen: argparse.Namespace) -> int:
    """A daemon in a flood of messages, killed again and again for two thirds of the time."""
    sent = flood.Sent.make(min(MESSAGES, int(A_SECOND * seconds)))
    folder = chosen.cache / "kills"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seen = flood.flood(folder.resolve(), sent, kill_for=seconds * 2 / 3, kills=KILLS, seed=chosen.seed)
    found = flood.problems(sent, seen, MEMORY)
    print(
        f"{len(sent.bodies):,} messages, {seen.kills:,} kills, {seen.seconds:.0f} s, "
        f"at most {seen.peak >> 20} MiB of memory"
    )
    for problem in found:
        print(f"FOUND: {problem}: {folder}")
    return len(found)


def _spark(seconds: float, chosen: argparse.Namespace) -> int:
    """The daemon on Spark, killed again and again; where Spark cannot run, that is said."""
    try:
        java.require()
    except InputError as error:
        print(f"left out: {error}")
        return 0
    folder = (chosen.cache / "spark").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    seen = spark.kill(folder / "killed", seconds, chosen.seed)
    kills = ", ".join(f"{count} kills {where}" for where, count in seen.kills.items())
    print(f"{kills}; the first {spark.OLDER} lives were of an older version")
    found = [*seen.problems, *spark.control(folder / "control", chosen.seed)]
    for problem in found:
        print(f"FOUND: {problem}: {folder}")
    return len(found)


def _laws(runs: Iterable[tuple[str, str]]) -> int:
    """Tell what failed in runs of tests, and how many there were."""
    failed = 0
    done: collections.Counter[str] = collections.Counter()
    for name, said in runs:
        done[name] += 1
        if said:
            failed += 1
            print(f"FOUND: {name}\n{said}", flush=True)
    print(f"{sum(done.values())} runs of {len(done)} test files")
    return failed


if __name__ == "__main__":
    sys.exit(main())
