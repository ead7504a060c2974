"""The log files under the paths that a user names: about a hundred bytes each, so that there may be millions.

They come in the order of their whole names. A folder is walked in that order: what lies in it goes on with a slash.
Until somebody asks for one, a name is text: a path object for each of a million would take longer than all else.
"""

from __future__ import annotations

import glob
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detector.core.access import U64, Index
from detector.core.dated import ALWAYS, Period
from detector.core.principal import fingerprint
from detector.errors import EdgeError, InputError, UnreadablePathError
from detector.local.tree import FolderTree
from detector.source import shown_name
from detector.walk import walk
from replay.remote import SCHEME, AnyPath, path_of

STAMPS = 1 << 64
"""How many stamps are told apart."""


@dataclass(frozen=True, slots=True)
class LogPath:
    """A file to read. `outright`: the user named this very file, not a folder or a glob.

    stamp: changes when the file does (on a disk: when that was, in nanoseconds); 0 if whoever listed it was not told.
    """

    path: AnyPath
    size: int
    outright: bool = False
    stamp: int = 0

    @property
    def name(self) -> str:
        """As it is shown, and filed under in rejected.jsonl."""
        return shown_name(self.path.as_posix())


class Found(NamedTuple):
    """A file as it is found: its whole name, as `str` of its path, and the rest as in `LogPath`."""

    name: str
    size: int
    outright: bool = False
    stamp: int = 0


class Files:
    """Files as columns: number of the folder, name within (all names are one text), size, stamp."""

    def __init__(self, files: Iterable[LogPath] = ()) -> None:
        self._folders: dict[str, int] = {}
        self._paths: list[AnyPath] = []
        self._folder = array("L")
        self._names = bytearray()
        self._ends = array("Q", (0,))
        self._sizes, self._stamps = array("Q"), array("Q")
        self._outright: set[int] = set()
        for file in files:
            self.append(file)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, number: int) -> LogPath:
        name = os.fsdecode(bytes(self._names[self._ends[number] : self._ends[number + 1]]))
        path = self._paths[self._folder[number]] / name
        return LogPath(path, self._sizes[number], number in self._outright, self._stamps[number])

    def __iter__(self) -> Iterator[LogPath]:
        return map(self.__getitem__, range(len(self)))

    def append(self, file: LogPath) -> None:
        """Put in one more."""
        self.put(Found(str(file.path), file.size, file.outright, file.stamp))

    def put(self, file: Found) -> None:
        """As `append`."""
        above, slash, name = file.name.rpartition("/")
        folder = above or slash
        if folder not in self._folders:
            self._folders[folder] = len(self._paths)
            self._paths.append(path_of(folder))
        if file.outright:
            self._outright.add(len(self))
        self._folder.append(self._folders[folder])
        self._names += os.fsencode(name)
        self._ends.append(len(self._names))
        self._sizes.append(file.size)
        self._stamps.append(file.stamp % STAMPS)  # some files say they are from before 1970

    def prints(self) -> U64:
        """Of each whether it is the same file, with the same bytes in it: as far as name, size and stamp say."""
        above = [os.fsencode(path / "x")[:-1] for path in self._paths]
        names = (bytes(self._names[first:end]) for first, end in pairwise(self._ends))
        rows = zip(self._folder, names, self._sizes, self._stamps, strict=True)
        every = (fingerprint((above[folder] + name, size, stamp)) for folder, name, size, stamp in rows)
        return np.fromiter(every, np.uint64, len(self))

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(self._sizes)

    def only(self, numbers: Index) -> Files:
        """The files of these numbers."""
        return Files(self[number] for number in numbers.tolist())


def find(paths: Iterable[str], period: Period = ALWAYS) -> Files:
    """The files under these paths (file, folder, glob, s3://bucket/prefix), each once; of a period by their names.

    Raises UnreadablePathError or InputError.
    """
    files, prints = Files(), array("Q")
    for file in merge(*(_expand(path, period) for path in paths)):
        files.put(file)
        prints.append(_print(file.name))
    if not len(files):
        raise InputError("no files here", where=", ".join(paths), remedy="name a folder or file with logs in it")
    return _each_once(files, np.frombuffer(prints, np.uint64))


def _each_once(files: Files, prints: U64) -> Files:
    """Of names of one file the one that the user named outright, else the first."""
    if len(np.unique(prints)) == len(files):
        return files
    named = np.array([not file.outright for file in files])
    order = np.lexsort((named, prints))
    kept = order[np.append(True, prints[order][1:] != prints[order][:-1])]
    return files.only(np.sort(kept))


def _print(name: str) -> int:
    """Whether two names are of one file: hash of where it really lies."""
    if name.startswith(SCHEME):
        return fingerprint((name,))
    above, slash, last = name.rpartition("/")
    linked = os.path.islink(name)  # noqa: PTH114  a path object would take longer than all else
    real = os.path.realpath(name) if linked else _resolved(above or slash) + last
    return fingerprint((os.fsencode(real),))


@lru_cache(maxsize=1024)
def _resolved(folder: str) -> str:
    """Where a folder really lies, up to and with a slash."""
    return os.path.realpath(folder).rstrip("/") + "/"


def _expand(text: str, period: Period) -> Iterator[Found]:
    if text.startswith(SCHEME):
        yield from _in_bucket(text, period)
        return
    path = Path(text)
    try:
        if path.is_dir():
            yield from _some(text, _inside(path, period), period)
        elif path.exists():
            yield _on_disk(path, outright=True)
        else:
            yield from _matching(text)
    except OSError as error:
        where = str(error.filename or text)
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=where, remedy="check its mode") from error


def _some(where: str, files: Iterator[Found], period: Period) -> Iterator[Found]:
    """These files, and a mistake of the user's if there are none."""
    first = next(files, None)
    if first is None:
        if period == ALWAYS:
            raise InputError("an empty folder: no log files in it", where=where, remedy="name one with logs in it")
        raise InputError("no log files of this period in it", where=where, remedy="name another, or another period")
    yield first
    yield from files


def _in_bucket(text: str, period: Period) -> Iterator[Found]:
    from detector.aws.tree import S3Tree

    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if not bucket:
        raise InputError("no bucket named", where=text, remedy="name it as s3://bucket/prefix")
    leaves = walk(S3Tree(bucket), prefix, period)
    files = (
        Found(f"{SCHEME}{bucket}/{leaf.name}", leaf.size, leaf.name == prefix, fingerprint((leaf.stamp,)))
        for leaf in leaves
    )
    try:
        yield from _some(text, files, period)
    except EdgeError as error:
        if error.retryable:
            raise
        raise UnreadablePathError(error.what, where=error.where or text, remedy=error.remedy) from error


def _inside(path: Path, period: Period) -> Iterator[Found]:
    above = str(path / "x")[:-1]
    for leaf in walk(FolderTree(path), "", period, above=f"{path.as_posix()}/"):
        yield Found(above + leaf.name, leaf.size, stamp=int(leaf.stamp))


def _matching(text: str) -> Iterator[Found]:
    matches = [Path(match) for match in glob.glob(text, recursive=True)]  # noqa: PTH207  an absolute glob if glob.has_magic(text) else []
    if not matches:
        raise UnreadablePathError("no such file or folder", where=text, remedy="check the path, or quote a glob")
    for match in sorted(matches, key=str):
        if match.is_file():
            yield _on_disk(match)


def _on_disk(path: Path, *, outright: bool = False) -> Found:
    told = path.stat()
    return Found(str(path), told.st_size, outright, told.st_mtime_ns)
