"""`bucketwatch review`, as it is run: its files agree, name what is to be named, and hold hostile text."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from detector.cli import app
from detector.core.redaction import hashed
from detector.errors import InputError
from replay import access_review
from replay.cache import parts
from replay.review import usage
from tests.browser import browser, opened
from tests.sql_oracle import ACCOUNT, Fact, record

__all__ = ["browser"]

HOSTILE = '=cmd|"\u202e\x1b[31m<script>alert(1)</script>'
CUT = HOSTILE.partition("/")[0]
DAY = 86_400
START = 1_777_636_800


def who(name: str, role: str = "Vendors", unique: str = "AROAVENDORS") -> dict[str, Any]:
    return {
        "principal_id": f"{unique}:{name}",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
        "issuer_arn": f"arn:aws:iam::{ACCOUNT}:role/vendors/{role}",
    }


USER = {"type": "IAMUser", "principal_id": "AIDA1", "arn": f"arn:aws:iam::{ACCOUNT}:user/ci", "access_key": "AKIACI",
        "issuer_arn": None}  # fmt: skip
NOBODY = {"type": "AWSAccount", "principal_id": None, "arn": None, "account": "anonymous", "issuer_arn": None}


def reads(number: int, folder: str, since: int = START, **of: Any) -> list[Fact]:
    at = f"{folder}{since}{of.get('principal_id')}"
    return [Fact(f"{at}{n}", since + n, key=f"{folder}{n}.wav", bytes=10, **of) for n in range(number)]


FACTS = [
    *reads(5, "42/", **who("contractor-42"), endpoint="vpce-1"),
    *reads(4, "43/", **who("contractor-43"), endpoint="vpce-1"),
    *reads(2, "43/", **who("contractor-42"), endpoint="vpce-1"),
    *reads(3, f"x/{HOSTILE}/", **who("i-0123456789abcdef0", "Trainer", "AROATRAINER")),
    *reads(1, "old/", START - 100 * DAY, **who("job", "Nightly", "AROANIGHTLY")),
    *reads(1, "f/", **who("job", HOSTILE, "AROAFORGED")),
    *reads(2, "u/", **USER),
    *reads(1, "public/", **NOBODY),
]
ROLES = {
    "Roles": [
        {"Arn": f"arn:aws:iam::{ACCOUNT}:role/vendors/Vendors", "RoleId": "AROAVENDORS"},
        {"Arn": f"arn:aws:iam::{ACCOUNT}:role/vendors/Nobody", "RoleId": "AROANOBODY",
         "CreateDate": "2020-01-01T00:00:00+00:00", "RoleLastUsed": {"LastUsedDate": "2025-01-02T03:04:05Z"}},
        {"Arn": f"arn:aws:iam::{ACCOUNT}:role/New", "RoleId": "AROANEW", "CreateDate": "2026-04-30T00:00:00Z"},
        {"Arn": f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/x.amazonaws.com/X", "RoleId": "AROAX"},
    ]
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, str]:
    """The output of a review, and what it printed."""
    folder = tmp_path_factory.mktemp("review")
    (folder / "logs").mkdir()
    for number in range(2):
        records = [record(fact) for fact in FACTS[number::2]]
        (folder / "logs" / f"{number}.json").write_text(json.dumps({"Records": records}))
    (folder / "roles.json").write_text(json.dumps(ROLES))
    options = ["--roles", str(folder / "roles.json"), "--cache", str(folder / "cache"), "--owner", "{contractor}/**"]
    scope = ["--scope", "session_name=contractor-{id} key={id}/**"]
    done = CliRunner().invoke(
        app, ["review", str(folder / "logs"), "--out", str(folder / "out"), *options, *scope], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return folder, done.output


def told(made: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made[0] / "out/review.json").read_text("ascii"))
    return found


def named(role: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/vendors/{role}"


def test_the_table_is_the_same_in_every_form(made):
    """Every record is in one row of it."""
    rows = parquet.read_table(made[0] / "out/access.parquet").to_pylist()
    with (made[0] / "out/access.csv").open(encoding="utf-8") as file:
        sheet = list(csv.DictReader(file))
    assert [int(row["requests"]) for row in sheet] == [row["requests"] for row in rows]
    assert sum(row["requests"] for row in rows) == len(FACTS) == sum(row["objects"] for row in rows)
    assert {row["prefix"] for row in rows} == {"42/", "43/", f"x/{CUT}/", "old/", "f/", "u/", "public/"}
    assert not any("\x1b" in cell for row in sheet for cell in row.values())


@pytest.mark.parametrize("options", [{}, {"depth": 0}, {"owner": ["{contractor}/**"]}, {"roles": True}])
def test_a_review_of_kept_sums_is_that_of_the_records(made, options, monkeypatch):
    """From a cache, from none, and by going over all records again: the same table, the same words, policies too."""
    folder = made[0]
    asked = options | ({"roles": folder / "roles.json"} if "roles" in options else {})
    monkeypatch.setattr(parts, "ROWS", 5)
    found = [
        access_review(folder / "logs", cache=cache, **asked) for cache in (None, folder / "small", folder / "small")
    ]
    monkeypatch.setattr(usage, "enough", lambda *_: False)
    found.append(access_review(folder / "logs", cache=folder / "small", **asked))
    for one in found[1:]:
        assert one.access.equals(found[0].access)
        assert one[1:] == found[0][1:]
    assert int(found[0].access.requests.sum()) == len(FACTS)


def test_what_could_be_tightened_is_named(made):
    found = told(made)
    advice = {(one["kind"], one["who"]) for one in found["tighten"]}
    assert advice == {
        ("long-lived key", f"{USER['arn']} AKIACI"),
        ("anonymous", "anybody"),
        ("out of scope", f"{named('Vendors')} contractor-42"),
        ("several owners", f"{named('Vendors')} contractor-42"),
        ("unused role", named("Nobody")),
        ("idle", named("Nightly")),
        ("shared role", named("Vendors")),
        ("one endpoint", named("Vendors")),
    }
    assert [one["made_during_the_period"] for one in found["unused"]] == [True, False]
    assert found["unused"][1]["last_used_anywhere"] == "2025-01-02T03:04:05Z"
    [crossed] = found["cross_scope"]
    assert (crossed["requests"], crossed["places"]) == (2, ["ml-voice/43/"])


def test_every_contractor_has_a_policy_and_a_machine_its_role(made):
    """A command can be pasted: no text of a log ends an argument."""
    policies = {(one["role"], one["session_name"]): one for one in told(made)["policies"]}
    assert set(policies) == {
        (named("Vendors"), "contractor-42"), (named("Vendors"), "contractor-43"), (named("Trainer"), None),
        (named("Nightly"), None), (named(HOSTILE), None),
    }  # fmt: skip
    assert policies[named(HOSTILE), None]["command"] is None
    mine = policies[named("Vendors"), "contractor-43"]
    document = json.loads((made[0] / "out" / mine["file"]).read_text())
    assert document["Statement"] == [
        {"Sid": "Read", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::ml-voice/43/*"]}
    ]
    assert mine["command"] == (
        f"aws sts assume-role --role-arn {named('Vendors')} --role-session-name contractor-43 "
        f"--duration-seconds 3600 --policy file://{mine['file']}"
    )
    assert len(list((made[0] / "out/policies").iterdir())) == 5


def test_hostile_text_stays_text(made):
    """On the terminal and on the page."""
    page = (made[0] / "out/review.html").read_text("utf-8")
    for shown in (page, made[1]):
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", shown)
    assert "<script>" not in page
    assert "Content-Security-Policy" in page


def test_the_page_opens_alone_and_runs_nothing(made, browser):
    """In a real browser: no request but its own, no word on the console, and its links lead somewhere."""
    with opened(browser, made[0] / "out/review.html") as it:
        assert len(it.requests) == 1
        assert not it.said
        assert it.read("document.scripts.length") == 0
        assert it.read("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
        assert "<script>alert(1)</script>" in it.read("document.body.innerText")


def test_the_cache_answers_again_and_json_is_what_was_written(made):
    folder = made[0]
    arguments = [
        "review",
        str(folder / "logs"),
        "--out",
        str(folder / "again"),
        "--cache",
        str(folder / "cache"),
        "--json",
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.output == (folder / "again/review.json").read_text()
    assert json.loads(done.output)["roles"] == told(made)["roles"]


def test_a_hashed_owner_is_named_nowhere(made):
    """He is a part of a key. What is told of him is the same as without."""
    folder = made[0]
    arguments = ["review", str(folder / "logs"), "--out", str(folder / "owners"), "--owner", "x/{vendor}/**"]
    arguments += ["--owner", "{vendor}/**", "--redact-keys", "hash", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).output)
    [one] = found["several_owners"]
    assert (one["session_name"], one["owners"]) == ("contractor-42", [hashed("42"), hashed("43")])
    assert [hashed("42") in row["why"] for row in found["tighten"] if row["kind"] == "several owners"] == [True]


@pytest.mark.parametrize("arn", ["arn:aws:", "arn:aws:x", "arn:aws::::", f"arn:aws:iam::{ACCOUNT}:role/"])
def test_a_role_s_arn_that_is_none_stops_nothing(tmp_path, arn):
    """Whoever writes into a log may call a role anything; its policy is a file all the same."""
    facts = reads(2, "42/", **who("a") | {"arn": arn, "issuer_arn": arn})
    (tmp_path / "log.json").write_text(json.dumps({"Records": [record(fact) for fact in facts]}))
    arguments = ["review", str(tmp_path / "log.json"), "--out", str(tmp_path / "out"), "--json"]
    found = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).output)
    assert [one["requests"] for one in found["roles"]] == [2]
    assert [(tmp_path / "out" / one["file"]).is_file() for one in found["policies"]] == [True]


def test_hashed_folders_are_nowhere_and_there_are_no_policies(made):
    folder = made[0]
    arguments = ["review", str(folder / "logs"), "--out", str(folder / "hashed"), "--redact-keys", "hash", "--quiet"]
    assert not CliRunner().invoke(app, arguments, catch_exceptions=False).output
    for file in (folder / "hashed").glob("*.*"):
        assert b"42/" not in file.read_bytes()
    assert not list((folder / "hashed/policies").iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scope", "contractor-{id}"], "--scope: expected session_name"),
        (["--scope", "session_name=c-{id} key={other}/**"], "placeholder of every session_name"),
        (["--scope", "session_name='c"], "--scope"),
        (["--owner", "plain/**"], "--owner: expected a placeholder"),
        (["--redact-keys", "some"], "expected none, prefix or hash"),
        (["--roles", "LOGS/0.json"], "neither Roles nor RoleDetailList"),
        (["--roles", "LOGS/none.json"], "cannot be read"),
        (["--rules", "rules/bulk-read.yaml"], "no rule of kind scope"),
        (["--since", "yesterday"], "--since"),
    ],
)
def test_a_mistake_is_said_before_anything_is_read(made, tmp_path, options, said):
    logs = made[0] / "logs"
    arguments = [option.replace("LOGS", str(logs)) for option in options]
    with pytest.raises(InputError, match=re.escape(said)):
        CliRunner().invoke(
            app, ["review", str(logs), "--out", str(tmp_path / "out"), *arguments], catch_exceptions=False
        )
    assert not (tmp_path / "out").exists()


def test_a_notebook_is_told_of_a_wrong_pattern_as_a_person_is():
    with pytest.raises(InputError, match=r"--owner: .*'plain/"):
        access_review("nowhere", owner="plain/**")
