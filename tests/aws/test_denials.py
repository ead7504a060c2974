"""Laws of the responder beyond roles: users and keys, buckets' policies, boundaries, room, and what others change."""

import json
import time

import pytest

from detector.aws import roles, shared_policy
from detector.aws.roles import IamResponder
from detector.response.documents import Denial, Networks, document
from detector.response.guards import ResponsePolicy
from detector.response.plan import plan
from tests.aws.test_roles import ACCOUNT, BUCKET, Role

ALLOW = {"Sid": "Own", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:GetObject", "Resource": "*"}
NOW = 1_777_626_390


def told(who, at=NOW, unbounded=False, alert_id="a-1", **settings):
    """The plan against somebody, as it comes from an alert's JSON."""
    finding = {"alert_id": alert_id, "rule_id": "bulk", "severity": "high", "last_at": "2026-05-01T09:06:00Z",
               "respond": ["revoke"], "principal": who,
               "evidence": {"logs": ["cloudtrail"]} | settings.pop("evidence", {})}  # fmt: skip
    allowed = ResponsePolicy(mode="enforce", accounts=frozenset({ACCOUNT}), armed=True, **settings)
    return json.loads(json.dumps(plan(finding, planned_at=at, settings=allowed, unbounded=unbounded).to_json()))


@pytest.fixture
def responder():
    return IamResponder(sleep=lambda _: None, clock=lambda: NOW)


class User:
    """A user of its own, with two keys."""

    def __init__(self, aws) -> None:
        self.iam, self.name = aws.client("iam"), aws.name("dana")
        made = self.iam.create_user(UserName=self.name, Path="/labs/")["User"]
        self.arn, self.id = made["Arn"], made["UserId"]
        self.keys = [self.iam.create_access_key(UserName=self.name)["AccessKey"]["AccessKeyId"] for _ in range(2)]

    def principal(self, *keys):
        return {"type": "IAMUser", "session": self.arn, "role": self.arn, "account": ACCOUNT, "principal_id": self.id,
                "session_name": None, "access_key_ids": list(keys)}  # fmt: skip

    def statuses(self):
        return [key["Status"] for key in self.iam.list_access_keys(UserName=self.name)["AccessKeyMetadata"]]


def test_a_users_key_goes_off_and_its_tokens_with_it(ministack, responder):
    """The key that was seen, not the other; and what was made with it. All of it back by undo."""
    user = User(ministack)
    made = told(user.principal(user.keys[0]))
    before = responder.before(made).before
    answer = responder.apply(made)
    assert answer.status == "applied", answer.detail
    assert user.statuses() == ["Inactive", "Active"]
    [name] = user.iam.list_user_policies(UserName=user.name)["PolicyNames"]
    assert (
        user.iam.get_user_policy(UserName=user.name, PolicyName=name)["PolicyDocument"]
        == made["actions"][-1]["document"]
    )
    assert responder.apply(made).status == "already"
    assert responder.look(made).state == "stands"
    assert responder.remove(made, before).status == "applied"
    assert user.statuses() == ["Active", "Active"]
    assert responder.look(made).state == "gone"


def test_of_two_keys_each_is_what_it_was(ministack, responder):
    """One was off before: it stays off, and the other comes back."""
    user = User(ministack)
    user.iam.update_access_key(UserName=user.name, AccessKeyId=user.keys[1], Status="Inactive")
    made = told(user.principal(*user.keys))
    before = responder.before(made).before
    responder.apply(made)
    assert user.statuses() == ["Inactive", "Inactive"]
    assert responder.remove(made, before).status == "applied"
    assert sorted(user.statuses()) == ["Active", "Inactive"]


def test_a_key_that_was_off_stays_off(ministack, responder):
    """Undo turns on what the plan turned off, not what somebody else did."""
    user = User(ministack)
    user.iam.update_access_key(UserName=user.name, AccessKeyId=user.keys[0], Status="Inactive")
    made = told(user.principal(user.keys[0]))
    before = responder.before(made).before
    responder.apply(made)
    responder.remove(made, before)
    assert user.statuses() == ["Inactive", "Active"]


def test_a_user_made_anew_under_the_name_is_not_touched(ministack, responder):
    """The user's id must be the record's."""
    user = User(ministack)
    made = told(user.principal() | {"principal_id": "AIDASOMEBODYELSE0001"})
    assert responder.apply(made).status == "refused"


class Bucket:
    """A bucket of its own with a policy, or none."""

    def __init__(self, aws, policy=None) -> None:
        self.s3, self.name = aws.client("s3"), aws.name("ml-voice")
        self.s3.create_bucket(Bucket=self.name)
        if policy is not None:
            self.put(policy)

    def put(self, text):
        self.s3.put_bucket_policy(Bucket=self.name, Policy=text)

    def policy(self):
        try:
            return self.s3.get_bucket_policy(Bucket=self.name)["Policy"]
        except self.s3.exceptions.ClientError:
            return None

    def planned(self, buckets_read=(), **more):
        foreign = {"type": "AWSAccount", "session": "444455556666:AROAFOREIGNROLEID001:etl", "account": "444455556666",
                   "role": "444455556666:AROAFOREIGNROLEID001", "session_name": "etl",
                   "principal_id": "AROAFOREIGNROLEID001:etl"}  # fmt: skip
        return told(foreign, evidence={"buckets": [self.name, *buckets_read]}, buckets={"ml-*": ACCOUNT}, **more)


def test_one_bucket_that_cannot_be_written_does_not_save_the_thief_from_the_others(aws, responder):
    """What can be done is done and can be taken back; the rest is told, and may be tried again."""
    first, last = Bucket(aws), Bucket(aws)
    made = first.planned(buckets_read=["ml-nowhere-at-all", last.name])
    before = responder.before(made)
    assert before.status == "applied"
    done = responder.apply(made)
    assert (done.status, len(done.actions)) == ("failed", 2)
    assert "ml-nowhere-at-all" in done.detail
    assert len(json.loads(last.policy())["Statement"]) == 1
    standing = done.of(made)
    assert [action["target"].rsplit(":", 1)[-1] for action in standing["actions"]] == [first.name, last.name]
    assert responder.look(standing).state == "stands"
    assert responder.remove(standing, before.before).status == "applied"
    assert (first.policy(), last.policy()) == (None, None)


SPACED = json.dumps({"Version": "2012-10-17", "Statement": [ALLOW]}, indent=3)


@pytest.mark.parametrize("text", [None, SPACED, json.dumps({"Version": "2012-10-17", "Id": "x", "Statement": ALLOW})])
def test_a_statement_is_added_to_a_buckets_policy_and_taken_out_again(aws, responder, text):
    """Nothing else is changed, and in the end the policy is letter by letter what it was."""
    bucket = Bucket(aws, text)
    made = bucket.planned()
    before = responder.before(made).before
    assert responder.apply(made).status == "applied"
    statements = json.loads(bucket.policy())["Statement"]
    assert statements[-1] == made["actions"][0]["document"]
    assert len(statements) == (1 if text is None else 2)
    assert responder.apply(made).status == "already"
    assert responder.look(made).state == "stands"
    assert responder.remove(made, before).status == "applied"
    assert bucket.policy() == text
    assert responder.remove(made, before).status == "already"


def test_what_others_added_meanwhile_stays(aws, responder):
    """Taking our statement out keeps what came after it: the old text is not put over it."""
    bucket = Bucket(aws, SPACED)
    made = bucket.planned()
    before = responder.before(made).before
    responder.apply(made)
    policy = json.loads(bucket.policy())
    other = ALLOW | {"Sid": "Later"}
    bucket.put(json.dumps(policy | {"Statement": [*policy["Statement"], other]}))
    assert responder.remove(made, before).status == "applied"
    assert json.loads(bucket.policy())["Statement"] == [ALLOW, other]


def test_a_statement_that_somebody_changed_is_left_alone(aws, responder):
    """Neither overwritten nor taken out; and `look` says so."""
    bucket = Bucket(aws, SPACED)
    made = bucket.planned()
    responder.apply(made)
    policy = json.loads(bucket.policy())
    policy["Statement"][-1]["Action"] = "s3:GetObject"
    bucket.put(json.dumps(policy))
    edited = bucket.policy()
    assert responder.look(made).state == "changed"
    assert responder.apply(made).status == "refused"
    assert responder.remove(made, {}).status == "refused"
    assert bucket.policy() == edited


def test_every_call_names_the_buckets_owner(aws, responder, monkeypatch):
    """A bucket of that name in another account is not touched: AWS refuses (moto does not look)."""
    bucket = Bucket(aws)
    made, named, plain = bucket.planned(), [], roles.client

    def listening(service, **how):
        made_client = plain(service, **how)
        made_client.meta.events.register("provide-client-params.s3.*", lambda params, **_: named.append(params))
        return made_client

    monkeypatch.setattr(roles, "client", listening)
    responder.apply(made)
    responder.look(made)
    responder.remove(made, {})
    assert len(named) >= 6
    assert {call["ExpectedBucketOwner"] for call in named} == {ACCOUNT}


def test_a_write_that_somebody_else_overwrites_is_made_again(aws, responder, monkeypatch):
    """S3 knows no condition for a policy: what does not show is written once more, on top of what they wrote."""
    bucket = Bucket(aws, SPACED)
    made = bucket.planned()
    write, times = shared_policy.BucketPolicy.write, []

    def overwritten(self, action, text):
        write(self, action, text)
        if not times:
            bucket.put(json.dumps({"Version": "2012-10-17", "Statement": [ALLOW, ALLOW | {"Sid": "Theirs"}]}))
        times.append(1)

    monkeypatch.setattr(shared_policy.BucketPolicy, "write", overwritten)
    assert responder.apply(made).status == "applied"
    assert [one["Sid"] for one in json.loads(bucket.policy())["Statement"]] == [
        "Own", "Theirs", made["actions"][0]["name"],
    ]  # fmt: skip


def test_a_policy_that_always_comes_back_is_told(aws, responder, monkeypatch):
    """Somebody keeps writing: no success is claimed."""
    bucket = Bucket(aws, SPACED)
    monkeypatch.setattr(shared_policy.BucketPolicy, "write", lambda *_: None)
    answer = responder.apply(bucket.planned())
    assert answer.status == "failed"
    assert "somebody else" in answer.detail


def test_a_full_bucket_policy_is_refused(aws, responder):
    """Before AWS does, with what to do."""
    bucket = Bucket(aws, json.dumps({"Version": "2012-10-17", "Statement": [ALLOW | {"Sid": "x" * 20_300}]}))
    answer = responder.apply(bucket.planned())
    assert answer.status == "refused"
    assert "20,480" in answer.detail


def test_no_room_is_made_of_what_a_federated_user_may_still_use(aws):
    """Tokens of users live for 36 hours: a denial of one is not taken out after twelve."""
    bucket = Bucket(aws, SPACED)
    who = {"type": "FederatedUser", "session": f"arn:aws:sts::{ACCOUNT}:federated-user/bob", "account": ACCOUNT,
           "role": "x", "principal_id": f"{ACCOUNT}:bob", "session_name": None}  # fmt: skip
    made = told(who, evidence={"buckets": [bucket.name]}, buckets={"ml-*": ACCOUNT})
    assert IamResponder(sleep=lambda _: None, clock=lambda: NOW).apply(made).status == "applied"
    policy = json.loads(bucket.policy())
    policy["Statement"].append(ALLOW | {"Sid": "x" * (20_300 - len(json.dumps(policy)))})
    bucket.put(json.dumps(policy))
    for hours, status in ((13, "refused"), (37, "applied")):
        later = IamResponder(sleep=lambda _: None, clock=lambda now=NOW + hours * 3600: now)
        assert later.apply(bucket.planned(alert_id="a-2")).status == status


class Guarded(Role):
    """A role that carries a boundary."""

    def __init__(self, aws) -> None:
        super().__init__(aws)
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        made = self.iam.create_policy(PolicyName=aws.name("boundary"), PolicyDocument=json.dumps(everything))
        self.boundary = made["Policy"]["Arn"]
        self.iam.put_role_permissions_boundary(RoleName=self.name, PermissionsBoundary=self.boundary)

    def statements(self):
        default = self.iam.get_policy(PolicyArn=self.boundary)["Policy"]["DefaultVersionId"]
        version = self.iam.get_policy_version(PolicyArn=self.boundary, VersionId=default)
        return version["PolicyVersion"]["Document"]["Statement"]

    def denied(self, alert_id):
        return told(self.who(), alert_id=alert_id, boundaries={ACCOUNT: self.boundary})

    def who(self):
        return {
            "type": "AssumedRole", "session": f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.name}/contractor-42",
            "role": self.arn, "account": ACCOUNT, "session_name": "contractor-42",
            "principal_id": f"{self.id}:contractor-42",
        }  # fmt: skip


