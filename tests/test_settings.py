"""The configuration: every mistake told with its place, every key from the environment too, nothing ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.core.rule import size
from detector.errors import SettingsError, UnreadablePathError
from detector.settings import Settings, read_settings

MINIMAL = """\
source: {kind: directory, path: incoming}
state: {kind: sqlite, path: state.db}
journal: {path: journal.jsonl}
"""


def settings(tmp_path: Path, text: str, **environment: str) -> Settings:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return read_settings(path, environment)


def problems(tmp_path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text, **environment)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def test_three_keys_suffice(tmp_path):
    """Source, state and journal; everything else has a default that harms nobody: plans only, alerts on stdout."""
    read = settings(tmp_path, MINIMAL)
    assert read.response.mode == "plan"
    assert not read.response.armed
    assert [alert.kind for alert in read.alerts] == ["stdout"]


def test_memory_is_a_size(tmp_path):
    """Written with a unit; the default is the replay's."""
    assert settings(tmp_path, MINIMAL).memory == size("256M") == 256 << 20
    assert settings(tmp_path, MINIMAL + "memory: 2G\n").memory == 2 << 30
    for wrong in ("100", "0M", "2T", "1.5G"):
        (told,) = problems(tmp_path, MINIMAL + f'memory: "{wrong}"\n')
        assert told == f"c.yaml:4:9: memory: expected a size such as 256M, got '{wrong}'"


def test_the_contracts_example_is_understood(tmp_path):
    """The configuration of the contract, key by key, as far as this version has it."""
    read = settings(
        tmp_path,
        """\
source: {kind: sqs, queue_url: "https://sqs.us-east-1.amazonaws.com/111122223333/q"}
accept: {buckets: [trail-logs], accounts: ["111122223333"]}
rules: rules/
state: {kind: sqlite, path: state.db}
alerts: [{kind: sns, topic_arn: "arn:aws:sns:us-east-1:111122223333:t"}, {kind: file, path: alerts.jsonl}]
journal: {path: journal.jsonl}
response: {mode: enforce, max_age: 30m, armed: true, accounts: ["111122223333"]}
protected_buckets: ["ml-voice-*"]
prefer: {"ml-*": cloudtrail}
lateness: {cloudtrail: 20m}
http: {host: 127.0.0.1, port: 0}
""",
    )
    assert read.response.max_age == 1800
    assert list(read.response.accounts) == ["111122223333"]
    assert read.lateness == {"cloudtrail": 1200}


def test_an_accounts_responder_role_may_be_named(tmp_path):
    """`accounts` is a list, or a map to the role that is assumed there."""
    role = "arn:aws:iam::444455556666:role/r"
    text = MINIMAL + f'response: {{accounts: {{"444455556666": {{role_arn: "{role}", external_id: x}}}}}}\n'
    assert settings(tmp_path, text).response.accounts["444455556666"].role_arn == role


def test_every_mistake_is_told_at_once_with_its_place(tmp_path):
    """Unknown keys with a hint, wrong values with what was expected."""
    text = """\
source: {kind: sqs, queue_url: nowhere, foo: 1}
accpt: {buckets: [a]}
state: {kind: sqlite, path: state.db}
alerts: [{kind: sns, topic_arn: "arn"}, {kind: email}]
journal: {}
response: {mode: on, max_age: soon}
"""
    told = "\n".join(problems(tmp_path, text))
    for expected in (
        "c.yaml:1:32: source.queue_url: expected text of the form",
        "c.yaml:1:41: source.foo: unknown field",
        "c.yaml:2:1: accpt: unknown field; did you mean 'accept'?",
        "c.yaml:4:33: alerts.topic_arn: expected text of the form",
        "c.yaml:4:41: alerts.kind: expected",
        "c.yaml:5:10: journal: expected either path or bucket (and prefix)",
        "c.yaml:6:18: response.mode: expected 'off', 'plan' or 'enforce', got 'on'",
        "c.yaml:6:31: response.max_age: expected a duration such as 5m, got 'soon'",
    ):
        assert expected in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MINIMAL + "archive: {path: a, prefix: p}\n", "archive: prefix goes with bucket"),
        (MINIMAL + "archive: {}\n", "archive: expected either path or bucket"),
        (MINIMAL.replace("path: journal.jsonl", "path: j, bucket: buc"), "journal: expected either path"),
        (MINIMAL.replace("path: journal.jsonl", "path: j, prefix: p"), "prefix goes with bucket"),
        (
            "source: {kind: sqs, queue_url: 'https://q'}\n" + MINIMAL.partition("\n")[2],
            "accept: expected accept.buckets",
        ),
        ("", "expected keys such as source"),
        ("a: [", "not YAML"),
    ],
)
def test_what_this_version_lacks_or_cannot_read_is_refused_never_ignored(tmp_path, text, told):
    """A key that does nothing would be a promise broken in silence."""
    assert any(told in line for line in problems(tmp_path, text))


def test_every_key_may_come_from_the_environment(tmp_path):
    """BUCKETWATCH_ and `__` between levels; values are YAML; the environment wins."""
    read = settings(
        tmp_path,
        MINIMAL,
        BUCKETWATCH_SOURCE__PATH="other",
        BUCKETWATCH_HTTP__PORT="0",
        BUCKETWATCH_RESPONSE__ARMED="true",
    )
    assert str(read.source.path) == "other"  # type: ignore[union-attr]
    assert read.http is not None
    assert read.http.port == 0
    assert read.response.armed is True


def test_an_unknown_variable_with_our_prefix_is_a_mistake(tmp_path):
    """A misspelt variable must not be silently without effect."""
    assert "BUCKETWATCH_SORCE__PATH" in problems(tmp_path, MINIMAL, BUCKETWATCH_SORCE__PATH="x")[0]


def test_a_missing_file_is_said(tmp_path):
    """Exit status 2 with the path."""
    with pytest.raises(UnreadablePathError, match=r"nowhere\.yaml"):
        read_settings(tmp_path / "nowhere.yaml", {})
