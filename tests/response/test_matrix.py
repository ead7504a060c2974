"""The matrix: every kind of identity, every means, judged by a simulator that shares no code with us."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.response.documents import weight
from detector.response.guards import GUARDS
from tests.iam import ALL_OF_S3, FULL_ACCESS, lint
from tests.response.matrix import OPEN, PROTECTED, REFUSED, THIEF, Row, World, around, request, rows, session, table
from tests.response.test_plan import AWS_NAME, HOSTILE

ROWS = {row.name: row for row in rows()}
PAGE = Path(__file__).resolve().parents[2] / "docs/responder.md"
LIMITS = {"role_policy": 10_240, "user_policy": 2_048, "boundary": 6_144, "bucket_policy": 20_480}


@pytest.mark.parametrize("name", ROWS)
def test_the_offender_is_denied_and_nobody_else(simulator, name):
    """Before: everybody reads. With the plan's documents: who it says. After undo: as before."""
    row = ROWS[name]
    made = row.planned()
    assert made["actions"], made["refusals"]
    before, world = World(None), World(made)
    assert before.lets(simulator, row.offender)
    assert not world.lets(simulator, row.offender)
    for other, (asked, let) in row.others.items():
        assert before.lets(simulator, asked), other
        assert world.lets(simulator, asked) is let, other


@pytest.mark.parametrize("name", ROWS)
def test_what_hits_others_is_never_done_alone(name):
    """Where a plan denies anybody but the offender, a person decides; where it does not, the daemon may."""
    row = ROWS[name]
    made = row.planned()
    hits_others = any(
        not let and not other.startswith(("the thief", "the session, issued")) for other, (_, let) in row.others.items()
    )
    later = made["means"] == "session_name" or name.startswith("leaked")
    assert made["applicable"] is not (hits_others or later), made["refusals"]


@pytest.mark.parametrize("name", {**REFUSED, **PROTECTED})
def test_what_cannot_be_revoked_is_refused(name):
    """No document, or one that nobody carries out; and always a reason."""
    made = Row(name, {**REFUSED, **PROTECTED}[name], request(*_somebody()), {}).planned()
    assert not made["applicable"]
    assert made["forbidden"]
    assert bool(made["actions"]) is (name in PROTECTED)
    assert made["steps"] or name in PROTECTED


def _somebody():
    return "arn:aws:iam::222222222222:role/x", "AROAX:x1"


def test_every_document_is_clean_and_within_limits():
    """Parliament knows all operators, keys and shapes in them; IAM would take each by its length."""
    made = [row.planned() for row in ROWS.values()]
    assert lint([document for one in made for document in World(one).documents()]) == []
    for action in (action for one in made for action in one["actions"] if action["document"]):
        assert weight(action["document"]) < LIMITS[action["writes"]] / 4


@pytest.mark.parametrize("name", ["Identity Center session", "session of a foreign role", "federated user"])
def test_the_policy_printed_for_an_organisation_does_what_it_says(simulator, name):
    """It denies the one, at other buckets too, and nobody beside it."""
    row = ROWS[name]
    [step] = [step for step in row.planned()["steps"] if "control policy" in step]
    policy = json.loads(step.partition(": ")[2])
    assert lint([policy]) == []
    for_all = {"scps": [FULL_ACCESS, policy]} if "service" in step else {"resource_policy": with_open(policy)}
    around_it = {"resource_policy": OPEN} | for_all
    assert simulator.allowed(row.offender, [ALL_OF_S3], OPEN)
    assert not simulator.allowed(row.offender, [ALL_OF_S3], **around_it)
    for other, (asked, _) in row.others.items():
        if asked.user_id != row.offender.user_id:
            assert simulator.allowed(asked, [ALL_OF_S3], **around_it), other


def with_open(policy):
    """A resource control policy's denial stands beside what the bucket allows."""
    return {**OPEN, "Statement": [*OPEN["Statement"], *policy["Statement"]]}


def test_a_misspelt_operator_would_be_found(simulator):
    """The proof can fail: what is wrong by one letter is told by both."""
    made = json.loads(
        json.dumps(ROWS["contractor's session"].planned()).replace("DateLessThanEquals", "DateLessThanEqual")
    )
    assert lint(World(made).documents())
    with pytest.raises(AssertionError, match="DateLessThanEqual"):
        World(made).lets(simulator, ROWS["contractor's session"].offender)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(AWS_NAME, min_size=2, max_size=64),
    st.text(AWS_NAME, min_size=1, max_size=64),
    st.sampled_from(["/", "/a.b/c_d/", "/x,y=z@/"]),
)
def test_any_name_that_aws_allows_hits_its_session_only(simulator, name, role_name, path):
    """Whatever a session, a role and its path are called: the offender is out, all around it are not."""
    who = session("222222222222", name, role_name, "AROAREADEREXAMPLE0001", path)
    arn = f"arn:aws:iam::222222222222:role{path}{role_name}"
    row = Row("x", who, request(arn, f"AROAREADEREXAMPLE0001:{name}"), around(arn, "AROAREADEREXAMPLE0001", name))
    made = row.planned()
    if not made["actions"] or made["means"] != "credential_set":
        assert made["refusals"]  # a name such as AWSReservedSSO_x, or an instance's
        return
    world = World(made)
    assert not world.lets(simulator, row.offender)
    for other, (asked, let) in row.others.items():
        if asked.user_id != row.offender.user_id or asked.context != row.offender.context:
            assert world.lets(simulator, asked) is let, other


@given(HOSTILE)
def test_no_hostile_name_reaches_a_document(name):
    """What AWS would not take as a session's name makes no document at all."""
    made = Row("x", session("222222222222", name, "R", "AROAREADEREXAMPLE0001"), request(*_somebody()), {}).planned()
    assert made["actions"] == []


@given(st.lists(st.text(AWS_NAME, min_size=2, max_size=64), min_size=1, max_size=30, unique=True))
@settings(max_examples=5)
def test_all_of_their_documents_are_clean(names):
    """Valid IAM JSON without unknown operators, for any names."""
    made = [
        Row("x", session("222222222222", name, "R", "AROAREADEREXAMPLE0001"), request(*_somebody()), {}).planned()
        for name in names
    ]
    assert lint([a["document"] for one in made for a in one["actions"] if a["writes"] == "role_policy"]) == []


def test_the_page_shows_what_the_simulator_says(simulator):
    """The docs' matrix is printed from here."""
    wanted = f"<!-- matrix -->\n{table(simulator)}\n<!-- /matrix -->"
    assert wanted in PAGE.read_text("utf-8"), f"put this into docs/responder.md:\n{wanted}"


def test_the_page_shows_every_guard():
    """And what a person can do instead."""
    lines = [f"| {'✕ ' if one.absolute else ''}{one.text} | {one.instead} |" for one in GUARDS]
    wanted = "\n".join(["<!-- guards -->", "| objection | instead |", "| --- | --- |", *lines, "<!-- /guards -->"])
    assert wanted in PAGE.read_text("utf-8"), f"put this into docs/responder.md:\n{wanted}"


def test_the_thief_is_who_the_rows_are_about():
    """The offender of each row is whom its finding names."""
    for row in ROWS.values():
        if row.who.get("principal_id"):
            assert row.offender.user_id == row.who["principal_id"]
    assert THIEF in ROWS["contractor's session"].offender.user_id
