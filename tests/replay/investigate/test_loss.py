"""What was lost, held against SQL over the same Parquet: DuckDB shares no line of code with what adds it up here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from detector.core.access import Log, Outcome
from detector.core.owner import owners
from replay.columns import Piece
from replay.investigate import loss
from replay.investigate.loss import Shelf, Strands
from replay.investigate.scope import Question, scope
from replay.investigate.who import who
from replay.investigate.written import OBJECT, Folder
from tests.replay.investigate.archive import T0, Held, investigated, parts_of, row, session

THIEF = session("thief")
OBJECTS = """
    WITH mine AS (
        SELECT * FROM read_parquet($files) WHERE session = $who AND log <> 'access_audit' AND epoch(time) < $until
            AND key IS NOT NULL AND bucket IS NOT NULL AND operation IN ('read', 'copy', 'decrypt')
    )
    SELECT bucket, key,
        count(*) FILTER (operation = 'read' AND outcome = 'success') AS reads,
        count(*) FILTER (operation = 'copy' AND outcome = 'success') AS copies,
        count(*) FILTER (operation = 'decrypt' AND outcome = 'success') AS decrypts,
        count(*) FILTER (outcome = 'denied') AS denied,
        coalesce(sum(bytes) FILTER (operation = 'read' AND outcome = 'success'), 0) AS bytes,
        epoch(min(time) FILTER (outcome IN ('success', 'denied'))) AS first,
        epoch(max(time) FILTER (outcome IN ('success', 'denied'))) AS last,
        list_sort(list(DISTINCT version_id) FILTER (version_id IS NOT NULL AND outcome <> 'error')) AS versions,
        list_sort(list(DISTINCT source_ip) FILTER (source_ip IS NOT NULL AND outcome <> 'error')) AS source_ips,
        count(*) FILTER (version_id IS NULL AND operation <> 'decrypt' AND outcome = 'success') AS nameless
    FROM mine GROUP BY bucket, key HAVING reads + copies + decrypts > 0 ORDER BY bucket, key
"""
OWNERS = """
    SELECT regexp_extract(key, '^([^/]+)/', 1) AS owner, count(*) AS objects FROM (
        SELECT DISTINCT bucket, key FROM read_parquet($files)
        WHERE session = $who AND log <> 'access_audit' AND outcome = 'success' AND key IS NOT NULL
            AND bucket IS NOT NULL AND operation IN ('read', 'copy', 'decrypt') AND epoch(time) < $until
    ) WHERE key LIKE '_%/%' GROUP BY owner
