"""Rule files: every mistake is told, with file, line and column; what is right is read as it stands."""

from __future__ import annotations

import pytest

from detector.core.rule import BaselineRule, Levels, Threshold
from detector.core.rulefile import read_rules
from detector.errors import RuleFileError
from detector.rules import load_rules, shipped

GOOD = """\
rules:
  - id: bulk
    title: Bulk read
    severity: high
    kind: threshold
    where:
      operation: [read, DeleteObject]
      bucket: "ml-voice-*"
      account: "111122223333"
    group_by: [role, bucket]
    measure: objects
    window: 5m
    threshold: 10000
    respond: [alert, revoke]
    exceptions:
      - {role: "arn:aws:iam::*:role/Trainer", allow_up_to: 60000, until: 2027-01-31, owner: ml, reason: epoch}
  - {id: usual, title: Usual, severity: medium, kind: baseline}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(RuleFileError) as caught:
        read_rules({"r.yaml": text})
    return [str(problem) for problem in caught.value.problems]


def one_rule(**fields: str) -> str:
    base = {"id": "a", "title": "t", "severity": "high", "kind": "threshold", "measure": "requests", "window": "5m"}
    lines = base | {"threshold": "5"} | fields
    return "rules:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in lines.items() if value) + "\n"


def test_a_good_file_is_read_as_it_stands():
    """Windows in seconds, lists as tuples, one word as a list of one."""
    bulk, usual = read_rules({"r.yaml": GOOD})
    assert isinstance(bulk, Threshold)
    assert isinstance(usual, BaselineRule)
    assert (bulk.window, bulk.threshold, bulk.group_by) == (300, 10_000, ("role", "bucket"))
    assert bulk.where.bucket == ("ml-voice-*",)
    assert bulk.where.outcome == ("success",)
    assert bulk.exceptions[0].allow_up_to == 60_000


def test_the_shipped_rules_are_right_and_hold_the_promised_ones():
    """10,000 objects in five minutes per session and per role, a bytes rule, and the online model."""
    rules = {rule.id: rule for rule in load_rules(shipped())}
    for level in ("session", "role"):
        chosen = rules[f"bulk-object-read-{level}"]
        assert (chosen.measure, chosen.window, chosen.threshold, chosen.group_by) == ("objects", 300, 10_000, (level,))
    assert rules["bulk-bytes-read-session"].measure == "bytes"
    assert rules["unusual-read-rate"].kind == "baseline"
    assert all(rule.runbook and rule.description for rule in rules.values())
    assert not any("revoke" in rule.respond for rule in rules.values())


def test_five_mistakes_are_all_told_with_their_places():
    """One run of `rules check` shows everything there is to mend."""
    text = """\
rules:
  - id: Bulk
    title: t
    severity: hgih
    kind: threshold
    where:
      bukcet: [a]
    measure: objects
    window: five
    threshold: 1000000
