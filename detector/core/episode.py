"""From crossing seconds to findings: opened as soon as they are seen, updated, corrected, closed. Pure.

Every group of a rule has episodes, worked out anew from all its crossing seconds whenever these change; here each is
held against what has been told about it so far. Where crossing seconds only ever become more (thresholds), an episode
can grow, join with another or move its opening, but what was opened is always closed. Where further records can take
some back (`withdrawable`), an episode that was told and that nothing is left of is withdrawn, once. If it comes back
after all, it is corrected, under its old alert ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from detector.core.finding import alert_id
from detector.core.window import DAY, Episode

OPENED, UPDATED, CLOSED, WITHDRAWN = "opened", "updated", "closed", "withdrawn"


@dataclass(slots=True)
class Tracked:
    """One episode of one group and what has been told about it."""

    episode: Episode
    alert_ids: tuple[str, ...]
    told: Episode
    closed: bool = False
    late: bool = False
    withdrawn: bool = False

    @property
    def over(self) -> bool:
        """Whether its last word was told."""
        return self.closed or self.withdrawn


@dataclass(slots=True)
class Ledger:
    """The tracked episodes of one rule, by group. `withdrawable`: more records may leave nothing of an episode."""

    rule_id: str
    withdrawable: bool = False
    groups: dict[int, list[Tracked]] = field(default_factory=dict)

    def settle(self, group: int, key: str, episodes: Iterable[Episode], *, late: bool) -> list[tuple[str, Tracked]]:
        """Hold a group's episodes against the tracked ones. Returns what there is to tell: (state, tracked)."""
        before = self.groups.get(group, [])
        after: list[Tracked] = []
        news: list[tuple[str, Tracked]] = []
        for episode in episodes:
            mine = self._of(before, episode)
            before = [t for t in before if t not in mine]
            state, tracked = self._settle_one(key, episode, mine, late=late)
            after.append(tracked)
            if state:
                news.append((state, tracked))
        if self.withdrawable:
            news += [(WITHDRAWN, tracked) for tracked in before if not tracked.withdrawn]
            for tracked in before:
                tracked.withdrawn, tracked.late = True, tracked.late or late
        self.groups[group] = sorted([*before, *after], key=lambda t: t.episode)
        return news

    def close(self, passed: int) -> list[tuple[int, Tracked]]:
        """Close what ended before this second: (group, tracked), by opening."""
        out = []
        for group, all_tracked in self.groups.items():
            for tracked in all_tracked:
                if not tracked.over and tracked.episode.last_at < passed:
                    tracked.closed, tracked.told = True, tracked.episode
                    out.append((group, tracked))
        return sorted(out, key=lambda item: (item[1].episode, item[0]))

    def forget_before(self, second: int) -> None:
        """Let go of closed and withdrawn episodes that ended before this second."""
        for group in list(self.groups):
            kept = [t for t in self.groups[group] if not t.over or t.episode.last_at >= second]
            if kept:
                self.groups[group] = kept
            else:
                del self.groups[group]

    def is_open(self, group: int) -> bool:
        """Whether anything of the group is still open."""
        return any(not t.over for t in self.groups.get(group, ()))

    def snapshot(self) -> list[Any]:
        """Plain data for a checkpoint."""
        return [
            [group, [[t.episode, t.alert_ids, t.told, t.closed, t.late, t.withdrawn] for t in tracked]]
            for group, tracked in self.groups.items()
        ]

    def restore(self, state: Iterable[Any]) -> None:
        """Go on where a snapshot stopped."""
        self.groups = {
            group: [Tracked(Episode(*e), tuple(ids), Episode(*told), *states) for e, ids, told, *states in all_]
            for group, all_ in state
        }

    def _of(self, tracked: list[Tracked], episode: Episode) -> list[Tracked]:
        """Which of these turned out to be this episode: their opening lies in it. Else, whose rest it is."""
        mine = [t for t in tracked if episode.opened_at <= t.episode.opened_at <= episode.last_at]
        if not mine and self.withdrawable:
            mine = [
                t for t in tracked if t.episode.opened_at <= episode.last_at and t.episode.last_at >= episode.opened_at
            ]
        return mine

    def _settle_one(self, key: str, episode: Episode, mine: list[Tracked], *, late: bool) -> tuple[str, Tracked]:
        if not mine:
            new = alert_id(self.rule_id, key, episode.opened_at)
            return OPENED, Tracked(episode, (new,), episode, late=late)
        first = mine[0]
        if len(mine) == 1 and first.episode == episode and not first.withdrawn:
            return "", first
        ids = tuple(dict.fromkeys(i for t in mine for i in t.alert_ids))
        tracked = Tracked(episode, ids, first.told, late=late or any(t.closed or t.late for t in mine))
        if any(t.over for t in mine) or _worth_telling(first.told, episode):
            tracked.told = episode
            return UPDATED, tracked
        return "", tracked


def _worth_telling(told: Episode, now: Episode) -> bool:
    """An open finding is told again when its peak has doubled, or a day has passed."""
    return now.peak_value >= 2 * told.peak_value or now.last_at - told.last_at >= DAY
