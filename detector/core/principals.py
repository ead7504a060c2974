"""The principals of a batch, each made when somebody first looks at it. Pure.

A parser tells most identities by a hash of what the log says of them; their names matter only where something is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, overload

from detector.core.principal import Principal


class Unread(NamedTuple):
    """What a log says of an identity, and how that is read."""

    read: Callable[[bytes], Principal]
    text: bytes


class Principals(Sequence[Principal]):
    """Principals by code."""

    def __init__(self, held: Sequence[Principal | Unread] = ()) -> None:
        self._held = list(held)
        self._read: dict[int, Principal] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __reduce__(self) -> tuple[Any, ...]:
        """For a journey to another process: what is many and small costs less there as plain texts and tuples."""
        reads = list(dict.fromkeys(held.read for held in self._held if isinstance(held, Unread)))
        how = [reads.index(held.read) if isinstance(held, Unread) else -1 for held in self._held]
        plain = [held.text if isinstance(held, Unread) else tuple(held) for held in self._held]
        return _there, (reads, how, plain)

    def held(self, codes: Iterable[int] | None = None) -> list[Principal | Unread]:
        """All, or those of these codes, as the log has them where they came so."""
        return self._held[:] if codes is None else [self._held[code] for code in codes]

    def each(self, codes: Iterable[int]) -> list[Principal]:
        """The principals of these codes."""
        return [one if isinstance(one := self._held[code], Principal) else self[code] for code in codes]

    def naming(self, texts: Sequence[bytes]) -> list[int]:
        """Codes of those in which one of these texts may occur: what a log says of one is only searched."""
        return [
            code
            for code, held in enumerate(self._held)
            if not isinstance(held, Unread) or any(text in held.text for text in texts)
        ]

    @overload
    def __getitem__(self, code: int) -> Principal: ...
    @overload
    def __getitem__(self, code: slice) -> Principals: ...
    def __getitem__(self, code: int | slice) -> Principal | Principals:
        if isinstance(code, slice):
            return Principals(self._held[code])
        held = self._held[code]
        if not isinstance(held, Unread):
            return held
        code %= len(self._held)
        if code not in self._read:
            self._read[code] = held.read(held.text)
        return self._read[code]


def _there(reads: list[Callable[[bytes], Principal]], how: list[int], plain: list[Any]) -> Principals:
    """What was sent by another process. how: which of these reads a text; -1: it is a principal's parts."""
    each = zip(how, plain, strict=True)
    return Principals([Unread(reads[at], one) if at >= 0 else Principal(*one) for at, one in each])
