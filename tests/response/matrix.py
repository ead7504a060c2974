"""Every kind of identity, what is planned against it, and whom that must hit: the rows that the simulators judge.

Three accounts: SECURITY, where bucketwatch runs; DATA, which has the bucket and some of the roles; WORKLOAD, which has
roles that read the bucket across accounts. Documents are those of the plan, and no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from detector.core.times import iso
from detector.response.documents import Networks
from detector.response.guards import ResponsePolicy
from detector.response.plan import plan
from tests.iam import ALL_OF_S3, FULL_ACCESS, Document, Request, Simulator

SECURITY, DATA, WORKLOAD, STRANGER = "111111111111", "222222222222", "333333333333", "444444444444"
BUCKET = "ml-voice-raw"
NOW = 1_777_626_390
ISSUED, LATER = iso(NOW - 1800), iso(NOW + 600)
OUTSIDE, HOME, ENDPOINT, VPC = "26.77.3.41", "198.18.7.9", "vpce-0123456789abcdef0", "vpc-0123456789abcdef0"
ALLOWED = ResponsePolicy(
    mode="enforce",
    armed=True,
    accounts=frozenset({DATA, WORKLOAD}),
    buckets={"ml-voice-*": DATA},
    own_roles=frozenset({f"arn:aws:iam::{DATA}:role/bucketwatch-responder"}),
)
OWN = (("Trainer*", Networks(("198.18.0.0/16",), (VPC,), (ENDPOINT,))),)
BOUNDARY = f"arn:aws:iam::{DATA}:policy/bucketwatch-boundary"
OPEN: Document = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Readers",
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam::{account}:root" for account in (SECURITY, DATA, WORKLOAD, STRANGER)]},
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        }
    ],
}
"""The bucket's policy before: it lets all accounts read whose own policies do."""


def role(account: str, name: str, path: str = "/vendors/") -> str:
    """A role's ARN."""
    return f"arn:aws:iam::{account}:role{path}{name}"


def request(principal: str, user_id: str, issued: str = ISSUED, **context: str) -> Request:
    """A read of the bucket. A context value of None takes a key away."""
    account = principal.split(":")[4]
    keys: dict[str, Any] = {"aws:TokenIssueTime": issued, "aws:SourceIp": OUTSIDE} | {
        name.replace("_", ":", 1): value for name, value in context.items()
    }
    keys = {name: value for name, value in keys.items() if value}
    return Request(principal, user_id, account, "s3:GetObject", f"arn:aws:s3:::{BUCKET}/raw/a.wav", DATA, keys)


@dataclass(frozen=True)
class Row:
    """One kind. who: a finding's principal. offender, others: requests; of each other whether it must pass."""

    name: str
    who: Mapping[str, Any]
    offender: Request
    others: Mapping[str, tuple[Request, bool]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def planned(self) -> dict[str, Any]:
        """The plan, as it comes out of an alert."""
        evidence = {"buckets": [BUCKET], "source_ips": [OUTSIDE], "logs": ["cloudtrail"]} | dict(self.evidence)
        finding = {
            "alert_id": "a-0123456789abcdef", "rule_id": "bulk", "title": "t", "kind": "threshold", "severity": "high",
            "state": "opened", "last_at": iso(NOW - 60), "respond": ["revoke"], "principal": dict(self.who),
            "evidence": evidence,
        }  # fmt: skip
        allowed = replace(ALLOWED, **self.settings)
        return json.loads(json.dumps(plan(finding, planned_at=NOW, settings=allowed, **self.how).to_json()))  # type: ignore[no-any-return]


def session(
    account: str, name: str, role_name: str, role_id: str, path: str = "/vendors/", **more: Any
) -> dict[str, Any]:
    """A finding's principal: a session of a role."""
    return {
        "type": "AssumedRole",
        "session": f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}",
        "role": role(account, role_name, path),
        "account": account,
        "session_name": name,
        "principal_id": f"{role_id}:{name}",
        "issued_at": ISSUED,
        "issue_times": [ISSUED],
        "access_key_ids": ["ASIAEXAMPLE000000001"],
    } | more