def test_a_boundary_takes_the_statement_and_gives_it_back(aws, responder):
    """Version after version, never more than five; the role itself is not written."""
    role = Guarded(aws)
    cases = [role.denied(f"a-{n}") for n in range(7)]
    for made in cases:
        assert responder.apply(made).status == "applied"
    assert len(role.statements()) == 8
    assert role.policies() == {}
    assert responder.look(cases[3]).state == "stands"
    for made in cases:
        assert responder.remove(made, {}).status == "applied"
    assert [one["Effect"] for one in role.statements()] == ["Allow"]


def test_a_role_without_the_boundary_is_refused(aws, responder):
    """A statement in a boundary that the role does not carry would stop nothing."""
    role = Guarded(aws)
    made = role.denied("a-1")
    role.iam.delete_role_permissions_boundary(RoleName=role.name)
    answer = responder.apply(made)
    assert answer.status == "refused"
    assert "does not carry" in answer.detail


def test_a_role_that_lost_its_boundary_is_a_change_and_undo_still_works(aws, responder):
    """Whoever takes the boundary off the role makes the denial void: that is seen. Undo takes the statement out."""
    role = Guarded(aws)
    made = role.denied("a-1")
    responder.apply(made)
    assert responder.look(made).state == "stands"
    role.iam.delete_role_permissions_boundary(RoleName=role.name)
    lying = responder.look(made)
    assert (lying.state, "does not carry" in lying.detail) == ("changed", True)
    assert responder.remove(made, {}).status == "applied"
    assert [one["Effect"] for one in role.statements()] == ["Allow"]


