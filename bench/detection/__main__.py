"""`python -m bench.detection`: what the product catches, at what price, beside simpler detectors. Prints Markdown.

Development seeds are for tuning; the figures that count are those of the fresh seeds, which nobody may tune on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

from bench.detection.figures import by_kind, lost, realised, share, summary, table
from bench.detection.kept import Kept
from bench.detection.peers import alerts, threshold
from bench.detection.trials import KINDS_NOW, Result, Trial, run
from bench.measure import ROOT
from replay.drill.organisation import Shape
from replay.drill.people import Names
from replay.drill.thefts import KINDS as THEFTS

DEVELOPMENT = (1, 2, 3, 4)
FRESH = tuple(range(101, 109))
BUDGETS = (1.0, 3.0, 10.0)
ROLES = 150
"""Of most organisations; each has one theft of every kind."""
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole bench; its exit status."""
    chosen = _options().parse_args(arguments)
    trials = quick(chosen) if chosen.quick else full()
    if chosen.only:
        trials = [trial for trial in trials if trial.section in chosen.only]
    results = _run(trials, chosen.jobs, None if chosen.quick else Kept(chosen.cache / "detection"))
    text = report(results) + f"\n\n{sum(result.cpu for result in results) / 60:.0f} minutes of CPU.\n"
    print(text)
    chosen.cache.mkdir(parents=True, exist_ok=True)
    kept = [asdict(replace(result, scored={})) for result in results]
    (chosen.cache / "detection.json").write_text(json.dumps(kept, default=str))
    (chosen.cache / "detection.md").write_text(text)
    if not chosen.quick and not chosen.only:
        _publish(text)
    return 0


