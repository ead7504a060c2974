"""Whom a finding is about, as far as its own words can be believed. Pure.

Source: AWS CloudTrail user guide, "CloudTrail userIdentity element"; IAM user guide, "IAM identifiers".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from detector.core.net import net_of_ip
from detector.response.documents import Networks

SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
USER_ID = re.compile(r"AROA[A-Z0-9]{4,124}:([\w+=,.@-]{2,64})", re.ASCII)
"""`aws:userid` of a role session. What is outside this alphabet is no session name: wildcards, policy variables."""

ROLE_ARN = re.compile(r"arn:(aws[a-z0-9-]*):iam::(\d{12}):role(/(?:[\x21-\x7e]*/)?)([\w+=,.@-]{1,64})", re.ASCII)
ACCESS_KEY = re.compile(r"A[A-Z0-9]{15,127}", re.ASCII)
USER_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
USER_ARN = re.compile(r"arn:(aws[a-z0-9-]*):iam::(\d{12}):user(/(?:[\x21-\x7e]*/)?)([\w+=,.@-]{1,64})", re.ASCII)
ACCOUNT = re.compile(r"\d{12}", re.ASCII)
POLICY_ARN = re.compile(r"arn:aws[a-z0-9-]*:iam::\d{12}:policy/(?:[\x21-\x7e]*/)?[\w+=,.@-]{1,128}", re.ASCII)
OTHER_ID = re.compile(r"AIDA[A-Z0-9]{4,124}|\d{12}:[\w+=,.@-]{2,64}", re.ASCII)
"""`aws:userid` of an IAM user, of a federated user."""

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
INSTANCE = re.compile(r"i-[0-9a-f]{8,17}", re.ASCII)
TASK = re.compile(r"[0-9a-f]{32}", re.ASCII)
"""Session names that EC2 and ECS give: the instance's and the task's id."""


class Role(NamedTuple):
    """A role as its ARN names it. `path` begins and ends with a slash."""

    arn: str
    partition: str
    account: str
    path: str
    name: str


def role_of(arn: object) -> Role | None:
    """The role of an IAM role ARN; None for anything else, the session's own ARN (which drops the path) among it."""
    match = ROLE_ARN.fullmatch(arn) if isinstance(arn, str) else None
    return Role(match[0], match[1], match[2], match[3], match[4]) if match else None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a finding is about, as its `principal` and `evidence` say, and what the operator has told of roles.

    accounts: where IAM may be written. workloads: globs of role ARNs or names, and the networks these call from.
    """

    principal: Mapping[str, Any]
    accounts: frozenset[str] = frozenset()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    workloads: tuple[tuple[str, Networks], ...] = ()

    @property
    def type(self) -> str:
        return str(self.principal.get("type") or "")

    @property
    def session(self) -> str:
        return str(self.principal.get("session") or "")

    @property
    def user_id(self) -> str:
        return str(self.principal.get("principal_id") or "")

    @property
    def session_name(self) -> str:
        return self.user_id.partition(":")[2] or str(self.principal.get("session_name") or "")

    @property
    def role(self) -> Role | None:
        return role_of(self.principal.get("role"))

    @property
    def account(self) -> str:
        return self.role.account if self.role else str(self.principal.get("account") or "")

    @property
    def partition(self) -> str:
        match = re.match(r"arn:(aws[a-z0-9-]*):", self.role.arn if self.role else self.session)
        return match[1] if match else "aws"

    @property
    def is_own_role(self) -> bool:
        """Whether it is a role that IAM lets us change, in an account where we may."""
        role = self.role
        return (
            role is not None
            and role.account in self.accounts
            and not role.path.startswith("/aws-service-role/")
            and not is_identity_center(role)
        )

    @property
    def user(self) -> str:
        """An IAM user's name; empty if its ARN is not as AWS writes it."""
        match = USER_ARN.fullmatch(self.session)
        return match[4] if match else ""

    @property
    def is_real_user(self) -> bool:
        """Whether an IAM user's id and ARN are what AWS would write."""
        match = USER_ARN.fullmatch(self.session)
        return bool(match and match[2] == self.account and self.user_id.startswith("AIDA") and self.is_user_id)

    @property
    def is_user_id(self) -> bool:
        """Whether the id may stand in a policy as `aws:userid`."""
        return (USER_ID.fullmatch(self.user_id) or OTHER_ID.fullmatch(self.user_id)) is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """The access keys seen."""
        return tuple(key for key in map(str, self.principal.get("access_key_ids") or ()) if ACCESS_KEY.fullmatch(key))

    @property
    def workload(self) -> str:
        """What AWS keeps the role's credentials fresh for; empty if it is no machine's as far as can be told."""
        told, name = str(self.principal.get("issued_to") or ""), self.session_name
        if told == "ec2" or INSTANCE.fullmatch(name):
            return "EC2 instance"
        if "Lambda" in told:
            return "Lambda function"
        if "ECS" in told or TASK.fullmatch(name):
            return "ECS task"
        return "workload" if self.networks is not None else ""

    @property
    def networks(self) -> Networks | None:
        """The workload's own networks, where the operator has told them."""
        if self.role is None:
            return None
        names = (self.role.name, self.role.arn)
        return next((n for glob, n in self.workloads if any(fnmatchcase(name, glob) for name in names)), None)

    @property
    def seen_outside(self) -> bool:
        """Whether a read came from elsewhere than the workload's own networks, or it is not known from where."""
        addresses, endpoints = self._seen("source_ips"), self._seen("vpc_endpoints")
        own = self.networks or Networks()
        inside = [own.holds("", endpoint) for endpoint in endpoints]
        inside += [own.holds(a) for a in addresses if is_ip(a) and not (endpoints and _is_private(a))]
        return not inside or not all(inside)

    @property
    def unplaced(self) -> bool:
        """Whether a read came through an endpoint of which nobody has told whose it is."""
        own = self.networks or Networks()
        return any(endpoint not in own.vpc_endpoints for endpoint in self._seen("vpc_endpoints"))

    @property
    def nets(self) -> tuple[str, ...]:
        """The networks the reads came from; what AWS's own services fetched for it is none."""
        addresses, endpoints = self._seen("source_ips"), self._seen("vpc_endpoints")
        public = {net_of_ip(a) for a in addresses if is_ip(a) and not (endpoints and _is_private(a))}
        return tuple(sorted({*endpoints, *public, *filter(_is_net, self._seen("networks"))}))

    @property
    def issue_times(self) -> tuple[str, ...]:
        """When the credentials seen were issued: more than one if they were renewed."""
        return tuple(map(str, self.principal.get("issue_times") or ()))

    @property
    def source_identity(self) -> str:
        """Who is behind the session, where the first AssumeRole said so; empty if it is not what AWS allows."""
        told = str(self.principal.get("source_identity") or "")
        return told if SESSION_NAME.fullmatch(told) else ""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The session's role, and those in the evidence; in accounts where IAM may be written."""
        named = [role_of(arn) for arn in (self.principal.get("role"), *self._seen("roles"))]
        return tuple(dict.fromkeys(role for role in named if role and role.account in self.accounts))

    @property
    def buckets(self) -> tuple[str, ...]:
        """The buckets that were read, as far as they are names AWS allows."""
        return tuple(bucket for bucket in self._seen("buckets") if BUCKET.fullmatch(bucket))

    def _seen(self, name: str) -> list[str]:
        return [str(value) for value in self.evidence.get(name) or ()]

    @property
    def is_role_session(self) -> bool:
        return self.type == "AssumedRole" or ":assumed-role/" in self.session

    @property
    def is_real_session(self) -> bool:
        """Whether all that names the session agrees and is what AWS would write; a forged or cut log is not."""
        match = USER_ID.fullmatch(self.user_id)
        told, role = self.principal.get("session_name"), self.role
        if not match or told not in (None, match[1]):
            return False
        if ":assumed-role/" not in self.session:
            return True
        wanted = f":{role.account}:assumed-role/{role.name}/{match[1]}" if role else f"/{match[1]}"
        return self.session.endswith(wanted)


def is_identity_center(role: Role) -> bool:
    """Whether IAM Identity Center keeps the role."""
    return role.path.startswith("/aws-reserved/") or role.name.startswith("AWSReservedSSO_")


def _is_net(name: str) -> bool:
    """Whether a source is an endpoint or a network, and not an AWS service; private ones say nothing by themselves."""
    address = name.partition("/")[0]
    return name.startswith("vpce-") or (is_ip(address) and not _is_private(address))


def is_ip(address: str) -> bool:
    """Whether a log names an address there, and not a service."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _is_private(address: str) -> bool:
    return ipaddress.ip_address(address).is_private
