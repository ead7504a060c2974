"""What `rules check` says of rules that are well formed."""

from __future__ import annotations

from typing import Any

import pytest

from detector.core.lint import lint, remarks, suppression_remarks
from detector.core.rule import KINDS, Rule, Threshold
from detector.core.rulefile import read_rules
from detector.core.suppression import Suppression
from detector.rules import rule_files, shipped

NOW = 1_777_626_000
GOOD: dict[str, Any] = {
    "id": "r", "title": "t", "severity": "high", "kind": "threshold", "where": {"operation": "read"},
    "group_by": "session", "measure": "objects", "window": "5m", "threshold": 10_000,
}  # fmt: skip


def rule(**changes: Any) -> Threshold:
    return Threshold.model_validate(GOOD | changes)


def told(*rules: Rule) -> list[tuple[str, str, bool]]:
    return [(".".join(map(str, r.path)), r.message, r.error) for _, r in remarks(rules, NOW)]


def test_of_a_good_rule_there_is_nothing_to_say():
    assert told(rule()) == []


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"where": {"operation": "GetObjct"}}, "where.operation", "did you mean 'GetObject'?"),
        ({"where": {"operation": "Read"}}, "where.operation", "did you mean 'read'?"),
        ({"where": {"auth": "Query"}}, "where.auth", "did you mean 'query'?"),
        ({"where": {"principal_type": "assumedrole"}}, "where.principal_type", "did you mean 'AssumedRole'?"),
        ({"where": {"bucket": "s3://ml-voice/raw"}}, "where.bucket", "no bucket can be named so"),
        ({"where": {"account": "11112222333"}}, "where.account", "12 digits"),
        ({"where": {"session": "arn:aws:iam::111122223333:role/X"}}, "where.session", "this is a role"),
        ({"where": {"operation": "write"}, "measure": "bytes"}, "measure", "no bytes are sent by write"),
        ({"where": {"operation": "PutObject"}, "measure": "bytes"}, "measure", "no bytes are sent by write"),
        ({"where": {"outcome": "denied"}, "measure": "bytes"}, "measure", "when the outcome is denied"),
        ({"where": {"operation": "list"}, "measure": "objects"}, "measure", "list names no object"),
        ({"where": {"operation": "ListObjects", "key": "a"}, "measure": "requests"}, "where.key", "can never match"),
        ({"group_by": "source_ip", "measure": "source_ips"}, "threshold", "one source_ip has only one of source_ips"),
        ({"where": {"log": "server_access", "destination": "x"}}, "where.destination", "server_access never tells it"),
        ({"where": {"log": "server_access", "session_age_over": "1h"}}, "where.session_age_over", "never tells it"),
        ({"where": {"log": "server_access", "account_is": "own"}}, "where.account_is", "server_access never tells it"),
        ({"where": {"log": "server_access", "unless": {"kms_key": "k"}}}, "where.unless", "counts no record"),
        (
            {"where": {"log": "server_access"}, "group_by": ("role", "vpc_endpoint")},
            "group_by",
            "never tells vpc_endpoint",
        ),
        ({"where": {"operation": "read", "unless": {"operation": "read"}}}, "where.unless", "counts no record"),
        ({"where": {"operation": "GetObject", "unless": {"operation": "read"}}}, "where.unless", "counts no record"),
        ({"where": {"unless": {"outcome": "any"}}}, "where.unless", "counts no record"),
        (
            {"where": {"bucket": "ml-voice-*", "operation": "read", "unless": {"bucket": "ml-*"}}},
            "where.unless",
            "counts no record",
        ),
        ({"where": {"error_code": "NoSuchKey"}}, "where.error_code", "no error code"),
        ({"where": {"sse": "SSE-KMS"}}, "where.sse", "did you mean 'SSE_KMS'?"),
        ({"where": {"auth": "header", "signed_for_over": "1h"}}, "where.signed_for_over", "`auth: query`"),
        ({"where": {"operation": "GetObject", "change": "logging_off"}}, "where.change", "changes no settings"),
        (
            {"where": {"unless": {"principal_type": "assumedrole"}}},
            "where.unless.principal_type",
            "did you mean 'AssumedRole'?",
        ),
        ({"respond": "revoke", "where": {"log": "access_audit"}, "window": "2h"}, "respond", "whoever writes it"),
        (
            {"respond": "revoke", "where": {"log": ("cloudtrail", "access_audit")}, "window": "2h"},
            "respond",
            "whoever writes it",
        ),
    ],
)
def test_what_can_never_fire_is_an_error(changes, path, message):
    found = told(rule(**changes))
    assert any(at == path and message in text and error for at, text, error in found), found


