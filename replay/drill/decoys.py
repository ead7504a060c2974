"""Decoys in a drill: who reads a folder as it is listed meets them, thief or not. Pure.

Who reads whole folders by right (backup, Macie, batch jobs) is taken to stand under the rule's `readers`; people who
pull a part of a folder are not. Which objects are decoys, the rules say, with a registry or without. A decoy is named
like its neighbours: where in the listing it stands is as good as drawn by lot, and here a hash of its key.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from detector.core.finding import prefix_of
from detector.core.kinds.decoy import DecoyRule
from detector.core.rule import Rule
from replay.drill.traffic import Asked, Place

PER_FOLDER = 3


class Decoys:
    """The decoys that rules know, by folder. stock: how many objects each place has."""

    def __init__(self, rules: Iterable[Rule], stock: Mapping[Place, int]) -> None:
        self._names: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._sizes = {(place.bucket, place.prefix): size for place, size in stock.items()}
        for rule in rules:
            for uri in rule.decoys if isinstance(rule, DecoyRule) else ():
                bucket, _, key = uri.removeprefix("s3://").partition("/")
                self._names[bucket, prefix_of(key)].append(key[len(prefix_of(key)) :])

    def among(self, every: Iterable[Asked]) -> Iterator[Asked]:
        """The same requests, and those for the decoys that are met by the way."""
        for asked in every:
            yield asked
            if asked.listed and asked.error is None:
                yield from self._met(asked)

    def _met(self, asked: Asked) -> Iterator[Asked]:
        folder = asked.place.bucket, asked.place.prefix
        size = self._sizes.get(folder, 1)
        for name in self._names.get(folder, ()):
            rows = np.flatnonzero(asked.numbers == zlib.crc32(name.encode("utf-8", "replace")) % size)[:1]
            if len(rows):
                place = Place(*folder, "", (name,))
                times, turns = asked.times[rows], asked.turns[rows]
                yield replace(asked, place=place, numbers=np.zeros(1, np.int64), times=times, turns=turns, listed=False)


def planned(stock: Mapping[Place, int]) -> list[tuple[str, str]]:
    """Three a folder, between the objects that are there: (bucket, key)."""
    made = []
    for place, size in stock.items():
        for number in range(PER_FOLDER):
            neighbour = place.key(zlib.crc32(f"{place.prefix}{number}".encode()) % size)
            made.append((place.bucket, f"{neighbour.removesuffix(place.ending)}a{place.ending}"))
    return made


def standing(rules: Sequence[Rule], decoys: Sequence[tuple[str, str]]) -> list[Rule]:
    """The rules, with these decoys planted."""
    return [rule.knowing(decoys) if isinstance(rule, DecoyRule) else rule for rule in rules]
