"""One thing that a plan writes, and the commands by which a person would write it, or take it back. Pure.

Source: AWS CLI reference, `iam put-role-policy`, `iam put-user-policy`, `iam update-access-key`, `s3api
put-bucket-policy` (replaces the whole document).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detector.response.documents import BUCKET_ARN, Denial, document, policy_name, policy_text, sid, statement
from detector.response.identity import ACCESS_KEY, OTHER_ID, POLICY_ARN, ROLE_ARN, SESSION_NAME, USER_ARN, USER_ID

Writes = Literal["role_policy", "user_policy", "access_key", "bucket_policy", "boundary"]
SHARED = frozenset({"bucket_policy", "boundary"})
"""Writes of which the document is not ours alone: a statement is added to it."""

REGIONS = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Where IAM of a partition is reached; in `aws` it needs no region."""


LONGEST_SESSION = 12 * 3600
"""Seconds a role session lives at most: after that a deny holds nothing any more and only fills a quota."""

LONGEST_TOKEN = 36 * 3600
"""Seconds a token made with a user's key lives at most (GetSessionToken, GetFederationToken)."""


@dataclass(frozen=True, slots=True)
class Action:
    """One change. target: ARN of the role, user or bucket; target_id: the unique id that it must have, if known.

    name: of the policy, the key or the statement (Sid). document: the policy, or the statement that is added to one; of
    a key None. account: whose IAM or bucket it is; empty if the operator has not told. boundary: ARN of the permissions
    boundary that is written instead of the role.
    """

    writes: Writes
    target: str
    target_id: str
    name: str
    account: str
    denial: Denial
    document: Mapping[str, Any] | None
    boundary: str = ""

    @property
    def partition(self) -> str:
        """Of the target."""
        return self.target.split(":", 2)[1]

    @property
    def lifetime(self) -> int:
        """Seconds for which credentials that it denies may live after they were issued."""
        ids, of_role = self.denial.user_ids, SHAPES[self.writes] is ROLE_ARN
        return LONGEST_SESSION if of_role or (ids and all(map(USER_ID.fullmatch, ids))) else LONGEST_TOKEN

    @property
    def dead_at(self) -> int | None:
        """Epoch second from which on nobody whom it denies has credentials that live; None if that is never sure."""
        return None if self.denial.until is None else self.denial.until + self.lifetime

    @property
    def target_name(self) -> str:
        """As API calls want it: without path."""
        return self.target.rsplit(":", 1)[-1].rsplit("/", 1)[-1]

    def to_json(self) -> dict[str, Any]:
        """As it stands in a plan."""
        return {
            "writes": self.writes,
            "target": self.target,
            "target_id": self.target_id,
            "name": self.name,
            "account": self.account,
            "denial": self.denial.to_json(),
            "document": self.document,
            "boundary": self.boundary,
        }


def action_of(told: Mapping[str, Any], case_id: str) -> Action:
    """The action a plan names, if it is what bucketwatch would have written for it; a plan may have lain in a file.

    Raises ValueError for anything else.
    """
    writes, target, target_id, name, account, boundary = (str(told.get(one, "")) for one in FIELDS)
    written, denial = told.get("document"), Denial.of(told.get("denial"))
    if writes not in SHAPES or not SHAPES[writes].fullmatch(target):
        _refuse("it does not name a role, a user or a bucket as AWS writes them")
    if (writes == "boundary") != (POLICY_ARN.fullmatch(boundary) is not None):
        _refuse("its permissions boundary is not a policy as AWS names it")
    if not all(USER_ID.fullmatch(one) or OTHER_ID.fullmatch(one) for one in denial.user_ids):
        _refuse("it does not name sessions as AWS writes them")
    if denial.source_identity and not SESSION_NAME.fullmatch(denial.source_identity):
        _refuse("it does not name a person as AWS writes them")
    action = Action(writes, target, target_id, name, account, denial, written, boundary)  # type: ignore[arg-type]
    if not _is_right(action, case_id):
        _refuse("its policy is not the one bucketwatch writes for it: it was edited")
    if writes != "bucket_policy" and {account} != {arn.split(":")[4] for arn in (target, boundary) if arn}:
        _refuse("its account is not the target's: it was edited")
    if SHAPES[writes] is ROLE_ARN and any(one.partition(":")[0] != target_id for one in denial.user_ids):
        _refuse("it denies sessions of another role: it was edited")
    return action


