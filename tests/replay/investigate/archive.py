"""Kept access records as tests write them: rows by a few words each, in Parquet files as the cache lays them out."""

from __future__ import annotations

from typing import Any

from pyarrow import parquet

from detector.core.access import Log, Operation, Outcome, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.principal import Principal, anonymous
from detector.logs.parquet import to_table
from replay.cache.indexed import Indexed, encoded, indexed
from replay.columns import Piece
from replay.investigate.scope import Question, scope
from replay.investigate.who import who as whom

T0 = 1_777_626_000
ACCOUNT = "111122223333"
API = {"read": "GetObject", "copy": "CopyObject", "list": "ListObjects", "decrypt": "Decrypt", "assume": "AssumeRole",
       "write": "PutObject", "head": "HeadObject"}  # fmt: skip


def session(name: str, role: str = "Reader") -> str:
    """A session's ARN."""
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}"


def principal(name: str, role: str = "Reader", key: str | None = "") -> Principal:
    """`role/name`; key: its access key, one of its own where it is empty."""
    unique = f"AROA{role.upper()}"
    return Principal(
        "AssumedRole", f"{unique}:{name}", session(name, role), unique, f"arn:aws:iam::{ACCOUNT}:role/x/{role}",
        ACCOUNT, session_name=name, principal_id=f"{unique}:{name}",
        access_key=f"ASIA{role.upper()}{name.upper()}" if key == "" else key,
    )  # fmt: skip


def row(by: str, at: int = 0, key: str | None = "c-1/a.wav", operation: str = "read", **more: Any) -> Row:
    """A record of `role/name` so many seconds after T0. `access_key`: of who made it."""
    role, _, name = by.rpartition("/") if "/" in by else ("Reader", "", by)
    who = anonymous(more.get("source_ip")) if by == "anonymous" else principal(name, role, more.pop("access_key", ""))
    made: dict[str, Any] = {
        "log": Log.cloudtrail, "api": API[operation], "bucket": "ml-voice", "key": key, "bytes": 100, "auth": "header",
        "source_ip": "198.51.100.7", "user_agent": "aws-cli/2.15", "outcome": Outcome.success, "who": who,
    } | more  # fmt: skip
    event = f"{text_hash(f'{by} {at} {operation} {key} {sorted(more.items())}'):016x}"
    return Row(
        time=T0 + at,
        id=text_hash(event),
        partition="",
        operation=Operation[operation],
        has_arn=True,
        event_id=event,
        **made,
    )


def assume(by: str, begins: str, at: int = 0, **more: Any) -> Row:
    """`by` begins the session `begins`."""
    role, _, name = begins.partition("/")
    began = principal(name, role)
    told = {"began": began.session, "began_arn": began.session_shown, "began_key": began.access_key} | more
    return row(by, at, None, "assume", bucket=None, **told)


def parts_of(folder, rows, *, parts=2, group=3):
    """The rows as the cache lays them: sorted by role, session and time, in small row groups, with an index."""
    parts_ = []
    for part in range(parts):
        builder = BatchBuilder()
        for one in sorted(rows[part::parts], key=lambda one: (one.who.role_shown, one.who.session_shown, one.time)):
            builder.add(one)
        path, index = folder / f"{part}.parquet", folder / f"{part}.who"
        table = to_table(builder.build())
        parquet.write_table(table, path, row_group_size=group)
        index.write_bytes(encoded(indexed(Piece(table), group)))
        parts_.append(Indexed(path, index))
    return parts_


class Held:
    """An `Out` that holds everything."""

    def __init__(self):
        self.event_tables, self.object_tables, self.everybody, self.put = [], [], [], {}

    def events(self, table):
        self.event_tables.append(table)

    def objects(self, table):
        self.object_tables.append(table)

    def people(self, rows):
        self.everybody = rows

    def shelf(self):
        from replay.investigate.loss import Shelf

        return Shelf(
            lambda part, table: self.put.setdefault(part, []).append(table), lambda part: self.put.get(part, [])
        )

    @property
    def taken(self):
        """Event ids → why."""
        return {row["event_id"]: row["because"] for table in self.event_tables for row in table.to_pylist()}

    @property
    def lost(self):
        """(bucket, key) → the object's row."""
        return {(row["bucket"], row["key"]): row for table in self.object_tables for row in table.to_pylist()}


def investigated(folder, rows, who, **more):
    """The summary, and what was handed out."""
    out = Held()
    return scope(parts_of(folder, rows), Question(whom(who), who, **more), out), out
