"""The log files under the paths that a user names: about a hundred bytes each, so that there may be millions.

They come in the order of their whole names. A folder is walked in that order: what lies in it goes on with a slash.
"""

from __future__ import annotations

import glob
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from pathlib import Path

import numpy as np

from detector.core.access import Index
from detector.core.principal import fingerprint
from detector.errors import InputError, UnreadablePathError
from detector.source import shown_name

PASSED_OVER = (".part", ".tmp")


@dataclass(frozen=True, slots=True)
class LogPath:
    """A file to read. `outright`: the user named this very file, not a folder or a glob."""

    path: Path
    size: int
    outright: bool = False

    @property
    def name(self) -> str:
        """As it is shown, and filed under in rejected.jsonl."""
        return shown_name(self.path.as_posix())


class Files:
    """Files as columns: number of the folder, name within (all names are one text), size."""

    def __init__(self, files: Iterable[LogPath] = ()) -> None:
        self._folders: dict[Path, int] = {}
        self._paths: list[Path] = []
        self._folder = array("L")
        self._names = bytearray()
        self._ends = array("Q", (0,))
        self._sizes = array("Q")
        self._outright: set[int] = set()
        for file in files:
            self.append(file)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, number: int) -> LogPath:
        name = os.fsdecode(bytes(self._names[self._ends[number] : self._ends[number + 1]]))
        return LogPath(self._paths[self._folder[number]] / name, self._sizes[number], number in self._outright)

    def __iter__(self) -> Iterator[LogPath]:
        return map(self.__getitem__, range(len(self)))

    def append(self, file: LogPath) -> None:
        """Put in one more."""
        folder = file.path.parent
        if folder not in self._folders:
            self._folders[folder] = len(self._paths)
            self._paths.append(folder)
        if file.outright:
            self._outright.add(len(self))
        self._folder.append(self._folders[folder])
        self._names += os.fsencode(file.path.name)
        self._ends.append(len(self._names))
        self._sizes.append(file.size)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(self._sizes)

    def only(self, numbers: Index) -> Files:
        """The files of these numbers."""
        return Files(self[number] for number in numbers.tolist())


def find(paths: Iterable[str]) -> Files:
    """The files under these paths (file, folder or glob), each once. Raises UnreadablePathError or InputError."""
    files, prints = Files(), array("Q")
    for file in merge(*map(_expand, paths), key=lambda file: str(file.path)):
        files.append(file)
        prints.append(_print(file.path))
    if not len(files):
        raise InputError("no files here", where=", ".join(paths), remedy="name a folder or file with logs in it")
    return _each_once(files, np.frombuffer(prints, np.uint64))


def _each_once(files: Files, prints: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Files:
    """Of names of one file the one that the user named outright, else the first."""
    if len(np.unique(prints)) == len(files):
        return files
    named = np.array([not file.outright for file in files])
    order = np.lexsort((named, prints))
    kept = order[np.append(True, prints[order][1:] != prints[order][:-1])]
    return files.only(np.sort(kept))


def _print(path: Path) -> int:
    """Whether two names are of one file: hash of where it really lies."""
    real = path.resolve() if path.is_symlink() else _resolved(path.parent) / path.name
    return fingerprint((os.fsencode(real),))


@lru_cache(maxsize=1024)
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _expand(text: str) -> Iterator[LogPath]:
    if text.startswith("s3://"):
        raise InputError(
            "reading from S3 is not in this version",
            where=text,
            remedy="copy it first: aws s3 sync, then name the folder",
        )
    path = Path(text)
    try:
        if path.is_dir():
            yield from _inside(path)
        elif path.exists():
            yield LogPath(path, path.stat().st_size, outright=True)
        else:
            yield from _matching(text)
    except OSError as error:
        where = str(error.filename or text)
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=where, remedy="check its mode") from error


def _inside(path: Path) -> Iterator[LogPath]:
    files = _walk(path)
    first = next(files, None)
    if first is None:
        remedy = "name a folder with logs in it"
        raise InputError("an empty folder: no log files in it", where=str(path), remedy=remedy)
    yield first
    yield from files


def _matching(text: str) -> Iterator[LogPath]:
    matches = [Path(match) for match in glob.glob(text, recursive=True)]  # noqa: PTH207  an absolute glob if glob.has_magic(text) else []
    if not matches:
        raise UnreadablePathError("no such file or folder", where=text, remedy="check the path, or quote a glob")
    for match in sorted(matches, key=str):
        if match.is_file():
            yield LogPath(match, match.stat().st_size)


def _walk(folder: Path) -> Iterator[LogPath]:
    """The files in a folder and the folders in it, by their whole names."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries if _looked_at(entry))
    for name in names:
        if name.endswith("/"):
            yield from _walk(folder / name)
        else:
            yield LogPath(folder / name, (folder / name).stat().st_size)


def _looked_at(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith("."):
        return False
    return entry.is_dir(follow_symlinks=False) or (entry.is_file() and not entry.name.endswith(PASSED_OVER))
