"""`python -m bench.model`: what the online model costs, in CPU microseconds, on a generated organisation.

Beside each other: taking in records (a record), judging and learning sealed panes (a role and pane; the target is at
most 100), and looking at panes that still fill (a poll). The first three days are of learning only.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from detector.core.people import People
from detector.core.rule import BaselineRule
from detector.core.view import BatchView
from detector.model.channels import PANE
from detector.model.rows import Rows
from detector.model.watch import BaselineWatch
from detector.rules import load_rules, shipped
from replay.drill.organisation import Organisation, Shape
from replay.drill.trial import arrivals

LATE = 900
"""Seconds behind the delivery of a batch up to which panes are sealed."""


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser("python -m bench.model")
    options.add_argument("--roles", type=int, default=150, help="roles of the organisation (150)")
    options.add_argument("--days", type=int, default=5, help="days it works (5)")
    chosen = options.parse_args()
    rule = next(rule for rule in load_rules(shipped()) if isinstance(rule, BaselineRule))
    watch = BaselineWatch(rule.model_copy(update={"learn_role_days": 1}), People())
    spent: Counter[str] = Counter()
    many: Counter[str] = Counter()

    def timed(what: str, count: int, do: Callable[..., Any], *given: Any) -> Any:
        began = time.process_time()
        done = do(*given)
        spent[what] += time.process_time() - began  # type: ignore[assignment]  seconds, not whole numbers
        many[what] += count
        return done

    seal = watch.model.seal
    watch.model.seal = lambda rows, prints, who: timed(  # type: ignore[method-assign]
        "judge and learn a sealed pane, a role", _panes(rows), seal, rows, prints, who
    )
    for at, batch in arrivals(Organisation(1, Shape(chosen.roles, chosen.days))):
        timed("take in a record", len(batch), watch.absorb, BatchView(batch), np.zeros(len(batch), np.bool_))
        timed("look at open panes, a poll", 1, watch.judge)
        watch.advance(at - LATE)
    print("| what | times | CPU s | us each |\n|---|---:|---:|---:|")
    for what, seconds in spent.items():
        print(f"| {what} | {many[what]:,} | {seconds:.2f} | {1e6 * seconds / many[what]:.1f} |")


def _panes(rows: Rows) -> int:
    """Panes of roles that hold these rows."""
    return len(np.unique(rows.second // PANE << 32 | rows.role))


if __name__ == "__main__":
    main()