"""
records_ = st.builds(
    row,
    st.sampled_from(["thief", "thief", "other", "Staff/s"]),
    st.integers(0, 50),
    st.sampled_from(["c-1/a", "c-1/b", "c-2/a", "plain", "=c/x", "c-\u202e/y", None]),
    st.sampled_from(["read", "read", "copy", "decrypt", "list", "head"]),
    bucket=st.sampled_from(["ml-voice", "ml-face", None]),
    outcome=st.sampled_from([Outcome.success, Outcome.success, Outcome.denied, Outcome.error]),
    bytes=st.sampled_from([0, 1, 4096]),
    version_id=st.sampled_from([None, "v1", "v2"]),
    source_ip=st.sampled_from(["10.0.0.1", "10.0.0.2", None]),
    log=st.sampled_from([Log.cloudtrail, Log.cloudtrail, Log.server_access, Log.access_audit]),
    status=st.sampled_from([-1, 200, 206]),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(records_, min_size=1, max_size=40), st.booleans(), st.sampled_from([1, 20, 1000]))
def test_objects_bytes_times_and_owners_are_what_sql_says(rows, in_parts, until):
    """Whatever the records and their order, in one part or in several that were put away in between.

    And wherever the period ends: within what the index tells of together, too.
    """
    rows = [row("thief", 0, "c-9/z"), *rows]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if in_parts:
            patch.setattr(loss, "MERGED", 2)
            patch.setattr("replay.investigate.scope.PART", 4)
        kept, out = parts_of(Path(folder), rows), Held()
        told = scope(kept, Question(who(THIEF), THIEF, owners(["{contractor}/**"]), until=T0 + until), out)
        asked = {"files": [str(part.records) for part in kept], "who": THIEF, "until": T0 + until}
        wanted = duckdb.execute(OBJECTS, asked).fetchall()
        by_owner = duckdb.execute(OWNERS, asked).fetchall()
    names = ("bucket", "key", "reads", "copies", "decrypts", "denied", "bytes", "first", "last", "versions",
             "source_ips", "nameless")  # fmt: skip
    got = [
        tuple(one[name].timestamp() if name in ("first", "last") else one[name] for name in names)
        for _, one in sorted(out.lost.items())
    ]
    assert got == [tuple(value or [] if at in (9, 10) else value for at, value in enumerate(one)) for one in wanted]
    assert (told["objects"], told["bytes"]) == (len(wanted), sum(one[6] for one in wanted))
    assert sorted((one["owner"], one["objects"]) for one in told["owners"]["shown"]) == sorted(by_owner)
    assert told["owners"]["count"] == len(by_owner)
    assert told["owners"]["objects_without"] == len(wanted) - sum(count for _, count in by_owner)


def test_every_object_has_its_own_lists(tmp_path):
    """However many objects there are: who read each, from where, and for which reason it is in the loss."""
    rows = [row(f"s{at}", at, f"c-1/{at}", version_id=f"v{at}", source_ip=f"10.0.0.{at % 250}") for at in range(500)]
    rows += [row(f"s{at}", at, f"c-1/no-{at}", outcome=Outcome.denied) for at in range(0, 500, 7)]
    told, out = investigated(tmp_path, rows, "arn:aws:iam::111122223333:role/x/Reader")
    names = ("sessions", "versions", "source_ips")
    assert {key: [one[name] for name in names] for (_, key), one in out.lost.items()} == {
        f"c-1/{at}": [[session(f"s{at}")], [f"v{at}"], [f"10.0.0.{at % 250}"]] for at in range(500)
    }
    assert told["only_asked_for"] == 72


def test_every_record_of_whom_it_is_about_is_handed_out(tmp_path):
    rows = [row("thief", at, f"k{at}", one) for at, one in enumerate(["read", "list", "head", "write", "copy"])]
    _, out = investigated(tmp_path, [*rows, row("other", 3, source_ip="10.0.0.1")], THIEF)
    assert out.taken == {one.event_id: "who" for one in rows}


def test_a_person_s_row_counts_distinct_objects_and_names_the_keys_used(tmp_path):
    rows = [row("thief", 0), row("thief", 1, access_key="ASIASECOND"), row("thief", 2, "b", outcome=Outcome.denied)]
    _, out = investigated(tmp_path, rows, THIEF)
    [one] = out.everybody
    assert (one["objects"], one["requests"], one["refused"]) == (1, 3, 1)
    assert one["access_keys"] == ["ASIAREADERTHIEF", "ASIASECOND"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=40), st.sampled_from([1, 1000]))
def test_of_many_folders_those_with_most_objects_are_told(objects, held):
    """And all that are like the last of them, which others may tell apart; whatever was added up in between."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "MERGED", held)
        tally = loss.Tally(("prefix",), ("objects", "bytes"))
        for folder, size in objects:
            one = {"prefix": [f"c-{folder}/"], "objects": [1], "bytes": [size]}
            tally.take(
                Piece(pa.table(one | {name: pa.array([T0], pa.timestamp("s", "UTC")) for name in ("first", "last")}))
            )
    sums = {f"c-{at}/": [sum(one == at for one, _ in objects), sum(size for one, size in objects if one == at)]
            for at, _ in objects}  # fmt: skip
    third = sorted(sums.values(), reverse=True)[:3][-1]
    told = {row["prefix"]: [row["objects"], row["bytes"]] for row in tally.most(("objects", "bytes"), 3)}
    assert told == {name: figures for name, figures in sums.items() if figures >= third}
    assert len(tally) == len(sums)


def test_refused_objects_are_beside_the_lost_ones(tmp_path):
    """Nothing of them left; what was tried is told with its error."""
    rows = [row("thief", 0), row("thief", 1, "b", outcome=Outcome.denied, error_code="AccessDenied")]
    told, out = investigated(tmp_path, rows, THIEF)
    assert (told["objects"], told["only_asked_for"], len(out.lost)) == (1, 1, 1)
    assert [(one["bucket"], one["error_code"], one["refused"]) for one in told["denied"]] == [
        ("ml-voice", "AccessDenied", 1)
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"operation": "copy", "destination": "d"}, "copies"),
        ({"operation": "decrypt"}, "decryption only"),
        ({"version_id": None}, "which version"),
        ({}, "whether all of an object was sent"),
        ({"status": 206}, "in ranges only"),
        ({"log": Log.server_access}, "best effort"),
    ],
)
def test_what_the_logs_cannot_show_is_said(tmp_path, more, said):
    told, _ = investigated(tmp_path, [row("thief", 0, **more)], THIEF)
    assert any(said in text for text in told["cannot_show"])