READER, READER_ID = role(DATA, "ContractorDataReader"), "AROAREADEREXAMPLE0001"
OTHER, OTHER_ID = role(DATA, "Transcriber"), "AROAOTHEREXAMPLE00001"
TRAINER, TRAINER_ID = role(DATA, "TrainerInstance", "/ml/"), "AROATRAINEREXAMPLE001"
REMOTE, REMOTE_ID = role(WORKLOAD, "Etl", "/jobs/"), "AROAREMOTEEXAMPLE0001"
FOREIGN, FOREIGN_ID = role(STRANGER, "Partner", "/"), "AROAFOREIGNEXAMPLE001"
CENTER_PATH = "/aws-reserved/sso.amazonaws.com/"
CENTER, CENTER_ID = role(DATA, "AWSReservedSSO_Data_0123456789abcdef", CENTER_PATH), "AROACENTEREXAMPLE0001"
USER, USER_ID = f"arn:aws:iam::{DATA}:user/labs/dana", "AIDADANAEXAMPLE000001"
FEDERATED = f"arn:aws:sts::{DATA}:federated-user/bob"
THIEF = "contractor-42"


def around(principal: str, role_id: str, name: str = THIEF, *, later: bool = True) -> dict[str, tuple[Request, bool]]:
    """Who stands near a session: others of the role, the name on another role, the name later, other accounts."""
    return {
        "another session of the role": (request(principal, f"{role_id}:contractor-43"), True),
        "the name on another role": (request(OTHER, f"{OTHER_ID}:{name}"), True),
        "the session, issued later": (request(principal, f"{role_id}:{name}", LATER), later),
        "another account": (request(REMOTE if principal != REMOTE else FOREIGN, f"{REMOTE_ID}:job"), True),
    }


