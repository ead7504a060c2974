"""The policies that deny, word for word: to whom, up to which issue time, from where. Pure.

Rules of this file
- A statement always denies, and always names somebody: a document without a condition cannot be made here.
- Text from a log becomes a value of `StringEquals` only; before that it has passed `means.USER_ID`.
- A document is a function of its `Denial`: whoever carries it out writes it anew and compares.

Source: IAM user guide, "AWS global condition context keys", "IAM JSON policy elements: Condition operators" (negated
operators hold where the key is missing), "Revoke IAM role temporary security credentials"; S3 user guide, "Amazon S3
Signature Version 4 authentication specific policy keys".
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from detector.core.addresses import Networks as Ranges
from detector.core.times import epoch, iso, iso_or_none

VERSION = "2012-10-17"
VPC = re.compile(r"vpc-[0-9a-f]{8,17}", re.ASCII)
VPC_ENDPOINT = re.compile(r"vpce-[0-9a-f]{8,17}", re.ASCII)
POLICY_NAME = re.compile(r"bucketwatch-[0-9a-f]{16}", re.ASCII)
"""Of a policy that a case wrote."""

BUCKET_ARN = re.compile(r"arn:aws[a-z0-9-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


class Networks(NamedTuple):
    """From where a workload calls: address ranges (CIDR), VPCs, VPC endpoints."""

    cidrs: tuple[str, ...] = ()
    vpcs: tuple[str, ...] = ()
    vpc_endpoints: tuple[str, ...] = ()

    def holds(self, address: str, endpoint: str = "") -> bool:
        """Whether a request from there came from here. VPCs are not known of a record, only endpoints are."""
        if endpoint:
            return endpoint in self.vpc_endpoints
        return address in _ranges(self.cidrs)


@lru_cache(maxsize=1024)
def _ranges(cidrs: tuple[str, ...]) -> Ranges:
    return Ranges(map(ipaddress.ip_network, cidrs))


class Denial(NamedTuple):
    """Who is denied. All that is given must hold for a request to be denied.

    user_ids: values of `aws:userid`; until: epoch second up to which credentials were issued; outside: own networks;
    presigned_after: any URL signed by query string, if its signature is older than so many seconds; source_identity: of
    a person, through all roles that they assume.
    """

    user_ids: tuple[str, ...] = ()
    until: int | None = None
    outside: Networks = Networks()
    presigned_after: int | None = None
    source_identity: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it stands in a plan."""
        return {
            "user_ids": list(self.user_ids),
            "issued_until": iso_or_none(self.until),
            "outside": {name: list(values) for name, values in self.outside._asdict().items()},
            "presigned_after": self.presigned_after,
            "source_identity": self.source_identity,
        }

    @classmethod
    def of(cls, told: Any) -> Denial:
        """The denial a plan names. Raises ValueError for anything that `to_json` does not write."""
        try:
            until = None if told["issued_until"] is None else epoch(told["issued_until"])
            outside = Networks(**{name: tuple(values) for name, values in told["outside"].items()})
            denial = cls(tuple(told["user_ids"]), until, outside, told["presigned_after"], told["source_identity"])
        except (KeyError, TypeError, AttributeError) as error:
            msg = "not a denial as bucketwatch writes it"
            raise ValueError(msg) from error
        if denial.to_json() != told:
            msg = "not a denial as bucketwatch writes it"
            raise ValueError(msg)
        return denial

    def covers(self, other: Denial) -> bool:
        """Whether everybody whom the other denies is denied by this one."""
        longer = self.until is None or (other.until is not None and self.until >= other.until)
        wider = not any(self.outside) or self.outside == other.outside
        more = not self.user_ids or set(self.user_ids) >= set(other.user_ids or {""})
        same = self.presigned_after == other.presigned_after and self.source_identity in ("", other.source_identity)
        return longer and wider and more and same


