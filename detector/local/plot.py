"""Folders that stand for buckets, to put decoys into. The twin of `aws.plot`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path

from detector.errors import EdgeError
from detector.response.plain import printable
from detector.source import Found, Lying


class FolderPlot:
    """A folder as Plot: every bucket is a folder in it, every object a file. The time it was changed is its tag."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def listed(self, bucket: str, prefix: str, most: int) -> list[Found]:
        """The files whose keys begin so, in the order of keys, the first `most` of them. Raises EdgeError."""
        root = self._root / bucket
        if not root.is_dir():
            raise EdgeError("there is no such folder", where=printable(root), remedy="name a folder that is there")
        with _edge("list files", root):
            there = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
            chosen = islice((key for key in there if key.startswith(prefix)), most)
            return [Found(key, (root / key).stat().st_size) for key in chosen]

    def look(self, bucket: str, key: str) -> Lying | None:
        """What lies there; None if nothing does. Raises EdgeError."""
        path = self._path(bucket, key)
        with _edge("look at a file", path):
            if not path.exists():
                return None
            return Lying(sha256(path.read_bytes()).hexdigest(), tag=str(path.stat().st_mtime_ns))

    def put(self, bucket: str, key: str, data: bytes, storage_class: str) -> Lying | None:
        """Put a file where none is; None if there is one. Raises EdgeError."""
        del storage_class
        path = self._path(bucket, key)
        with _edge("put a decoy", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = path.with_name(f"{path.name}.{os.getpid()}.part")
            begun.write_bytes(data)
            try:
                os.link(begun, path)  # fails if there is one, and is whole at once
            except FileExistsError:
                return None
            finally:
                begun.unlink()
        return self.look(bucket, key)

    def delete(self, bucket: str, key: str, lying: Lying) -> None:
        """Delete the very file that was looked at, and no other that came since. Raises EdgeError."""
        path = self._path(bucket, key)
        with _edge("delete a decoy", path):
            if self.look(bucket, key) != lying:
                raise EdgeError("it has changed since it was looked at", where=printable(path), remedy="look again")
            path.unlink()

    def _path(self, bucket: str, key: str) -> Path:
        path = self._root / bucket / key
        if not path.resolve().is_relative_to(self._root.resolve()):
            raise EdgeError("this key leads out of the folder", where=printable(path), remedy="take it out of the plan")
        return path


@contextmanager
def _edge(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EdgeError(
            f"could not {doing}: {error.strerror}", where=printable(path), remedy="let this user read and write there"
        ) from error