def _publish(text: str) -> None:
    """Put the tables of a whole run into docs/DETECTION.md."""
    page = ROOT / "docs" / "DETECTION.md"
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser("python -m bench.detection", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--quick", action="store_true", help="a few minutes on development seeds, to work with")
    options.add_argument("--seeds", type=int, nargs="+", default=DEVELOPMENT[:2], help="with --quick: which")
    options.add_argument("--roles", type=int, default=120, help="with --quick: roles of an organisation")
    options.add_argument("--days", type=int, default=10, help="with --quick: days, the first five without thieves")
    options.add_argument("--names", nargs="+", default=["named", "random"], help="with --quick: how roles are named")
    options.add_argument("--kinds", nargs="+", default=KINDS_NOW, help="with --quick: kinds of theft; none for none")
    options.add_argument(
        "--budgets", type=float, nargs="+", default=(1.0,), help="with --quick: false alerts asked for"
    )
    options.add_argument("--rules", type=Path, help="with --quick: other rules than the shipped ones")
    options.add_argument("--jobs", type=int, default=2, help="processes (2)")
    options.add_argument("--only", nargs="+", help="which sections")
    options.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where results are kept (.bench)")
    return options


def quick(chosen: argparse.Namespace) -> list[Trial]:
    """What to run while working on a detector: development seeds only."""
    kinds = () if chosen.kinds == ["none"] else tuple(chosen.kinds)
    return [
        Trial(names, seed, Shape(chosen.roles, chosen.days, names), kinds, tuple(chosen.budgets), chosen.days // 2,
              rules=chosen.rules)
        for names in chosen.names
        for seed in chosen.seeds
    ]  # fmt: skip


def full() -> list[Trial]:
    """Everything that is reported."""
    named: Sequence[Names] = ("named", "random")
    thieves = [
        Trial(names, seed, Shape(ROLES, names=names), KINDS_NOW, BUDGETS, peers=names == "named")
        for seed in FRESH
        for names in named
    ]
    large = [Trial("375 roles", FRESH[0] + 50, Shape(375, names=names), KINDS_NOW * 2) for names in named]
    small = [
        Trial(f"{roles} roles", seed, Shape(roles, names="random"), _some(seed, 4))
        for seed in FRESH
        for roles in (40, 12)
    ]
    calm = [Trial("development", seed, Shape(ROLES), (), BUDGETS[:1], peers=True) for seed in DEVELOPMENT[:2]]
    calm += [Trial("no theft", seed + 100, Shape(ROLES, names="random"), (), BUDGETS) for seed in FRESH[:3]]
    rare = [Trial("one a month", seed + 200, Shape(60, 28, "random"), _some(seed, 1)) for seed in FRESH[:4]]
    teams = [
        Trial("an account a team", seed + 300, Shape(ROLES, 14, "random", "team"), KINDS_NOW) for seed in FRESH[:2]
    ]
    trials = [*thieves, *large, *calm, *teams, *rare, *small]
    return sorted(trials, key=lambda trial: -trial.shape.roles * trial.shape.days)


def _some(seed: int, count: int) -> tuple[str, ...]:
    """Some kinds of theft, other ones for every seed."""
    return tuple(KINDS_NOW[(seed * 5 + number * 3) % len(KINDS_NOW)] for number in range(count))


def _run(trials: Sequence[Trial], jobs: int, kept: Kept | None) -> list[Result]:
    """All trials, the largest first; each is told when it is done, and kept. What is kept already is not tried anew."""
    results = [result for trial in trials if kept and (result := kept.load(trial))]
    finished = {result.trial for result in results}
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed(pool.submit(run, trial) for trial in trials if trial not in finished):
            result = done.result()
            if kept:
                kept.save(result)
            results.append(result)
            print(_told(result), file=sys.stderr, flush=True)
    return sorted(results, key=lambda result: (result.trial.section, result.trial.seed))


def _told(result: Result) -> str:
    trial = result.trial
    found = {name: sum(one.by is not None for one in of) for name, of in result.thefts.items()}
    each = 1e6 * result.cpu / max(1, result.events)
    return (
        f"{trial.section}, seed {trial.seed}: {result.events:,} events, {result.cpu:.0f} s ({each:.1f} us each); "
        f"caught of {len(trial.thefts)}: {found}; false: {result.false}; by rule: {result.false_by_rule}"
    )


def report(results: Sequence[Result]) -> str:
    """All tables."""
    parts = [one for one in (headline(results), hard_cases(results)) if one]
    for section in dict.fromkeys(result.trial.section for result in results):
        mine = [result for result in results if result.trial.section == section]
        names = list(dict.fromkeys(name for result in mine for name in result.thefts))
        parts.append(f"## {section}\n\n{len(mine)} organisations, {_size(mine)}\n\n{summary(mine, names)}")
        if any(result.trial.thefts for result in mine):
            parts.append(f"By kind, `{_best(mine)}`:\n\n{by_kind(mine, _best(mine))}")
    compared = peer_table(results)
    return "\n\n".join([*parts, *([f"## Beside others\n\n{compared}"] if compared else [])])


def headline(results: Sequence[Result]) -> str:
    """The worse of named and random role names first."""
    told = []
    for names in ("named", "random"):
        mine = [result for result in results if result.trial.section == names]
        name = _best(mine)
        of = [one for result in mine for one in result.thefts.get(name, [])]
        if of:
            hit = sum(one.by is not None for one in of)
            costs = f"{lost(of)} of all objects lost; {realised(mine, name)} false alerts a day and 1,000 principals"
            told.append((hit / len(of), f"- {names} role names: {share(hit, len(of))}; {costs}"))
    lines = [line for _, line in sorted(told)]
    return "\n".join(["**Caught by all that is shipped, at a budget of 1; the worse case first:**", "", *lines])


def hard_cases(results: Sequence[Result]) -> str:
    """Kinds of which less than half are caught."""
    mine = [result for result in results if result.trial.section in ("named", "random")]
    name = _best(mine)
    every = [one for result in mine for one in result.thefts.get(name, [])]
    rows = []
    for kind in sorted({one.kind for one in every}):
        of = [one for one in every if one.kind == kind]
        hit = sum(one.by is not None for one in of)
        if 2 * hit < len(of):
            rows.append(f"- {THEFTS[kind].title}: {share(hit, len(of))}, {lost(of)} of the objects lost")
    return "\n".join(["**Known hard cases** (less than half caught):", "", *rows]) if rows else ""


def _best(results: Sequence[Result]) -> str:
    """Everything that is shipped and needs nothing planted, at the smallest budget."""
    names = [name for result in results for name in result.thefts if name.startswith("all") and "decoys" not in name]
    return names[0] if names else "rules"


def _size(results: Sequence[Result]) -> str:
    shape = results[0].trial.shape
    events = sum(result.events for result in results) / len(results) / shape.days
    return f"{shape.roles} roles, {shape.days} days, {events / 1e6:.2f} M events a day each"


def peer_table(results: Sequence[Result]) -> str:
    """The peers, their thresholds set on development organisations without a theft, judged on the fresh ones."""
    development = [result.scored for result in results if result.trial.section == "development" and result.scored]
    fresh = [result for result in results if result.trial.section == "named" and result.scored]
    if not development or not fresh:
        return ""
    days = sum(result.principal_days for result in fresh)
    rows = []
    for name in fresh[0].scored:
        scored = [result.scored[name] for result in fresh]
        for budget in BUDGETS:
            at = threshold([one[name] for one in development], budget)
            found = [alerts(panes, scores, at) for panes, scores in scored]
            hit = share(sum(len(one) for one, _ in found), sum(len(panes.thefts) for panes, _ in scored))
            rows.append([name, f"{budget:g}", hit, f"{1000 * sum(count for _, count in found) / days:.2f}"])
    return table(["detector", "asked", "thefts caught", "realised false a day per 1,000"], rows)


if __name__ == "__main__":
    sys.exit(main())
