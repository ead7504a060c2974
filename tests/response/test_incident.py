"""Laws of the smallest set: all whom the plans deny are denied, by one document a role, and who else is said."""

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.response.documents import Denial, weight
from detector.response.incident import MOST, smallest
from detector.response.plan import plan
from tests.response.matrix import ALLOWED, BUCKET, NOW, OUTSIDE, READER, READER_ID, REMOTE_ID, World, request, session
from tests.response.test_plan import AWS_NAME


def planned(who, alert, at=NOW, **how):
    finding = {
        "alert_id": alert, "rule_id": "bulk", "severity": "high", "state": "opened", "last_at": "2026-05-01T09:05:00Z",
        "respond": ["revoke"], "principal": who, "evidence": {"buckets": [BUCKET], "source_ips": [OUTSIDE]},
    }  # fmt: skip
    return plan(finding, planned_at=at, settings=ALLOWED, **how)


def reader(name):
    return session("222222222222", name, "ContractorDataReader", READER_ID)


def test_one_plan_is_itself():
    one = planned(reader("c-1"), "a-1")
    assert smallest([one]) == (one.case_id, one.actions, ())


def test_rotation_is_one_denial():
    """The same session, found again with newer credentials: the later issue time covers both."""
    case, [action], wider = smallest([planned(reader("c-1"), "a-1"), planned(reader("c-1"), "a-2", NOW + 60)])
    assert action.denial.user_ids == (f"{READER_ID}:c-1",)
    assert action.denial.until == NOW + 60
    assert case not in (planned(reader("c-1"), "a-1").case_id, planned(reader("c-1"), "a-2").case_id)
    assert wider == ()


def test_fan_out_is_one_document_a_role():
    """Many sessions of two roles: two documents, each session by its name."""
    plans = [planned(reader(f"c-{n}"), f"a-{n}") for n in range(20)]
    plans.append(planned(session("333333333333", "job", "Etl", REMOTE_ID, "/jobs/"), "a-x"))
    _, actions, wider = smallest(plans)
    assert sorted(len(action.denial.user_ids) for action in actions) == [1, 20]
    assert wider == ()


def test_what_another_denial_covers_is_left_out():
    """The session where its name, or all of the role, is denied."""
    role = {**reader("x"), "session": None, "session_name": None, "principal_id": None}
    plans = [planned(reader("c-1"), "a-1"), planned(role, "a-2")]
    _, [action], _ = smallest(plans)
    assert action.denial.user_ids == ()
    _, [action], _ = smallest([planned(reader("c-1"), "a-1"), planned(reader("c-1"), "a-3", unbounded=True)])
    assert action.denial.until is None


def test_too_many_to_name_become_all_of_the_role_and_that_is_said():
    plans = [planned(reader(f"contractor-with-a-long-name-{n:030d}"), f"a-{n}") for n in range(200)]
    _, [action], wider = smallest(plans)
    assert action.denial.user_ids == ()
    assert action.denial.until == NOW
    assert READER in wider[0]


def test_users_keys_stay_apart():
    """Two keys of one user are two actions, their tokens one."""
    arn = "arn:aws:iam::222222222222:user/labs/dana"
    who = {"type": "IAMUser", "session": arn, "role": arn, "account": "222222222222", "principal_id": "AIDADANA00001"}
    plans = [planned(who | {"access_key_ids": [f"AKIAEXAMPLE00000000{n}"]}, f"a-{n}") for n in (1, 2, 2)]
    _, actions, _ = smallest(plans)
    assert sorted((action.writes, action.name[:4]) for action in actions) == [
        ("access_key", "AKIA"), ("access_key", "AKIA"), ("user_policy", "buck"),
    ]  # fmt: skip


@settings(max_examples=20)
@given(st.lists(st.text(AWS_NAME, min_size=2, max_size=20), min_size=2, max_size=8, unique=True))
def test_everybody_planned_is_denied_and_nobody_else(simulator, names):
    """By the simulator, for any names: all of them out, one that was not planned stays."""
    plans = [
        one for n, name in enumerate(names[1:]) if (one := planned(reader(name), f"a-{n}")).means == "credential_set"
    ]
    if not plans:
        return
    _, actions, _ = smallest(plans)
    assert all(weight(action.document) <= MOST for action in actions)
    world = World({"actions": [action.to_json() for action in actions]})
    for one in plans:
        assert not world.lets(simulator, request(READER, one.principal_id))
    assert world.lets(simulator, request(READER, f"{READER_ID}:{names[0]}"))


def test_a_person_stays_a_person(simulator):
    """Joined with others, with a session they began: the source identity stays in the denial."""
    known = reader("c-1") | {"source_identity": "dana@example.org"}
    plans = [planned(known, "a-1", person=True), planned(known, "a-2", NOW + 60, person=True)]
    _, [action], wider = smallest(plans)
    assert action.document["Statement"][0]["Condition"] == {
        "StringEquals": {"aws:SourceIdentity": "dana@example.org"},
        "DateLessThanEquals": {"aws:TokenIssueTime": "2026-05-01T09:07:30Z"},
    }
    assert wider == ()
    world = World({"actions": [action.to_json()]})
    assert world.lets(simulator, request(READER, f"{READER_ID}:c-9"))


def test_a_flood_of_sessions_beside_their_role_denies_the_role():
    """Of two denials that cover each other one stays."""
    role = {**reader("x"), "session": None, "session_name": None, "principal_id": None}
    plans = [planned(reader(f"contractor-with-a-long-name-{n:030d}"), f"a-{n}") for n in range(90)]
    plans += [planned(role, "a-role"), planned(session("333333333333", "job", "Etl", REMOTE_ID, "/jobs/"), "a-x")]
    _, actions, _ = smallest(plans)
    assert sorted(action.target.rsplit("/", 1)[-1] for action in actions) == ["ContractorDataReader", "Etl"]


HOWS = [{}, {"unbounded": True}, {"person": True}, {"presigned_after": 60}]


CHOICE = st.tuples(st.sampled_from(["a1", "b2", "c3", ""]), st.integers(0, 3), st.sampled_from(HOWS))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a1", "b2", "c3", ""]), st.integers(0, 3), st.sampled_from(HOWS)),
        min_size=2,
        max_size=6,
    )
)
def test_joining_denies_no_more_than_was_planned_unless_it_says_so(chosen):
    """Every denial of the set is one that was planned, with more names, or a later time; and covers its plans."""
    plans = []
    for number, (name, later, how) in enumerate(chosen):
        who = reader(name or "x1") | {"source_identity": f"person-{name or 'x1'}"}
        if not name:
            who |= {"session": None, "session_name": None, "principal_id": None}
        plans.append(planned(who, f"a-{number}", NOW + later, **how))
    _, actions, wider = smallest(plans)
    asked = [action for plan in plans for action in plan.actions]
    for action in asked:
        assert any(one.target == action.target and one.denial.covers(action.denial) for one in actions)
    for action in actions:
        denial = action.denial
        latest = max((one.denial.until or 0 for one in asked), default=0)
        named = [Denial((one,), denial.until, denial.outside, denial.presigned_after, denial.source_identity)
                 for one in denial.user_ids] or [denial]  # fmt: skip
        for one in named:
            assert any(
                a.target == action.target and a.denial._replace(until=a.denial.until and latest).covers(one)
                for a in asked
            ) or action.target in " ".join(wider)