@pytest.mark.parametrize(
    "changes",
    [
        {"where": {"operation": "Get*"}, "measure": "bytes"},
        {"where": {"operation": "GetBucketPolicy"}, "measure": "requests"},
        {"where": {"operation": "REST.GET.OBJECT"}},
        {"where": {"operation": ("write", "read")}, "measure": "bytes"},
        {"where": {"outcome": ("denied", "success")}, "measure": "bytes"},
        {"where": {"bucket": ("ml-*", "a.b_C"), "account": "1111*", "tls": "TLSv1.?"}},
        {"group_by": "role", "measure": "sessions"},
        {"group_by": "source_ip", "measure": "source_ips", "threshold": 1},
        {"where": {"access_point": "*"}, "window": "2h"},
        {"where": {"session_age_over": "1h", "unless": {"kms_key": "k"}}, "group_by": "vpc_endpoint"},
        {"where": {"operation": "read", "unless": {"operation": "GetObject"}}},
        {"where": {"bucket": "ml-*", "unless": {"bucket": "ml-voice-*"}}},
        {"where": {"operation": "read", "unless": {"operation": "read", "role": "*:role/Backup"}}},
        {"where": {"outcome": "error", "error_code": "NoSuchKey"}},
        {"where": {"auth": ("header", "query"), "signed_for_over": "1h", "sse": "*KMS"}},
        {"where": {"operation": ("read", "control"), "change": "logging_off"}},
        {"where": {"operation": "read", "change": "public_acl"}},
        {"respond": "revoke"},
        {"where": {"log": "server_access", "unless": {"role": "*"}}, "group_by": "access_key", "window": "2h"},
    ],
)
def test_what_may_well_fire_is_left_alone(changes):
    assert told(rule(**changes)) == []


BASE = {name: GOOD[name] for name in ("id", "title", "severity")}


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        (
            {
                "kind": "sequence", "within": "1h",
                "steps": ({"where": {"operation": "list"}, "measure": "objects"}, {"where": {"operation": "read"}}),
            },
            "steps.0.measure", "list names no object",
        ),
        (
            {
                "kind": "sequence", "within": "1h",
                "steps": ({"where": {"operation": "list"}}, {"where": {"operation": "write"}, "measure": "bytes"}),
            },
            "steps.1.measure", "no bytes are sent by write",
        ),
        (
            {
                "kind": "scope", "session_name": "c-{id}", "allowed_key": "{id}/**", "where": {"operation": "list"},
            },
            "allowed_key", "list names no object",
        ),
        ({"kind": "first_seen", "what": "source_net", "group_by": "source_ip"}, "what", "one source_ip has only one"),
        ({"kind": "first_seen", "what": "account", "group_by": "role"}, "what", "one role has only one account"),
    ],
)  # fmt: skip
def test_of_every_kind_what_can_never_fire_is_an_error(fields, path, message):
    one = KINDS[fields["kind"]].model_validate(BASE | fields)
    assert [(at, message in text, error) for at, text, error in told(one)] == [(path, True, True)]


def test_a_window_that_no_log_serves_in_time_is_remarked_on():
    """An access log tells of nothing within the hour, so five minutes are over long before anybody knows."""
    ((path, message, error),) = told(rule(where={"log": "server_access"}))
    assert (path, error) == ("window", False)
    assert "1h late or later" in message
    assert told(rule(where={"log": ("server_access", "cloudtrail")})) == []


def exception(**changes: Any) -> dict[str, Any]:
    one = {"role": "arn:aws:iam::111122223333:role/T", "allow_up_to": 60_000, "until": "2027-01-31", "owner": "o"}
    return one | {"reason": "why"} | changes


def with_exceptions(*exceptions: dict[str, Any], **changes: Any) -> Threshold:
    from datetime import date

    dated = [one | {"until": date.fromisoformat(one["until"])} for one in exceptions]
    return rule(exceptions=tuple(dated), **changes)


@pytest.mark.parametrize("key", ["raw/(a|b).wav", "raw/[0-9]*", "raw/.*", "raw/\\d*"])
def test_a_regular_expression_in_place_of_a_glob_is_remarked_on(key):
    [(path, message, error)] = told(rule(where={"operation": "read", "key": key}))
    assert (path, error) == ("where.key", False)
    assert "only * and ? are wild" in message


def test_an_exception_that_has_ended_is_remarked_on():
    (remark,) = lint(with_exceptions(exception(until="2026-04-30")), NOW)
    assert (remark.path, remark.error) == (("exceptions", 0, "until"), False)
    assert "ended on 2026-04-30" in remark.message
    assert list(lint(with_exceptions(exception(until="2026-05-01")), NOW)) == []


def test_an_exception_that_allows_nothing_is_remarked_on():
    (remark,) = lint(with_exceptions(exception(allow_up_to=9_000)), NOW)
    assert (remark.path, remark.error) == (("exceptions", 0, "allow_up_to"), False)


