"""What stands behind a finding: the records that its rule counted, and no others."""

from __future__ import annotations

import json

import numpy as np
import pytest

import replay.run
from detector.core.rulefile import read_rules
from replay.evidence import Behind, matches
from tests.kinds import DAY, KIND, T0, Fact, batch, replayed
from tests.records import record as cloudtrail_record

COUNTED = {
    "threshold": lambda f: f.op == "read",
    "match": lambda f: f.op == "control",
    "scope": lambda f: not (f.name[:2] == "c-" and f.key.startswith(f.name[2:] + "/")),
    "sequence": lambda f: f.op in ("list", "read", "delete"),
    "decoy": lambda f: f.key == "raw/decoy",
}


def behind(kind, facts=None):
    """Each finding of a kind's example, with the records behind it."""
    rule = KIND[kind].rule(kind)
    facts = sorted(facts or KIND[kind].facts)
    _, found = replayed(rule, [facts])
    for number, mask in matches(batch(facts), [Behind.of(one, rule) for one in found]):
        yield found[number], [facts[row] for row in np.flatnonzero(mask).tolist()]


@pytest.mark.parametrize("kind", COUNTED)
def test_the_records_behind_a_finding_are_those_that_count(kind):
    """Of its group, within its time, chosen as the rule chooses."""
    some = 0
    for finding, facts in behind(kind):
        level, name = next(iter(finding.group.items()))
        mine = [
            f for f in KIND[kind].facts
            if COUNTED[kind](f) and finding.opened_at - finding.window_seconds < f.time <= finding.last_at
            and (f.who.session_shown if level == "session" else f.who.role_shown) == name
        ]  # fmt: skip
        assert facts == sorted(mine)
        some += len(facts)
    assert some


def test_behind_something_new_stands_what_the_new_did():
    """Not what others of the group did meanwhile."""
    at = T0 + 4 * DAY
    facts = [Fact(T0), Fact(at), Fact(at + 5, role="New"), Fact(at + 9, role="New", key="b"), Fact(at + 7, "x")]
    ((finding, records),) = [(f, r) for f, r in behind("first_seen", facts) if "New" in str(f.details)]
    assert [f.role for f in records] == ["New"]
    assert finding.last_at == at + 5


TWO_RULES = """
rules:
  - {id: r, title: t, severity: low, kind: threshold, where: {operation: read}, measure: objects, window: 1m,
     threshold: 3}
  - {id: nothing, title: t, severity: high, kind: match, where: {operation: delete, version_id: "v*", tls: "TLSv1.0"}}
"""


@pytest.mark.parametrize("differing", [False, True])
def test_the_second_pass_reads_only_what_the_rules_that_found_something_look_at(tmp_path, monkeypatch, differing):
    """And all that rules look at where copies of a record differ: which of them counts must be told as it was."""
    records = [read_of(n) for n in range(5)]
    copies = [one | {"tlsDetails": {"tlsVersion": "TLSv1.0"}} for one in records[:2]] if differing else records[:2]
    (tmp_path / "a.json").write_text(json.dumps({"Records": [*records, *copies]}))
    asked, gather = [], replay.run.gather

    def noted(*given, **more):
        asked.append(given[3].columns)
        return gather(*given, **more)

    monkeypatch.setattr("replay.run.gather", noted)
    result = replay.run.run([str(tmp_path / "a.json")], read_rules({"r.yaml": TWO_RULES}))
    [finding] = result.findings
    assert (finding.evidence["requests"], finding.evidence["objects"]) == (5, 5)
    assert result.summary["duplicates_differing"] == 2 * differing
    assert asked
    assert all(("version_id" in columns and "tls" in columns) == differing for columns in asked)


def read_of(number: int) -> dict[str, object]:
    return cloudtrail_record(
        eventID=f"e-{number}",
        requestParameters={"bucketName": "voice", "key": f"{number}.wav"},
        resources=[],
    )