def test_room_is_made_in_a_boundary_too(aws):
    """Statements about dead credentials go, the oldest first; what still holds stays; past that it is refused."""
    role, later = Guarded(aws), NOW + 12 * 3600 + 1
    old = [role.denied(f"a-{n}") for n in range(20)]
    responder = IamResponder(sleep=lambda _: None, clock=lambda: later)
    for made in old:
        assert responder.apply(made).status == "applied"
    new = [told(role.who(), later, alert_id=f"b-{n}", boundaries={ACCOUNT: role.boundary}) for n in range(40)]
    answers = [responder.apply(made).status for made in new]
    full = answers.index("refused")
    assert full > 20
    assert set(answers[full:]) == {"refused"}
    sids = {one.get("Sid") for one in role.statements()}
    assert not sids & {made["actions"][0]["name"] for made in old}
    assert {made["actions"][0]["name"] for made in new[:full]} <= sids


def test_a_full_role_is_denied_at_the_buckets_instead(aws, responder):
    """Where the operator lets us write there; and what stands is what is looked after and taken back."""
    role, bucket = Role(aws), Bucket(aws, SPACED)
    filler = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": [f"{BUCKET}{'x' * 10_000}"]}],
    }
    role.put("own", filler)
    who = session_of(role, f"{role.id}:contractor-42")
    assert responder.apply(told(who, evidence={"buckets": [bucket.name]})).status == "refused"
    made = told(who, evidence={"buckets": [bucket.name]}, buckets={"ml-*": ACCOUNT})
    before = responder.before(made)
    done = responder.apply(made)
    assert done.status == "applied"
    assert "10,240" in done.detail
    standing = done.of(made)
    assert [action["writes"] for action in standing["actions"]] == ["bucket_policy"]
    assert len(json.loads(bucket.policy())["Statement"]) == 2
    assert responder.look(standing).state == "stands"
    assert responder.remove(standing, before.before).status == "applied"
    assert json.loads(bucket.policy()) == json.loads(SPACED)


