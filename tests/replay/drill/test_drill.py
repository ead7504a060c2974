"""`bucketwatch drill` from end to end: in the user's logs, in a generated organisation, as files."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from detector.cli import app
from detector.core.access import COLUMNS
from detector.decoy.registry import Decoy, Plan, encode
from detector.errors import InputError
from detector.logs.identity import named
from detector.rules import load_rules, shipped
from replay.drill.calls import LogFile, write
from replay.drill.decoys import planned, standing
from replay.drill.organisation import Shape
from replay.drill.own import OwnLogs, identity_of
from replay.drill.run import Generated, drill
from replay.drill.thefts import KINDS, kind
from replay.example_day import Organisation, burst, smash_and_grab
from replay.run import run
from tests.real_logs import REAL_LOGS, needs_real_logs

DAY = 1_777_593_600  # 2026-05-01


def ran(*arguments):
    return CliRunner().invoke(app, ["drill", *map(str, arguments)])


def drilled(*arguments):
    result = ran(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Five hours of the demo's organisation, as files."""
    from datetime import date

    folder = tmp_path_factory.mktemp("own")
    files = (f for f in Organisation(4, day=date(2026, 5, 1)).files() if 9 <= f.delivered_at % 86_400 // 3600 < 14)
    write(folder, files)
    return folder


class TestOwnLogs:
    def test_a_theft_uses_what_is_in_the_logs(self, own):
        """Real bucket, real prefixes, a real session's role; and the fixed rule catches it."""
        done = drilled(own, "--kind", "smash_and_grab")
        (theft,) = done["thefts"]
        assert theft["caught_by"].startswith("bulk-object-read-")
        assert theft["objects"] == 20_000
        assert 10_000 <= theft["objects_lost"]["at once"] <= theft["objects_lost"]["EventBridge"] <= 20_000
        assert theft["objects_lost"]["EventBridge"] <= theft["objects_lost"]["S3"]
        assert done["pages_without_a_theft"] == []
        stage = OwnLogs([str(own)])
        identities = [victim.who.of(DAY << 16).identity for victim in stage.scene(1).victims]
        roles = {one["sessionContext"]["sessionIssuer"]["arn"] for one in identities if "sessionContext" in one}
        assert set(theft["roles"]) <= roles

    def test_the_same_arguments_give_the_same_answer(self, own):
        arguments = (own, "--kind", "copy_out", "--kind", "drip", "--seed", "3")
        assert drilled(*arguments) == drilled(*arguments)

    def test_the_logs_are_not_touched(self, own):
        before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
        drilled(own, "--kind", "fan_out")
        assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before

    def test_records_come_in_order_and_all_of_them(self, own):
        """Whatever the order of the files: nothing is late by more than a delivery takes."""
        arrivals = list(OwnLogs([str(own)]).arrivals(COLUMNS))
        assert [a.at for a in arrivals] == sorted(a.at for a in arrivals)
        assert sum(len(a.batch) for a in arrivals) == run([str(own)], []).summary["records"]
        assert all(60 <= int(a.at - a.batch.time.max()) <= 360 for a in arrivals)

    def test_an_identity_read_back_is_the_same(self, own):
        for victim in OwnLogs([str(own)]).scene(1).victims:
            identity = victim.who.of(DAY << 16).identity
            who, _ = named(msgspec.json.encode(identity))
            assert identity_of(who, DAY) == {k: v for k, v in identity.items() if v is not None}

    @needs_real_logs
    def test_every_kind_in_real_logs(self):
        """OTRF's: one service account that reads a few objects. Each kind is planted, and nothing fails."""
        folder = REAL_LOGS / "cloudtrail" / "otrf"
        done = drilled(folder)
        assert [theft["kind"] for theft in done["thefts"]] == list(KINDS)
        smash = done["thefts"][0]
        assert smash["caught_by"] in ("bulk-object-read-role", "bulk-object-read-session")

    def test_logs_without_reads_are_refused(self, tmp_path):
        (record,) = burst("somebody", 1, 1, DAY)
        record = record | {"eventName": "PutObject"}
        write(tmp_path, [LogFile("a.json.gz", DAY, [record])])
        result = ran(tmp_path)
        assert isinstance(result.exception, InputError)
        assert "nobody reads objects" in str(result.exception)

    def test_what_is_no_log_is_refused(self, tmp_path):
        (tmp_path / "notes.txt").write_text("milk, eggs")
        assert isinstance(ran(tmp_path / "notes.txt").exception, InputError)
        assert isinstance(ran(tmp_path / "nothing").exception, InputError)


class TestGenerated:
    def test_a_new_kind_is_a_function(self, monkeypatch):
        """Entered by a decorator, drilled like the others."""
        monkeypatch.setattr("replay.drill.thefts.KINDS", dict(KINDS))
        known = dict(KINDS)

        @kind("the same again")
        def smash_twice(scene, at):
            yield from known["smash_and_grab"].steal(scene, at)

        done = drill(Generated(1, Shape(12, 3)), load_rules(shipped()), ["smash_twice"], 1)
        KINDS.pop("smash_twice", None)
        (one,) = done.caught
        assert one.theft.kind == "smash_twice"
        assert one.first

    def test_table_and_scorecard(self, tmp_path):
        result = ran("--roles", 12, "--days", 3, "--kind", "smash_and_grab", "--scorecard", "--out", tmp_path)
        assert result.exit_code == 0, result.output
        assert "1 of 1 thefts caught" in result.output
        assert "bulk-object-read-role" in result.output
        assert (tmp_path / "drill.md").read_text() == result.output
        assert json.loads((tmp_path / "drill.json").read_text())["thefts"][0]["kind"] == "smash_and_grab"

    def test_an_unknown_kind_is_the_users_mistake(self):
        result = ran("--kind", "teleport")
        assert isinstance(result.exception, InputError)
        assert "no kind of theft is called 'teleport'" in str(result.exception)

    def test_kinds_are_listed(self):
        listed = ran("--list").output
        assert all(name in listed for name in KINDS)


class TestFiles:
    def test_a_written_drill_is_found_by_replay(self, tmp_path):
        """The files of a sample, through replay: the thief's session is in its findings, with its objects."""
        result = ran("--roles", 12, "--days", 2, "--kind", "smash_and_grab", "--write", tmp_path)
        assert result.exit_code == 0, result.output
        (label,) = json.loads((tmp_path / "labels.json").read_text())
        found = run([str(tmp_path / "logs")], load_rules(shipped()))
        mine = [f for f in found.findings if f.rule_id == "bulk-object-read-role"]
        assert [f.principal["role"] for f in mine] == label["roles"]
        assert found.summary["rejected"]["count"] == 0
        assert label["objects"] == 20_000

    def test_of_own_logs_only_the_thieves_part_is_written(self, own, tmp_path):
        assert ran(own, "--kind", "copy_out", "--write", tmp_path).exit_code == 0
        summary = run([str(tmp_path / "logs")], []).summary
        (label,) = json.loads((tmp_path / "labels.json").read_text())
        assert summary["access_events"] == label["objects"]


def test_the_demo_and_the_drill_use_one_writer():
    """A theft of the demo is one of the files' kind too: the labels agree with what replay counts."""
    from datetime import date

    assert smash_and_grab(1, day=date(2026, 5, 1), objects=1_000).theft.objects == 1_000


class TestDecoys:
    @pytest.fixture
    def rules(self):
        """The shipped rule of decoys, with three in every folder of a small organisation."""
        stock = Generated(1, Shape(12, 3)).scene(1).stock
        return standing([rule for rule in load_rules(shipped()) if rule.kind == "decoy"], planned(stock))

    def test_who_reads_a_folder_as_listed_meets_them(self, rules):
        """A theft of whole folders is found by the rule of decoys; the first decoy met is the alert."""
        done = drill(Generated(1, Shape(12, 3)), rules, ["smash_and_grab", "presigned_leak"], 1)
        smash, leak = done.caught
        assert smash.first["decoy-taken"].sent_at - smash.theft.started_at < 900
        assert not leak.first  # URLs leaked one by one name real objects

    def test_they_lie_in_the_folders_and_are_no_object_that_is_there(self, rules):
        stock = Generated(1, Shape(12, 3)).scene(1).stock
        folders = {f"s3://{place.bucket}/{place.prefix}": place for place in stock}
        for uri in rules[0].decoys[:-1]:
            folder = uri.rpartition("/")[0] + "/"
            if folder in folders:
                assert uri.removeprefix(folder) not in {folders[folder].key(n).rpartition("/")[2] for n in range(50)}
        assert sum(uri.rpartition("/")[0] + "/" in folders for uri in rules[0].decoys) == 3 * len(stock)

    def test_a_registry_is_taken(self, own, tmp_path):
        """`--decoys`: one decoy in a folder that a thief of these logs reads whole."""
        places = OwnLogs([str(own)]).scene(1).stock
        decoys = tuple(Decoy(place.bucket, place.key(7) + "x", 1, "0", "0", state="planted") for place in places)
        (tmp_path / "a.json").write_bytes(encode(Plan(name="a", made_at="2026-05-01T00:00:00Z", decoys=decoys)))
        done = drilled(own, "--kind", "drip", "--decoys", tmp_path)
        assert "decoy-taken" in done["thefts"][0]["rules"]
