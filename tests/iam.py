"""What a policy does, said by two that share no code: iam-simulate and ministack. And parliament, a linter.

`Request` is one request to AWS. `Simulator` judges any of them by the policies it is given. `Emulator` makes principals
in a running ministack and lets them read; `Emulator.request` is what one of its readings looks like to the simulator.
iam-simulate is a process of its own, of another licence (AGPL): tests talk to it, nothing imports or ships it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from detector.core.times import iso
from tests.ministack import ACCOUNT, Server
from tests.parts import need

HOME = Path(__file__).resolve().parents[1] / ".simulators"
SCRIPTS = Path(__file__).resolve().parent / "simulators"
Document = Mapping[str, Any]
"""A policy as JSON has it."""
FULL_ACCESS: Document = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
"""Also what an organisation's FullAWSAccess says: an SCP that only denies stands beside it."""
ALL_OF_S3: Document = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
LINT_SECONDS = 60


@dataclass(frozen=True)
class Request:
    """One request, by a principal named by its IAM ARN: a role for its sessions, a user, or the account's root.

    `user_id` is what aws:userid says: `AROA…:session name`, `AIDA…`, or the account. `context` has the condition keys
    beyond those that every such request has (`keys`); what is not in it is missing from the request. A session name is
    part of `user_id` alone: from it and the role follows the session's ARN (`principal`).
    """

    principal_arn: str
    user_id: str
    account: str
    action: str
    resource: str
    resource_account: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.principal_arn.split(":")[4] != self.account:
            raise ValueError(f"{self.principal_arn} is not of account {self.account}")

    @property
    def kind(self) -> str:
        """As aws:PrincipalType says it."""
        resource = self.principal_arn.split(":", 5)[5]
        kinds = {"role": "AssumedRole", "user": "User", "federated-user": "FederatedUser", "root": "Account"}
        return kinds[resource.split("/")[0]]

    @property
    def principal(self) -> str:
        """Whoever makes the request, as a resource policy may name it: for a role, its session."""
        if self.kind != "AssumedRole":
            return self.principal_arn
        partition, role = self.principal_arn.split(":")[1], self.principal_arn.rsplit("/", 1)[1]
        session = self.user_id.split(":", 1)[1]
        return f"arn:{partition}:sts::{self.account}:assumed-role/{role}/{session}"

    def keys(self) -> dict[str, str | list[str]]:
        """The context: what every request of this principal has, and what the test says, which wins."""
        always = {
            "aws:PrincipalAccount": self.account,
            "aws:PrincipalArn": self.principal_arn,
            "aws:PrincipalIsAWSService": "false",
            "aws:PrincipalType": self.kind,
            "aws:RequestedRegion": "us-east-1",
            "aws:ResourceAccount": self.resource_account,
            "aws:SecureTransport": "true",
            "aws:userid": self.user_id,
            "aws:ViaAWSService": "false",
        }
        if self.kind == "User":
            always["aws:username"] = self.principal_arn.rsplit("/", 1)[1]
        given = {key.lower() for key in self.context}
        return {key: value for key, value in always.items() if key.lower() not in given} | dict(self.context)


