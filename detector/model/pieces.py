"""What changes a little from checkpoint to checkpoint lies there in pieces, of which each holds what changed. Pure.

Each piece also holds one `ROUND`th of all there is, by key. So whatever was last written of a key lies in one of the
last `ROUND` pieces, older ones are dropped, and no checkpoint ever writes everything at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

ROUND = 64


class Round:
    """The pieces that a checkpoint holds, one after the other. `name` heads their names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._first = self._next = 0

    def due(self, keys: Iterable[int]) -> set[int]:
        """Of all keys those that the next piece holds in any case."""
        turn = self._next % ROUND
        return {one for one in keys if one % ROUND == turn}

    def put(self, piece: bytes) -> dict[str, bytes | None]:
        """The piece that came (bytes), and those that went (None)."""
        out: dict[str, bytes | None] = {}
        while self._next - self._first >= ROUND:
            out[self._part(self._first)] = None
            self._first += 1
        out[self._part(self._next)] = piece
        self._next += 1
        return out

    def names(self) -> set[str]:
        """Names of what the checkpoint has of it."""
        return {self._part(number) for number in range(self._first, self._next)}

    def restore(self, parts: Mapping[str, bytes]) -> Iterator[bytes]:
        """The pieces that are there, the oldest first."""
        numbers = sorted(int(name.rpartition("/")[2]) for name in parts if name.startswith(f"{self.name}/"))
        self._first, self._next = (numbers[0], numbers[-1] + 1) if numbers else (0, 0)
        return (parts[self._part(number)] for number in numbers)

    def _part(self, number: int) -> str:
        return f"{self.name}/{number}"