BLIND = exception(allow_up_to=100_000)


def test_an_exception_that_leaves_nobody_watching_is_an_error():
    ((path, message, error),) = told(with_exceptions(BLIND))
    assert (path, error) == ("exceptions.0", True)
    assert "accept_blind: true" in message


def bound(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in exception(**changes).items() if name != "allow_up_to"}


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, bound(key=("*", "*/**"))),
        ({}, bound(key="**/*.*", bucket="*")),
        ({}, bound(key=("?*/**",))),
        ({}, bound(network=("0.0.0.0/0", "::/0"))),
        ({}, bound(network=("0.0.0.0/1", "128.0.0.0/1"))),
        ({}, bound(network="0.0.0.0/0", key="**")),
        ({"measure": "requests"}, exception(role="*", allow_up_to=1_000_000_000_000)),
        ({"measure": "bytes", "threshold": 5e10}, exception(allow_up_to=1e15)),
    ],
)
def test_an_exception_that_is_as_wide_as_everything_is_blindness(changes, allowed):
    assert [error for _, _, error in told(with_exceptions(allowed, **changes))] == [True]
    assert told(with_exceptions(allowed | {"accept_blind": True}, **changes)) == []


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, bound(key=("raw/**", "labels/**"))),
        ({}, bound(key="**.wav")),
        ({}, bound(key="**", bucket="ml-*")),
        ({}, bound(key="*/*")),
        ({}, bound(network=("10.0.0.0/8", "2001:db8::/32", "vpce-0123"))),
        ({}, bound(network="0.0.0.0/0", key="raw/**")),
        ({"measure": "requests"}, exception(allow_up_to=2_000_000)),
        ({"measure": "bytes", "threshold": 5e10}, exception(allow_up_to=2e12)),
    ],
)
def test_an_exception_that_is_narrow_is_none(changes, allowed):
    assert told(with_exceptions(allowed, **changes)) == []


@pytest.mark.parametrize(
    "others",
    [
        [rule(id="bytes", measure="bytes", threshold=5e10)],
        [rule(id="all", where={})],
        [with_exceptions(exception(), id="more", threshold=30_000)],
        [with_exceptions(BLIND | {"role": "arn:aws:iam::111122223333:role/U", "accept_blind": True}, id="of-another")],
    ],
)
def test_another_rule_of_volume_is_enough(others):
    assert told(with_exceptions(BLIND), *others) == []


@pytest.mark.parametrize(
    "others",
    [
        [rule(id="staged", stage="staged")],
        [rule(id="denied", where={"operation": "read", "outcome": "denied"})],
        [rule(id="of-others", where={"role": "*:role/Other"})],
        [rule(id="networks", measure="source_nets", threshold=20)],
        [rule(id="writes", where={"operation": "write"})],
    ],
)
def test_a_rule_that_sees_none_of_it_is_not(others):
    assert [error for _, _, error in told(with_exceptions(BLIND), *others)] == [True]


def test_two_rules_that_both_look_away_are_two_errors():
    assert [error for _, _, error in told(with_exceptions(BLIND), with_exceptions(BLIND, id="other"))] == [True, True]


def test_blindness_may_be_accepted_and_ends_with_the_exception():
    assert told(with_exceptions(BLIND | {"accept_blind": True})) == []
    assert [error for _, _, error in told(with_exceptions(BLIND | {"until": "2026-04-30"}))] == [False]


def test_of_the_shipped_rules_there_is_nothing_to_say():
    assert [message for _, message, _ in told(*read_rules(rule_files(shipped())))] == []


def suppressed(**changes: Any) -> list[tuple[str, bool]]:
    fields = {"rule": "r", "until": "2026-06-01", "owner": "o", "reason": "why"} | changes
    return [(one.message, one.error) for one in suppression_remarks(Suppression.model_validate(fields), ["r"], NOW)]


@pytest.mark.parametrize(
    "group", ["*/drill-*", "*drill", "*", "arn:aws:sts::*:assumed-role/*/job-?", "*:assumed-role/*"]
)
def test_a_suppression_by_a_name_that_a_thief_may_choose_is_remarked_on(group):
    ((message, error),) = suppressed(group=group)
    assert (error, "chooses its name" in message) == (False, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"group": "*:role/Trainer"},
        {"group": "*:assumed-role/Trainer/*"},
        {"group": "*/drill-*", "bucket": "ml-voice"},
        {"group": "*/drill-*", "prefix": "corpus-v4/*"},
        {"group": "111122223333"},
        {},
    ],
)
def test_a_suppression_by_role_or_place_is_left_alone(fields):
    assert suppressed(**fields) == []
