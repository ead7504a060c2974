"""Which threshold and window to take, and why. Pure.

Taken is, of what stays within the budget of pages: what catches most of the labelled thefts, then what catches them
soonest, then the rule's own window, then the lowest threshold. Without labels other windows are no better or worse than
the rule's own, which is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detector.core.rule import Threshold
from detector.core.times import duration
from replay.whatif.summary import Summary
from replay.whatif.tune import Step, Table, pays

SHORT = 7
"""Days of history below which a week's rhythm has not been seen."""
TOLD = 3


@dataclass(frozen=True, slots=True)
class Suggestion:
    """None as threshold: nothing that was looked at stays within the budget."""

    window: int
    threshold: float | None
    reasons: tuple[str, ...]


def suggest(summary: Summary, rule: Threshold, tables: Sequence[Table], budget: float) -> Suggestion:
    """What to take. budget: pages a day; of a rule that never pages, findings a day."""
    labelled = bool(tables and tables[0].steps and tables[0].steps[0].catches)
    own = [table for table in tables if table.window == rule.window]
    looked = tables if labelled or not own else own
    within = [(table, step) for table in looked for step in table.steps if cost(step, rule) <= budget]
    if not within:
        return Suggestion(rule.window, None, (*_nothing(rule, looked, budget), *_unlabelled(looked[:1], labelled)))
    table, step = min(within, key=lambda one: _worth(rule, *one))
    reasons = _reasons(summary, rule, table, step, tables, budget)
    return Suggestion(table.window, step.threshold, (*reasons, *_unlabelled([table], labelled)))


def _unlabelled(tables: Sequence[Table], labelled: bool) -> Iterator[str]:
    """Who does most in history that nobody has looked at: a threshold above a thief would call the theft usual."""
    peaks = {one.shown: one.peak for table in tables for step in reversed(table.steps) for one in step.named}
    highest = sorted(peaks.items(), key=lambda one: (-one[1], one[0]))[:TOLD]
    if highest and not labelled:
        told = "; ".join(f"{', '.join(shown)} ({peak:,.0f})" for shown, peak in highest)
        yield f"no --labels were given: the highest groups may be an attack that is in this history: {told}"


def cost(step: Step, rule: Threshold) -> float:
    """What is held against the budget."""
    return step.pages_a_day if pays(rule) else step.findings_a_day


def _worth(rule: Threshold, table: Table, step: Step) -> tuple[int, int, bool, float]:
    delays = sum(one.delay for one in step.catches if one.delay is not None)
    return -step.caught, delays, table.window != rule.window, step.threshold


def _nothing(rule: Threshold, tables: Sequence[Table], budget: float) -> Iterator[str]:
    least = min((cost(step, rule) for table in tables for step in table.steps), default=0.0)
    yield f"even the highest threshold would page {least:,.1f} times a day; the budget is {budget:g}"
    yield "narrow the rule's `where`, measure something else, or give the jobs that are known exceptions"


def _reasons(
    summary: Summary, rule: Threshold, table: Table, step: Step, tables: Sequence[Table], budget: float
) -> Iterator[str]:
    noun = "pages" if pays(rule) else "findings"
    yield f"{cost(step, rule):,.2f} {noun} a day over {summary.days:,.1f} days; the budget is {budget:g}"
    lower = [one for one in table.steps if one.threshold < step.threshold]
    if lower and cost(lower[-1], rule) > budget:
        yield f"the next lower one looked at, {lower[-1].threshold:,.0f}, would be {cost(lower[-1], rule):,.2f} a day"
    now = next((one for one in tables if one.window == rule.window), None)
    today = now.at(float(rule.threshold)) if now else None
    if today and (table.window, step.threshold) != (rule.window, rule.threshold):
        what = f"{rule.threshold:,.0f} in {duration(rule.window)}"
        caught = f", and catches {today.caught} of {len(today.catches)} labelled thefts" if today.catches else ""
        yield f"the rule as it is ({what}) is {cost(today, rule):,.2f} a day{caught}"
    if step.catches:
        yield from _of_labels(step)
    if step.named:
        named = "; ".join(", ".join(one.shown) for one in step.named[:TOLD])
        more = f" and {step.groups - TOLD} more" if step.groups > TOLD else ""
        yield f"it fires for {named}{more}: look whether these are thefts before you call them usual"
    quiet = table.spreads[0].most if table.spreads else 0.0
    if not step.findings and quiet:
        yield f"nothing in history reaches it: the most was {quiet:,.0f} in {duration(table.window)}"
    if summary.days < SHORT:
        yield f"history is short: {summary.days:,.1f} days have not shown every week's and month's jobs"


def _of_labels(step: Step) -> Iterator[str]:
    delays = [one.delay for one in step.catches if one.delay is not None]
    slowest = f", the slowest after {max(delays):,} s" if delays else ""
    yield f"{step.caught} of {len(step.catches)} labelled thefts are caught{slowest}"
    missed = [f"{one.label.kind} ({one.label.shown})" for one in step.catches if one.delay is None]
    if missed:
        yield f"missed: {'; '.join(missed[:TOLD])}" + (f" and {len(missed) - TOLD} more" if len(missed) > TOLD else "")
