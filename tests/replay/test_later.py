"""What later passes read: kept records or log files, the result is the same, and what is kept is not read again."""

from __future__ import annotations

import json

import pytest

import replay.later
import replay.reader
import replay.run
from detector.core.rulefile import read_rules
from detector.errors import EdgeError
from replay.example_day import burst
from replay.options import Options
from tests.records import NINE, file_of

RULES = """
rules:
  - {id: bulk, title: Bulk, severity: high, kind: threshold, where: {operation: read}, group_by: session,
     measure: objects, window: 24h, threshold: 20}
  - {id: many, title: Many, severity: medium, kind: threshold, where: {operation: read}, group_by: session,
     measure: requests, window: 5m, threshold: 50}
"""
MODEL = """
  - {id: model, title: Model, severity: low, kind: baseline, where: {operation: read}, group_by: role,
     alert_budget: 1 per day per 1000 principals}
"""
FILES = 8
OTHER = {"bucketName": "other", "key": "raw/of-another-name"}


@pytest.fixture
def logs(tmp_path):
    """Two sessions from one network over all files, two to a batch. Of some records a differing copy comes later."""
    made = [
        one for name, address in (("a", "203.0.113.5"), ("b", "203.0.113.6")) for one in burst(name, 160, 160, NINE,
        address=address)
    ]  # fmt: skip
    for number in range(FILES):
        earlier = made[(number - 2) % FILES :: FILES][:8]
        copies = [one | {"requestParameters": OTHER, "resources": []} for one in earlier] if number > 1 else []
        (tmp_path / f"{number}.json").write_bytes(file_of([*made[number::FILES], *copies]))
    return tmp_path


@pytest.fixture
def replayed(logs, monkeypatch):
    """Replays these logs by rules, with room for so much; gives what was found, what was kept, and the files opened."""
    monkeypatch.setattr("replay.reader.CHUNK_FILES", 2)

    def run(rules=RULES, room=replay.later.ROOM, jobs=1, tmp=None):
        options = Options(jobs=jobs, now=NINE, tmp=tmp)
        made, opened, later, content = [], [], replay.later.Later, replay.reader._content
        with monkeypatch.context() as patch:
            patch.setattr("replay.later.ROOM", room)
            patch.setattr("replay.run.Later", lambda *given: made.append(later(*given)) or made[-1])
            patch.setattr("replay.reader._content", lambda file: opened.append(file.name) or content(file))
            result = replay.run.run([str(logs)], read_rules({"r.yaml": rules}), options)
        del result.summary["wall_seconds"]
        told = [one.to_json() for one in (*result.findings, *result.incidents)]
        kept = [file.size for one in made for file in one.files if file.path.parent != logs]
        return json.dumps([told, result.summary]), kept, len(opened)

    run()  # from now on this process knows who is in the logs, and packs them alike
    return run


def test_what_is_kept_changes_nothing_and_spares_reading(replayed):
    """All of it, some or none; where copies have the records counted twice; by two processes."""
    whole, kept, opened = replayed()
    assert len(kept) == FILES // 2
    assert json.loads(whole)[1]["duplicates_differing"]
    assert opened == 2 * FILES  # counted twice
    some, held, more = replayed(room=sum(kept[:2]) + 1)
    assert (some, held, more > opened) == (whole, kept[:2], True)
    none, held, most = replayed(room=0)
    assert (none, held, most > more) == (whole, [], True)
    assert replayed(jobs=2)[:2] == (whole, kept)


@pytest.mark.parametrize(
    "rules", [RULES.replace("objects", "requests"), RULES.replace("24h", "5m"), RULES.replace("24h", "5m") + MODEL]
)
def test_nothing_is_kept_where_a_second_pass_is_cheaper(replayed, rules):
    """Rules that do not look at keys would have to read them; those of short windows have few files read again, and so
    has the model.
    """
    told, kept, _ = replayed(rules)
    assert json.loads(told)[0]
    assert kept == []


def test_parcels_take_a_quarter_of_what_is_free_together(replayed, monkeypatch):
    """So much room that each by itself would take less; and so little that none does."""
    whole, kept, _ = replayed()
    monkeypatch.setattr("replay.scratch.Scratch.free", lambda _: 5 * max(kept))
    assert replayed()[:2] == (whole, kept[:1])
    monkeypatch.setattr("replay.scratch.Scratch.free", lambda _: 1000)
    assert replayed()[:2] == (whole, [])


@pytest.mark.parametrize("name", ["missing", "a-file"])
def test_where_nothing_can_be_written_nothing_is_kept(replayed, tmp_path_factory, name):
    """It is there to spare CPU: no replay fails for it."""
    folder = tmp_path_factory.mktemp("tmp")
    (folder / "a-file").touch()
    assert replayed(tmp=folder / name)[:2] == (replayed()[0], [])


def test_what_somebody_tidied_away_is_told(replayed, monkeypatch):
    """Its place, and what to do."""
    held = replay.later.Later.how.fget

    def tidied(later):
        for file in later.files:
            file.path.unlink()
        return held(later)

    monkeypatch.setattr("replay.later.Later.how", property(tidied))
    with pytest.raises(EdgeError, match="cannot be read") as caught:
        replayed()
    assert "--tmp" in caught.value.remedy
