"""Watches one baseline rule: rows → panes → the online model → episodes → findings. Pure.

A pane is sealed when the watermark has passed its end: nothing of it can be missing then. The model learns from sealed
panes only, in order, so that daemon and replay teach it the same. Panes that still fill are scored as well, so that an
alert need not wait; what the sealed pane does not bear out is withdrawn. A record that comes for a sealed pane is late:
it is in the books' `late`, and the model does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from detector.core.access import Mask
from detector.core.episode import Tracked
from detector.core.finding import Finding, finding_id, group_key
from detector.core.groupings import GroupKey
from detector.core.part import Spilling
from detector.core.peers import ACTING
from detector.core.people import People
from detector.core.principal import Principal
from detector.core.rule import BaselineRule
from detector.core.threshold import who
from detector.core.times import duration, iso
from detector.core.verdict import Verdict
from detector.core.view import BatchView
from detector.core.watch import EpisodeWatch
from detector.core.watermark import FOREVER
from detector.core.window import episodes, longest_episode
from detector.model.baseline import Baseline
from detector.model.calibration import SHOWN
from detector.model.channels import DAY, HOUR, PANE
from detector.model.feed import Feed
from detector.model.judgement import Judgement, named
from detector.model.own import Own
from detector.model.waiting import Waiting


class BaselineWatch(EpisodeWatch[BaselineRule]):
    """State of one baseline rule. once: it is judged once, at the end (replay), so open panes are not looked at.

    texts: it remembers what its findings show of places. Without, they hold hashes, which whoever looks at the records
    a second time has to name (`replay.named`).
    """

    def __init__(
        self, rule: BaselineRule, people: People, *, gather: bool = False, once: bool = False, texts: bool = True
    ) -> None:
        del gather
        self.once, self.texts = once, texts
        self._feed = Feed(rule.id, rule.peers, rule.shared_roles, people.slack, remember=texts)
        own = Own(rule.detector) if rule.detector else None
        self.model = Baseline(rule.id, own=own, **_settings(rule))
        self._waiting = Waiting(f"pane-waiting/{rule.id}")
        super().__init__(rule, people, [self._feed, self.model, self._waiting])
        self._sealed = 0
        self._panes: dict[int, dict[int, Judgement]] = {}

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count the rows of a batch that the rule is about and whose pane is still open, late or not."""
        del late
        rows = self.chosen.rows(view)
        role, second = self._feed.absorb(view, rows[view.time[rows] >= self._sealed])
        if not self.once:
            now = second <= view.latest  # what is of years to come is judged then, and not all panes until then before
            self._waiting.put(role[now], second[now])

    def judge(self) -> list[Finding]:
        """What the panes that still fill show already."""
        if self.once or self.model.learning:
            return []
        due = self._waiting.due()
        if not due:
            return []
        roles = np.array(due, np.uint64)
        since, until = self._waiting.span(due)
        first = max(self._sealed, since) // PANE * PANE
        found = self._feed.open(first, until, roles)
        if found is None:
            return []
        rows, prints, who, _ = found
        dirty = self._unsaid(first, roles.tolist())
        dirty |= self._say(self.model.glance(first, rows, prints, who))
        return [finding for role in sorted(dirty) for finding in self._settle(role)]

    def advance(self, watermark: int) -> list[Finding]:
        """Seal the panes that event time has passed and judge them; close what is over."""
        held = self._feed.rows.segments()
        last = watermark // PANE * PANE if watermark < FOREVER else (held[-1] + 1) * HOUR if held else 0
        news: list[Finding] = []
        if last > self._sealed:
            dirty = self._unsaid(self._sealed, list(self._panes), last)
            for rows, prints, who, _ in self._feed.hours(self._sealed, last):
                dirty |= self._say(self.model.seal(rows, prints, who))
            self._sealed, self.changed = last, True
            news = [finding for role in sorted(dirty) for finding in self._settle(role)]
            self._waiting.drop_before(last)
        return news + self.close(watermark - self.rule.cooldown)

    def days(self) -> list[int]:
        """Days since the epoch of which it holds records that are not sealed yet."""
        return sorted({hour * HOUR // DAY for hour in self._feed.rows.segments() if (hour + 1) * HOUR > self._sealed})

    def take(self, rule: BaselineRule) -> None:
        """From now on the rule is worded so, or has this budget; what it learned stands."""
        super().take(rule)
        self.model.configure(**_settings(rule))

    def forget_before(self, second: int) -> None:
        """Let go of panes and episodes that are long over."""
        oldest = second - self.rule.reach
        if self._feed.forget_before(oldest):
            self.ledger.forget_before(oldest)
            self._panes = {role: panes for role, panes in self._panes.items() if role in self.ledger.groups}
            self.changed = True

    def mark(self, verdict: Verdict) -> str:
        """Take up what a person says of one of its findings; what came of it."""
        role = next((role for role, panes in self._panes.items() if self._is(role, panes, verdict)), None)
        if role is None:
            return "nothing: the finding is forgotten"
        self.changed = True
        return self.model.mark(
            role, verdict.opened_at // DAY, verdict.peak_value, benign=verdict.verdict == "benign",
            prefixes=verdict.prefixes, nets=verdict.networks,
        )  # fmt: skip

    def _is(self, role: int, panes: Mapping[int, Judgement], verdict: Verdict) -> bool:
        tracked = self.ledger.groups.get(role, ())
        return bool(panes) and any(
            verdict.alert_id in t.alert_ids or self._id(role, t) == verdict.finding_id for t in tracked
        )

    def _id(self, role: int, tracked: Tracked) -> str:
        return finding_id(self.rule.id, group_key(self.key(role)), tracked.episode.opened_at)

    def learnt(self) -> int:
        """Principal-days the model has seen whole; below `learn_role_days` it finds nothing."""
        return self.model.learnt

    def learning(self) -> bool:
        """Whether the model has seen less than the rule asks for."""
        return self.model.learning

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._feed.rows, self._feed.texts, *self.model.spilling()]

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint, beside digest, ledger, rows and model."""
        return {
            "sealed": self._sealed,
            "panes": [(role, list(panes.values())) for role, panes in self._panes.items()],
        }

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        self._feed.restore(parts)
        self.model.restore(parts)
        self._sealed = state["sealed"]
        for role, panes in state["panes"]:
            judged = [msgspec.convert(one, Judgement) for one in panes]
            self._panes[role] = {one.pane: one for one in judged}
        self._waiting.restore(parts, self._sealed, state.get("waiting", ()))

    def key(self, group: int) -> GroupKey:
        """The role's key."""
        return next(iter(self._panes[group].values())).key

    def shown(self, group: int) -> dict[str, str]:
        """Level → name for people."""
        return {level: self.people.name(level, one) for level, one in zip(ACTING, self.key(group), strict=False)}

    def people_of(self, group: int, tracked: Tracked) -> list[Principal]:
        """The credentials behind an episode."""
        episode = tracked.episode
        return self.people.of(self._feed.credentials(group, episode.opened_at - PANE + 1, episode.last_at))

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """The fields of a finding that the kind fills."""
        episode = tracked.episode
        panes = self._panes[group].values()
        inside = [one for one in panes if one.pane <= episode.last_at and one.pane + PANE > episode.opened_at]
        peak = max(inside, key=lambda one: (one.score, -one.pane))
        since, until = iso(episode.opened_at), iso(episode.last_at)
        return {
            "window_seconds": PANE,
            "threshold": round(peak.line, 3),
            "explanation": f"{who(shown)} {peak.explain()}. "
            f"Score {peak.score:.1f}, alert line {peak.line:.1f}; this unusual from {since} to {until}, "
            f"at most {duration(self.rule.cooldown)} apart.",
            "details": {"baseline": self._details(peak, inside)},
        }

    def _details(self, peak: Judgement, inside: list[Judgement]) -> dict[str, Any]:
        prefixes: dict[int, int] = {}
        nets: dict[int, int] = {}
        for one in inside:
            for counts, more in ((prefixes, one.prefixes), (nets, one.nets)):
                for hash_, count in more:
                    counts[hash_] = counts.get(hash_, 0) + count
        details = peak.to_json() | {"new_in": [*prefixes.items()], "from": [*nets.items()]}
        return named(details, self._feed.text([*prefixes, *nets])) if self.texts else details

    def _unsaid(self, first: int, roles: list[int], end: int = FOREVER) -> set[int]:
        """Take back what was said of these roles' panes from `first` to `end`; the roles of which anything was."""
        dirty = set()
        for role in roles:
            panes = self._panes.get(role, {})
            for pane in [pane for pane, one in panes.items() if first <= pane < end and one.crossings]:
                panes[pane] = panes[pane]._replace(crossings=())
                dirty.add(role)
        return dirty

    def _say(self, judged: list[Judgement]) -> set[int]:
        for one in judged:
            self._panes.setdefault(one.role, {})[one.pane] = one
        return {one.role for one in judged}

    def _settle(self, role: int) -> list[Finding]:
        """Hold a role's crossings, sealed and open, against what was told."""
        panes = self._panes[role]
        crossings = [pair for _, one in sorted(panes.items()) for pair in one.crossings]
        at = np.array([second for second, _ in crossings], np.int64)
        scores = np.array([round(score, SHOWN) for _, score in crossings], np.float64)
        every = episodes(at, scores, self.rule.cooldown, longest_episode(self.rule.cooldown))
        self.changed = True
        return self.settle(role, every)


def _settings(rule: BaselineRule) -> dict[str, Any]:
    return {
        "share": rule.alert_budget,
        "cooldown": rule.cooldown,
        "learn_role_days": rule.learn_role_days,
        "memory": rule.memory,
        "frozen": rule.frozen,
        "threshold": None if rule.threshold is None else float(rule.threshold),
    }
