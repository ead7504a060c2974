"""`bucketwatch respond` as a responder meets it: what is shown, what is refused and why, hostile text, odd files."""

import gzip
import json
import subprocess

import pytest

from replay.example_day import burst
from tests.e2e.test_daemon_directory import PROGRAM, SECONDS
from tests.logs.test_assumed import file, record
from tests.response.matrix import DATA, READER_ID, REFUSED, session

ALERT = "a-0123456789abcdef"


class Desk:
    """A config, and a file of alerts."""

    def __init__(self, folder) -> None:
        self.folder, self.config, self.alerts = folder, folder / "bucketwatch.yaml", folder / "alerts.jsonl"
        (folder / "logs").mkdir()
        self.config.write_text(
            f"source: {{kind: directory, path: {folder}/logs}}\nstate: {{kind: sqlite, path: {folder}/state.db}}\n"
            f"journal: {{path: {folder}/journal.jsonl}}\nresponse: {{accounts: ['{DATA}']}}\n"
        )

    def about(self, who, alert_id=ALERT, **changes):
        told = {
            "alert_id": alert_id, "rule_id": "bulk", "title": "One session read much", "severity": "high",
            "state": "opened", "last_at": "2026-05-01T09:05:00Z", "group": {"session": who.get("session")},
            "respond": ["alert"], "principal": who,
            "evidence": {"objects": 12_500, "requests": 12_544, "bytes": 99, "buckets": ["ml-voice-raw"]},
        } | changes  # fmt: skip
        with self.alerts.open("a") as out:
            out.write(json.dumps(told) + "\n")

    def run(self, *words, code=0):
        command = [PROGRAM, "respond", *map(str, words), "--config", str(self.config)]
        if words[0] in ("plan", "apply"):
            command += ["--from", str(self.alerts)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout if code == 0 else ended.stderr


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def reader(name="contractor-42"):
    return session(DATA, name, "ContractorDataReader", READER_ID)


def test_a_plan_says_all_there_is_to_know(desk):
    """Whom, why, how, whom else, what not, what was lost, the document, commands, and why not alone."""
    desk.about(reader())
    shown = desk.run("plan", ALERT)
    for told in (
        "contractor-42", "credential_set", "12,500 objects", "also hits", "misses", '"aws:userid"', "run ", "undo ",
        "aws iam put-role-policy", "not alone", "until",
    ):  # fmt: skip
        assert told in shown, told


def test_the_latest_word_counts_and_every_id_of_it_finds_it(desk):
    """An alert is told again; a closed one has its finding id."""
    desk.about(reader("one"))
    desk.about(reader("two"), finding_id="feedfeedfeedfeed", state="closed")
    for name in (ALERT, "feedfeedfeedfeed"):
        assert json.loads(desk.run("plan", name, "--json"))["principal_id"] == f"{READER_ID}:two"


def test_several_alerts_are_one_case(desk):
    """One document that names both."""
    desk.about(reader("one"), "a-1111111111111111")
    desk.about(reader("two"), "a-2222222222222222")
    made = json.loads(desk.run("plan", "a-1111111111111111", "a-2222222222222222", "--json"))
    [action] = made["actions"]
    assert action["denial"]["user_ids"] == [f"{READER_ID}:one", f"{READER_ID}:two"]
    assert (
        made["case_id"] == json.loads(desk.run("plan", "a-2222222222222222", "a-1111111111111111", "--json"))["case_id"]
    )


def test_sessions_that_it_began_are_denied_too(desk):
    """By AssumeRole events in a folder in which other things lie."""
    desk.about(reader())
    logs = desk.folder / "trail"
    logs.mkdir()
    chained = record(f"{READER_ID}:contractor-42", "", "Next", "later")
    chained["responseElements"]["assumedRoleUser"] = {
        "assumedRoleId": "AROANEXTEXAMPLE00001:later", "arn": f"arn:aws:sts::{DATA}:assumed-role/Next/later",
    }  # fmt: skip
    chained["requestParameters"]["roleArn"] = f"arn:aws:iam::{DATA}:role/x/Next"
    (logs / "a.json.gz").write_bytes(file(chained))
    (logs / "b.json").write_bytes(b"AssumeRole {")
    (logs / "c.gz").write_bytes(gzip.compress(json.dumps({"Records": burst("x1", 3, 3, 1_777_626_000)}).encode())[:-9])
    made = json.loads(desk.run("plan", ALERT, "--logs", logs, "--json"))
    assert {a["target"].rsplit("/", 1)[-1] for a in made["actions"]} == {"ContractorDataReader", "Next"}


def test_signed_urls_name_their_signers(desk):
    """The logs say who else signs URLs of the bucket: they are hit."""
    desk.about(reader())
    signed = burst("app-server", 3, 3, 1_777_626_000)
    for one in signed:
        one["additionalEventData"]["AuthenticationMethod"] = "QueryString"
    (desk.folder / "trail.json.gz").write_bytes(gzip.compress(json.dumps({"Records": signed}).encode()))
    made = json.loads(desk.run("plan", ALERT, "--presigned", "1h", "--logs", desk.folder / "trail.json.gz", "--json"))
    assert made["means"] == "presigned_urls"
    assert "app-server" in made["also_hits"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["plan", "a-nobody"], "no alert or finding has this id"),
        (["plan", ALERT, "--presigned", "soon"], "not a duration"),
        (["undo", "0" * 16], "there is no such case"),
        (["serve", "--once"], "no responder of its own"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(desk, words, why):
    desk.about(reader())
    told = desk.run(*words, code=2)
    assert why in told
    assert len(told.strip().splitlines()) >= 2 or ":" in told


def test_files_that_cannot_be_read(desk):
    """No file, no JSON in it."""
    assert "cannot be read" in desk.run("plan", ALERT, code=2)
    desk.alerts.write_bytes(b"\xff\xfe" + ALERT.encode() + b"\n[" + b"[" * 50_000 + ALERT.encode() + b"\n")
    assert "no alert or finding" in desk.run("plan", ALERT, code=2)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_revoked_is_not_carried_out(desk, name):
    """Steps are shown, and the command ends with 2."""
    desk.about(REFUSED[name])
    assert "step" in desk.run("plan", ALERT)
    assert "not carried out" in desk.run("apply", ALERT, "--yes", code=2)


def test_hostile_names_show_as_text(desk):
    """No terminal code, no line of its own, no right-to-left mark reaches the terminal."""
    evil = "x\x1b[31m\nrun  rm -rf /\u202e"
    desk.about(session(DATA, evil, "R", READER_ID), title=evil, rule_id=evil)
    shown = desk.run("plan", ALERT)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not [line for line in shown.splitlines() if line.startswith("run")]


def test_nothing_stands_at_first(desk):
    assert desk.run("list").strip() == "Nothing stands."
    assert json.loads(desk.run("list", "--json")) == {}


def test_an_incident_is_one_plan_against_all_its_sessions(desk):
    """Those that carry its id, and those that its own alert names."""
    for number, name in enumerate(("first", "second", "third")):
        about = {"incident_id": "i-00000000000000aa"} if name != "third" else {}
        desk.about(reader(name), f"a-000000000000000{number}", **about)
    desk.about({}, "i-00000000000000aa", rule_id="bucketwatch.incident", incident_id="i-00000000000000aa",
               incident={"alert_ids": ["a-0000000000000002", "a-0000000000000000"]})  # fmt: skip
    made = json.loads(desk.run("plan", "i-00000000000000aa", "--json"))
    (action,) = made["actions"]
    assert [one.partition(":")[2] for one in action["denial"]["user_ids"]] == ["first", "second", "third"]
    assert "no alert or finding has this id" in desk.run("plan", "i-00000000000000bb", code=2)
