"""Policies that are not ours alone: a bucket's, and a permissions boundary. A statement is added, and taken out again.

Rules of this file
- Neither API knows a condition for writing: what somebody else writes at the same time may be lost. So the policy is
  read right before and right after each write; what does not show is written once more, and in the end told.
- All other statements stay as they were. Where without ours the policy says what it said before, it is put back
  letter by letter.

Source: S3 API reference, PutBucketPolicy (20 KB, replaces all of it); IAM API reference, CreatePolicyVersion (6,144
characters, five versions).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from detector.aws.session import code_of, edge
from detector.errors import EdgeError
from detector.response.action import Action
from detector.response.documents import VERSION, Denial, denial_of, policy_text, sid, weight

TRIES = 4
VERSIONS = 5


class RefusedError(Exception):
    """The plan is not carried out, and why."""


class Came(NamedTuple):
    """What came of one action: whether anything was changed, how that is told, and what stands now."""

    new: bool
    told: str
    stands: Action | None = None


class _Shared(ABC):
    """A policy that may be read and written as a whole. most: characters it may have."""

    most = 0

    def __init__(self, api: Any, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._api, self._sleep, self._clock = api, sleep, clock

    def check(self, action: Action) -> None:  # noqa: B027  of a bucket's policy nothing has to be asked
        """Whether a statement in it would stop whom it is meant for. Raises RefusedError."""

    @abstractmethod
    def read(self, action: Action) -> str | None:
        """Its text; None if there is none."""

    @abstractmethod
    def write(self, action: Action, text: str) -> None:
        """Replace it."""

    @abstractmethod
    def delete(self, action: Action) -> None:
        """There was none before."""

    def before(self, action: Action) -> str | None:
        """The text as it is, without a statement of this case."""
        self.check(action)
        text = self.read(action)
        return text if text is None or _ours(_statements(text), action) is None else None

    def put(self, action: Action) -> Came:
        """Add the statement."""
        self.check(action)
        for attempt in range(TRIES):
            text = self.read(action)
            statements = _statements(text)
            ours = _ours(statements, action)
            if ours is not None and (wider := replaces(_denial(ours, action), action)):
                stands = replace(action, denial=wider, document=ours)
                return Came(attempt > 0, f"{action.name} stands at {self._name(action)}", stands)
            others = [one for one in statements if one is not ours]
            self.write(action, policy_text(self._with_room(action, text, others)))
            self._sleep(0.2 * 2**attempt)  # what is read too early is written twice
        found = _ours(_statements(self.read(action)), action)
        if found != action.document:
            raise EdgeError(
                "the statement was written and does not show: somebody else writes, too", where=action.target
            )
        return Came(True, f"{action.name} stands at {self._name(action)}", action)

    def _with_room(self, action: Action, text: str | None, others: list[dict[str, Any]]) -> dict[str, Any]:
        """The policy with the statement; where that is too long, without statements of ours that hold nothing more."""
        while True:
            wanted = {**_whole(text), "Statement": [*others, action.document]}
            if weight(wanted) <= self.most:
                return wanted
            dead = [one for one in others if self._is_dead(one, action)]
            if not dead:
                raise RefusedError(
                    f"the policy of {self._name(action)} would have {weight(wanted):,} characters, AWS allows"
                    f" {self.most:,}: take old cases back first (`bucketwatch respond list`)"
                )
            others.remove(dead[0])

    def _is_dead(self, written: Mapping[str, Any], action: Action) -> bool:
        """Whether it is a statement of ours about credentials that cannot live any more."""
        named = replace(action, name=str(written.get("Sid", "")))
        denial = _denial(written, named)
        dead_at = replace(named, denial=denial).dead_at if denial is not None else None
        return dead_at is not None and dead_at < self._clock()

    def take(self, action: Action, before: Any) -> Came:
        """Take the statement out. What is gone with all around it is taken, too."""
        try:
            text = self.read(action)
        except EdgeError as error:
            if code_of(error) not in ("NoSuchBucket", "NoSuchEntity"):
                raise
            text = None
        statements = _statements(text)
        ours = _ours(statements, action)
        if ours is None:
            return Came(False, f"{action.name} does not stand at {self._name(action)}")
        if not is_of(_denial(ours, action), action):
            raise RefusedError(f"{action.name} at {action.target} is not what this plan wrote: take it out by hand")
        left = {**_whole(text), "Statement": [one for one in statements if one is not ours]}
        exact = isinstance(before, str) and _whole(before) | {"Statement": _statements(before)} == left
        if not left["Statement"]:
            self.delete(action)
        else:
            self.write(action, before if exact else policy_text(left))
        for attempt in range(TRIES):
            if _ours(_statements(self.read(action)), action) is None:
                how = "put back as it was" if exact else "all other statements stay"
                return Came(True, f"{action.name} was taken from {self._name(action)}: {how}")
            self._sleep(0.2 * 2**attempt)
        raise EdgeError("the statement was taken out and still shows", where=action.target, retryable=True)

    def look(self, action: Action) -> tuple[str, Any]:
        """Whether it stands, and what else is in the policy (of other cases nothing)."""
        self.check(action)
        statements = _statements(self.read(action))
        ours = _ours(statements, action)
        others = [one for one in statements if _denial(one, replace(action, name=str(one.get("Sid", "")))) is None]
        return ("gone" if ours is None else lying(_denial(ours, action), action)), others

    def _name(self, action: Action) -> str:
        return action.boundary or action.target


class BucketPolicy(_Shared):
    """The policy of a bucket."""

    most = 20_480

    def read(self, action: Action) -> str | None:
        try:
            with edge("read a bucket's policy", where=action.target):
                return str(self._api.get_bucket_policy(**self._bucket(action))["Policy"])
        except EdgeError as error:
            if code_of(error) == "NoSuchBucketPolicy":
                return None
            raise

    def write(self, action: Action, text: str) -> None:
        with edge("write a bucket's policy", where=action.target):
            self._api.put_bucket_policy(**self._bucket(action), Policy=text)

    def delete(self, action: Action) -> None:
        with edge("delete a bucket's policy", where=action.target):
            self._api.delete_bucket_policy(**self._bucket(action))

    def _bucket(self, action: Action) -> dict[str, str]:
        """A bucket of this name in another account is somebody else's."""
        return {"Bucket": action.target_name, "ExpectedBucketOwner": action.account}


