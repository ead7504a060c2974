"""The roles a model knows, and how they lie in a checkpoint: in pieces. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from detector.core.groupings import GroupKey
from detector.core.window import longest_episode
from detector.model.codec import seal, unseal, unusable
from detector.model.pieces import Round
from detector.model.score import Moments

NEVER = -(1 << 62)
MAGIC, VERSION = b"BWro", 2


class Identity(NamedTuple):
    """Who a role is: its key, its peer group, its kind. Of a role that people share each person is one."""

    key: GroupKey
    group: str
    kind: str


@dataclass(slots=True)
class Role:
    """One role: its past, its day, and its latest episode (epoch seconds).

    score: the largest of the day. news: new, rare and foreign keys of the day.
    """

    who: Identity
    slot: int
    first: int
    last: int = NEVER
    opened: int = NEVER
    above: int = NEVER
    score: float = 0.0
    alerted: bool = False
    news: list[int] = field(default_factory=lambda: [0, 0, 0])

    def over(self, until: int, cooldown: int) -> bool:
        """Whether its latest episode cannot hold a crossing that comes before this second."""
        if self.above == NEVER:
            return False
        return until - self.above > cooldown or until > self.opened + longest_episode(cooldown)

    def note(self, crossings: Iterable[tuple[int, float]], cooldown: int) -> None:
        """Take note of an episode: what belongs to the one that was, or opens one."""
        for second, _ in crossings:
            apart = self.above == NEVER or second - self.above > cooldown
            if apart or second >= self.opened + longest_episode(cooldown):
                self.opened = second
            self.above = second


class Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A role as it lies in a piece. since: pane its sums count from; prefixes: how many it touched."""

    print: int
    who: tuple[GroupKey, str, str]
    slot: int
    first: int
    last: int
    opened: int
    above: int
    score: float
    alerted: bool
    maxima: list[float]
    news: list[int]
    since: int
    prefixes: int
    moments: Moments


class Piece(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Roles as they were, and the fingerprints of those that were forgotten."""

    rows: list[Row]
    gone: list[int]


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Piece).decode


class Pieces:
    """The pieces that a checkpoint holds. `name` heads their names."""

    def __init__(self, name: str) -> None:
        self._round = Round(name)
        self.changed: set[int] = set()
        self.gone: set[int] = set()

    def changes(self, roles: Mapping[int, Role], pack: Callable[[int, Role], Row]) -> dict[str, bytes | None]:
        """The piece that came and the one that went, if any role changed since the last call."""
        if not self.changed and not self.gone:
            return {}
        wanted = sorted(self.changed | self._round.due(roles))
        piece = Piece([pack(one, roles[one]) for one in wanted if one in roles], sorted(self.gone))
        self.changed, self.gone = set(), set()
        return self._round.put(seal(MAGIC, VERSION, _ENCODE(piece)))

    def names(self) -> set[str]:
        """Names of what the checkpoint has of it."""
        return self._round.names()

    def restore(self, parts: Mapping[str, bytes]) -> Iterator[Row]:
        """The roles as they were last written."""
        found: dict[int, Row] = {}
        for part in self._round.restore(parts):
            piece = decoded(part)
            found |= {row.print: row for row in piece.rows}
            for one in piece.gone:
                found.pop(one, None)
        yield from found.values()


def decoded(part: bytes) -> Piece:
    """What a piece holds; `StateError` when it is damaged."""
    try:
        return _DECODE(unseal(MAGIC, VERSION, part))
    except msgspec.MsgspecError as error:
        raise unusable(str(error)) from error
