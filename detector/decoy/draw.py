"""Draws that a seed decides and nobody can guess without it. Pure: the same seed and purpose give the same draws.

The stream is HMAC-SHA256 over a counter: who sees some decoys learns nothing about the others.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

HEX = "0123456789abcdef"


class Draw:
    """One stream of draws. purpose: what it is for; another purpose, another stream."""

    def __init__(self, seed: bytes, *purpose: str) -> None:
        self._key = hmac.digest(seed, "\0".join(purpose).encode("utf-8", "backslashreplace"), "sha256")
        self._count = 0

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1; the bias of the remainder is under 2**-64."""
        self._count += 1
        return int.from_bytes(hmac.digest(self._key, self._count.to_bytes(8, "big"), "sha256")) % limit

    def between(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`, both among them."""
        return least + self.below(most - least + 1)

    def one_of(self, values: Sequence[T]) -> T:
        """One of these values."""
        return values[self.below(len(values))]

    def letters(self, alphabet: str, count: int) -> str:
        """So many characters of an alphabet."""
        return "".join(self.one_of(alphabet) for _ in range(count))

    def uuid(self, like: str) -> str:
        """A UUID of the version and the case that another one has."""
        plain = like.replace("-", "")
        made = self.letters(HEX, 12) + plain[12].lower() + self.letters(HEX, 3) + self.one_of("89ab")
        made += self.letters(HEX, 15)
        shaped = "-".join((made[:8], made[8:12], made[12:16], made[16:20], made[20:])) if "-" in like else made
        return shaped.upper() if like != like.lower() else shaped
