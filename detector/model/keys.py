"""Group → key of a baseline rule, written to a checkpoint in pieces: a poll's new groups, not all there are. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

PIECES = 64
"""Pieces that are put together into one."""


class Keys:
    """The key of each group. `name` heads the names of its pieces in a checkpoint."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._keys: dict[int, str] = {}
        self._fresh: dict[int, str] = {}
        self._pieces: list[str] = []
        self._next = 0
        self._whole = False

    def __getitem__(self, group: int) -> str:
        return self._keys[group]

    def put(self, keys: Mapping[int, str]) -> None:
        """Take note of these."""
        fresh = {group: key for group, key in keys.items() if group not in self._keys}
        self._keys |= fresh
        self._fresh |= fresh

    def keep(self, groups: Collection[int]) -> None:
        """Let go of all others."""
        kept = {group: key for group, key in self._keys.items() if group in groups}
        self._whole |= len(kept) < len(self._keys)
        self._keys = kept

    def changes(self) -> dict[str, bytes | None]:
        """Pieces that came (bytes) and went (None) since the last call."""
        whole = self._whole or (bool(self._fresh) and len(self._pieces) >= PIECES)
        out: dict[str, bytes | None] = dict.fromkeys(self._pieces) if whole else {}
        if whole:
            self._pieces.clear()
        content = self._keys if whole else self._fresh
        if content:
            piece = f"{self.name}/{self._next:x}"
            out[piece] = msgspec.msgpack.encode(list(content.items()))
            self._pieces.append(piece)
            self._next += 1
        self._fresh, self._whole = {}, False
        return out

    def names(self) -> set[str]:
        """Names of what the checkpoint has of it, by the last `changes`."""
        return set(self._pieces)

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the pieces of a checkpoint that are ours."""
        self._pieces = sorted(name for name in parts if name.startswith(f"{self.name}/"))
        for piece in self._pieces:
            self._keys.update(msgspec.msgpack.decode(parts[piece]))
            self._next = max(self._next, int(piece.rpartition("/")[2], 16) + 1)
