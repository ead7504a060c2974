"""What makes the detector blind, as findings of its own. Pure: what the loop saw goes in, findings come out.

Rules of this file
- A sign is there or it is not. It opens a finding when it appears, is told again every day, and closes when it is gone.
  Time is the clock's, an argument: event time stands still where logs stop.
- What is quiet by nature is held against how long it has been quiet before: a bucket that nobody reads at weekends
  pages once, not every week. A canary (`canary.py`) says for certain.
- Names come out of logs, so an attacker makes them: of each kind `MOST` are watched and told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from detector.core.episode import CLOSED, OPENED, UPDATED
from detector.core.finding import Finding, alert_id, finding_id, group_key
from detector.core.principal import fingerprint

KIND = "blindness"
MOST = 1_000
AGAIN = 86_400
"""Seconds after which what still stands is told again."""
HOUR, SLOT, WEEK = 3600, 300, 7 * 86_400
WEEKS = 5
"""Weeks for which the longest silence is remembered."""
ARRIVALS = 8
"""Arrivals after which it is known how quiet something is by nature."""
FEWEST_REJECTS = 100


@dataclass(frozen=True, slots=True)
class Sense:
    """A kind of blindness, as rules are: what alerts need of a rule."""

    id: str
    title: str
    severity: Literal["medium", "high", "critical"]
    level: str
    measure: str
    runbook: str
    respond: tuple[str, ...] = ("alert",)
    accept_withdrawable: bool = False
    stage: str = "live"
    pages: bool = True


SENSES = {
    sense.id: sense
    for sense in (
        Sense(
            "blind-lag",
            "Event time lies far behind the clock",
            "high",
            "log",
            "seconds",
            "Findings close late, and thefts may be seen late. 1. Is a backlog being drained (age of the oldest "
            "message)? 2. Does one account and region hold event time back? 3. Raise `lateness` only if delivery "
            "is so slow.",
        ),
        Sense(
            "blind-source",
            "The source delivers nothing",
            "critical",
            "source",
            "seconds",
            "Nothing can be detected. 1. Is the trail logging (get-trail-status)? 2. Does the log bucket still "
            "notify the queue? 3. Do the queue's policy, or a KMS key, refuse it?",
        ),
        Sense(
            "blind-partition",
            "An account and region has stopped delivering logs",
            "medium",
            "partition",
            "seconds",
            "1. Was the account closed, or the region left? 2. Is the trail still multi-region and of the "
            "organisation?",
        ),
        Sense(
            "blind-bucket",
            "No log names a protected bucket any more",
            "high",
            "bucket",
            "seconds",
            "Either nobody uses the bucket, or it has fallen out of the trail's selectors. Read one object of it "
            "and see whether that is logged; better, configure a canary.",
        ),
        Sense(
            "blind-rejects",
            "Many records cannot be read",
            "critical",
            "source",
            "share",
            "Their requests are not counted. The journal's entries `rejected` say why: an attacker may have found "
            "a way to make records unreadable, or the format has changed. Keep the files, report this.",
        ),
        Sense(
            "blind-refused",
            "Messages are refused or not understood",
            "medium",
            "source",
            "messages",
            "The journal's entries `quarantine` say why: a bucket or an account outside `accept`, or a message of "
            "a kind that is not known. Correct `accept`, or find out who sends it.",
        ),
        Sense(
            "blind-unresolved",
            "Requests whose bucket the log does not tell",
            "medium",
            "source",
            "records",
            "They count for no bucket. An access point or an alias of another account is the usual reason.",
        ),
        Sense(
            "blind-rule",
            "A rule has failed",
            "critical",
            "rule",
            "failures",
            "Its findings are incomplete until it is mended. The journal's entry `rule_failed` has the error; "
            "report it.",
        ),
        Sense(
            "blind-rules",
            "The rule files cannot be used",
            "high",
            "rules",
            "problems",
            "The rules from before the change still count. The journal's entry `rules_broken` and the program's log "
            "have every problem with file, line and column: mend them; the files are then read by themselves.",
        ),
        Sense(
            "low-memory",
            "The daemon is about to run out of memory",
            "high",
            "process",
            "bytes",
            "When it does, the system ends it: nothing is lost, but nothing is seen until it is up again, and then it "
            "may happen again. Give the task more memory, or lower `memory` in the config; `fetch.memory` and "
            "`limits` bound what one file takes. If it grows for days, report it.",
        ),
        Sense(
            "blind-canary",
            "A canary's read is in no log",
            "critical",
            "bucket",
            "seconds",
            "An object was read and no log tells of it: reads of this bucket go unseen. 1. Do the trail's "
            "selectors still name the bucket? 2. Is delivery late everywhere, or here only?",
        ),
        Sense(
            "blind-canary-read",
            "A canary cannot be read",
            "medium",
            "bucket",
            "failures",
            "The canary proves nothing while it fails. Is the object there, and may bucketwatch's role read it?",
        ),
    )
}
"""Id → kind of blindness."""


class Sign(NamedTuple):
    """Something that is wrong now. sense: an id of `SENSES`. where: which source, log, partition, bucket or rule."""

    sense: str
    where: str
    value: float
    threshold: float
    explanation: str


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on it is a sign. Seconds; rejects: the share of records. canaries: buckets that need no guess."""

    lag: int = 1800
    source: int = 6 * HOUR
    partition: int = 12 * HOUR
    bucket: int = 24 * HOUR
    rejects: float = 0.05
    canaries: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Look:
    """What the loop saw in a turn, at clock second `now`.

    delivered: messages came. lag: kind of log → seconds that event time lies behind the clock beyond its lateness and
    what a partition may be silent before it no longer counts.
    partitions: account and region → clock second it was heard last. buckets: protected ones that records named.
    unmatched: of `protected_buckets`, globs that no bucket has ever matched. records, rejected, refused (messages),
    unresolved: how many there were in this turn. failures: rule → its error. further: signs others have seen.
    """

    now: int
    delivered: bool = False
    lag: Mapping[str, int] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    buckets: Iterable[str] = ()
    unmatched: Iterable[str] = ()
    records: int = 0
    rejected: int = 0
    refused: int = 0
    unresolved: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)
    further: Iterable[Sign] = ()


