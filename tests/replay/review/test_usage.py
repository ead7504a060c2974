"""Counts of access against SQL over the raw records, which shares no code with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from detector.core.owner import owners
from detector.logs.parquet import to_table
from replay.cache import summed, whole
from replay.columns import Piece
from replay.review.access import access
from replay.review.judged import several_owners
from replay.review.scope import Scopes, scope_of
from replay.review.usage import Usage, added_up, enough, of_whole
from tests.sql_oracle import ACCOUNT, KNOWN, Fact, batch

HOSTILE = [
    "a.wav", "42/a.wav", "42/2026/01/b.wav", "42/2026/02/b.wav", "43/=cmd", "43//x", '4"3/\u202egpj', "💥/né/x", "*/x",
]  # fmt: skip
PEOPLE: list[dict[str, Any]] = [
    {"principal_id": "AROAREADER1:contractor-42", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader-1/contractor-42"},
    {"principal_id": "AROAREADER1:contractor-43", "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader-1/contractor-43"},
    {"principal_id": "AROAREADER1:contractor-43", "arn": None, "type": "AWSAccount", "issuer_arn": None},
    {"principal_id": "AROAREADER2:contractor-42", "arn": None, "issuer_arn": f"arn:aws:iam::{ACCOUNT}:role/R2"},
    {"type": "IAMUser", "principal_id": "AIDA1", "arn": f"arn:aws:iam::{ACCOUNT}:user/u", "access_key": "AKIA1",
     "issuer_arn": None},
    {"type": "AWSAccount", "principal_id": None, "arn": None, "account": "anonymous", "issuer_arn": None},
    {"type": "AWSService", "principal_id": None, "arn": None, "account": None, "invoked_by": "athena.amazonaws.com",
     "issuer_arn": None},
]  # fmt: skip

facts = st.builds(
    lambda who, **given: Fact(**(given | who)),
    who=st.sampled_from(PEOPLE),
    id=st.integers(0, 1 << 40).map(str),
    time=st.integers(1_777_636_800, 1_777_636_900),
    address=st.sampled_from(["198.51.100.7", "198.51.100.8", "203.0.113.9", None]),
    endpoint=st.sampled_from([None, None, "vpce-1"]),
    bucket=st.sampled_from(["ml-voice", "ml-other"]),
    key=st.sampled_from(HOSTILE),
    bytes=st.integers(0, 1 << 44),
    api=st.sampled_from(["GetObject", "GetObject", "HeadObject", "PutObject", "DeleteObject"]),
    error=st.sampled_from([None, None, None, "AccessDenied", "NoSuchKey"]),
)
some = st.lists(st.lists(facts, max_size=8, unique_by=lambda fact: fact.id), min_size=1, max_size=4)
ways = st.sampled_from(["records", "parts", "whole"])
quiet = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def usage(pieces: list[list[Fact]], folder: Path, depth: int, scopes: Scopes, *, kept: str) -> Usage:
    """By the sums of all that are kept, or those beside records, if these say enough and are asked; else by these."""
    files = []
    for number, table in enumerate(to_table(batch(piece), of_objects=True) for piece in pieces):
        files.append(folder / f"{number}.parquet")
        parquet.write_table(table, files[-1], row_group_size=3)
        for name, content in zip(("sums", "reads"), summed.encoded(summed.of_part(Piece(table))), strict=True):
            files[-1].with_suffix(f".{name}").write_bytes(content)
    sums = [summed.decoded(file.with_suffix(".sums"), file.with_suffix(".reads")) for file in files]
    if kept == "whole" and enough(depth, scopes):
        (folder / "whole").write_bytes(summed.encoded(whole.whole(sums))[0])
        found = of_whole(summed.decoded(folder / "whole"), depth, scopes)
        assert found or depth < summed.DEPTH, "so it is nearly always: one that asks for the folders there are has them"
        return found or added_up(sums, depth, scopes)
    if kept != "records" and enough(depth, scopes):
        return added_up(sums, depth, scopes)
    return added_up(summed.of_records(files, scopes.looked_at), depth, scopes)


def test_parts_are_not_held_open(tmp_path):
    """An archive has more parts than a process may open files."""
    for name, content in zip(("sums", "reads"), summed.encoded(summed.nothing()), strict=True):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "some").write_bytes(b"".join(n.to_bytes(8, "little") for n in (1, 2)) + bytes(8))
    before = len([*Path("/dev/fd").iterdir()])
    parts = [summed.decoded(tmp_path / "sums", tmp_path / name) for name in ("reads", "some") for _ in range(9)]
    assert len([*Path("/dev/fd").iterdir()]) == before
    assert [one.object.tolist() for one in parts] == [[]] * 9 + [[1, 2]] * 9
    assert parts[-1].cell.tolist() == [0, 0]


def sql(query: str, given_: list[Fact]) -> list[tuple[Any, ...]]:
    schema = pa.schema([(name, pa.int64() if name in ("time", "bytes") else pa.string()) for name in Fact._fields])
    known = KNOWN[: KNOWN.index("matching AS")].rstrip().rstrip(",").format(peers="''")
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("facts", pa.Table.from_pylist([fact._asdict() for fact in given_], schema))
        return connection.execute(f"WITH RECURSIVE {known} {query}").fetchall()


CELLS = r"""
    SELECT (SELECT shown FROM role_names n WHERE n.role = p.role), named, bucket,
        regexp_extract(key, '^(([^/]*/){{0,{depth}}})', 1) AS prefix,
        count(*), count(DISTINCT (bucket, key)) FILTER (api = 'GetObject' AND error IS NULL),
        coalesce(sum(bytes) FILTER (api = 'GetObject' AND error IS NULL), 0),
        count(*) FILTER (error = 'AccessDenied'),
        count(*) FILTER (api = 'PutObject' AND error IS NULL),
        count(*) FILTER (api = 'DeleteObject' AND error IS NULL), min(time), max(time)
    FROM people p GROUP BY role, named, bucket, prefix
