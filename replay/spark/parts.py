"""A shard's checkpoint in Spark's state (RocksDB): the engine's own parts by name, and a head.

Rules of this file
- The head says which version this is laid out in, and by which rules the shard counts. What an older version wrote is
  read, and laid out anew with the shard's next batch; every shard hears of every batch, so one batch moves them all.
- What a newer one wrote is refused: it may hold what this one would silently drop.
- The engine's parts have a version of their own, which the engine looks at.

| version | has |
|---|---|
| 1 | the texts of the rules as a part `rules`; no head |
| 2 | the head |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from detector.errors import StateError

LAYOUT = 2
"""Version of what lies in the shards' state, beside the engine's own."""
HEAD = "head"
RULES_1 = "rules"
_ENCODE, _DECODE = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class State(Protocol):
    """Spark's map state, as far as it is used."""

    def keys(self) -> Iterator[tuple[Any, ...]]: ...
    def getValue(self, key: tuple[Any, ...]) -> tuple[Any, ...] | None: ...  # noqa: N802  Spark's name
    def updateValue(self, key: tuple[Any, ...], value: tuple[Any, ...]) -> None: ...  # noqa: N802
    def removeKey(self, key: tuple[Any, ...]) -> None: ...  # noqa: N802


class Parts(Mapping[str, bytes]):
    """A shard's checkpoint in Spark's state."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._names = {str(key[0]): None for key in state.keys()}  # noqa: SIM118  it is no dict

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        found = self._state.getValue((name,))
        return b"" if found is None else bytes(found[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def rules(self) -> dict[str, str]:
        """Texts by file of the rules that the shard counts by. Raises StateError."""
        if HEAD in self._names:
            head = _DECODE(self[HEAD])
            check(head["version"])
            return dict(head["rules"])
        return dict(_DECODE(self[RULES_1])) if RULES_1 in self._names else {}

    def save(self, changes: Mapping[str, bytes | None], rules: Mapping[str, str] | None = None) -> None:
        """Replace these parts of the engine's; None takes one away. rules: where others count from now on."""
        if rules is not None or HEAD not in self._names:
            self._put(HEAD, _ENCODE({"version": LAYOUT, "rules": self.rules() if rules is None else rules}))
            self._put(RULES_1, None)
        for name, part in changes.items():
            self._put(name, part)

    def clear(self) -> None:
        """Nothing is kept."""
        for name in list(self._names):
            self._put(name, None)

    def _put(self, name: str, part: bytes | None) -> None:
        if part is not None:
            self._state.updateValue((name,), (part,))
            self._names[name] = None
        elif name in self._names:
            self._state.removeKey((name,))
            del self._names[name]


class OnShelf:
    """The same as a shelf. Spark has parts whole only, so the last one stays in memory."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._last = parts, ("", b"")

    def get(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` (not included) of a part."""
        if self._last[0] != name:
            self._last = (name, self._parts[name])
        return self._last[1][first:end]


def check(layout: int) -> None:
    """Raises StateError if a state of this version cannot be read."""
    if layout > LAYOUT:
        raise StateError(
            f"Spark's state is laid out in version {layout}, this program reads up to version {LAYOUT}",
            where="spark.path",
            remedy="run the version that wrote it, or a newer one; or start anew with a new state and spark.path: "
            "docs/spark.md, moving, says how nothing is lost by it",
        )
