"""Laws of cases that stand: what counts as holding, what as failing, when they end; each thing is told once."""

import json

import pytest

from detector.core.access import Log, Operation, Outcome, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.principals import Principals, Unread
from detector.response.standing import DAY, LIFTED, UNDONE, Case, Standing
from detector.source import Standing as Lying
from tests.response.matrix import BUCKET, NOW, OUTSIDE, OWN, TRAINER_ID, rows
from tests.streams import principal

AT = NOW + 10
PLANS = {row.name: row.planned() for row in rows()}
HOUR = 3600


def who(plan, issued=NOW - 1800, **changes):
    """The plan's offender as a record names it."""
    name = plan["principal_id"] or "AROAREADEREXAMPLE0001:x"
    one = principal("x")._replace(
        principal_id=name, session=name, session_shown=plan["session"] or "s", issued_at=issued,
        role=name.partition(":")[0], role_shown=plan["actions"][0]["target"],
    )  # fmt: skip
    return one._replace(**changes)


def events(*seen):
    """A batch of (time, outcome, principal, fields)."""
    builder = BatchBuilder()
    for number, (time, outcome, one, *more) in enumerate(seen):
        fields = {"bucket": BUCKET, "source_ip": OUTSIDE} | (more[0] if more else {})
        builder.add(Row(
            Log.cloudtrail, time, text_hash(str(number)), "a/r", operation=Operation.read, outcome=Outcome[outcome],
            who=one, key="k", **fields,
        ))  # fmt: skip
    return builder.build()


def opened(plan, applied=AT):
    standing = Standing(300)
    standing.put(Case(plan, {}, {}, applied_at=applied, lift_at=NOW + 12 * HOUR))
    return standing, standing.cases[plan["case_id"]]


def rules_of(standing, now=AT + 1000):
    return [told["rule_id"].removeprefix("bucketwatch.revocation_") for told in standing.alarms(now)]


PLAN = PLANS["contractor's session"]


def test_a_refused_request_says_that_it_holds():
    """After how many seconds, how many; once."""
    standing, case = opened(PLAN)
    standing.meet(events((AT + 7, "denied", who(PLAN)), (AT + 9, "denied", who(PLAN)), (AT + 3, "success", who(PLAN))))
    [told] = standing.alarms(AT + 60)
    assert told["rule_id"] == "bucketwatch.revocation_holding"
    assert "7 s later" in told["explanation"]
    assert "2 in all" in told["explanation"]
    assert "3 s after" in told["explanation"]
    assert (case.denied, case.first_denied, case.last_denied, case.last_success) == (2, AT + 7, AT + 9, AT + 3)
    assert list(standing.alarms(AT + 120)) == []
    assert case.effect().startswith("holding")


def test_what_was_read_before_says_nothing_against_it():
    """Logs come late: only requests after the denial count, and a few minutes of grace."""
    standing, case = opened(PLAN)
    standing.meet(events((AT - 1, "success", who(PLAN)), (AT, "success", who(PLAN)), (AT + 300, "success", who(PLAN))))
    assert rules_of(standing) == []
    assert case.last_success == AT + 300
    standing.meet(events((AT + 301, "success", who(PLAN))))
    assert rules_of(standing) == ["not_holding"]
    assert "NOT HOLDING" in case.effect()


def test_others_of_the_role_say_nothing():
    """Another session, the same name on another role, nobody at all."""
    standing, case = opened(PLAN)
    standing.meet(events(
        (AT + 400, "success", who(PLAN, principal_id="AROAREADEREXAMPLE0001:contractor-43")),
        (AT + 400, "success", who(PLAN, principal_id="AROAOTHER:contractor-42")),
        (AT + 400, "success", None),
    ))  # fmt: skip
    assert rules_of(standing) == []
    assert case.successes == 0


def test_new_credentials_are_not_a_failure_but_are_told():
    """Issued after the denial: its owner, or the thief again. In that very second they are still denied."""
    standing, case = opened(PLAN)
    standing.meet(
        events((AT + 400, "success", who(PLAN, issued=NOW + 1)), (AT + 401, "denied", who(PLAN, issued=NOW + 1)))
    )
    assert rules_of(standing) == ["back"]
    assert case.denied == 0
    standing.meet(events((AT + 402, "success", who(PLAN, issued=NOW))))
    assert rules_of(standing) == ["not_holding"]