class _Quiet(msgspec.Struct):
    """How quiet something is: when it was heard last, how often, and the longest silence of each week."""

    heard_at: int
    arrivals: int = 1
    gaps: dict[int, int] = msgspec.field(default_factory=dict)

    def hear(self, now: int) -> None:
        if now <= self.heard_at:
            return
        week = now // WEEK
        self.gaps = {w: gap for w, gap in self.gaps.items() if w > week - WEEKS}
        self.gaps[week] = max(self.gaps.get(week, 0), now - self.heard_at)
        self.heard_at, self.arrivals = now, self.arrivals + 1

    def limit(self, least: int) -> int:
        """Seconds of silence that are too many."""
        return max(least, 2 * max(self.gaps.values(), default=0))


class _Standing(msgspec.Struct):
    """A sign that has been told and still stands."""

    opened_at: int
    told_at: int
    peak: float
    peak_at: int
    threshold: float
    explanation: str


class _State(msgspec.Struct):
    since: int = 0
    delivered_at: int = 0
    current: list[str] = msgspec.field(default_factory=list)
    partitions: dict[str, _Quiet] = msgspec.field(default_factory=dict)
    buckets: dict[str, _Quiet] = msgspec.field(default_factory=dict)
    counts: dict[int, list[int]] = msgspec.field(default_factory=dict)
    standing: list[tuple[str, str, _Standing]] = msgspec.field(default_factory=list)


