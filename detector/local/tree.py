"""A folder of the disk as a tree of names. The twin of `aws.tree`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from detector.source import Leaf


class FolderTree:
    """Names are paths below `root`, with slashes. Links to folders are not followed: they might go round."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def begin(self, folder: str) -> None:
        """A folder will be asked for soon."""

    def level(self, folder: str, after: str = "") -> Iterator[Leaf]:
        """What lies in a folder, by name. Raises OSError."""
        with os.scandir(self._root / folder) as entries:
            kept = {
                folder + entry.name + "/" * entry.is_dir(): entry
                for entry in entries
                if entry.is_dir(follow_symlinks=False) or entry.is_file()
            }
        for name in sorted(kept):
            if name > after:
                yield _leaf(name, kept[name])


def _leaf(name: str, entry: os.DirEntry[str]) -> Leaf:
    if name.endswith("/"):
        return Leaf(name)
    told = entry.stat()
    return Leaf(name, told.st_size, str(told.st_mtime_ns))