"""


@quiet
@given(some, st.integers(0, 3), st.sampled_from([1, 1 << 24]), ways)
def test_cells_are_as_sql_counts_them(tmp_path, pieces, depth, held, kept):
    """Whatever the files, their row groups, and how many rows are held; by kept sums or not; one id is in one file."""
    pieces = [[fact._replace(id=f"{at}.{fact.id}") for fact in piece] for at, piece in enumerate(pieces)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "HELD", held)
        patch.setattr(whole, "ROWS", held)
        got = usage(pieces, tmp_path, depth, Scopes(), kept=kept)
    rows = [
        (r["role"], r["session_name"], r["bucket"], r["prefix"], r["requests"], r["objects"], r["bytes"], r["denied"],
         r["writes"], r["deletes"], int(r["first"].timestamp()), int(r["last"].timestamp()))
        for r in access(got).to_pylist()
    ]  # fmt: skip
    every = [fact for piece in pieces for fact in piece]
    wanted = sql(CELLS.format(depth=depth), every)
    assert sorted(map(repr, rows)) == sorted(map(repr, wanted))


@quiet
@given(some, ways)
def test_sources_sessions_and_keys_are_as_sql_counts_them(tmp_path, pieces, kept):
    pieces = [[fact._replace(id=f"{at}.{fact.id}") for fact in piece] for at, piece in enumerate(pieces)]
    got = usage(pieces, tmp_path, 2, Scopes(), kept=kept)
    every = [fact for piece in pieces for fact in piece]

    def side(name: str) -> list[str]:
        found = ((got.who[by].role_key, got.who[by].session_name, *rest, n) for (by, *rest), n, *_ in got.side(name))
        return sorted(map(repr, found))

    by = "SELECT role, named, {what}, count(*) FROM people {where} GROUP BY ALL"
    assert side("sources") == sorted(map(repr, sql(by.format(what="source_net", where=""), every)))
    lasting = "WHERE type = 'IAMUser' OR access_key LIKE 'AKIA%'"
    assert side("keys") == sorted(map(repr, sql(by.format(what="access_key", where=lasting), every)))
    [(count,)] = sql("SELECT count(DISTINCT (role, named, session)) FROM people", every)
    assert len(got.sides["sessions"].keys) == count if every else not count


@quiet
@given(some, st.booleans())
def test_who_leaves_his_scope_is_as_sql_says(tmp_path, pieces, whole_keys):
    """`contractor-42` may touch `42/`, in whatever spelling of the pattern; nobody else is asked."""
    pieces = [[fact._replace(id=f"{at}.{fact.id}") for fact in piece] for at, piece in enumerate(pieces)]
    pattern = "key='{id}/**' key='{id}/nothing-*'" if whole_keys else "key={id}/**"
    scopes = Scopes((scope_of(f"session_name=contractor-{{id}} {pattern}"),), owners(["{contractor}/**"]))
    assert scopes.looked_at == ("key" if whole_keys else "prefix")
    got = usage(pieces, tmp_path, 1, scopes, kept="records")
    every = [fact for piece in pieces for fact in piece]
    crossing = sum(row["requests"] for row in access(got).to_pylist() if row["out_of_scope"])
    query = "SELECT count(*) FROM people WHERE named LIKE 'contractor-%' AND NOT starts_with(key, named[12:] || '/')"
    assert [(crossing,)] == sql(query, every)
    owned = "key LIKE '%/%' AND key NOT LIKE '/%' AND api = 'GetObject' AND error IS NULL"
    query = f"""SELECT count(*) FROM (SELECT role, named FROM people WHERE {owned}
        GROUP BY ALL HAVING count(DISTINCT split_part(key, '/', 1)) > 1)"""
    for depth, kept in ((1, "parts"), (2, "whole")):
        by_sums = usage(pieces, tmp_path, depth, Scopes(owners=scopes.owners), kept=kept)
        assert sql(query, every) == [(len(several_owners(got)),)] == [(len(several_owners(by_sums)),)]


@pytest.mark.parametrize("kept", ["records", "whole"])
def test_a_scope_about_some_keys_looks_at_whole_keys(tmp_path, kept):
    """`where` may ask for what no folder tells: how a key ends."""
    where = {"session_name": ("contractor-*",), "key": ("**.wav",), "outcome": ("any",)}
    option = scope_of("session_name=contractor-{id} key={id}/**")
    rule = option.model_validate(option.model_dump(exclude_unset=True) | {"where": where})
    keys = ["42/a.wav", "43/a.wav", "43/a.txt"]
    piece = [Fact(**(PEOPLE[0] | {"id": f"i{at}", "key": key, "time": 1_777_636_800})) for at, key in enumerate(keys)]
    rows = access(usage([piece], tmp_path, 1, Scopes((rule,)), kept=kept)).to_pylist()
    assert [(row["prefix"], row["requests"]) for row in rows if row["out_of_scope"]] == [("43/", 1)]