class Blindness:
    """The signs of blindness that stand, and what has to be known to see them."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._state = _State()
        self._standing: dict[tuple[str, str], _Standing] = {}

    def __len__(self) -> int:
        return len(self._standing)

    def start(self, now: int, asleep: int) -> None:
        """The daemon starts. asleep: seconds it was away; nothing was silent because nobody listened."""
        state = self._state
        state.since = state.since or now
        state.delivered_at = min(now, state.delivered_at + asleep) if state.delivered_at else now
        for quiet in (*state.partitions.values(), *state.buckets.values()):
            quiet.heard_at = min(now, quiet.heard_at + asleep)

    def heard(self) -> Iterable[str]:
        """Protected buckets that were named by now."""
        return self._state.buckets

    def look(self, seen: Look) -> list[Finding]:
        """Take note of what was seen; what there is to tell."""
        self._note(seen)
        signs = {(sign.sense, sign.where): sign for sign in _few([*self._signs(seen), *seen.further])}
        news = [self._tell(key, sign, seen.now) for key, sign in signs.items()]
        gone = [key for key in self._standing if key not in signs]
        return [one for one in news if one] + [self._close(key, seen.now) for key in gone]

    def close(self, now: int) -> list[Finding]:
        """The data ends here: nothing stands any more."""
        return [self._close(key, now) for key in list(self._standing)]

    def snapshot(self) -> bytes:
        """For the checkpoint."""
        self._state.standing = [(*key, standing) for key, standing in self._standing.items()]
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        """Go on from a checkpoint."""
        self._state = msgspec.msgpack.decode(state, type=_State)
        self._standing = {(sense, where): standing for sense, where, standing in self._state.standing}

    def _note(self, seen: Look) -> None:
        state = self._state
        if seen.delivered:
            state.delivered_at = seen.now
        state.current += [log for log, lag in seen.lag.items() if lag <= self._limits.lag and log not in state.current]
        for name, heard_at in seen.partitions.items():
            _hear(state.partitions, name, heard_at)
        for name in seen.buckets:
            _hear(state.buckets, name, seen.now)
        slot = seen.now // SLOT
        state.counts = {at: counts for at, counts in state.counts.items() if at > slot - HOUR // SLOT}
        of_slot = state.counts.setdefault(slot, [0, 0, 0, 0])
        for at, count in enumerate((seen.records, seen.rejected, seen.refused, seen.unresolved)):
            of_slot[at] += count

    def _signs(self, seen: Look) -> Iterator[Sign]:
        limits, state, now = self._limits, self._state, seen.now
        for log, behind in seen.lag.items():
            if behind > limits.lag and log in state.current:  # old logs that are read now never were current
                yield Sign("blind-lag", log, behind, limits.lag, f"{log}: event time is {_spell(behind)} late")
        silent = now - state.delivered_at
        if silent > limits.source:
            yield Sign("blind-source", "source", silent, limits.source, f"nothing has come for {_spell(silent)}")
        yield from _silent("blind-partition", "partition", state.partitions, now, limits.partition)
        watched = {name: quiet for name, quiet in state.buckets.items() if name not in limits.canaries}
        yield from _silent("blind-bucket", "bucket", watched, now, limits.bucket)
        unheard = now - state.since
        for pattern in seen.unmatched:
            if unheard > limits.bucket and pattern not in limits.canaries:
                told = f"no log has named a bucket {pattern} in the {_spell(unheard)} since the first start"
                yield Sign("blind-bucket", pattern, unheard, limits.bucket, told)
        yield from self._floods()
        for rule, error in seen.failures.items():
            yield Sign("blind-rule", rule, 1, 1, f"rule {rule} failed: {error[:200]}")

    def _floods(self) -> Iterator[Sign]:
        records, rejected, refused, unresolved = map(sum, zip(*self._state.counts.values(), strict=True))
        share = rejected / records if records else 0.0
        if rejected >= FEWEST_REJECTS and share > self._limits.rejects:
            told = f"{rejected:,} of {records:,} records of the last hour cannot be read"
            yield Sign("blind-rejects", "source", share, self._limits.rejects, told)
        if refused:
            told = f"{refused:,} messages of the last hour were refused or not understood"
            yield Sign("blind-refused", "source", refused, 1, told)
        if unresolved:
            told = f"{unresolved:,} requests of the last hour name no bucket that can be told"
            yield Sign("blind-unresolved", "source", unresolved, 1, told)

    def _tell(self, key: tuple[str, str], sign: Sign, now: int) -> Finding | None:
        known = self._standing.get(key)
        if known is None:
            known = _Standing(now, now, sign.value, now, sign.threshold, sign.explanation)
            self._standing[key] = known
            return self._finding(key, known, OPENED, now)
        known.explanation = sign.explanation
        if sign.value > known.peak:
            known.peak, known.peak_at = sign.value, now
        if now - known.told_at < AGAIN:
            return None
        known.told_at = now
        return self._finding(key, known, UPDATED, now)

    def _close(self, key: tuple[str, str], now: int) -> Finding:
        return self._finding(key, self._standing.pop(key), CLOSED, now)

    def _finding(self, key: tuple[str, str], standing: _Standing, state: str, now: int) -> Finding:
        sense, where = SENSES[key[0]], key[1]
        group = group_key([where])
        return Finding(
            finding_id=finding_id(sense.id, group, standing.opened_at),
            rule_id=sense.id,
            title=sense.title,
            kind=KIND,
            severity=sense.severity,
            state=state,
            opened_at=standing.opened_at,
            last_at=now,
            window_seconds=0,
            measure=sense.measure,
            threshold=standing.threshold,
            peak_value=standing.peak,
            peak_at=standing.peak_at,
            group={sense.level: where},
            group_id=fingerprint((where,)),
            principal=None,
            explanation=f"over: {standing.explanation}" if state == CLOSED else standing.explanation,
            alert_ids=(alert_id(sense.id, group, standing.opened_at),),
        )


def _hear(quiet: dict[str, _Quiet], name: str, now: int) -> None:
    known = quiet.get(name)
    if known is not None:
        known.hear(now)
    elif len(quiet) < MOST:
        quiet[name] = _Quiet(now)


def _silent(sense: str, what: str, watched: Mapping[str, _Quiet], now: int, least: int) -> Iterator[Sign]:
    for name, quiet in watched.items():
        silent, limit = now - quiet.heard_at, quiet.limit(least)
        if quiet.arrivals >= ARRIVALS and silent > limit:
            yield Sign(sense, name, silent, limit, f"{what} {name} has been silent for {_spell(silent)}")


def _few(signs: Iterable[Sign]) -> Iterator[Sign]:
    """At most `MOST` of each kind."""
    told: dict[str, int] = {}
    for sign in signs:
        told[sign.sense] = told.get(sign.sense, 0) + 1
        if told[sign.sense] <= MOST:
            yield sign


def _spell(seconds: int) -> str:
    if seconds < 2 * HOUR:
        return f"{seconds // 60} minutes"
    return f"{seconds // HOUR} hours" if seconds < 3 * 86_400 else f"{seconds // 86_400} days"
