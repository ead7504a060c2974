"""With hashed keys no text of a key leaves: not in a replay's files, not in an alert, whatever the kind of rule."""

import json

import pytest
from pyarrow import parquet

from detector.alert import alert
from detector.core.access import text_hash
from detector.core.redaction import leaving
from detector.daily import Daily
from detector.logs.parquet import to_table
from detector.ocsf import detection_finding
from replay import output
from replay.options import Options
from replay.run import run
from tests.kinds import DAY, KIND, NOW, T0, Daemon, Fact, Kind, batch

SECRET = "geheim-sprecher"


def secret(key):
    return f"{SECRET}/{key}"


NEW_PREFIX = {"group_by": "role", "what": "prefix", "learn": "2d", "forget": "5d", "window": "1h"}
LOOKED_INTO = [Fact(T0 + day * DAY, key="old/1") for day in range(4)]
CASES = {kind: (kind, example) for kind, example in KIND.items()} | {
    "new prefixes": ("first_seen", Kind(NEW_PREFIX, [*LOOKED_INTO, Fact(T0 + 3 * DAY + 9, key="new/1")])),
    "reads in a new prefix": (
        "first_seen",
        Kind(
            NEW_PREFIX | {"new_within": "1h", "measure": "objects", "threshold": 2},
            [*LOOKED_INTO, *(Fact(T0 + 3 * DAY + n, key=f"new/{n}") for n in range(4))],
        ),
    ),
}
BY_NAME = {"baseline", "new prefixes", "reads in a new prefix"}
"""Findings that name folders beside their evidence."""


@pytest.fixture(params=CASES)
def case(request):
    """Name, rule and records; all keys lie in a folder that must not be told."""
    kind, example = CASES[request.param]
    fields = example.fields | ({"decoys": (f"s3://voice/{secret('raw/decoy')}",)} if kind == "decoy" else {})
    facts = [Fact(**{**vars(fact), "key": secret(fact.key)}) for fact in sorted(example.facts)]
    return request.param, Kind(fields, facts).rule(kind), facts


def test_a_replay_writes_no_key(case, tmp_path):
    """findings.jsonl, summary.json and report.html; unredacted they have keys, if there are records behind findings."""
    _, rule, facts = case
    parquet.write_table(to_table(batch(facts)), tmp_path / "a.parquet")
    seen = {}
    for redact in ("none", "prefix", "hash"):
        result = run([str(tmp_path / "a.parquet")], [rule], Options(redact=redact))
        assert result.findings
        assert result.failures == {}
        output.prepare(tmp_path / redact)
        output.write(result, tmp_path / redact, report=True)
        seen[redact] = {path.name for path in (tmp_path / redact).iterdir() if SECRET in path.read_text()}
    both = {"findings.jsonl", "report.html"} if rule.has_evidence else set()
    told = {redact: names - {"incidents.jsonl"} for redact, names in seen.items()}  # it tells some findings' sentences
    assert told == {"none": both, "prefix": both, "hash": set()}
    assert seen["hash"] == set()


def told(rule, facts):
    """The alerts of a daemon, as journalled."""
    daemon = Daemon(rule)
    for first in range(0, len(facts), 500):
        daemon.poll(facts[first : first + 500])
    daemon.end()
    assert daemon.told
    return daemon.told, [alert(finding, rule, None, NOW) for finding in daemon.told]


def test_an_alert_tells_no_key(case):
    """As JSON, as OCSF, and in the day's digest; nothing else of it changes."""
    name, rule, facts = case
    findings, journalled = told(rule, facts)
    for body in journalled:
        sent = leaving(body, "hash")
        assert SECRET not in json.dumps([sent, detection_finding(sent)])
        assert leaving(body, "none") == body
        assert sent.keys() == body.keys()
        same = {"evidence", "baseline", "first_seen", "group", "explanation"}
        assert {k: v for k, v in sent.items() if k not in same} == {k: v for k, v in body.items() if k not in same}
        if name in BY_NAME:
            without = {k: v for k, v in body.items() if k != "evidence"}
            assert SECRET in json.dumps(without)
    daily = Daily("hash")
    staged = rule.model_copy(update={"stage": "staged"})
    for finding in findings:
        daily.weigh(finding, staged, (), NOW)
    digest = daily.due(NOW + DAY)
    assert digest
    assert SECRET not in json.dumps(digest)


def test_a_folder_has_one_hash_wherever_it_stands():
    """So whoever holds the hashes against each other sees that it is one folder; the bucket is no key."""
    hidden = f"xxh64:{text_hash('a/b/'):016x}"
    body = {
        "evidence": {"sample_keys": ["a/b/1"], "prefixes": ["a/b/"]},
        "baseline": {"new_in": [["voice/a/b/", 7], ["?", 1]], "from": [["198.51.100.0/24", 7]]},
        "group": {"role": "R", "prefix": "voice/a/b/"},
        "explanation": "prefix voice/a/b/ is new to role R",
    }
    sent = leaving(body, "hash")
    assert sent["evidence"]["prefixes"] == [hidden]
    assert sent["baseline"] == {"new_in": [[f"voice/{hidden}", 7], ["?", 1]], "from": [["198.51.100.0/24", 7]]}
    assert sent["group"] == {"role": "R", "prefix": f"voice/{hidden}"}
    assert sent["explanation"] == f"prefix voice/{hidden} is new to role R"