class Boundary(_Shared):
    """The permissions boundary that guarded roles carry: an Allow of everything, and our statements.

    With rights on this one policy alone a responder can deny, and grant nobody anything.
    """

    most = 6_144

    def check(self, action: Action) -> None:
        with edge("read the role", where=action.target):
            role = self._api.get_role(RoleName=action.target_name)["Role"]
        if role["Arn"] != action.target or action.target_id not in ("", role["RoleId"]):
            raise RefusedError(f"these credentials reach {role['Arn']} ({role['RoleId']}), not the session's role")
        if role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") != action.boundary:
            raise RefusedError(f"{action.target} does not carry the boundary {action.boundary}: a statement there"
                               " would stop nothing. Give it the boundary, or deny the session by hand")  # fmt: skip

    def read(self, action: Action) -> str | None:
        with edge("read the permissions boundary", where=action.boundary):
            default = self._api.get_policy(PolicyArn=action.boundary)["Policy"]["DefaultVersionId"]
            version = self._api.get_policy_version(PolicyArn=action.boundary, VersionId=default)["PolicyVersion"]
        return json.dumps(version["Document"])

    def write(self, action: Action, text: str) -> None:
        with edge("write the permissions boundary", where=action.boundary):
            versions = self._api.list_policy_versions(PolicyArn=action.boundary)["Versions"]
            spare = [one["VersionId"] for one in versions if not one["IsDefaultVersion"]]
            if len(versions) >= VERSIONS:
                oldest = min(spare, key=lambda version: int(version[1:]))
                self._api.delete_policy_version(PolicyArn=action.boundary, VersionId=oldest)
            self._api.create_policy_version(PolicyArn=action.boundary, PolicyDocument=text, SetAsDefault=True)

    def delete(self, action: Action) -> None:
        raise RefusedError(f"{action.boundary} would say nothing any more: look at it")


def _whole(text: str | None) -> dict[str, Any]:
    """The policy. Raises RefusedError if it is none."""
    try:
        policy = json.loads(text) if text is not None else {"Version": VERSION, "Statement": []}
    except ValueError as error:
        raise RefusedError("the policy that is there is no JSON: look at it first") from error
    if not isinstance(policy, dict):
        raise RefusedError("the policy that is there is no JSON object: look at it first")
    return policy


def _statements(text: str | None) -> list[dict[str, Any]]:
    """IAM allows a single statement without a list around it."""
    found = _whole(text).get("Statement", [])
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]


def _ours(statements: list[dict[str, Any]], action: Action) -> dict[str, Any] | None:
    return next((one for one in statements if one.get("Sid") == action.name), None)


def _denial(standing: Mapping[str, Any], action: Action) -> Denial | None:
    """What a standing statement of this case denies; None if it is not one that bucketwatch wrote."""
    bucket = action.target if action.writes == "bucket_policy" else ""
    return denial_of(action.name.removeprefix(sid("")), standing, bucket) if action.name.startswith(sid("")) else None


def replaces(standing: Denial | None, action: Action) -> Denial | None:
    """Of what stands under the action's name: that, if it is enough. Raises RefusedError if it may not be replaced.

    A denial that reaches less far must never replace one: it would set stolen credentials free again.
    """
    if standing is None:
        raise RefusedError(f"{action.name} at {action.target} was changed by somebody else: look at it first")
    if standing.covers(action.denial):
        return standing
    if not action.denial.covers(standing):
        raise RefusedError(f"another denial of this case stands at {action.target}: take it back first")
    return None


def is_of(standing: Denial | None, action: Action) -> bool:
    """Whether what stands under the action's name is its own, or a part of it: that may be taken back."""
    return standing is not None and action.denial.covers(standing)


def lying(standing: Denial | None, action: Action) -> str:
    """Of what stands under the action's name: `stands` if it denies all that the action does, else `changed`."""
    return "stands" if standing is not None and standing.covers(action.denial) else "changed"