def test_without_an_issue_time_new_credentials_are_a_failure():
    plan = PLANS["session that got new credentials"]
    standing, _ = opened(plan)
    standing.meet(events((AT + 400, "success", who(plan, issued=AT + 100))))
    assert rules_of(standing) == ["not_holding"]


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"source_ip": OUTSIDE}, True),
        ({"source_ip": "198.18.7.9"}, False),
        ({"source_ip": "10.1.2.3", "vpc_endpoint": "vpce-0123456789abcdef0"}, False),
        ({"source_ip": "10.1.2.3", "vpc_endpoint": "vpce-0fedcba9876543210"}, False),  # may be in the workload's VPC
        ({"source_ip": "athena.amazonaws.com"}, False),
        ({"source_ip": "AWS Internal"}, False),
    ],
)
def test_a_workload_at_home_may_read(fields, counts):
    """Only what comes from elsewhere is denied, and so only that says whether it holds."""
    plan = PLANS["instance, read from elsewhere"]
    assert OWN[0][1].vpcs
    standing, case = opened(plan)
    standing.meet(events((AT + 400, "success", who(plan, role=TRAINER_ID), fields)))
    assert (case.successes == 1) is counts


def test_at_a_bucket_only_its_own_reads_count():
    plan = PLANS["session of a foreign role"]
    standing, case = opened(plan)
    standing.meet(events((AT + 400, "success", who(plan), {"bucket": "elsewhere"})))
    assert case.successes == 0
    standing.meet(events((AT + 400, "success", who(plan))))
    assert case.successes == 1


def test_a_users_key_and_its_tokens_count_apart():
    """The key by its id, the tokens by their issue time; another key of the user is free."""
    plan = PLANS["IAM user: token made with the key"]
    user = {"session_shown": plan["session"], "principal_id": plan["principal_id"]}
    standing, case = opened(plan)
    standing.meet(events((AT + 400, "success", who(plan, None, access_key="AKIAANOTHER0000000001", **user))))
    assert case.successes == 0
    standing.meet(events((AT + 400, "success", who(plan, None, access_key="AKIAEXAMPLE000000001", **user))))
    standing.meet(events((AT + 401, "success", who(plan, NOW - 5, access_key="ASIAX", **user))))
    assert case.successes == 2


def test_all_of_a_roles_sessions():
    plan = PLANS["all of a role's sessions"]
    standing, case = opened(plan)
    standing.meet(
        events((AT + 400, "success", who(plan)), (AT + 400, "success", who(plan, role_shown="arn:x", role="Y")))
    )
    assert case.successes == 1


def test_a_case_ends_when_its_credentials_are_dead_and_nobody_tries():
    """Twelve hours, and a day without a refusal; each refusal keeps it a day longer, and that is told."""
    standing, case = opened(PLAN)
    assert list(standing.due_to_lift(NOW + 12 * HOUR - 1)) == []
    assert list(standing.due_to_lift(NOW + 12 * HOUR)) == [case]
    case.last_denied = NOW + 11 * HOUR
    assert list(standing.due_to_lift(NOW + 12 * HOUR)) == []
    [told] = standing.renew(NOW + 12 * HOUR)
    assert told["rule_id"] == "bucketwatch.revocation_renewed"
    assert list(standing.renew(NOW + 13 * HOUR)) == []
    assert list(standing.due_to_lift(NOW + 35 * HOUR)) == []
    assert list(standing.due_to_lift(NOW + 36 * HOUR)) == [case]
    standing.end(case.id, LIFTED, NOW + 36 * HOUR)
    assert standing.standing() == []


@pytest.mark.parametrize(
    "name", [name for name, plan in PLANS.items() if plan["means"] in ("session_name", "off_host", "user_keys")]
)
def test_what_is_not_bound_to_an_issue_time_is_never_lifted_alone(name):
    """It stands until a person takes it back; that is told once."""
    standing, _ = opened(PLANS[name])
    assert list(standing.due_to_lift(NOW + 400 * DAY)) == []
    assert [told["rule_id"] for told in standing.renew(NOW + 400 * DAY)] == ["bucketwatch.revocation_kept"]
    assert list(standing.renew(NOW + 402 * DAY)) == []