def denial_of(case_id: str, written: Any, bucket: str = "") -> Denial | None:
    """The denial behind a statement that stands somewhere; None if bucketwatch does not write it so for the case."""
    try:
        condition = written["Condition"]
        equals = condition.get("StringEquals", {})
        ids, signed = equals.get("aws:userid", []), "s3:authType" in equals
        until = epoch(condition.get("DateLessThanEquals", {}).get("aws:TokenIssueTime"))
        private, public = condition.get("StringNotEquals", {}), condition.get("NotIpAddress", {})
        values = (public.get("aws:SourceIp", []), private.get("aws:SourceVpc", []), private.get("aws:SourceVpce", []))
        outside = Networks(*map(tuple, values))
        age = int(condition.get("NumericGreaterThan", {}).get("s3:signatureAge", "0")) // 1000 if signed else None
        person = equals.get("aws:SourceIdentity", "")
        denial = Denial((ids,) if isinstance(ids, str) else tuple(ids), until, outside, age, person)
        return denial if statement(case_id, denial, bucket) == written else None
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def statement(case_id: str, denial: Denial, bucket: str = "") -> dict[str, Any]:
    """The one statement that denies. bucket: its ARN, for a statement of the bucket's policy."""
    conditions = _conditions(denial)
    if not (denial.user_ids or denial.source_identity) and denial.until is None and denial.presigned_after is None:
        msg = "a denial of everybody"
        raise ValueError(msg)
    if bucket and not (denial.user_ids or denial.presigned_after is not None):
        msg = "a denial of everybody in a bucket's policy"
        raise ValueError(msg)
    where: dict[str, Any] = {"Principal": "*", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]} if bucket else {}
    if denial.presigned_after is not None:
        where |= {"Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": f"{bucket}/*"}
    return {
        "Sid": sid(case_id),
        "Effect": "Deny",
        **(where or {"Action": "*", "Resource": "*"}),
        "Condition": conditions,
    }


def _conditions(denial: Denial) -> dict[str, Any]:
    conditions: dict[str, dict[str, Any]] = {}
    if denial.user_ids:
        conditions["StringEquals"] = {"aws:userid": _one_or_list(denial.user_ids)}
    if denial.until is not None:
        conditions["DateLessThanEquals"] = {"aws:TokenIssueTime": iso(denial.until)}
    outside = denial.outside
    if any(outside):
        if outside.cidrs:
            conditions["NotIpAddress"] = {"aws:SourceIp": list(outside.cidrs)}
        private = {"aws:SourceVpc": list(outside.vpcs), "aws:SourceVpce": list(outside.vpc_endpoints)}
        if any(private.values()):
            conditions["StringNotEquals"] = {key: values for key, values in private.items() if values}
        conditions["BoolIfExists"] = {"aws:ViaAWSService": "false"}  # a service calling for it has other addresses
    if denial.source_identity:
        conditions.setdefault("StringEquals", {})["aws:SourceIdentity"] = denial.source_identity
    if denial.presigned_after is not None:
        conditions.setdefault("StringEquals", {})["s3:authType"] = "REST-QUERY-STRING"
        if denial.presigned_after:
            conditions["NumericGreaterThan"] = {"s3:signatureAge": str(1000 * denial.presigned_after)}
    return conditions


def _one_or_list(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def of_organisation(user_id: str, *, resources: bool) -> dict[str, Any]:
    """For people: a service control policy that denies one identity, or a resource control policy (resources) that
    denies it at every bucket. Without an issue time: whoever attaches it takes it off.
    """
    denied = statement("ByHand", Denial((user_id,)))
    if resources:
        denied |= {"Principal": "*", "Action": "s3:*"}
    return {"Version": VERSION, "Statement": [denied]}


def document(case_id: str, denial: Denial) -> dict[str, Any]:
    """The inline policy of a role or a user."""
    return {"Version": VERSION, "Statement": [statement(case_id, denial)]}


def sid(case_id: str) -> str:
    """Of the statement of a case: letters and digits, as IAM wants."""
    return f"BucketwatchCase{case_id}"


def policy_name(case_id: str) -> str:
    """One policy a case: two cases never overwrite each other, and taking one back leaves the other."""
    return f"bucketwatch-{case_id}"


def policy_text(policy: Mapping[str, Any]) -> str:
    """A policy as it is sent: no white space, ASCII."""
    return json.dumps(policy, separators=(",", ":"))


def weight(policy: Any) -> int:
    """Characters as IAM counts them: white space is free.

    Source: IAM user guide, "IAM and AWS STS quotas": 10,240 characters of inline policies a role, 2,048 a user.
    """
    return sum(not c.isspace() for c in json.dumps(policy, separators=(",", ":"), ensure_ascii=False))
