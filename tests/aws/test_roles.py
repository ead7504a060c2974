"""Laws of the responder, against IAM of a real server: only our policy, only on the very role, and back again.

moto does not evaluate conditions of a Deny; that the policy hits one session only is proven elsewhere, by simulators.
"""

import json
import time

import pytest
from botocore.exceptions import ClientError

from detector.aws import roles
from detector.aws.roles import QUOTA, IamResponder
from detector.aws.session import OtherAccount
from detector.core.times import iso
from detector.response.documents import Denial, document, policy_text
from detector.response.guards import ResponsePolicy
from detector.response.plan import plan

ACCOUNT = "123456789012"
BUCKET = "arn:aws:s3:::b"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


class Role:
    """A role of its own in moto's account, and plans against its sessions."""

    def __init__(self, aws) -> None:
        self.iam, self.name = aws.client("iam"), aws.name("Reader")
        made = self.iam.create_role(RoleName=self.name, Path="/vendors/", AssumeRolePolicyDocument=TRUST)["Role"]
        self.arn, self.id = made["Arn"], made["RoleId"]

    def planned(self, alert_id="a-1", at=None, **changes):
        at = at or int(time.time())
        who = {
            "type": "AssumedRole",
            "session": f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.name}/contractor-42",
            "role": self.arn,
            "account": ACCOUNT,
            "session_name": "contractor-42",
            "principal_id": f"{self.id}:contractor-42",
        }
        finding = {
            "alert_id": alert_id,
            "rule_id": "bulk",
            "severity": "high",
            "last_at": iso(at),
            "respond": ["revoke"],
            "principal": who,
            "evidence": {"logs": ["cloudtrail"]},
        }
        settings = ResponsePolicy(mode="enforce", accounts=frozenset({ACCOUNT}), armed=True)
        return json.loads(json.dumps(plan(finding, planned_at=at, settings=settings).to_json())) | changes

    def named(self, planned):
        """What a plan writes: policy name → document."""
        return {action["name"]: action["document"] for action in planned["actions"]}

    def policies(self):
        names = self.iam.list_role_policies(RoleName=self.name)["PolicyNames"]
        return {n: self.iam.get_role_policy(RoleName=self.name, PolicyName=n)["PolicyDocument"] for n in names}

    def put(self, name, document):
        self.iam.put_role_policy(RoleName=self.name, PolicyName=name, PolicyDocument=json.dumps(document))


@pytest.fixture
def role(aws):
    return Role(aws)


@pytest.fixture
def responder(aws):
    return IamResponder(sleep=lambda _: None)


def test_a_plan_is_applied_exactly(role, responder):
    """Afterwards the role holds the plan's very policy under the plan's very name, and nothing else new."""
    made = role.planned()
    assert made["applicable"], made["refusals"]
    applied = responder.apply(made)
    assert (applied.status, applied.case_id) == ("applied", made["case_id"])
    assert role.policies() == role.named(made)


def test_applying_again_changes_nothing(role, responder):
    """After a crash a plan is applied again: the answer is `already`."""
    made = role.planned()
    responder.apply(made)
    assert responder.apply(made).status == "already"
    assert role.policies() == role.named(made)


def test_a_later_plan_of_the_case_extends_it_and_an_earlier_one_never_shortens_it(role, responder):
    """A session that renewed its credentials is cut off again; a stale plan does not set them free."""
    early, late = role.planned(at=1_777_626_390), role.planned(at=1_777_626_990)
    assert responder.apply(early).status == "applied"
    assert responder.apply(late).status == "applied"
    assert responder.apply(early).status == "already"
    assert role.policies() == role.named(late)


def test_removing_takes_only_our_own_back(role, responder):
    """Undo deletes this case's policy; another case's and the customer's own stay."""
    first, second = role.planned("a-1"), role.planned("a-2")
    own = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    role.put("own", own)
    responder.apply(first)
    responder.apply(second)
    assert responder.remove(first, {}).status == "applied"
    assert role.policies() == {"own": own} | role.named(second)
    assert responder.remove(first, {}).status == "already"


def test_a_policy_that_was_edited_is_left_alone(role, responder):
    """What somebody changed by hand under our name is neither overwritten nor deleted."""
    made = role.planned()
    edited = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}
    role.put(made["actions"][0]["name"], edited)
    assert responder.apply(made).status == "refused"
    assert responder.remove(made, {}).status == "refused"
    assert role.policies() == {made["actions"][0]["name"]: edited}


def test_a_full_role_is_refused_with_what_to_do(role, responder):
    """IAM's quota counts all inline policies of a role: the answer says how much and what to move."""
    filler = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::" + "x" * 10_000]}],
    }
    role.put("own", filler)
    answer = responder.apply(role.planned())
    assert answer.status == "refused"
    assert "10,240" in answer.detail
    assert "managed" in answer.detail
    assert list(role.policies()) == ["own"]


def test_the_quota_is_exact(role, responder):
    """One character less than the quota allows is applied, one more is not; white space is free."""
    made = role.planned()
    empty = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": [BUCKET]}]}
    room = QUOTA["role"] - len(policy_text(made["actions"][0]["document"])) - len(policy_text(empty))
    for extra, status in ((1, "refused"), (0, "applied")):
        empty["Statement"][0]["Resource"] = [BUCKET + "x" * (room + extra)]
        role.iam.put_role_policy(RoleName=role.name, PolicyName="own", PolicyDocument=json.dumps(empty, indent=8))
        assert responder.apply(made).status == status


