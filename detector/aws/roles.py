"""Carries revocation plans out: in IAM on roles, users and keys, and in shared policies (`aws.shared_policy`).

Rules of this file
- `iam:PutRolePolicy` can grant as well as deny. A plan is data that may have lain in a file: only the very document
  that `response` writes for its denial and case is ever put, on the very role or user (ARN and id) the log named.
- What is there is read before and after. A policy of our name that we did not write is never touched.
- Whether a plan may be applied without a person (`applicable`) is the caller's question, answered in `response.plan`.

Source: IAM API reference, PutRolePolicy, "Quotas": 10,240 characters of inline policies a role, 2,048 a user, white
space aside.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

from detector.aws.session import OtherAccount, client, code_of, edge
from detector.aws.shared_policy import Boundary, BucketPolicy, Came, RefusedError, is_of, lying, replaces
from detector.core.times import epoch
from detector.errors import EdgeError
from detector.response.action import REGIONS, Action, action_of
from detector.response.documents import POLICY_NAME, Denial, denial_of, document, policy_text, weight
from detector.source import Applied, Standing

QUOTA = {"role": 10_240, "user": 2_048}
READ_BACK = 4
"""Times a policy just written is looked for: IAM shows it to readers after a while."""

REFUSALS = frozenset({"LimitExceeded", "UnmodifiableEntity"})


class IamResponder:
    """Applies plans and takes them back.

    accounts: for an account other than the daemon's own, the role to assume there. clock: epoch seconds.
    """

    separate = False

    def __init__(
        self,
        accounts: Mapping[str, OtherAccount | None] | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts, self._sleep, self._clock = dict(accounts or {}), sleep, clock
        self._own: set[tuple[str, str]] = set()
        self._clients: dict[tuple[str, str | None, str], Any] = {}

    def before(self, plan: Mapping[str, Any]) -> Applied:
        """What is there that taking it back needs to know; nothing is written."""
        return self._attempt(plan, lambda actions: self._before(plan, actions))

    def apply(self, plan: Mapping[str, Any]) -> Applied:
        """Deny whom the plan denies; safe to repeat. Never raises for what AWS refuses: the answer says so."""
        return self._attempt(plan, lambda actions: self._apply(plan, actions))

    def remove(self, plan: Mapping[str, Any], before: Mapping[str, Any]) -> Applied:
        """Take back what the plan wrote, if it is exactly that."""
        return self._attempt(plan, lambda actions: self._remove(plan, actions, before))

    def look(self, plan: Mapping[str, Any]) -> Standing:
        """How it lies there now; reads only."""
        self._clients = {}
        try:
            actions = _checked(plan)
        except RefusedError as why:
            return Standing("unknown", str(why))
        try:
            looks = [self._place(action).look(action) for action in actions]
        except RefusedError as why:  # another role or user of that name, or one that lost its boundary
            return Standing("changed", str(why))
        except EdgeError as error:
            gone = code_of(error) in ("NoSuchEntity", "NoSuchBucket")
            return Standing("gone" if gone else "unknown", str(error))
        for state in ("changed", "gone"):
            for action, (found, _) in zip(actions, looks, strict=True):
                if found == state:
                    return Standing(state, f"{action.name} on {action.target}", _digest(around for _, around in looks))
        return Standing("stands", "all of it is there", _digest(around for _, around in looks))

    def _attempt(self, plan: Mapping[str, Any], step: Callable[[list[Action]], Applied]) -> Applied:
        case, self._clients = str(plan.get("case_id", "")), {}
        try:
            return step(_checked(plan))
        except RefusedError as why:
            return Applied(case, "refused", str(why))
        except EdgeError as error:
            status = "refused" if code_of(error) in REFUSALS else "failed"
            return Applied(case, status, str(error), passing=error.retryable)

    def _place(self, action: Action) -> _Inline | _Key | BucketPolicy | Boundary:
        # made anew for each plan: credentials of another account end after an hour, revocations are rare
        service = "s3" if action.writes == "bucket_policy" else "iam"
        region = REGIONS.get(action.partition) if service == "iam" else None
        known_by = (service, region, action.account)
        if known_by not in self._clients:
            self._clients[known_by] = client(service, region=region, other=self._accounts.get(action.account))
        api = self._clients[known_by]
        if action.writes == "bucket_policy":
            return BucketPolicy(api, self._sleep, self._clock)
        if action.writes == "boundary":
            return Boundary(api, self._sleep, self._clock)
        if action.writes == "access_key":
            return _Key(api)
        return _Inline(api, "role" if action.writes == "role_policy" else "user", self._sleep, self._clock)

    def _not_ourselves(self, actions: list[Action]) -> None:
        """A forged log must not turn us off: never the role that this process runs as, or one that it assumes."""
        if not self._own:
            with edge("ask who we are"):
                arn = str(client("sts").get_caller_identity()["Arn"])
            known = [arn, *(other.role_arn for other in self._accounts.values() if other)]
            self._own = {_account_and_name(one) for one in known}
        for action in actions:
            if _account_and_name(action.target) in self._own and action.writes != "bucket_policy":
                raise RefusedError(f"{action.target} is whom bucketwatch runs as: it would lock itself out")

    def _before(self, plan: Mapping[str, Any], actions: list[Action]) -> Applied:
        self._not_ourselves(actions)
        each = self._each(actions, lambda place, action: place.before(action))
        before = {_key(action): found for action, found, error in each if error is None}
        if not before:
            return _told(plan, each)
        return Applied(plan["case_id"], "applied", "read", before)

    def _apply(self, plan: Mapping[str, Any], actions: list[Action]) -> Applied:
        self._not_ourselves(actions)
        done = _told(plan, self._each(actions, lambda place, action: place.put(action)))
        instead = _checked(plan, "fallback") if done.status == "refused" and not done.actions else []
        if not instead:
            return done
        second = _told(plan, self._each(instead, lambda place, action: place.put(action)))
        return replace(second, detail=f"{second.detail} (instead: {done.detail})") if second.actions else done

    def _remove(self, plan: Mapping[str, Any], actions: list[Action], before: Mapping[str, Any]) -> Applied:
        last_first = list(reversed(actions))
        each = self._each(last_first, lambda place, action: place.take(action, before.get(_key(action))))
        return _told(plan, each)

    def _each(self, actions: list[Action], step: Callable[[Any, Action], Any]) -> list[_Done]:
        """Every action by itself: one bucket that cannot be written must not save the thief from the others."""
        done: list[_Done] = []
        for action in actions:
            try:
                done.append(_Done(action, step(self._place(action), action), None))
            except (RefusedError, EdgeError) as error:
                done.append(_Done(action, None, error))
        return done


class _Done(NamedTuple):
    """What came of one action."""

    action: Action
    found: Any
    error: RefusedError | EdgeError | None


def _key(action: Action) -> str:
    return f"{action.writes} {action.target} {action.name}"


def _told(plan: Mapping[str, Any], each: list[_Done]) -> Applied:
    """What came of all actions together: as good as the worst of them."""
    detail = "; ".join(str(error or found.told) for _, found, error in each)
    stands = tuple(one.found.stands.to_json() for one in each if one.error is None and one.found.stands)
    errors = [one.error for one in each if one.error is not None]
    if not errors:
        new = any(one.found.new for one in each)
        return Applied(plan["case_id"], "applied" if new else "already", detail, actions=stands)
    edges = [error for error in errors if isinstance(error, EdgeError) and code_of(error) not in REFUSALS]
    passing = any(error.retryable for error in edges)
    return Applied(plan["case_id"], "failed" if edges else "refused", detail, passing=passing, actions=stands)


def _checked(plan: Mapping[str, Any], which: str = "actions") -> list[Action]:
    """The plan's actions. Refuses whatever `response` would not have written: a plan may have been edited."""
    case, actions = str(plan.get("case_id", "")), plan.get(which)
    if not actions and which == "fallback":
        return []
    if not isinstance(actions, list) or not actions:
        raise RefusedError("the plan has no means that can be carried out: see its steps")
    if not case.isalnum() or epoch(plan.get("planned_at")) is None:
        raise RefusedError("the plan does not name a time and a case as bucketwatch writes them")
    try:
        return [action_of(action, case) for action in actions]
    except (ValueError, TypeError, AttributeError) as error:
        raise RefusedError(f"the plan is not carried out: {error}") from error


