"""The files in a tree of folders, in the order of their whole names. Pure: the tree is an edge's.

What is somebody's work in progress (dot-files, `*.part`, `*.tmp`), and what is no log by its folder's name, is passed
over, and so is what cannot hold records of a period by its date; such folders are not even listed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from detector.core.dated import Period
from detector.source import Leaf, Tree

PASSED_OVER = (".part", ".tmp")
NO_LOGS = ("/CloudTrail-Insight/",)
"""Folders beside CloudTrail's logs."""
AHEAD = 8
"""Folders that may be listed before it is their turn."""


def walk(tree: Tree, folder: str, period: Period, above: str = "", but: tuple[str, ...] = NO_LOGS) -> Iterator[Leaf]:
    """The files in a folder of a tree and in the folders in it, by their whole names. above: where the tree lies.

    but: how the names of folders end that are passed over.
    Folders may lie in each other as deep as names go, which is deeper than functions can call each other.
    """
    opened = [_begun(tree, folder, period, above, but)]
    while opened:
        leaf = next(opened[-1], None)
        if leaf is None:
            opened.pop()
        elif leaf.folder:
            opened.append(_begun(tree, leaf.name, period, above, but))
        else:
            yield leaf


def _begun(tree: Tree, folder: str, period: Period, above: str, but: tuple[str, ...]) -> Iterator[Leaf]:
    """What of a folder is looked at; the folders in it are begun before it is their turn."""
    waiting: deque[Leaf] = deque()
    for leaf in _level(tree, folder, period, above):
        if not _looked_at(leaf, but):
            continue
        if leaf.folder:
            tree.begin(leaf.name)
        waiting.append(leaf)
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _level(tree: Tree, folder: str, period: Period, above: str) -> Iterator[Leaf]:
    """What of a folder may count by its date."""
    after = ""
    while True:
        for leaf in tree.level(folder, after):
            if not period.passes_over(above + leaf.name):
                yield leaf
            elif (further := period.after(leaf.name)) > leaf.name:
                after = further
                break
        else:
            return


def comes_to(name: str, period: Period) -> bool:
    """Whether a walk comes to a file: nothing can be told by its date, or by that of a folder it lies in."""
    ends = [at for at, one in enumerate(name, 1) if one == "/"]
    return not any(period.passes_over(name[:end]) for end in (*ends, len(name)))


def _looked_at(leaf: Leaf, but: tuple[str, ...]) -> bool:
    name = leaf.name.removesuffix("/").rpartition("/")[2]
    return not (name.startswith(".") or leaf.name.endswith((*PASSED_OVER, *but)))
