"""One trial: an organisation, thefts planted in it, the product's engine over it, and what came of that.

The product is judged as it is shipped: its rule files, its engine, its model at several alert budgets side by side. A
page counts as false when no theft explains it, also one withdrawn later. Pages and principals are counted in the weeks
after the first, in which the model learns and thieves rest; pages of that week are told apart.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.detection.peers import Features, peers
from detector.core.projection import columns
from detector.core.rule import Rule
from detector.rules import load_rules, shipped
from replay.drill.decoys import Decoys, standing
from replay.drill.decoys import planned as planned_decoys
from replay.drill.organisation import Organisation, Shape
from replay.drill.people import DAY
from replay.drill.thefts import KINDS
from replay.drill.traffic import Arrival
from replay.drill.trial import DELIVERIES, Caught, Page, arrivals, caught, pages, planted, scene

FIXED = ("bulk-object-read-session", "bulk-object-read-role")
"""The one rule everybody has: 10,000 objects in five minutes."""
KINDS_NOW = tuple(KINDS)


@dataclass(frozen=True)
class Trial:
    """What to try. section: which table it is for. thefts: kinds, in order; empty for an organisation without."""

    section: str
    seed: int
    shape: Shape
    thefts: tuple[str, ...]
    budgets: tuple[float, ...] = (1.0,)
    first_day: int = 7
    peers: bool = False
    rules: Path | None = None


@dataclass
class Of:
    """What came of one theft by one detector. lost: by way of delivery; seconds: from its start to the page."""

    kind: str
    objects: int
    by: str | None
    seconds: int | None
    lost: dict[str, int]


@dataclass
class Result:
    """What came of a trial, by detector. false, before: pages no theft explains, after and in the first week.

    scored: peer → its table of panes, and the score of each.
    """

    trial: Trial
    events: int = 0
    cpu: float = 0.0
    principal_days: int = 0
    thefts: dict[str, list[Of]] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)
    false: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    false_by_rule: dict[str, int] = field(default_factory=dict)
    scored: dict[str, Any] = field(default_factory=dict)


def run(trial: Trial) -> Result:
    """Carry a trial out."""
    began = time.process_time()
    organisation = Organisation(trial.seed, trial.shape)
    thefts = planted(organisation, trial.seed, trial.thefts, trial.first_day) if trial.thefts else []
    rules = _rules(trial)
    features = Features(organisation.start) if trial.peers else None
    result = Result(trial)
    stock = scene(organisation, trial.seed, trial.first_day).stock
    rules = standing(rules, planned_decoys(stock))
    wanted = columns(rules) | {"partition", "bucket", "key", "bytes", "source_ip", "vpc_endpoint"}
    judged_from = organisation.start + trial.first_day * DAY
    batches = arrivals(organisation, thefts, wanted, Decoys(rules, stock))
    seen = _counted(batches, result, judged_from, features)
    sent = list(pages(seen, rules, thefts))
    for name, ids in detectors(rules).items():
        mine = [page for page in sent if page.finding.rule_id in ids]
        _book(result, name, mine, caught(thefts, mine), judged_from)
    for page in sent:
        if page.theft is None and page.sent_at >= judged_from:
            result.false_by_rule[page.finding.rule_id] = result.false_by_rule.get(page.finding.rule_id, 0) + 1
    if features is not None:
        table = features.table(thefts)
        result.scored = {name: (replace(table, figures=None), score(table)) for name, score in peers().items()}
    result.cpu = time.process_time() - began
    return result


def _rules(trial: Trial) -> list[Rule]:
    """The shipped rules; those that ask for an alert budget once for each budget."""
    chosen: list[Rule] = []
    for rule in load_rules(trial.rules or shipped()):
        if hasattr(rule, "alert_budget"):
            chosen += [
                rule.model_copy(update={"id": f"{rule.id}-{budget:g}", "alert_budget": budget / 1000})
                for budget in trial.budgets
            ]
        else:
            chosen.append(rule)
    return chosen


def detectors(rules: Sequence[Rule]) -> dict[str, set[str]]:
    """Name of a detector → the rules it is made of."""
    plain = {rule.id for rule in rules if rule.kind not in ("baseline", "decoy")}
    decoys = {rule.id for rule in rules if rule.kind == "decoy"}
    learning: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        if rule.kind == "baseline":
            learning[f"{getattr(rule, 'alert_budget', 0.001) * 1000:g}"].add(rule.id)
    named = {"fixed": set(FIXED) & plain, "rules": plain}
    named |= {f"model {budget}": ids for budget, ids in learning.items()}
    named |= {"decoys": decoys} if decoys else {}
    named |= {f"all {budget}": ids | plain for budget, ids in learning.items()}
    return named | {f"all {budget} and decoys": ids | plain | decoys for budget, ids in learning.items() if decoys}


def _counted(
    batches: Iterable[Arrival], result: Result, judged_from: int, features: Features | None
) -> Iterator[Arrival]:
    """The same batches; events and principal-days counted by the way."""
    active: dict[int, set[str]] = defaultdict(set)
    for arrival in batches:
        result.events += len(arrival.batch)
        if arrival.at >= judged_from:
            active[arrival.at // DAY].update(who.role for who in arrival.batch.principals)
        if features is not None:
            features.take(arrival.batch)
        yield arrival
    result.principal_days = sum(map(len, active.values()))


def _book(result: Result, name: str, sent: Sequence[Page], found: Sequence[Caught], judged_from: int) -> None:
    result.pages[name] = len(sent)
    false = [page for page in sent if page.theft is None]
    result.false[name] = sum(page.sent_at >= judged_from for page in false)
    result.before[name] = len(false) - result.false[name]
    result.thefts[name] = [_of(one) for one in found]


def _of(one: Caught) -> Of:
    page = one.page
    lost = {"S3 files": one.lost()} | {way: one.lost(late) for way, late in DELIVERIES.items()}
    return Of(
        one.theft.kind,
        one.theft.objects,
        page and page.finding.rule_id,
        page and page.sent_at - one.theft.started_at,
        lost,
    )