INSTANCE = "i-0123456789abcdef0"
AT_HOME = {
    "the workload by its public address": (request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", aws_SourceIp=HOME), True),
    "the workload by its endpoint": (
        request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", aws_SourceIp="", aws_SourceVpc=VPC, aws_SourceVpce=ENDPOINT), True,
    ),
    "the workload, refreshed": (request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", LATER, aws_SourceIp=HOME), True),
    "a service on its behalf": (request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", aws_ViaAWSService="true"), True),
    "the thief, refreshed": (request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", LATER), False),
    "the thief by an endpoint of another network": (
        request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", aws_SourceIp="", aws_SourceVpc="vpc-0fedcba9876543210",
                aws_SourceVpce="vpce-0fedcba9876543210"), False,
    ),
    "another instance": (request(TRAINER, f"{TRAINER_ID}:i-00000000000000001"), True),
}  # fmt: skip


def _signed(principal: str, user_id: str, age: int = 60_000) -> Request:
    keys = {"s3_authType": "REST-QUERY-STRING", "s3_signatureAge": str(age)}
    return request(principal, user_id, **keys)


def rows() -> Iterator[Row]:
    """The matrix."""
    reader = session(DATA, THIEF, "ContractorDataReader", READER_ID)
    offender = request(READER, f"{READER_ID}:{THIEF}")
    yield Row("contractor's session", reader, offender, around(READER, READER_ID))
    yield Row(
        "the same, in boundary mode", reader, offender, around(READER, READER_ID), {"boundaries": {DATA: BOUNDARY}}
    )
    yield Row("web identity (IRSA, OIDC)", reader | {"issued_to": "web identity"}, offender, around(READER, READER_ID))
    yield Row(
        "session of a role in another account of ours",
        session(WORKLOAD, "job", "Etl", REMOTE_ID, "/jobs/"),
        request(REMOTE, f"{REMOTE_ID}:job"),
        around(REMOTE, REMOTE_ID, "job"),
    )
    yield Row(
        "session that got new credentials",
        reader,
        offender,
        around(READER, READER_ID, later=False),
        how={"unbounded": True},
    )
    instance = session(DATA, INSTANCE, "TrainerInstance", TRAINER_ID, "/ml/", issued_to="ec2")
    stolen = request(TRAINER, f"{TRAINER_ID}:{INSTANCE}")
    yield Row("instance, read from elsewhere", instance, stolen, AT_HOME, {"workloads": OWN})
    yield Row(
        "function, read from elsewhere",
        session(DATA, "TrainFunction", "TrainerInstance", TRAINER_ID, "/ml/", issued_to="AWS::Lambda::Function"),
        request(TRAINER, f"{TRAINER_ID}:TrainFunction"),
        {
            "the function at home": (request(TRAINER, f"{TRAINER_ID}:TrainFunction", aws_SourceIp=HOME), True),
            "another function": (request(TRAINER, f"{TRAINER_ID}:Other"), True),
        },
        {"workloads": OWN},
    )
    yield Row(
        "instance, networks not told",
        instance,
        stolen,
        {
            "another instance": (request(TRAINER, f"{TRAINER_ID}:i-00000000000000001"), True),
            "the workload itself": (request(TRAINER, f"{TRAINER_ID}:{INSTANCE}", LATER, aws_SourceIp=HOME), False),
        },
    )
    yield Row(
        "all of a role's sessions",
        reader | {"session": None, "session_name": None, "principal_id": None},
        offender,
        {
            "another session of the role": (request(READER, f"{READER_ID}:contractor-43"), False),
            "a session issued later": (request(READER, f"{READER_ID}:contractor-43", LATER), True),
            "another role": (request(OTHER, f"{OTHER_ID}:x1"), True),
        },
    )
    user = {
        "type": "IAMUser", "session": USER, "role": USER, "account": DATA, "principal_id": USER_ID,
        "session_name": None, "access_key_ids": ["AKIAEXAMPLE000000001"],
    }  # fmt: skip
    yield Row(
        "IAM user: token made with the key",
        user,
        request(USER, USER_ID),
        {
            "another user": (request(f"arn:aws:iam::{DATA}:user/labs/erin", "AIDAERINEXAMPLE000001", ""), True),
            "the user with a new key": (request(USER, USER_ID, ""), True),
            "a token issued later": (request(USER, USER_ID, LATER), True),
        },
    )
    yield Row(
        "Identity Center session",
        session(DATA, "dana@example.org", "AWSReservedSSO_Data_0123456789abcdef", CENTER_ID, CENTER_PATH),
        request(CENTER, f"{CENTER_ID}:dana@example.org"),
        {
            "another person": (request(CENTER, f"{CENTER_ID}:erin@example.org"), True),
            "the name on another role": (request(OTHER, f"{OTHER_ID}:dana@example.org"), True),
            "the session, issued later": (request(CENTER, f"{CENTER_ID}:dana@example.org", LATER), True),
        },
    )
    foreign = {
        "type": "AWSAccount", "session": f"{STRANGER}:{FOREIGN_ID}:etl", "role": f"{STRANGER}:{FOREIGN_ID}",
        "account": STRANGER, "session_name": "etl", "principal_id": f"{FOREIGN_ID}:etl",
    }  # fmt: skip
    yield Row(
        "session of a foreign role",
        foreign,
        request(FOREIGN, f"{FOREIGN_ID}:etl"),
        {
            "another session of it": (request(FOREIGN, f"{FOREIGN_ID}:other"), True),
            "the session, issued later": (request(FOREIGN, f"{FOREIGN_ID}:etl", LATER), True),
            "the name on another role": (request(OTHER, f"{OTHER_ID}:etl"), True),
        },
    )
    auditor, auditor_id = role(SECURITY, "Auditor", "/"), "AROAAUDITOREXAMPLE001"
    yield Row(
        "session of the security account",
        session(SECURITY, "erin", "Auditor", auditor_id, "/"),
        request(auditor, f"{auditor_id}:erin"),
        {
            "another session of it": (request(auditor, f"{auditor_id}:other"), True),
            "the session, issued later": (request(auditor, f"{auditor_id}:erin", LATER), True),
            "the name on another role": (request(OTHER, f"{OTHER_ID}:erin"), True),
        },
    )
    yield Row(
        "federated user",
        {
            "type": "FederatedUser",
            "session": FEDERATED,
            "role": FEDERATED,
            "account": DATA,
            "principal_id": f"{DATA}:bob",
        },
        request(FEDERATED, f"{DATA}:bob"),
        {"another federated user": (request(f"arn:aws:sts::{DATA}:federated-user/eve", f"{DATA}:eve"), True)},
    )
    yield Row(
        "leaked signed URLs, all",
        reader,
        _signed(READER, f"{READER_ID}:{THIEF}"),
        {
            "another signer's URL": (_signed(OTHER, f"{OTHER_ID}:app"), False),
            "the session without a URL": (request(READER, f"{READER_ID}:{THIEF}", s3_authType="REST-HEADER"), True),
        },
        how={"presigned_after": 0},
    )
    yield Row(
        "leaked signed URLs, old ones",
        reader,
        _signed(READER, f"{READER_ID}:{THIEF}", 3_600_001),
        {
            "another signer's fresh URL": (_signed(OTHER, f"{OTHER_ID}:app", 5_000), True),
            "another signer's old URL": (_signed(OTHER, f"{OTHER_ID}:app", 7_200_000), False),
        },
        how={"presigned_after": 3600},
    )
    known = {"aws_SourceIdentity": "dana@example.org"}
    yield Row(
        "person with a source identity",
        reader | {"source_identity": "dana@example.org"},
        request(READER, f"{READER_ID}:{THIEF}", **known),
        {
            "their session by another name": (request(READER, f"{READER_ID}:other", **known), False),
            "their session of the other role": (request(OTHER, f"{OTHER_ID}:x1", **known), False),
            "somebody else of that name": (request(READER, f"{READER_ID}:{THIEF}", aws_SourceIdentity="erin"), True),
            "a session without one": (request(READER, f"{READER_ID}:{THIEF}"), True),
            "their session, issued later": (request(READER, f"{READER_ID}:{THIEF}", LATER, **known), True),
        },
        how={"person": True},
        evidence={"roles": [READER, OTHER, FOREIGN]},
    )
    yield Row(
        "signed URL of a revoked session", reader, _signed(READER, f"{READER_ID}:{THIEF}"), around(READER, READER_ID)
    )


REFUSED: Mapping[str, Mapping[str, Any]] = {
    "root": {
        "type": "Root",
        "session": f"arn:aws:iam::{DATA}:root",
        "role": f"arn:aws:iam::{DATA}:root",
        "account": DATA,
    },
    "anonymous": {"type": "anonymous", "session": f"anonymous@{OUTSIDE}", "role": "anonymous", "account": "anonymous"},
    "AWS service": {"type": "AWSService", "session": "service:replication.s3.amazonaws.com", "account": DATA},
    "service-linked role": session(DATA, "x1", "AWSServiceRoleForMacie", READER_ID, "/aws-service-role/macie/"),
    "session known from an access log only": session(DATA, THIEF, "R", READER_ID) | {"principal_id": None},
    "forged session name": session(DATA, "a*", "ContractorDataReader", READER_ID),
}
"""What cannot be revoked: no document is ever made, and a person gets steps."""

PROTECTED: Mapping[str, Mapping[str, Any]] = {
    "bucketwatch's own role": session(DATA, "task", "bucketwatch-responder", READER_ID, "/"),
    "break-glass role": session(DATA, "oncall", "ops-break-glass", READER_ID, "/"),
}
"""What is never revoked: the plan says so, and no command of ours carries it out."""


class World:
    """What stands in AWS once a plan is carried out: by account and role, at the bucket, in the boundary."""

    def __init__(self, made: Mapping[str, Any] | None) -> None:
        actions = list((made or {}).get("actions", ()))
        self.inline = {a["target"]: a["document"] for a in actions if a["writes"] in ("role_policy", "user_policy")}
        self.at_bucket = [a["document"] for a in actions if a["writes"] == "bucket_policy"]
        self.bucket = {**OPEN, "Statement": [*OPEN["Statement"], *self.at_bucket]}
        in_boundary = [a["document"] for a in actions if a["writes"] == "boundary"]
        self.boundary = {**FULL_ACCESS, "Statement": [*FULL_ACCESS["Statement"], *in_boundary]}

    def lets(self, simulator: Simulator, asked: Request) -> bool:
        """Whether a request passes."""
        own = [self.inline[asked.principal_arn]] if asked.principal_arn in self.inline else []
        guarded = self.boundary if asked.principal_arn == READER else None
        return simulator.allowed(asked, [ALL_OF_S3, *own], self.bucket, guarded)

    def documents(self) -> list[Document]:
        """What the linter looks at."""
        ours = [{**OPEN, "Statement": self.at_bucket}] if self.at_bucket else []
        return [*self.inline.values(), self.boundary, *ours]


def table(simulator: Simulator) -> str:
    """The matrix as the simulator judges it, for the docs."""
    lines = [
        "| who | means | alone | the offender | whom it lets through | whom it also hits | after undo |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows():
        made = row.planned()
        world, before = World(made), World(None)
        judged = {name: world.lets(simulator, asked) for name, (asked, _) in row.others.items()}
        lines.append(
            f"| {row.name} | `{made['means']}` | {'yes' if made['applicable'] else 'a person'} |"
            f" {'reads on' if world.lets(simulator, row.offender) else 'denied'} |"
            f" {', '.join(name for name, let in judged.items() if let) or '-'} |"
            f" {', '.join(name for name, let in judged.items() if not let) or '-'} |"
            f" {'reads' if before.lets(simulator, row.offender) else 'denied'} |"
        )
    for names, told in ((REFUSED, "refused: steps for a person"), (PROTECTED, "never")):
        lines += [f"| {name} | {told} | no | | | | |" for name in names]
    return "\n".join(lines)
