"""What the model looks at: counters of a pane, the channels made of them, and the families of channels. Pure data.

- A counter is additive: what a pane counts plus what the panes before it counted is what the window holds. First-time
  counts are additive too, because a key is new once.
- A channel is a counter over a window. Channels of one family ask one question, and only the best answer counts: ten
  ways of saying "many new keys" are no better evidence than one.
- A pane is five minutes of event time. Windows of five minutes slide by `SUB_PANE` seconds; longer ones grow with the
  pane: the panes before it, and what it has itself so far.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

PANE = 300
SUB_PANE = 10
SUB_PANES = PANE // SUB_PANE
HOUR = 3600
DAY = 86_400
YOUNG_PREFIX = 72 * HOUR
"""Seconds for which a prefix is young after the role first touched it."""
RARE = 2
"""Roles of a group that have read a prefix at most, while it is rare."""


class Counter(IntEnum):
    """What is counted of a role's records in a pane. Keys: distinct objects, each counted when it is first read."""

    reads = 0
    bytes = 1
    new = 2
    """Keys that the role had never read."""
    young = 3
    """Of these: in prefixes the role first touched under 72 h ago."""
    rare = 4
    """Of these: in prefixes that at most two roles of the peer group ever read."""
    foreign = 5
    """Of the young: in prefixes that were others' before: one or two roles had read there by the last midnight."""
    prefixes = 6
    """Prefixes the role had never touched."""
    nets = 7
    """Distinct networks."""
    new_nets = 8
    """Networks the role had never come from."""
    group_nets = 9
    """Networks nobody in the peer group had come from."""
    strange = 10
    """Keys never read before, read from networks that nobody in the organisation had come from by the last midnight."""
    errors = 11
    """Requests that were denied or found nothing."""
    new_copies = 12
    """Copies to buckets the role first copied to under a day ago."""
    strange_copies = 13
    """Copies to buckets nobody in the organisation had copied to by the last midnight."""
    active = 14
    """Panes with a read in them."""


COUNTERS = len(Counter)
SLID = (Counter.reads, Counter.bytes, Counter.new, Counter.nets, Counter.errors)
"""Counters with a five-minute channel: they are slid by sub-panes."""


class Channel(NamedTuple):
    """A counter over a window of so many seconds, and what its family asks."""

    counter: Counter
    window: int
    family: str

    @property
    def name(self) -> str:
        """As it stands in a finding and in the features of a River detector."""
        return f"{self.counter.name}_{WINDOW_NAMES[self.window]}"


M5, H1, H24, H72 = PANE, HOUR, 24 * HOUR, 72 * HOUR
WINDOW_NAMES = {M5: "5m", H1: "1h", H24: "24h", H72: "72h"}
WINDOWS = (H1, H24, H72)

FAMILIES: dict[str, tuple[tuple[Counter, tuple[int, ...]], ...]] = {
    "amount": (
        (Counter.reads, (M5, H1)),
        (Counter.bytes, (M5, H1)),
        (Counter.new, (M5, H1, H24, H72)),
    ),
    "place": (
        (Counter.prefixes, (H1, H24)),
        (Counter.young, (H1, H24, H72)),
        (Counter.rare, (H1, H24, H72)),
        (Counter.foreign, (H1, H24, H72)),
    ),
    "origin": (
        (Counter.nets, (M5,)),
        (Counter.new_nets, (H24,)),
        (Counter.group_nets, (H24,)),
        (Counter.strange, (H1, H24)),
    ),
    "errors": ((Counter.errors, (M5, H1)),),
    "destination": ((Counter.new_copies, (H1,)), (Counter.strange_copies, (H1,))),
    "hours": ((Counter.active, (H24,)),),
}
"""Family → its channels: how much, where in the data, from where, what failed, where to, when."""

CHANNELS = tuple(
    Channel(counter, window, family)
    for family, made in FAMILIES.items()
    for counter, windows in made
    for window in windows
)
FAMILY_OF = tuple(list(FAMILIES).index(channel.family) for channel in CHANNELS)
NEW_KEYS = tuple(at for at, channel in enumerate(CHANNELS) if channel.counter is Counter.new)
