"""Watches one baseline rule: tallies → sealed panes → the online model → episodes → findings. Pure.

A pane is sealed when the watermark has passed its end: nothing of it can be missing then. The model sees sealed panes
only, in (pane, role) order, so that daemon and replay teach it the same, in the same order. Records that come for a
sealed pane are late; the model does not see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from detector.core.access import I64, U64, Mask
from detector.core.episode import Tracked
from detector.core.finding import Finding
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.principal import Principal
from detector.core.rule import DISTINCT_MEASURES, BaselineRule
from detector.core.tally import SEGMENT, Tallies
from detector.core.times import duration, iso
from detector.core.view import NO_GROUP, BatchView, GroupKey
from detector.core.watch import EpisodeWatch
from detector.core.watermark import FOREVER
from detector.core.window import episodes, longest_episode, starts_of_runs
from detector.model.baseline import Baseline
from detector.model.judgement import PANE_SECONDS, Judgement
from detector.model.keys import Keys


class BaselineWatch(EpisodeWatch[BaselineRule]):
    """State of one baseline rule."""

    def __init__(self, rule: BaselineRule, people: People) -> None:
        self._distinct = rule.measure in DISTINCT_MEASURES
        self._tallies = Tallies(f"pane/{rule.id}", distinct=self._distinct)
        self._model = Baseline(rule.measure, float(rule.threshold), rule.cooldown, quiet_until=rule.learn_role_days)
        self._keys = Keys(f"pane-keys/{rule.id}")
        super().__init__(rule, people, [self._tallies, self._keys])
        self._sealed = 0
        self._above: dict[int, dict[int, Judgement]] = {}
        self._learnt = True

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count the rows of a batch that the rule is about and whose pane is still open, late or not."""
        del late
        rows = self.chosen.rows(view)
        rows = rows[view.time[rows] >= self._sealed]
        if not len(rows):
            return
        groups, keys = view.groups(self.rule.group_by)
        rows = rows[groups[rows] != NO_GROUP]
        self._tallies.add(groups[rows], view.time[rows], view.who()[rows], view.items(self.rule.measure)[rows])
        self._keys.put({group: key[0] for group, key in keys.items()})

    def advance(self, watermark: int) -> list[Finding]:
        """Seal the panes that event time has passed and judge them; close what is over."""
        held = self._tallies.segments()
        last = (
            watermark // PANE_SECONDS * PANE_SECONDS if watermark < FOREVER else (held[-1] + 1) * SEGMENT if held else 0
        )
        dirty: set[int] = set()
        for hour in held:
            if hour * SEGMENT < last and (hour + 1) * SEGMENT > self._sealed:
                dirty |= self._seal(max(self._sealed, hour * SEGMENT), min(last, (hour + 1) * SEGMENT))
        if last > self._sealed:
            self._sealed, self.changed = last, True
        news = [finding for group in sorted(dirty) for finding in self._settle(group)]
        return news + self.close(watermark - self.rule.cooldown)

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return super().names() | {f"model/{self.rule.id}"}

    def forget_before(self, second: int) -> None:
        """Let go of panes and episodes that are long over."""
        oldest = second - 2 * max(PANE_SECONDS, self.rule.cooldown)
        if self._tallies.forget_before(oldest):
            self.ledger.forget_before(oldest)
            self._above = {group: panes for group, panes in self._above.items() if group in self.ledger.groups}
            held = self._tallies.groups() | self.ledger.groups.keys()
            self._keys.keep(held)
            self.changed = True

    def learnt(self) -> int:
        """Role-days the model has seen whole; below `learn_role_days` it finds nothing."""
        return self._model.learnt

    def learning(self) -> bool:
        """Whether the model has seen less than the rule asks for."""
        return self.learnt() < self.rule.learn_role_days

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._tallies]

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that changed since the last call."""
        parts = super().changes()
        if self._learnt:  # the model is large, and changes only when panes are sealed
            parts[f"model/{self.rule.id}"] = self._model.snapshot()
        self._learnt = False
        return parts

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint, beside digest, ledger, tallies and model."""
        return {
            "sealed": self._sealed,
            "above": [
                (group, [(pane, msgspec.to_builtins(j)) for pane, j in panes.items()])
                for group, panes in self._above.items()
            ],
        }

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        self._tallies.restore(parts)
        self._model.restore(parts[f"model/{self.rule.id}"])
        self._keys.restore(parts)
        self._sealed = state["sealed"]
        self._above = {
            group: {pane: msgspec.convert(j, Judgement) for pane, j in panes} for group, panes in state["above"]
        }
        self._learnt = False

    def _seal(self, first: int, end: int) -> set[int]:
        """Judge the panes from `first` to `end`; the groups of which any was above."""
        above = set()
        panes, groups, values = self._panes(first, end)
        self._learnt |= len(groups) > 0
        names = [self._keys[group] for group in groups.tolist()]
        for row in sorted(range(len(names)), key=lambda row: (panes[row], names[row])):
            judgement = self._model.observe(int(panes[row]), names[row], {self.rule.measure: float(values[row])})
            if judgement.above:
                group = int(groups[row])
                self._above.setdefault(group, {})[judgement.pane] = judgement
                above.add(group)
        return above

    def _panes(self, first: int, end: int) -> tuple[I64, U64, I64]:
        """(pane, group, value) of every active pane from `first` to `end`."""
        found = [self._counted(run) for run in self._tallies.slices(first, end - 1)]
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
        panes, groups, values = (np.concatenate(columns) for columns in zip(*found, strict=True))
        return panes, groups, values

    def _counted(self, run: Run) -> tuple[I64, U64, I64]:
        group, second, _, item = run
        pane = second // PANE_SECONDS * PANE_SECONDS
        order = np.lexsort((item, group, pane))
        pane, groups, item = pane[order], group[order], item[order]
        starts = starts_of_runs(pane, groups)
        weight = np.zeros(len(item), np.int64)
        if self._distinct:
            weight[starts_of_runs(pane, groups, item)] = 1
        else:
            weight = item.astype(np.int64)
        values: I64 = np.add.reduceat(weight, starts) if len(starts) else weight
        return pane[starts], groups[starts], values

    def _settle(self, group: int) -> list[Finding]:
        """A pane stands for its last second: its value is that of the window which ends there."""
        panes = sorted(self._above[group])
        at = np.array(panes, np.int64) + (PANE_SECONDS - 1)
        scores = np.array([round(self._above[group][pane].score, 3) for pane in panes])
        every = episodes(at, scores, self.rule.cooldown, longest_episode(self.rule.cooldown))
        return self.settle(group, every)

    def key(self, group: int) -> GroupKey:
        """One text a level."""
        return (self._keys[group],)

    def people_of(self, group: int, tracked: Tracked) -> list[Principal]:
        """The credentials that were counted in the panes of an episode."""
        episode = tracked.episode
        _, who, _ = self._tallies.rows(group, episode.opened_at - PANE_SECONDS + 1, episode.last_at)
        return self.people.of(np.unique(who).tolist())

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """The pane, what the model saw and expected at the peak, and what happened in a sentence."""
        episode = tracked.episode
        peak = self._above[group][episode.peak_at - (PANE_SECONDS - 1)]
        expected = None if peak.expected is None else round(peak.expected, 1)
        return {
            "window_seconds": PANE_SECONDS,
            "explanation": f"role {shown['role']} {peak.explain()}; panes this unusual from {iso(episode.opened_at)} "
            f"to {iso(episode.last_at)}, at most {duration(self.rule.cooldown)} apart.",
            "details": {"baseline": {"seen": peak.seen, "expected": expected, "decades": episode.peak_value}},
        }
