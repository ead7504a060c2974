"""What history and people teach the daemon: taken up once, by the very rule, and journalled."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from detector.core.verdict import Verdict, decode, encode, verdict_on
from detector.drain import Drain
from detector.errors import InputError
from detector.learnt import Learnt
from detector.learnt import decode as decode_learnt
from detector.learnt import encode as encode_learnt
from detector.local.files import FolderFiles
from detector.local.sqlite import SqliteState
from detector.teaching import Teaching
from tests.records import assumed_role, file_of, record

PROGRAM = Path(sys.executable).with_name("bucketwatch")
RULES = """
rules:
  - id: usual
    title: A role reads more than it usually does
    severity: high
    kind: baseline
    where: {operation: read}
    learn_role_days: 5
  - id: many
    title: Three objects in a minute
    severity: high
    kind: threshold
    where: {operation: read}
    measure: objects
    window: 1m
    threshold: 3
"""
CONFIG = """
source: {{kind: directory, path: {folder}/logs}}
rules: {folder}/rules.yaml
learnt: {folder}/learnt
state: {{kind: sqlite, path: {folder}/state.db}}
alerts: [{{kind: file, path: {folder}/alerts.jsonl}}]
journal: {{path: {folder}/journal.jsonl}}
"""
FINDING = {
    "rule_id": "usual", "finding_id": "f1", "alert_id": "a-1", "opened_at": "2026-05-01T09:00:00Z",
    "last_at": "2026-05-01T09:04:59Z", "peak_value": 4.25, "group": {"role": "Reader"},
    "evidence": {"prefixes": ["raw/"]}, "baseline": {"new_in": [["ml/raw/de/", 9]], "from": [["192.0.2.0/24", 9]]},
}  # fmt: skip


def bucketwatch(*arguments, code=0):
    command = [PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def day(number, role="Reader", count=4):
    """A log file of a day: a role's reads, five minutes apart."""
    issuer = {"type": "Role", "principalId": f"AROA{role}", "arn": f"arn:aws:iam::111122223333:role/{role}"}
    context = assumed_role()["sessionContext"] | {"sessionIssuer": issuer | {"accountId": "111122223333"}}
    who = assumed_role(
        principalId=f"AROA{role}:x", arn=f"arn:aws:sts::111122223333:assumed-role/{role}/x", sessionContext=context
    )
    times = [f"2026-05-{number:02d}T{9 + n // 12:02d}:{n % 12 * 5:02d}:00Z" for n in range(count)]
    reads = [record(eventID=f"{role}-{at}", eventTime=at, userIdentity=who) for at in times]
    return gzip.compress(file_of(reads))


@pytest.fixture
def taught(tmp_path):
    """A folder with rules, config, a history of nine days and what was learned from it."""
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "history").mkdir()
    for number in range(1, 10):
        (tmp_path / f"history/{number}.json.gz").write_bytes(day(number))
    learnt = ("--learn", tmp_path / "learnt")
    bucketwatch("replay", tmp_path / "history", "--rules", tmp_path / "rules.yaml", "--out", tmp_path / "out", *learnt)
    return tmp_path


def journalled(folder, kind):
    entries = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [entry["body"] for entry in entries if entry["kind"] == kind]


def run(folder):
    return bucketwatch("watch", "--config", folder / "config.yaml", "--until-idle", "0.5")


def learning(folder):
    """The model's part of the checkpoint, if it has one."""
    store = SqliteState(folder / "state.db")
    try:
        return store.load().get("model/usual")
    finally:
        store.close()


def test_a_daemon_goes_on_from_what_was_learned_before(taught):
    """The rule does not have to learn anew; what it knows is in the checkpoint, and is taken up once only."""
    run(taught)
    [told] = journalled(taught, "learnt")
    assert told["rule"] == "usual"
    learnt = decode_learnt((taught / "learnt").read_bytes(), "x")
    assert learning(taught) == learnt.parts["model/usual"]
    run(taught)
    assert len(journalled(taught, "learnt")) == 1


def test_history_then_daemon_is_what_one_long_replay_learns(taught):
    """Learned, taken up, and gone on with: byte for byte what a replay of all of it has learned."""
    (taught / "logs/10.json.gz").write_bytes(day(10, count=6))
    bucketwatch("watch", "--config", taught / "config.yaml", "--until-idle", "0.5", "--close")
    (taught / "history/10.json.gz").write_bytes(day(10, count=6))
    bucketwatch(
        "replay",
        taught / "history",
        "--rules",
        taught / "rules.yaml",
        "--out",
        taught / "again",
        "--learn",
        taught / "all",
    )
    assert learning(taught) == decode_learnt((taught / "all").read_bytes(), "x").parts["model/usual"]