def test_what_hides_behind_our_names_is_seen(aws, responder):
    """A statement or policy that is called like ours and is not is a change like any."""
    bucket, role = Bucket(aws, SPACED), Role(aws)
    made, denied = bucket.planned(), role.planned()
    responder.apply(made)
    responder.apply(denied)
    first = responder.look(made), responder.look(denied)
    policy = json.loads(bucket.policy())
    policy["Statement"].append(ALLOW | {"Sid": "BucketwatchCase" + "f" * 16})
    bucket.put(json.dumps(policy))
    role.put("bucketwatch-" + "0" * 16, {"Version": "2012-10-17", "Statement": [ALLOW | {"Resource": "*"}]})
    second = responder.look(made), responder.look(denied)
    assert [one.state for one in second] == ["stands", "stands"]
    assert [a.around == b.around for a, b in zip(first, second, strict=True)] == [False, False]


def test_what_is_gone_does_not_keep_the_rest_from_being_taken_back(aws, responder):
    """One of two buckets was deleted, a user too: undo goes on with what there is."""
    first, last = Bucket(aws), Bucket(aws)
    made = first.planned(buckets_read=[last.name])
    before = responder.before(made).before
    responder.apply(made)
    first.s3.delete_bucket(Bucket=last.name)
    assert responder.remove(made, before).status == "applied"
    assert first.policy() is None