def test_what_is_known_is_not_called_unknown(tmp_path):
    """A whole read of a known version by an owner that the pattern names leaves the one limit that always holds."""
    rows = [row("thief", 0, version_id="v1", status=200, log=Log.server_access)]
    told, _ = investigated(tmp_path, rows, THIEF, owners=owners(["{contractor}/**"]))
    assert len(told["cannot_show"]) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"auth": "query"}, "pre-signed URL, AWS CLI"),
        ({"user_agent": "S3Console/0.4, aws-internal/3 aws-sdk-java/1.12"}, "console"),
        ({"user_agent": "Boto3/1.38.6 md/Botocore#1.38.6"}, "SDK for Python"),
        ({"user_agent": "athena.amazonaws.com"}, "AWS service"),
        ({"user_agent": None}, "client not shown"),
        ({"user_agent": "=cmd|' /C calc'!A0"}, "another client"),
    ],
)
def test_how_it_was_read(tmp_path, more, words):
    told, out = investigated(tmp_path, [row("thief", 0, **more)], THIEF)
    assert [one["how"] for one in told["how"]] == out.lost["ml-voice", "c-1/a.wav"]["how"] == [words]


def test_keys_leave_as_far_as_they_may(tmp_path):
    """Owners are named all the same: whom to notify is what it is for."""
    rows = [row("thief", 0, "c-1/secret.wav")]
    for how, key in (("prefix", "c-1/"), ("hash", "xxh64:")):
        told, out = investigated(tmp_path, rows, THIEF, owners=owners(["{contractor}/**"]), redact=how)
        assert all(one.startswith(key) and "secret" not in one for _, one in out.lost)
        assert "secret" not in str([table.to_pylist() for table in out.event_tables])
        assert "secret" not in str(told)
        assert told["owners"]["shown"][0]["owner"] == "c-1"


@pytest.mark.parametrize("part", [1, 1000])
def test_where_nothing_left_the_file_of_objects_has_its_columns_all_the_same(tmp_path, monkeypatch, part):
    """Whoever only listed took nothing; a script reads no other file than usual."""
    monkeypatch.setattr("replay.investigate.scope.PART", part)
    kept = parts_of(tmp_path, [row("thief", at, None, "list") for at in range(5)])
    (tmp_path / "out").mkdir()
    with Folder(tmp_path / "out") as folder:
        assert scope(kept, Question(who(THIEF), THIEF), folder)["objects"] == 0
    found = parquet.read_table(tmp_path / "out" / "objects.parquet")
    assert (found.num_rows, found.column_names) == (0, list(OBJECT))


def test_strands_of_one_object_are_in_one_part(tmp_path):
    """However often they are put away in between."""
    put: dict[int, list] = {}
    shelf = Shelf(lambda part, table: put.setdefault(part, []).append(table), lambda part: put.get(part, []))
    strands, out = Strands(5, shelf), Held()
    scope(parts_of(tmp_path, [row("thief", at, f"k{at % 7}") for at in range(50)]), Question(who(THIEF), THIEF), out)
    for table in out.event_tables:
        some = loss.prepared(table)
        strands.take(some, loss.where(some, "strand"))
    keys = [part.objects["key"].to_pylist() for part in strands.finish()]
    assert len(keys) > 1
    assert sorted(key for part in keys for key in part) == [f"k{number}" for number in range(7)]


def test_what_is_put_away_in_a_folder_comes_back(tmp_path, monkeypatch):
    """Parquet keeps other units of time than memory does; the objects are the same."""
    rows = [row("thief", at, f"k{at % 9}", version_id=f"v{at % 2}") for at in range(60)]
    kept, wanted = parts_of(tmp_path, rows), Held()
    scope(kept, Question(who(THIEF), THIEF), wanted)
    monkeypatch.setattr(loss, "MERGED", 2)
    monkeypatch.setattr("replay.investigate.scope.PART", 10)
    monkeypatch.setattr("replay.investigate.select.TOGETHER", 5)
    (tmp_path / "out").mkdir()
    with Folder(tmp_path / "out") as folder:
        scope(kept, Question(who(THIEF), THIEF), folder)
        assert any(folder._put_away.iterdir())
    got = parquet.read_table(tmp_path / "out" / "objects.parquet").sort_by("key").to_pylist()
    assert got == [{name: one[name] for name in OBJECT} for _, one in sorted(wanted.lost.items())]
    assert parquet.read_metadata(tmp_path / "out" / "events.parquet").num_rows == 60
