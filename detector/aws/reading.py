"""The parts of a checkpoint in S3, read when asked for, the next ones already on their way.

Whoever restores asks for parts one after the other, by name. Parts that lie together in an object are read with one
request, and so that not every part costs a round trip, those whose names follow are fetched meanwhile. A few MB are
held at most, besides the part asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from detector.aws.manifest import Place, checksum
from detector.aws.parcels import Parcels
from detector.errors import StateError

AHEAD = 6
"""Objects that are fetched before they are asked for, and as many that are kept after."""
LARGEST_AHEAD = 4 << 20


class _Span(NamedTuple):
    """The stretch of an object in which its parts lie."""

    first: int
    end: int


class Parts(Mapping[str, bytes]):
    """Name → content. refused: the error for a part (its name, what is wrong with it)."""

    def __init__(
        self, places: Mapping[str, Place], parcels: Parcels, refused: Callable[[str, str], StateError]
    ) -> None:
        self._places, self._parcels, self._refused = dict(places), parcels, refused
        self._order = sorted(self._places)
        self._spans: dict[str, _Span] = {}
        for place in self._places.values():
            first, end = self._spans.get(place.object, (place.offset, place.offset))
            self._spans[place.object] = _Span(min(first, place.offset), max(end, place.offset + place.length))
        self._coming: dict[str, Future[bytes]] = {}

    def __getitem__(self, name: str) -> bytes:
        place = self._places[name]
        for following in self._following(name):
            self._ask_for(following)
        content = self._content(name, place)
        if len(content) != place.length or checksum(name, content) != place.sum:
            raise self._refused(name, "is damaged")
        return content

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def _content(self, name: str, place: Place) -> bytes:
        coming = self._coming.get(place.object)
        try:
            if coming is None:
                return self._parcels.read(place)
            start = place.offset - self._spans[place.object].first
            return coming.result()[start : start + place.length]
        except StateError as error:
            raise self._refused(name, "is missing") from error

    def _following(self, name: str) -> list[str]:
        """The objects of this part and of those after it."""
        at = bisect_right(self._order, name) - 1
        return list(dict.fromkeys(self._places[one].object for one in self._order[at : at + AHEAD]))

    def _ask_for(self, name: str) -> None:
        span = self._spans[name]
        if span.end - span.first > LARGEST_AHEAD or name in self._coming:
            return
        while len(self._coming) >= 2 * AHEAD:
            del self._coming[next(iter(self._coming))]
        self._coming[name] = self._parcels.ahead(name, span.first, span.end)