def _is_right(action: Action, case_id: str) -> bool:
    """Whether name and document are those that follow from case and denial."""
    denial, written = action.denial, action.document
    if action.writes == "access_key":
        return written is None and denial == Denial() and ACCESS_KEY.fullmatch(action.name) is not None
    if action.writes in SHARED:
        bucket = action.target if action.writes == "bucket_policy" else ""
        return action.name == sid(case_id) and written == statement(case_id, denial, bucket)
    return action.name == policy_name(case_id) and written == document(case_id, denial)


SHAPES = {
    "role_policy": ROLE_ARN,
    "boundary": ROLE_ARN,
    "user_policy": USER_ARN,
    "access_key": USER_ARN,
    "bucket_policy": BUCKET_ARN,
}
FIELDS = ("writes", "target", "target_id", "name", "account", "boundary")


def _refuse(why: str) -> None:
    raise ValueError(why)


def commands(action: Action) -> tuple[str, str]:
    """What a person runs to apply it, and to take it back. `=` because names may begin with a dash."""
    region = ["--region", REGIONS[action.partition]] if action.partition in REGIONS else []
    name = action.target_name
    if action.writes in SHARED:
        return _on_bucket(action, region) if action.writes == "bucket_policy" else _on_boundary(action, region)
    if action.writes == "access_key":
        turn = ["aws", "iam", "update-access-key", *region, f"--user-name={name}", "--access-key-id", action.name]
        return shlex.join([*turn, "--status", "Inactive"]), shlex.join([*turn, "--status", "Active"])
    kind = "role" if action.writes == "role_policy" else "user"
    target = [f"--{kind}-name={name}", "--policy-name", action.name]
    text = ["--policy-document", policy_text(action.document or {})]
    put = ["aws", "iam", f"put-{kind}-policy", *region, *target, *text]
    return shlex.join(put), shlex.join(["aws", "iam", f"delete-{kind}-policy", *region, *target])


def _on_bucket(action: Action, region: list[str]) -> tuple[str, str]:
    """The policy as it is, with the statement or without it. Fails where the bucket has no policy: then put one."""
    bucket = ["--bucket", action.target_name]
    get = shlex.join(["aws", "s3api", "get-bucket-policy", *region, *bucket, "--query", "Policy", "--output", "text"])
    put = shlex.join(["aws", "s3api", "put-bucket-policy", *region, *bucket, "--policy"])
    return _edited(action, f"p=$({get})", put)


def _on_boundary(action: Action, region: list[str]) -> tuple[str, str]:
    """The boundary's default version, with the statement or without it, as a new one."""
    policy = [*region, "--policy-arn", action.boundary]
    which = shlex.join(["aws", "iam", "get-policy", *policy, "--query", "Policy.DefaultVersionId", "--output", "text"])
    get = shlex.join(["aws", "iam", "get-policy-version", *policy, "--query", "PolicyVersion.Document"])
    put = shlex.join(["aws", "iam", "create-policy-version", *policy, "--set-as-default", "--policy-document"])
    return _edited(action, f'v=$({which}) && p=$({get} --version-id "$v" --output json)', put)


def _edited(action: Action, get: str, put: str) -> tuple[str, str]:
    added = shlex.quote(f".Statement += [{json.dumps(action.document)}]")
    taken = shlex.quote(f'del(.Statement[] | select(.Sid == "{action.name}"))')
    with_it, without_it = (f'{get} && {put} "$(printf %s "$p" | jq -c {how})"' for how in (added, taken))
    return with_it, without_it
