"""Log files of a folder by the names that the daemon shows. The twin of `aws.named`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.errors import EdgeError
from detector.response.plain import printable
from detector.source import shown_name
from detector.walk import PASSED_OVER


class NamedFiles:
    """path: the source's folder: nothing else is read."""

    def __init__(self, path: Path) -> None:
        self._root, self._folder = path, path.resolve()

    def fetch(self, name: str) -> bytes:
        """A log file's bytes. Raises EdgeError."""
        try:
            path = Path(name).resolve()
            if not path.is_relative_to(self._folder):
                raise EdgeError("not in the source's folder", where=printable(name), remedy="see source.path")
            return path.read_bytes()
        except (OSError, ValueError) as error:
            raise EdgeError(f"cannot be read: {error}", where=printable(name), remedy="keep log files") from error

    def beside(self, names: Sequence[str]) -> list[str]:
        """These files, and those of the folder whose names come after the first of them."""
        first = min(names, default=None)
        if first is None:
            return []
        there = (shown_name(str(path)) for path in self._root.iterdir() if not path.name.startswith("."))
        return sorted({*names, *(one for one in there if one >= first and not one.endswith(PASSED_OVER))})