def test_what_another_wording_of_the_rule_learned_is_refused(taught):
    """It counts something else: it begins empty, and that is said."""
    (taught / "rules.yaml").write_text(RULES.replace("where: {operation: read}", "where: {operation: write}", 1))
    said = run(taught)
    assert "learnt_refused" in said.stderr
    assert journalled(taught, "learnt") == []


@pytest.mark.parametrize(
    "harm", [lambda data: b"", lambda data: b"BWln", lambda data: data[:-1], lambda data: data[:20] + b"\0" + data[21:]]
)
def test_a_damaged_file_is_the_users_mistake(taught, harm):
    data = (taught / "learnt").read_bytes()
    (taught / "learnt").write_bytes(harm(data))
    said = bucketwatch("watch", "--config", taught / "config.yaml", "--until-idle", "0.5", code=2)
    assert "--learn FILE" in said.stderr


def test_what_is_written_is_read():
    learnt = Learnt({"usual": "d"}, 5, {"model/usual": b"x"})
    assert decode_learnt(encode_learnt(learnt), "x") == learnt
    with pytest.raises(InputError):
        decode_learnt(b"BWbl" + encode_learnt(learnt)[4:], "x")


def test_a_verdict_is_journalled_once_with_its_effect(taught):
    """From the command line to the journal, over a restart; by finding_id or alert_id, out of the journal itself."""
    objects = [[{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::b/{n}"}] for n in range(4)]
    reads = [record(eventID=f"e{n}", resources=one) for n, one in enumerate(objects)]
    (taught / "logs/a.json.gz").write_bytes(gzip.compress(file_of(reads)))
    run(taught)
    [alert] = [json.loads(line) for line in (taught / "alerts.jsonl").read_text().splitlines()]
    config = ("--config", taught / "config.yaml")
    said = bucketwatch("feedback", alert["alert_id"], "benign", "--reason", "a test", *config).stdout
    assert "benign: many" in said
    run(taught)
    run(taught)
    [told] = journalled(taught, "verdict")
    assert (told["verdict"], told["rule_id"], told["reason"]) == ("benign", "many", "a test")
    assert told["effect"] == "nothing: this rule learns nothing from verdicts"


@pytest.mark.parametrize(("words", "told"), [
    (("a-1", "maybe", "--reason", "x"), "expected true or benign"),
    (("a-1", "true", "--reason", " "), "expected a reason"),
    (("a-1", "true", "--reason", "x"), "cannot be read"),
])  # fmt: skip
def test_mistakes_of_whoever_says_so_are_told(tmp_path, words, told):
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path).replace(f"learnt: {tmp_path}/learnt", ""))
    assert told in bucketwatch("feedback", *words, "--config", tmp_path / "config.yaml", code=2).stderr


def test_a_verdict_knows_where_and_from_where():
    """What a benign finding makes known: what the model named, else what the evidence shows."""
    verdict = verdict_on(FINDING, "benign", "r", "me", 9)
    assert verdict is not None
    assert (verdict.prefixes, verdict.networks) == (("ml/raw/de/",), ("192.0.2.0/24",))
    assert decode(encode(verdict)) == verdict
    plain = verdict_on({**FINDING, "baseline": None}, "true", "r", "me", 9)
    assert plain is not None
    assert plain.prefixes == ("raw/",)


@pytest.mark.parametrize(
    "finding", [{}, {**FINDING, "opened_at": "x"}, {**FINDING, "group": {"role": 3}}, {**FINDING, "peak_value": "1"}]
)
def test_no_verdict_on_what_is_no_finding(finding):
    assert verdict_on(finding, "true", "r", "me", 9) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"verdict": "perhaps"}'])
def test_what_is_no_verdict_is_said_and_left(tmp_path, data):
    """Anybody who may write there may write anything; the daemon goes on and does not look at it again."""
    files, said, marked = FolderFiles(tmp_path), [], []

    class Engine:
        def mark(self, verdict):
            marked.append(verdict)
            return "done"

    files.put("a.json", data)
    files.put("b.json", encode(verdict_on(FINDING, "true", "r", "me", 9)))  # type: ignore[arg-type]
    teaching = Teaching(files, None, note=lambda *_: None, say=lambda event, **_: said.append(event), drain=Drain())
    for now in (100, 130, 170):
        teaching.work(Engine(), now)  # type: ignore[arg-type]
    assert said == ["verdict_unreadable", "verdict"]
    assert [type(one) for one in marked] == [Verdict]
    assert msgspec.msgpack.decode(teaching.changes()["verdicts"] or b"") == ["a.json", "b.json"]
