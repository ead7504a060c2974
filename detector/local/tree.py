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
            kept = (entry for entry in entries if entry.is_dir(follow_symlinks=False) or entry.is_file())
            leaves = [_leaf(folder, entry) for entry in kept]
        for leaf in sorted(leaves):
            if leaf.name > after:
                yield leaf if leaf.folder else leaf._replace(size=(self._root / leaf.name).stat().st_size)


def _leaf(folder: str, entry: os.DirEntry[str]) -> Leaf:
    return Leaf(folder + entry.name + "/" * entry.is_dir())
