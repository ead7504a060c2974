"""The principals of a batch, each made when somebody first looks at it. Pure.

A parser tells most identities by a hash of what the log says of them; their names matter only where something is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

from detector.core.principal import Principal


class Unread(NamedTuple):
    """What a log says of an identity, and how that is read."""

    read: Callable[[bytes], Principal]
    text: bytes


class Principals(Sequence[Principal]):
    """Principals by code."""

    def __init__(self, held: Sequence[Principal | Unread] = ()) -> None:
        self._held = list(held)

    def __len__(self) -> int:
        return len(self._held)

    def naming(self, texts: Sequence[bytes]) -> list[int]:
        """Codes of those in which one of these texts may occur: what nobody has read yet is only searched."""
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
        if isinstance(held, Unread):
            held = self._held[code] = held.read(held.text)
        return held
