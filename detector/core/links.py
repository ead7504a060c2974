"""What joins findings: who is behind them, with which credentials, from where, and what became of copies. Pure.

Rules of this file
- Findings are joined by a key that they share, within a time: `WITHIN` seconds between the end of one and the beginning
  of the next. What follows from that is transitive, and the same in any order of the findings.
- A session, a person, a credential and a role (of findings about a role as a whole) join by themselves. A copy joins
  whoever copied into a bucket with whoever then read there.
- A network, and a session that began others (a chain), may be shared by people who have nothing to do with each other:
  an office's way out, a service that hands out sessions. They join only if in that time, and some hours before it, no
  more others came that way than are in findings, or if a finding is about that network or that session itself. What is
  not known does not join.
- Nothing joins by what names nobody: no name at all, `anonymous`, AWS services, accounts, buckets, session names,
  private addresses, VPC endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal, NamedTuple

from detector.core.access import text_hash
from detector.core.finding import LIST_LIMIT, Finding
from detector.core.net import is_private, net_of_ip
from detector.core.principal import ANONYMOUS, UNKNOWN, is_identity_center_role

HOUR, DAY = 3600, 86_400
LinkKind = Literal["session", "person", "credential", "role", "chain", "network", "copy"]
WITHIN: dict[LinkKind, int] = {
    "session": DAY,
    "person": DAY,
    "credential": DAY,
    "role": DAY,
    "chain": DAY,
    "network": 6 * HOUR,
    "copy": 7 * DAY,
}
"""Kind of link → seconds between two findings, at most."""
SHARED = frozenset({"network", "chain"})
"""Kinds that join only after a look at who else came that way."""
BEFORE = {"network": 6 * HOUR, "chain": 12 * HOUR}
"""Seconds before findings for which it is looked who else came that way; a session lives for twelve hours at most."""
LONGEST_NET = 64
"""Characters of a network, at most."""
OF_NETWORK = ("source_net", "source_ip", "public_net", "public_ip")
"""Levels of a finding that is about a network."""

Callers = Callable[[str], Iterable[str]]
"""A session as it is shown → sessions that began it, and those that began them."""


class Key(NamedTuple):
    """What findings may share."""

    kind: LinkKind
    what: str


class Question(NamedTuple):
    """Who came by a network, or was begun by a session, from `first` to `last` (epoch seconds)?"""

    key: Key
    first: int
    last: int


Answers = Mapping[Question, frozenset[int]]
"""Hashes (`text_hash`) of the sessions, as they are shown, that came that way."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What of a finding may join it with others. first, last: of its records (epoch seconds).

    own: keys it is itself about. keys: all it has. copied, read: buckets. sessions: hashes of those that are in it.
    """

    finding_id: str
    first: int
    last: int
    keys: frozenset[Key]
    own: frozenset[Key]
    copied: frozenset[str]
    read: frozenset[str]
    sessions: frozenset[int]


class Link(NamedTuple):
    """Findings that a key joins, by number, in ascending order."""

    key: Key
    between: tuple[int, ...]


def trace(finding: Finding, callers: Callers = lambda _: ()) -> Trace:
    """What may join a finding with others."""
    who, evidence = finding.principal or {}, finding.evidence
    session = _name(who.get("session"))
    keys = {Key("session", session)} if session else set()
    keys |= {Key("person", one) for one in _people(finding) if _name(one)}
    keys |= {Key("credential", key) for key in who.get("access_key_ids") or () if session and _name(key)}
    if not session and "role" in finding.group and (role := _name(finding.group["role"])):
        keys.add(Key("role", role))
    about = {Key("network", net) for level in OF_NETWORK if (net := network(finding.group.get(level)))}
    begun = {Key("chain", session)} if session else set()
    nets = {net for address in evidence.get("source_ips") or () if (net := network(address))}
    keys |= {Key("network", net) for net in nets} if not about else set()
    keys |= {Key("chain", caller) for caller in callers(session) if _name(caller)} if session else set()
    shown = {session} if session else set(evidence.get("sessions") or ())
    buckets, copies = evidence.get("buckets") or (), evidence.get("destinations") or ()
    return Trace(
        finding.finding_id,
        finding.opened_at - finding.window_seconds,
        finding.last_at,
        frozenset(keys | about | begun),
        frozenset(about | begun),
        frozenset(copies if len(copies) < LIST_LIMIT else ()) - frozenset(buckets),
        frozenset(buckets if len(buckets) < LIST_LIMIT else ()),
        frozenset(map(text_hash, shown)),
    )


def _name(text: object) -> str:
    """A name that names somebody; empty for any other."""
    named = isinstance(text, str) and text not in (ANONYMOUS, UNKNOWN) and not text.startswith("service:")
    return str(text) if named else ""


def _people(finding: Finding) -> Iterator[str]:
    """The human, as far as the log says it; see `principal.person`."""
    who = finding.principal or {}
    yield from (str(who[name]) for name in ("source_identity", "identity_center_user") if who.get(name))
    if is_identity_center_role(str(who.get("role") or "")) and who.get("session_name"):
        yield str(who["session_name"])
    if (person := finding.group.get("person")) and person != who.get("principal_id"):
        yield person


def network(text: object) -> str:
    """The public network of an address, or the network itself; empty for anything else."""
    return _network(text) if isinstance(text, str) and len(text) <= LONGEST_NET else ""


@lru_cache(maxsize=65_536)
def _network(text: str) -> str:
    if is_private(text):
        return ""
    try:
        ip_address(text.partition("/")[0])
    except ValueError:
        return ""
    return text if "/" in text else net_of_ip(text)


def questions(traces: Sequence[Trace]) -> list[Question]:
    """What has to be known before all can be joined: of findings that nothing else joins."""
    sets = _Sets(len(traces))
    for link in _certain(traces):
        sets.join(link.between)
    doubtful = (
        _question(traces, key, cluster)
        for key, cluster in _shared(traces)
        if len({sets.of(one) for one in cluster}) > 1 and not _is_own(traces, key, cluster)
    )
    return sorted(doubtful)


def joined(traces: Sequence[Trace], answers: Answers) -> tuple[list[tuple[int, ...]], list[Link]]:
    """Numbers of the findings that belong together, each once, and what joins them."""
    links = [*_certain(traces)]
    for key, cluster in _shared(traces):
        came = answers.get(_question(traces, key, cluster), frozenset())
        if _is_own(traces, key, cluster) or few_others(came, (traces[one].sessions for one in cluster)):
            links.append(Link(key, cluster))
    sets = _Sets(len(traces))
    for link in links:
        sets.join(link.between)
    return sets.all(), sorted(links)


def _certain(traces: Sequence[Trace]) -> Iterator[Link]:
    """Links that hold by themselves."""
    yield from (Link(*found) for found in _clusters(traces, frozenset(WITHIN) - SHARED))
    yield from _copies(traces)


def _shared(traces: Sequence[Trace]) -> Iterator[tuple[Key, tuple[int, ...]]]:
    """Findings that came the same way; a session is no chain by itself."""
    for key, cluster in _clusters(traces, SHARED):
        if key.kind != "chain" or not all(key in traces[one].own for one in cluster):
            yield key, cluster


def _clusters(traces: Sequence[Trace], kinds: frozenset[str]) -> Iterator[tuple[Key, tuple[int, ...]]]:
    """Two or more findings that share a key of these kinds, each at most `WITHIN` after the one before."""
    by_key: dict[Key, list[int]] = {}
    for number in sorted(range(len(traces)), key=lambda one: (traces[one].first, one)):
        for key in traces[number].keys:
            if key.kind in kinds:
                by_key.setdefault(key, []).append(number)
    for key, numbers in sorted(by_key.items()):
        for cluster in _runs(traces, numbers, WITHIN[key.kind]):
            if len(cluster) > 1:
                yield key, tuple(sorted(cluster))


def _runs(traces: Sequence[Trace], numbers: Iterable[int], within: int) -> Iterator[list[int]]:
    """Findings in order of their beginning, cut where the next begins later than `within` after all before ended."""
    run: list[int] = []
    until = 0
    for number in numbers:
        if run and traces[number].first - until > within:
            yield run
            run = []
        until = max(until, traces[number].last) if run else traces[number].last
        run.append(number)
    yield run


def _copies(traces: Sequence[Trace]) -> Iterator[Link]:
    """Who copied into a bucket, with who read there then."""
    read: dict[str, list[int]] = {}
    for number, one in enumerate(traces):
        for bucket in one.read:
            read.setdefault(bucket, []).append(number)
    for number, one in enumerate(traces):
        for bucket in one.copied & read.keys():
            then = [other for other in read[bucket] if _read_then(one, traces[other])]
            if then:
                yield Link(Key("copy", bucket), tuple(sorted([number, *then])))


def _read_then(copied: Trace, read: Trace) -> bool:
    return read.last >= copied.first and read.first - copied.last <= WITHIN["copy"]


def _question(traces: Sequence[Trace], key: Key, cluster: Iterable[int]) -> Question:
    """Who came that way then, and shortly before: few may be there in the minutes of a theft."""
    some = [traces[one] for one in cluster]
    return asked(key, min(one.first for one in some), max(one.last for one in some))


def asked(key: Key, first: int, last: int) -> Question:
    """What has to be known where findings from `first` to `last` share a key."""
    return Question(key, first - BEFORE[key.kind], last)


def _is_own(traces: Sequence[Trace], key: Key, cluster: Iterable[int]) -> bool:
    """Whether one of the findings is about this network, or this session, itself."""
    return any(key in traces[one].own for one in cluster)


def few_others(came: frozenset[int], found: Iterable[Iterable[int]]) -> bool:
    """Whether no more others came that way than are in findings. found: the sessions of each of them."""
    return 0 < len(came) <= 2 * len(came & frozenset[int]().union(*found))


class _Sets:
    """Disjoint sets of numbers."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def of(self, one: int) -> int:
        while self._above[one] != one:
            self._above[one] = one = self._above[self._above[one]]
        return one

    def join(self, numbers: Sequence[int]) -> None:
        for one in numbers[1:]:
            low, high = sorted((self.of(numbers[0]), self.of(one)))
            self._above[high] = low

    def all(self) -> list[tuple[int, ...]]:
        found: dict[int, list[int]] = {}
        for one in range(len(self._above)):
            found.setdefault(self.of(one), []).append(one)
        return [tuple(numbers) for _, numbers in sorted(found.items())]