class Simulator:
    """iam-simulate in a process that is kept.

    What it says of AWS: identity policies, a resource policy, a boundary, SCPs (one level, as given: see FULL_ACCESS);
    across accounts identity and resource policy must both allow; a session is itself, its role and its account in a
    resource policy; negated operators match a missing key; policy variables. The root needs a policy like anyone.

    What it does not: session policies (not passed here), ACLs, trust policies (`sts:AssumeRole` needs none), sizes and
    Sids of policies, dates that are numbers (refused here). A Deny with NotPrincipal spares the sessions of a role that
    is named; AWS wants the session's ARN beside it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def allowed(
        self,
        request: Request,
        identity: Sequence[Document] = (),
        resource_policy: Document | None = None,
        boundary: Document | None = None,
        scps: Sequence[Document] = (),
    ) -> bool:
        """Whether AWS would let it pass. What cannot be judged as it is written is an AssertionError."""
        asked: dict[str, Any] = {
            "request": {
                "principal": request.principal,
                "action": request.action,
                "resource": {"resource": request.resource, "accountId": request.resource_account},
                "contextVariables": request.keys(),
            },
            "identityPolicies": _named("identity", identity),
            "serviceControlPolicies": [{"orgIdentifier": "o-1", "policies": _named("scp", scps)}] if scps else [],
            "resourceControlPolicies": [],
        }
        if resource_policy is not None:
            asked["resourcePolicy"] = resource_policy
        if boundary is not None:
            asked["permissionBoundaryPolicies"] = _named("boundary", [boundary])
        answer = self._ask(asked)
        assert not answer["problems"], "iam-simulate cannot judge this:\n" + "\n".join(answer["problems"])
        return bool(answer["allowed"])

    def _ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        try:
            to.write(json.dumps(asked) + "\n")
            to.flush()
            line = back.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"iam-simulate ended with status {self._process.wait()}; it says why on standard error")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _named(kind: str, documents: Iterable[Document]) -> list[dict[str, Any]]:
    return [{"name": f"{kind} {number}", "policy": one} for number, one in enumerate(documents)]


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """An iam-simulate of this test session; it ends with its input."""
    node = shutil.which("node")
    there = node and (HOME / "node_modules/.synced").exists()
    need(there, "node, or iam-simulate in .simulators (make .simulators/node_modules/.synced)")
    assert node
    command = [node, str(SCRIPTS / "simulate.mjs")]
    with subprocess.Popen(command, cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Simulator(process)


def lint(documents: Iterable[Document]) -> list[str]:
    """What parliament finds in these policies, each finding behind its policy's number; none if all are clean.

    It judges operators, actions, ARNs, types of values, and keys per action; but of an `Action: "*"` no keys and types
    beyond the global keys', and of a Deny not whether actions and resources fit. A trust policy, which has no resource,
    is malformed to it. It knows nothing of sizes.
    """
    python = HOME / ".venv/bin/python"
    need(python.exists(), "the linter's environment .simulators/.venv (make .simulators/.venv/.synced)")
    lines = "".join(json.dumps(one) + "\n" for one in documents)
    command = [str(python), "-W", "ignore", str(SCRIPTS / "findings.py")]
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=LINT_SECONDS, check=False)
    answers = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert len(answers) == lines.count("\n"), ran.stderr
    return [f"policy {number}: {one}" for number, line in enumerate(answers) for one in json.loads(line)]


@dataclass(frozen=True)
class Identity:
    """A role or a user that the emulator made: its id is what aws:userid has of it."""

    kind: Literal["role", "user"]
    name: str
    arn: str
    unique_id: str


@dataclass(frozen=True)
class Credentials:
    """Keys that the emulator gave out, and whose they are (the ARN is the role's or the user's)."""

    access_key_id: str
    secret: str
    token: str | None
    principal_arn: str
    user_id: str
    issued: int | None
    """A session's aws:TokenIssueTime, or the second after it; None for a user's own keys."""

    @property
    def account(self) -> str:
        return self.principal_arn.split(":")[4]


class Emulator:
    """One account of a running ministack, as its root: it makes buckets, principals and policies, and lets them read.

    It enforces inline and managed policies and boundaries of roles and users, and bucket policies within an account: of
    `*`, a role, a session, a user, an account. Negated operators match a missing key, and so does …IfExists. It has
    aws:userid, aws:username, aws:TokenIssueTime (sessions alone), aws:SourceIp (127.0.0.1), aws:PrincipalAccount and
    -Type, aws:ResourceAccount, aws:SecureTransport (true), aws:CurrentTime. An inactive key is InvalidAccessKeyId;
    sessions got by it live on. An Allow of `*` in a bucket policy is refused, as new buckets at AWS do.

    What it does not do, and AWS does: aws:PrincipalArn is the session's ARN, not the role's. aws:ViaAWSService,
    aws:SourceIdentity, aws:SourceVpc, aws:SourceVpce, s3:authType and s3:signatureAge are always missing. Policy
    variables are plain text; NotPrincipal never matches; there are no SCPs. It takes a misspelt operator, which never
    matches. Another account (`Emulator(server, "222222222222")`) has principals and buckets of its own, but a bucket
    policy sees every principal of another account as that account's root: a Deny by aws:userid or aws:TokenIssueTime
    does not reach them, an Allow of their role does not either; the policies of their role do count.
    """

    def __init__(self, server: Server, account: str = ACCOUNT) -> None:
        self._server, self.account = server, account
        self._clients: dict[tuple[str, Credentials], Any] = {}
        self._root = Credentials(account, "test", None, f"arn:aws:iam::{account}:root", account, None)
        self._iam, self._s3, self._sts = (self.client(service) for service in ("iam", "s3", "sts"))

    def client(self, service: str, credentials: Credentials | None = None) -> Any:
        """A client of boto3 with these keys, or the root's; made once, as that takes long."""
        keys = credentials or self._root
        if (service, keys) not in self._clients:
            self._clients[service, keys] = self._client(service, keys)
        return self._clients[service, keys]

    def _client(self, service: str, keys: Credentials) -> Any:
        import boto3

        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self._server.url,
            verify=str(self._server.certificate),
            region_name="us-east-1",
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret,
            aws_session_token=keys.token,
        )

    def bucket(self, *keys: str) -> str:
        """A new bucket with an object under each of these keys, or under `key`."""
        name = _new("bucket")
        self._s3.create_bucket(Bucket=name)
        for key in keys or ("key",):
            self._s3.put_object(Bucket=name, Key=key, Body=b"content")
        return name

    def bucket_policy(self, bucket: str, document: Document | None) -> None:
        """Put the bucket's policy, or take it away."""
        if document is None:
            self._s3.delete_bucket_policy(Bucket=bucket)
        else:
            self._s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))

    def role(self, path: str = "/", allow: Document = ALL_OF_S3, boundary: Document | None = None) -> Identity:
        """A new role that may do `allow` by an inline policy, and that its account may assume."""
        name, trust = _new("role"), _trust(self.account)
        made = self._iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=trust)["Role"]
        role = Identity("role", name, made["Arn"], made["RoleId"])
        self._begin(role, allow, boundary)
        return role

    def user(self, path: str = "/", allow: Document = ALL_OF_S3, boundary: Document | None = None) -> Identity:
        """A new user that may do `allow` by an inline policy."""
        name = _new("user")
        made = self._iam.create_user(UserName=name, Path=path)["User"]
        user = Identity("user", name, made["Arn"], made["UserId"])
        self._begin(user, allow, boundary)
        return user

    def put(self, identity: Identity, document: Document, name: str = "") -> str:
        """Put an inline policy on a role or a user, of a new name or of this one: its name."""
        policy, text = name or _new("policy"), json.dumps(document)
        if identity.kind == "role":
            self._iam.put_role_policy(RoleName=identity.name, PolicyName=policy, PolicyDocument=text)
        else:
            self._iam.put_user_policy(UserName=identity.name, PolicyName=policy, PolicyDocument=text)
        return policy

    def delete(self, identity: Identity, name: str) -> None:
        """Take an inline policy away."""
        if identity.kind == "role":
            self._iam.delete_role_policy(RoleName=identity.name, PolicyName=name)
        else:
            self._iam.delete_user_policy(UserName=identity.name, PolicyName=name)

    def assume(self, role: Identity, session: str) -> Credentials:
        """A session of the role, under this name."""
        given = self._sts.assume_role(RoleArn=role.arn, RoleSessionName=session)
        return _session(given["Credentials"], role.arn, given["AssumedRoleUser"]["AssumedRoleId"])

    def access_key(self, user: Identity) -> Credentials:
        """A new key of the user."""
        key = self._iam.create_access_key(UserName=user.name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"], None, user.arn, user.unique_id, None)

    def session_token(self, credentials: Credentials) -> Credentials:
        """A session of the user whose key this is, without a role: GetSessionToken."""
        given = self.client("sts", credentials).get_session_token()["Credentials"]
        return _session(given, credentials.principal_arn, credentials.user_id)

    def deactivate(self, user: Identity, credentials: Credentials) -> None:
        """Make a key of the user inactive."""
        self._iam.update_access_key(UserName=user.name, AccessKeyId=credentials.access_key_id, Status="Inactive")

    def can_read(self, credentials: Credentials, bucket: str, key: str = "key") -> bool:
        """Whether an object could be read with these keys; an error other than AccessDenied is raised."""
        from botocore.exceptions import ClientError

        try:
            self.client("s3", credentials).get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
            return False
        return True

    def request(self, credentials: Credentials, bucket: str, key: str = "key") -> Request:
        """The same reading for the simulator, of a bucket of this account."""
        context: dict[str, str | list[str]] = {"aws:SourceIp": "127.0.0.1"}
        if credentials.issued is not None:
            context["aws:TokenIssueTime"] = iso(credentials.issued)
        return Request(
            principal_arn=credentials.principal_arn,
            user_id=credentials.user_id,
            account=credentials.account,
            action="s3:GetObject",
            resource=f"arn:aws:s3:::{bucket}/{key}",
            resource_account=self.account,
            context=context,
        )

    def _begin(self, identity: Identity, allow: Document, boundary: Document | None) -> None:
        self.put(identity, allow, "allow")
        if boundary is None:
            return
        made = self._iam.create_policy(PolicyName=_new("boundary"), PolicyDocument=json.dumps(boundary))
        arn = made["Policy"]["Arn"]
        if identity.kind == "role":
            self._iam.put_role_permissions_boundary(RoleName=identity.name, PermissionsBoundary=arn)
        else:
            self._iam.put_user_permissions_boundary(UserName=identity.name, PermissionsBoundary=arn)


@pytest.fixture
def emulator(ministack_server: Server) -> Emulator:
    """ministack's default account."""
    return Emulator(ministack_server)


def wait_past(credentials: Credentials) -> None:
    """Until a session issued from now on is later than these keys are: aws:TokenIssueTime has whole seconds."""
    while credentials.issued is not None and time.time() < credentials.issued + 1:
        time.sleep(0.05)


def _session(given: Mapping[str, Any], principal_arn: str, user_id: str) -> Credentials:
    keys = given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
    return Credentials(*keys, principal_arn, user_id, int(time.time()))


def _trust(account: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _new(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:12]}"