"""
    told = problems(text)
    assert told == [
        "r.yaml:2:9: id: expected text of the form ^[a-z0-9][a-z0-9-]{0,63}$, got 'Bulk'",
        (
            "r.yaml:4:15: severity: expected 'info', 'low', 'medium', 'high' or 'critical', got 'hgih'; "
            "did you mean 'high'?"
        ),
        "r.yaml:7:7: where.bukcet: unknown field; did you mean 'bucket'?",
        "r.yaml:9:13: window: expected a duration such as 5m, got 'five'",
        "r.yaml:10:16: threshold: expected at most 100000 for the distinct measure 'objects', got 1000000",
    ]
    assert problems(one_rule(measure="objects", threshold="1000000")) == [
        "r.yaml:8:16: threshold: expected at most 100000 for the distinct measure 'objects', got 1000000"
    ]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "r.yaml:1:1: expected a list under 'rules', got an empty file"),
        ("rules: [", "r.yaml:1:9: not YAML: "),
        (one_rule().replace("    title", "\ttitle"), "this is a tab: indent with spaces"),
        (one_rule().replace("    title", "   title"), "r.yaml:3:4: not YAML: "),
        (one_rule().replace("    title", "   title"), "this line is indented unlike those above"),
        (one_rule(where="{bucket: *voice}"), 'a text that begins with * needs quotes: "*-voice"'),
        (one_rule(title="Bulk: reads"), "a text that has a colon in it needs quotes"),
        (one_rule(window="5min"), "window: expected a duration such as 5m, got '5min'; did you mean '5m'?"),
        (one_rule(threshold="10,000"), "threshold: expected a number, got '10,000'; write 10000"),
        (
            one_rule(exceptions="[{role: a, allow_up_to: 9, owner: o, reason: r, until: tomorrow}]"),
            "exceptions.until: expected a day such as 2027-01-31, got 'tomorrow'",
        ),
        ("rules: x", "r.yaml:1:8: rules: expected a list of rules"),
        ("- a", "r.yaml:1:1: rules: expected a list of rules"),
        ("rules:\n  - 5\n", "r.yaml:2:5: expected a rule (id, title, ...), got 5"),
        (one_rule(where="{3: 4}"), "r.yaml:9:13: where.3: unknown field"),
        ("rules:\n  - \udcff\n", "r.yaml:2:5: not UTF-8 text"),
        (BOMB, "more than 100000 values"),
        ("rules: []\nmore: 1", "r.yaml:2:1: more: unknown field; a rule file has only 'rules'"),
        ("rules:\n  - id: a\n    id: b\n", 'r.yaml:3:5: not YAML: found duplicate key "id"'),
        (one_rule(kind=""), "r.yaml:2:5: kind: required field is missing"),
        (one_rule(kind="treshold"), "got 'treshold'; did you mean 'threshold'?"),
        (one_rule(title=""), "r.yaml:2:5: title: required field is missing"),
        (one_rule(window="9s"), "window: expected 10s to 30d, got 9s"),
        (one_rule(window="31d"), "window: expected 10s to 30d, got 2678400s"),
        (one_rule(window="3601s"), "window: expected whole minutes over one hour, got 3601s"),
        (one_rule(threshold="0"), "threshold: input should be greater than 0, got 0"),
        (one_rule(threshold="'5'"), "threshold: expected a number, got '5'"),
        (one_rule(where="{operation: reed}"), "where.operation: expected a class (other, read,"),
        (
            one_rule(where="{account: 111122223333}"),
            "where.account: expected text, got 111122223333; write it in quotes",
        ),
        (one_rule(group_by="[role, role]"), "group_by: expected each level once, got role, role"),
        (
            one_rule(peer_groups="{a: x}"),
            "r.yaml:9:18: peer_groups: expected peer_group in group_by, got session",
        ),
        (
            one_rule(group_by="role", peer_groups="{a: x}"),
            "r.yaml:10:18: peer_groups: expected peer_group in group_by, got role",
        ),
        (one_rule(group_by="peer_group", peer_groups="[x]"), "r.yaml:10:18: peer_groups: "),
        (one_rule(group_by="peer_group", peer_groups="{a: []}"), "r.yaml:10:22: peer_groups.a: "),
        (one_rule(group_by="peer_group", peer_groups="{a: 5}"), "r.yaml:10:22: peer_groups.a: "),
        (one_rule(group_by="peer_group", peer_groups="{'': x}"), "r.yaml:10:18: peer_groups: expected names of 1"),
        (
            one_rule(exceptions="[{allow_up_to: 9, until: 2027-01-01, owner: o, reason: r}]"),
            "whom the exception is for",
        ),
        (one_rule(exceptions="[{role: x, allow_up_to: 9, owner: o, reason: r}]"), "exceptions.until: required field"),
        ("rules:\n  - !!python/object:os.system {}\n", "r.yaml:"),
        ("rules: &a [*a]", "r.yaml:"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_was_expected(text, told):
    """What was expected, what stands there, and where."""
    assert any(told in line for line in problems(text)), problems(text)


def test_declared_peer_groups_are_read_in_their_order():
    """One glob or a list of them; the level knows them."""
    (read,) = read_rules(
        {"r.yaml": one_rule(group_by="[peer_group, bucket]", peer_groups='{b: "*:role/b*", a: [x, y]}')}
    )
    assert isinstance(read, Threshold)
    assert read.group_by == Levels(("peer_group", "bucket"), (("b", ("*:role/b*",)), ("a", ("x", "y"))))


def test_a_baseline_rule_may_not_revoke():
    """A finding that may be withdrawn must not cut anybody off."""
    text = "rules:\n  - {id: a, title: t, severity: low, kind: baseline, respond: [revoke]}\n"
    assert "may be withdrawn" in problems(text)[0]


def test_two_rules_with_one_id_are_refused_over_all_files():
    """An id names one rule; the other place is named."""
    with pytest.raises(RuleFileError, match=r"b\.yaml:2:9: two rules with one id: 'a' is already at a\.yaml:2"):
        read_rules({"a.yaml": one_rule(), "b.yaml": one_rule()})


BASE = {"id": "a", "title": "t", "severity": "high"}
SCOPE = BASE | {"kind": "scope", "session_name": "c-{id}", "allowed_key": "{id}/**"}
NEW = BASE | {"kind": "first_seen", "group_by": "bucket", "what": "role"}
STEPS = [{"where": {"operation": "list"}}, {"where": {"operation": "read"}, "measure": "objects"}]
ORDER = BASE | {"kind": "sequence", "within": "1h", "steps": STEPS}
FOR = {"role": "r", "until": "DATE", "owner": "o", "reason": "x"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (SCOPE | {"session_name": None}, "session_name: expected it, or role"),
        (SCOPE | {"allowed_key": None}, "allowed_key: expected it, or allowed_bucket"),
        (SCOPE | {"allowed_key": "{team}/**"}, "a placeholder of every session_name or every role, got '{team}'"),
        (SCOPE | {"session_name": ["c-{id}", "d-*"]}, "a placeholder of every session_name or every role, got '{id}'"),
        (SCOPE | {"session_name": "{id}{team}"}, "expected plain text around a placeholder, got '{id}{team}'"),
        (SCOPE | {"session_name": "*{id}"}, "expected plain text around a placeholder, got '*{id}'"),
        (SCOPE | {"session_name": "c-{id"}, "expected placeholders such as {id}, got 'c-{id'"),
        (SCOPE | {"allowed_key": "{Id}/**"}, "expected placeholders such as {id}, got '{Id}/**'"),
        (BASE | {"kind": "match", "threshold": 5}, "threshold: expected 1, got 5"),
        (NEW | {"what": "bucket"}, "what: expected something that is not in group_by, got bucket"),
        (NEW | {"forget": "36h"}, "forget: expected whole days, got 129600s"),
        (NEW | {"learn": "100d"}, "learn: expected no more than forget"),
        (NEW | {"measure": "roles"}, "measure: expected it together with new_within"),
        (NEW | {"new_within": "1d"}, "measure: expected it together with new_within"),
        (NEW | {"threshold": 100_001}, "threshold: expected at most 100000, got 100001"),
        (NEW | {"respond": "revoke"}, "may be withdrawn"),
        (ORDER | {"steps": STEPS[:1]}, "steps: "),
        (ORDER | {"where": {"operation": "read"}}, "where: expected it in the steps"),
        (ORDER | {"steps": [*STEPS, STEPS[1] | {"count": 100_001}]}, "steps.count: expected at most 100000"),
        (ORDER | {"exceptions": [FOR | {"allow_up_to": 5}]}, "a sequence has no limit to raise"),
        (SCOPE | {"exceptions": [FOR]}, "expected either allow_up_to, or what it is bound to"),
        (SCOPE | {"exceptions": [FOR | {"allow_up_to": 5, "key": "k"}]}, "expected either allow_up_to, or"),
        (SCOPE | {"exceptions": [FOR | {"bucket": "b"}]}, "expected either allow_up_to, or what it is bound to"),
        (SCOPE | {"exceptions": [FOR | {"network": "10.0.0.1/8"}]}, "expected a network such as 203.0.113.0/24"),
    ],
    ids=str,
)
def test_mistakes_in_the_other_kinds(fields, told):
    """What a rule of each kind cannot mean, said in its words."""
    import json

    text = json.dumps({"rules": [{name: one for name, one in fields.items() if one is not None}]})
    assert any(told in line for line in problems(text.replace('"DATE"', "2027-01-31"))), problems(text)
