"""Work on several processes, this one among them; what comes of it comes in order.

- `jobs` processes are this one and `jobs - 1` others. This one works too while the next in order is not done.
- What another process made comes through memory that both share: through a pipe it would come in small pieces, each of
  which waits until this process has time for it. It comes through the pipe all the same where a process cannot inherit
  memory (it is not forked), or where a place has no room for it.
- No more than `AHEAD` results for each process are waiting.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from mmap import mmap
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
ROOM = 32 << 20
"""Bytes of a place; only what is written to takes memory."""


def in_order(work: Callable[[T], R], chunks: Iterable[T], jobs: int) -> Iterator[R]:
    """What the work makes of each chunk. All three are such as can be sent to another process."""
    if jobs == 1:
        yield from map(work, chunks)
        return
    with _Others(work, jobs - 1) as others:
        waiting: deque[_Waiting[R]] = deque()
        more: Iterator[T] = iter(chunks)
        for chunk in more:
            waiting.append(others.begin(chunk) if others.idle else _done(work(chunk)))
            while waiting and (waiting[0].future.done() or len(waiting) >= AHEAD * jobs):
                result = others.result(waiting.popleft())
                waiting += map(others.begin, islice(more, others.idle))  # before this process gives its time away
                yield result
        while waiting:
            yield others.result(waiting.popleft())


class _Waiting(NamedTuple, Generic[R]):
    """Work begun. place: where another process leaves what it makes; None: it is this process's own."""

    future: Future[Any]
    place: int | None


class _Left(NamedTuple):
    """So many bytes were left in the place that was given."""

    size: int


def _done(result: R) -> _Waiting[R]:
    future: Future[R] = Future()
    future.set_result(result)
    return _Waiting(future, None)


class _Others(Generic[T, R]):
    """The other processes, and the places in which they leave what they make."""

    def __init__(self, work: Callable[[T], R], count: int) -> None:
        forked = multiprocessing.get_start_method() == "fork"
        self._places = [mmap(-1, ROOM) for _ in range(AHEAD * count)] if forked else []
        self._pool = ProcessPoolExecutor(count, initializer=_begin, initargs=(work, self._places))
        self._free = list(range(AHEAD * count))

    def __enter__(self) -> _Others[T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        for place in self._places:
            place.close()

    @property
    def idle(self) -> int:
        """How many chunks more they might have."""
        return len(self._free)

    def begin(self, chunk: T) -> _Waiting[R]:
        """Have them work on a chunk."""
        place = self._free.pop()
        return _Waiting(self._pool.submit(_make, chunk, place), place)

    def result(self, waiting: _Waiting[R]) -> R:
        """What came of it."""
        made = waiting.future.result()
        if waiting.place is not None:
            if isinstance(made, _Left):
                with memoryview(self._places[waiting.place]) as left:
                    made = ForkingPickler.loads(left[: made.size])
            self._free.append(waiting.place)
        result: R = made
        return result


_work: Callable[[Any], Any]
_places: list[mmap]


def _begin(work: Callable[[Any], Any], places: list[mmap]) -> None:
    """Another process begins: what it works, and where it leaves what it makes."""
    global _work, _places
    _work, _places = work, places


def _make(chunk: Any, place: int) -> Any:
    """In another process: the result, or word that it was left in the place."""
    result = _work(chunk)
    if not _places:
        return result
    try:
        _places[place].seek(0)
        ForkingPickler(_places[place], 5).dump(result)
    except ValueError:  # no room
        return result
    return _Left(_places[place].tell())
