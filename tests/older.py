"""State on Spark as an older version wrote it: layout 1 in the shards, in the daemon's checkpoint and in manifests.

`python -m tests.older …` is `bucketwatch …` of that version, as far as Spark's state goes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest

from detector.source import Notice
from replay.spark import query, remote, stages
from replay.spark.manifest import LogFile
from replay.spark.parts import Parts
from replay.spark.stages import How, Row


class Parts1(Parts):
    """The texts of the rules are a part; nothing says a version."""

    def rules(self) -> dict[str, str]:
        return dict(msgspec.msgpack.decode(self["rules"])) if "rules" in self else {}

    def save(self, changes: Mapping[str, bytes | None], rules: Mapping[str, str] | None = None) -> None:
        for name, part in changes.items():
            self._put(name, part)
        if rules is not None:
            self._put("rules", msgspec.msgpack.encode(rules))


def admitted(how: How, shard: str, rows: Iterable[Row], parts: Parts) -> list[Row]:
    return stages.admitted(how, shard, rows, Parts1(parts._state))


def counted(how: How, shard: str, rows: Iterable[Row], parts: Parts) -> list[Row]:
    return stages.counted(how, shard, rows, Parts1(parts._state))


class LogFile1:
    """No bucket."""

    @classmethod
    def of(cls, notice: Notice) -> tuple[Any, ...]:
        file = LogFile.of(notice)
        return file.name, file.key, file.version, file.size


def write(patch: pytest.MonkeyPatch) -> None:
    """What is written from now on is of layout 1."""
    patch.setattr(remote, "LAYOUT", 1)
    patch.setattr(remote, "LogFile", LogFile1)
    patch.setattr(query, "admitted", admitted)
    patch.setattr(query, "counted", counted)


if __name__ == "__main__":
    from detector.cli import main

    write(pytest.MonkeyPatch())
    sys.exit(main())