@pytest.mark.parametrize(("name", "hours"), [("contractor's session", 12), ("federated user", 36)])
def test_what_is_gone_has_ended_only_when_its_credentials_have(name, hours):
    """Before that somebody took it away, and set stolen credentials free."""
    plan = PLANS[name]
    standing, case = opened(plan)
    assert not standing.ended_itself(case, NOW + hours * HOUR - 1)
    assert standing.standing() == [case]
    assert standing.ended_itself(case, NOW + hours * HOUR)
    assert standing.standing() == []


def test_what_somebody_changed_is_told_once_until_it_is_mended():
    standing, case = opened(PLAN)
    assert standing.looked(case, Lying("stands", "", "a"), AT) is None
    assert standing.looked(case, Lying("stands", "", "a"), AT + 300) is None
    around = standing.looked(case, Lying("stands", "", "b"), AT + 600)
    gone = standing.looked(case, Lying("gone", "x", ""), AT + 900)
    assert "Other policies" in around["explanation"]
    assert gone["severity"] == "critical"
    assert around["alert_id"] != gone["alert_id"]
    assert standing.looked(case, Lying("gone", "x", ""), AT + 1200) is None
    assert standing.looked(case, Lying("unknown", "no network", ""), AT + 1500) is None
    assert standing.looked(case, Lying("stands", "", "b"), AT + 1800) is None
    assert standing.looked(case, Lying("changed", "y", ""), AT + 2100) is not None


def test_one_case_at_a_time_is_looked_at():
    """The one that has waited longest; none before its time."""
    standing, case = opened(PLAN)
    other = Case(PLANS["session of a role in another account of ours"] | {"case_id": "b" * 16}, checked_at=NOW)
    standing.put(other)
    assert standing.due_to_check(NOW + 100) is case
    case.checked_at = NOW + 100
    assert standing.due_to_check(NOW + 299) is None
    assert standing.due_to_check(NOW + 300) is other


def test_a_withdrawn_finding_offers_its_undo():
    standing, case = opened(PLAN)
    assert standing.withdrawn("a-other", AT) is None
    told = standing.withdrawn(PLAN["alert_id"], AT)
    assert f"respond undo {case.id}" in told["runbook"]
    assert standing.withdrawn(PLAN["alert_id"], AT) is None


def test_what_ended_is_silent_and_in_the_end_forgotten():
    standing, case = opened(PLAN)
    standing.end(case.id, UNDONE, AT)
    standing.meet(events((AT + 400, "success", who(PLAN))))
    assert rules_of(standing) == []
    assert standing.due_to_check(AT + DAY) is None
    standing.forget(AT + 89 * DAY)
    assert standing.cases
    standing.forget(AT + 91 * DAY)
    assert not standing.cases


def test_a_later_plan_of_the_case_keeps_what_was_there_before():
    """Undo needs what stood before the first."""
    standing, _ = opened(PLAN)
    standing.put(Case(PLAN, before={"x": "was", "y": None}, applied_at=AT))
    standing.put(Case(PLAN, before={"x": "ours by now", "y": "late"}, applied_at=AT + 5))
    assert standing.cases[PLAN["case_id"]].before == {"x": "was", "y": "late"}


def test_a_checkpoint_has_all_of_it():
    """After a restart the same is told, and nothing twice."""
    standing, case = opened(PLAN)
    standing.meet(events((AT + 7, "denied", who(PLAN))))
    assert rules_of(standing) == ["holding"]
    parts = standing.changes()
    assert standing.changes() == {}
    again = Standing(300)
    again.restore(parts)
    assert again.cases == {case.id: case}
    assert rules_of(again) == []
    again.meet(events((AT + 400, "success", who(PLAN))))
    assert rules_of(again) == ["not_holding"]


def test_identities_that_nobody_read_are_only_searched():
    """A batch of many strangers costs no reading of them."""
    read = []

    def reader(text):
        read.append(text)
        return principal("x")

    held = Principals([Unread(reader, b"stranger"), Unread(reader, PLAN["principal_id"].encode()), principal("y")])
    assert held.naming([PLAN["principal_id"].encode()]) == [1, 2]
    assert read == []


def test_every_alarm_can_be_sent():
    """They are alerts like any: JSON, with what alerts have."""
    standing, _ = opened(PLAN)
    standing.meet(events((AT + 400, "success", who(PLAN)), (AT + 400, "success", who(PLAN, issued=AT))))
    for told in standing.alarms(AT + 500):
        json.dumps(told)
        assert told["state"] == "opened"
        assert told["group"]["session"] == PLAN["session"]