def test_a_role_made_anew_under_the_name_is_not_touched(role, responder):
    """The role's id must be the session's: another role of that name is somebody else's."""
    made = role.planned()
    role.iam.delete_role(RoleName=role.name)
    role.iam.create_role(RoleName=role.name, Path="/vendors/", AssumeRolePolicyDocument=TRUST)
    assert responder.apply(made).status == "refused"
    assert role.policies() == {}


def test_a_role_of_the_name_in_another_account_is_not_touched(role, responder):
    """Credentials of the wrong account reach a role of the same name: its ARN tells it, and nothing is written."""
    made = json.loads(json.dumps(role.planned()).replace(ACCOUNT, "999988887777"))
    answer = responder.apply(made)
    assert answer.status == "refused"
    assert role.arn in answer.detail
    assert role.policies() == {}


def test_a_role_that_is_gone_is_said(role, responder):
    """A deleted role is an answer, not an exception, for applying and for taking back."""
    made = role.planned()
    role.iam.delete_role(RoleName=role.name)
    assert responder.apply(made).status == "failed"
    assert responder.remove(made, {}).status == "already"
    assert responder.look(made).state == "gone"


def tampered():
    allow = document("0" * 16, Denial(("AROA1234:*",), 0))
    return {
        "another document": {"document": {"Version": "2012-10-17", "Statement": []}},
        "an allow": {"document": json.loads(json.dumps(allow).replace("Deny", "Allow"))},
        "another session": {"denial": Denial(("AROAEXAMPLEROLEID0001:somebody-else",), 0).to_json()},
        "a wildcard": {"denial": Denial(("AROAEXAMPLEROLEID0001:*",), 0).to_json()},
        "everybody": {"denial": Denial().to_json()},
        "no time": {"denial": Denial().to_json() | {"issued_until": "soon"}},
        "another role": {"target": f"arn:aws:iam::{ACCOUNT}:role/Admin", "target_id": "AROAADMIN"},
        "another policy's name": {"name": "AdminAccess"},
        "another account": {"account": "999988887777"},
        "another thing": {"writes": "everything"},
        "no role": {"target": ""},
    }


@pytest.mark.parametrize("name", tampered())
def test_an_edited_plan_is_never_carried_out(role, responder, name):
    """iam:PutRolePolicy can grant: only what bucketwatch itself would write for the named session is written."""
    made = role.planned()
    made["actions"][0] |= tampered()[name]
    for answer in (responder.before(made), responder.apply(made), responder.remove(made, {})):
        assert answer.status in ("refused", "failed")
    assert role.policies() == {}


@pytest.mark.parametrize("change", [{"case_id": "../x"}, {"planned_at": "soon"}, {"actions": []}, {"actions": "x"}])
def test_an_edited_frame_is_never_carried_out(role, responder, change):
    """Nor is a plan whose case, time or list of actions is not as bucketwatch writes it."""
    assert responder.apply(role.planned() | change).status == "refused"
    assert role.policies() == {}


def test_nothing_at_all_is_refused(responder):
    """An empty plan is an answer too."""
    assert responder.apply({}).status == "refused"


class Answers:
    """IAM that answers one call with an error of AWS."""

    def __init__(self, real, call, code, status) -> None:
        self._real, self._call, self._code, self._status = real, call, code, status

    def __getattr__(self, name):
        if name != self._call:
            return getattr(self._real, name)
        answer = {"Error": {"Code": self._code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": self._status}}

        def refuse(**_):
            raise ClientError(answer, name)

        return refuse


def only_iam(monkeypatch, answers):
    """IAM is somebody else; all other services are as they are."""
    plain = roles.client
    monkeypatch.setattr(roles, "client", lambda service, **how: answers if service == "iam" else plain(service, **how))


@pytest.mark.parametrize(
    ("code", "http", "status"),
    [
        ("LimitExceeded", 409, "refused"),
        ("UnmodifiableEntity", 400, "refused"),
        ("AccessDenied", 403, "failed"),
        ("Throttling", 400, "failed"),
        ("ServiceFailure", 500, "failed"),
        ("MalformedPolicyDocument", 400, "failed"),
    ],
)
def test_every_answer_of_iam_becomes_a_status_with_a_remedy(role, responder, monkeypatch, code, http, status):
    """What AWS refuses is told, with what to do, and never raised."""
    only_iam(monkeypatch, Answers(role.iam, "put_role_policy", code, http))
    answer = responder.apply(role.planned())
    assert answer.status == status
    assert code in answer.detail
    assert "\n" in answer.detail  # the remedy stands on a line of its own


def test_a_write_that_does_not_show_is_no_success(role, responder, monkeypatch):
    """Only a policy that was read back counts as applied."""

    class Forgets(Answers):
        def __getattr__(self, name):
            return (lambda **_: {}) if name == "put_role_policy" else getattr(self._real, name)

    only_iam(monkeypatch, Forgets(role.iam, "", "", 0))
    assert responder.apply(role.planned()).status == "failed"


def test_nobody_locks_himself_out(role, aws, monkeypatch):
    """Whatever a log says: not the role that we run as, nor one that we assume, on whatever path."""
    ours = OtherAccount(f"arn:aws:iam::{ACCOUNT}:role/responders/{role.name}", "")
    plain = roles.client
    monkeypatch.setattr(roles, "client", lambda service, **how: plain(service, **(how | {"other": None})))
    responder = IamResponder({"999988887777": ours}, sleep=lambda _: None)
    made = role.planned()
    for answer in (responder.before(made), responder.apply(made)):
        assert answer.status == "refused"
        assert "lock itself out" in answer.detail
    assert role.policies() == {}