def _account_and_name(arn: str) -> tuple[str, str]:
    """Of a role, a session or a user: the account, and the name without path or session."""
    account, _, resource = arn.partition("::")[2].partition(":")
    parts = resource.split("/")
    return account, parts[1] if parts[0] == "assumed-role" and len(parts) > 1 else parts[-1]


class _Inline:
    """Inline policies of a role or a user: one a case."""

    def __init__(self, iam: Any, kind: str, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._iam, self._kind, self._sleep, self._clock = iam, kind, sleep, clock

    def before(self, action: Action) -> None:
        """Nothing has to be known to take a policy of ours back; but the role or user must be the very one."""
        self._same(action)

    def put(self, action: Action) -> Came:
        """Write it."""
        self._same(action)
        standing, expired = self._policies(action), []
        ours = standing.pop(action.name, None)
        if ours is not None and (wider := replaces(_denial(action.name, ours), action)):
            stands = replace(action, denial=wider, document=ours)
            return Came(False, f"{action.name} stands on {action.target_name}", stands)
        while self._is_full(standing, action) and (old := self._oldest_expired(standing, action)):
            self._delete(action, old)
            expired.append(old)
            del standing[old]
        self._fits(standing, action)
        with edge("deny the session", where=action.target):
            put = getattr(self._iam, f"put_{self._kind}_policy")
            put(**self._named(action), PolicyName=action.name, PolicyDocument=policy_text(action.document or {}))
        self._prove(action)
        made_room = f" (room was made: {', '.join(expired)} had expired)" if expired else ""
        return Came(True, f"{action.name} stands on {action.target_name}{made_room}", action)

    def take(self, action: Action, _before: Any) -> Came:
        """Delete it."""
        standing = self._policy(action, action.name)
        if standing is None:
            return Came(False, f"{action.name} does not stand on {action.target_name}")
        if not is_of(_denial(action.name, standing), action):
            raise RefusedError(
                f"{action.name} on {action.target_name} is not what this plan wrote: look at it and delete it by hand"
            )
        self._delete(action, action.name)
        return Came(True, f"{action.name} was taken from {action.target_name}")

    def look(self, action: Action) -> tuple[str, Any]:
        """Whether it stands, and what else bears on the role or user."""
        who = self._same(action)
        standing = self._policies(action)
        ours = standing.pop(action.name, None)
        others = {name: text for name, text in standing.items() if _denial(name, text) is None}
        around = [others, who.get("AssumeRolePolicyDocument"), who.get("PermissionsBoundary")]
        return ("gone" if ours is None else lying(_denial(action.name, ours), action)), around

    def _prove(self, action: Action) -> None:
        """What a reader sees after the write. IAM needs a while (up to minutes) until every request feels it."""
        for attempt in range(READ_BACK):
            if self._policy(action, action.name) == action.document:
                return
            self._sleep(0.5 * 2**attempt)
        raise EdgeError("IAM took the policy but does not show it: look at the role", where=action.target)

    def _same(self, action: Action) -> Any:
        """A role of the same name in another account, or made anew since, is somebody else's."""
        with edge(f"read the {self._kind}", where=action.target):
            found = getattr(self._iam, f"get_{self._kind}")(**self._named(action))[self._kind.capitalize()]
        if found["Arn"] != action.target:
            raise RefusedError(f"these credentials reach {found['Arn']}, not {action.target}: see response.accounts")
        if action.target_id not in ("", found[f"{self._kind.capitalize()}Id"]):
            raise RefusedError(
                f"the {self._kind} was deleted and made anew since: the session's credentials are dead already"
            )
        return found

    def _named(self, action: Action) -> dict[str, str]:
        return {f"{self._kind.capitalize()}Name": action.target_name}

    def _delete(self, action: Action, name: str) -> None:
        with edge("take a denial back", where=f"{action.target} {name}"):
            getattr(self._iam, f"delete_{self._kind}_policy")(**self._named(action), PolicyName=name)

    def _policies(self, action: Action) -> dict[str, Any]:
        """Inline policies by name."""
        with edge("list inline policies", where=action.target):
            pages = self._iam.get_paginator(f"list_{self._kind}_policies").paginate(**self._named(action))
            names = [name for page in pages for name in page["PolicyNames"]]
        found = {name: self._policy(action, name) for name in names}
        return {name: text for name, text in found.items() if text is not None}

    def _policy(self, action: Action, name: str) -> Any:
        """One inline policy's document, None if there is none (any more)."""
        try:
            with edge("read an inline policy", where=f"{action.target} {name}"):
                get = getattr(self._iam, f"get_{self._kind}_policy")
                return get(**self._named(action), PolicyName=name)["PolicyDocument"]
        except EdgeError as error:
            if code_of(error) == "NoSuchEntity":
                return None
            raise

    def _is_full(self, standing: Mapping[str, Any], action: Action) -> bool:
        return sum(map(weight, standing.values())) + weight(action.document) > QUOTA[self._kind]

    def _fits(self, standing: Mapping[str, Any], action: Action) -> None:
        if not self._is_full(standing, action):
            return
        used, needed = sum(map(weight, standing.values())), weight(action.document)
        raise RefusedError(
            f"{action.target_name} holds {used:,} characters of inline policies, the denial needs {needed:,}, IAM"
            f" allows {QUOTA[self._kind]:,}. Take back old cases (`bucketwatch respond list`), or move an inline policy"
            " of the role to a managed one"
        )

    def _oldest_expired(self, standing: Mapping[str, Any], action: Action) -> str | None:
        """Of our cases on it, one whose credentials cannot live any more; the oldest."""
        ours = {name: _denial(name, text) for name, text in standing.items() if POLICY_NAME.fullmatch(name)}
        ends = [(replace(action, denial=one).dead_at, name) for name, one in ours.items() if one is not None]
        dead = [(at, name) for at, name in ends if at is not None and at < self._clock()]
        return min(dead)[1] if dead else None


class _Key:
    """An access key of a user: turned off, and on again if it was on."""

    def __init__(self, iam: Any) -> None:
        self._iam = iam

    def before(self, action: Action) -> str:
        """The key's status; empty if there is no such key."""
        with edge("list access keys", where=action.target):
            pages = self._iam.get_paginator("list_access_keys").paginate(UserName=action.target_name)
            keys = {key["AccessKeyId"]: key["Status"] for page in pages for key in page["AccessKeyMetadata"]}
        return str(keys.get(action.name, ""))

    def put(self, action: Action) -> Came:
        """Turn it off."""
        if self.before(action) != "Active":
            return Came(False, f"{action.name} is not active", action)
        return Came(True, self._turn(action, "Inactive"), action)

    def take(self, action: Action, before: Any) -> Came:
        """Turn it on again, if it was on before."""
        try:
            status = self.before(action)
        except EdgeError as error:
            if code_of(error) != "NoSuchEntity":
                raise
            status = ""
        if before != "Active" or status != "Inactive":
            return Came(False, f"{action.name} stays as it is")
        return Came(True, self._turn(action, "Active"))

    def look(self, action: Action) -> tuple[str, Any]:
        """A key that is no more is as good as one turned off."""
        return ("gone" if self.before(action) == "Active" else "stands"), None

    def _turn(self, action: Action, status: str) -> str:
        with edge(f"set an access key to {status}", where=f"{action.target} {action.name}"):
            self._iam.update_access_key(UserName=action.target_name, AccessKeyId=action.name, Status=status)
        if self.before(action) != status:
            raise EdgeError("IAM took the change of the key but does not show it", where=action.target)
        return f"{action.name} is {status.lower()}"


def _denial(name: str, standing: Any) -> Denial | None:
    """What a policy denies, if it is one that bucketwatch wrote under this name."""
    case = name.removeprefix("bucketwatch-")
    try:
        denial = denial_of(case, standing["Statement"][0])
        return denial if denial is not None and standing == document(case, denial) else None
    except (KeyError, IndexError, TypeError):
        return None


def _digest(around: Iterable[Any]) -> str:
    return sha256(json.dumps(list(around), sort_keys=True, default=str).encode()).hexdigest()[:16]