def test_a_plan_for_what_is_denied_more_widely_already_names_what_stands(aws, responder):
    """So that undo takes back that."""
    role = Role(aws)
    who = role.planned()["actions"][0]["denial"]["user_ids"][0]
    wide = told(session_of(role, who), unbounded=True)
    responder.apply(wide)
    narrow = told(session_of(role, who))
    done = responder.apply(narrow)
    assert done.status == "already"
    standing = done.of(narrow)
    assert standing["actions"] == wide["actions"]
    assert responder.remove(narrow, {}).status == "refused"
    assert responder.remove(standing, {}).status == "applied"
    assert role.policies() == {}


def session_of(role, user_id):
    name = user_id.partition(":")[2]
    return {
        "type": "AssumedRole", "session": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.name}/{name}", "role": role.arn,
        "account": ACCOUNT, "session_name": name, "principal_id": user_id,
    }  # fmt: skip


def test_room_is_made_by_taking_expired_cases(aws):
    """Only our own, only what cannot live any more, the oldest first, and no more than needed."""
    role, later = Role(aws), NOW + 12 * 3600 + 1
    filler = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": [f"{BUCKET}{'x' * 9_300}"]}],
    }
    role.put("own", filler)
    responder = IamResponder(sleep=lambda _: None, clock=lambda: later)
    old = [role.planned(f"a-{n}", at=NOW - n) for n in range(3)]
    for made in old:
        assert responder.apply(made).status == "applied"
    unbounded = document("f" * 16, Denial((f"{role.id}:other",)))
    role.put("bucketwatch-" + "f" * 16, unbounded)
    answer = responder.apply(role.planned("a-9", at=later))
    assert answer.status == "applied", answer.detail
    names = set(role.policies())
    assert old[2]["actions"][0]["name"] not in names
    assert old[2]["actions"][0]["name"] in answer.detail
    assert {old[0]["actions"][0]["name"], "own", "bucketwatch-" + "f" * 16} <= names


def test_a_wider_denial_of_the_case_replaces_a_narrower_one_only(aws, responder):
    """A session that came back is denied without an issue time; the plan from before then changes nothing."""
    role = Guarded(aws)
    role.iam.delete_role_permissions_boundary(RoleName=role.name)
    bounded, unbounded = told(role.who()), told(role.who(), unbounded=True)
    assert responder.apply(bounded).status == "applied"
    assert responder.apply(unbounded).status == "applied"
    assert responder.apply(bounded).status == "already"
    elsewhere = told(
        role.who(), workloads=((role.name, Networks(("10.0.0.0/8",))),), evidence={"source_ips": ["26.1.1.1"]}
    )
    assert elsewhere["means"] == "off_host"
    assert responder.apply(elsewhere).status == "already"
    assert role.policies() == role.named(unbounded)
    assert responder.remove(unbounded, {}).status == "applied"
    assert responder.apply(elsewhere).status == "applied"
    assert responder.apply(bounded).status == "refused"
    assert role.policies() == role.named(elsewhere)


def test_what_changes_around_a_denial_is_seen(aws, responder):
    """Another inline policy, the trust, the boundary; cases of our own are no change."""
    role = Role(aws)
    made = role.planned()
    responder.apply(made)
    first = responder.look(made)
    responder.apply(role.planned("a-2"))
    assert responder.look(made) == first
    role.put("own", {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
    second = responder.look(made)
    assert (second.state, second.around == first.around) == ("stands", False)
    edited = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}
    role.put(made["actions"][0]["name"], edited)
    assert responder.look(made).state == "changed"
    role.iam.delete_role_policy(RoleName=role.name, PolicyName=made["actions"][0]["name"])
    assert responder.look(made).state == "gone"


def test_what_cannot_be_read_is_unknown(aws, responder, monkeypatch):
    """No answer is no change."""
    made = Role(aws).planned(at=int(time.time()))

    def refuse(*_, **__):
        raise roles.EdgeError("no network", retryable=True)

    monkeypatch.setattr(roles, "client", refuse)
    assert responder.look(made).state == "unknown"
