"""A finding → what to do about its session, as data a person can read before anything is done. Pure.

Rules of this file
- A plan denies whom it names and nobody else; where its means cannot be that narrow, it says whom it also hits and is
  never carried out without a person.
- A plan may be carried out by itself (`applicable`) only if not one of `guards.GUARDS` objects; all are listed.
- Text from a log reaches a command or a policy only if AWS itself could have written it (see `identity`).

Source: IAM user guide, "Revoke IAM role temporary security credentials"; "AWS global condition context keys".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detector.core.principal import fingerprint
from detector.core.times import iso
from detector.response.action import LONGEST_SESSION, Action, commands
from detector.response.documents import Denial, document, policy_name, sid, statement
from detector.response.guards import ON_ROLES, Case, ResponsePolicy, objections
from detector.response.identity import Identity, Role
from detector.response.means import PERSON, SIGNED, Means, kind_of
from detector.response.plain import printable


@dataclass(frozen=True, slots=True)
class RevocationPlan:
    """What would be done to whom, why, what else it hits, and what it cannot stop.

    `actions`: what is written where; none where `means` is `none` and only `steps` for a person remain.
    `fallback`: what is written instead where AWS does not take `actions` (a full role): at the buckets that were read.
    `commands`: what a person would run: those that apply the plan, in order, then as many that take it back.
    `loss`: what was read so far. `at_once`: networks and issue times seen. Times in epoch seconds.
    `refusals`: why it is not carried out by itself; `forbidden`: those of them that hold for a person's command too.
    """

    case_id: str
    alert_id: str
    rule_id: str
    planned_at: int
    kind: str
    means: Means
    session: str
    principal_id: str
    account: str
    actions: tuple[Action, ...]
    fallback: tuple[Action, ...]
    why: str
    also_hits: str
    cannot_stop: tuple[str, ...]
    steps: tuple[str, ...]
    loss: Mapping[str, Any]
    at_once: Mapping[str, Sequence[str]]
    may_be_lifted_at: int
    applicable: bool
    refusals: tuple[str, ...]
    forbidden: tuple[str, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """Runnable by a person with rights of their own."""
        pairs = [commands(action) for action in self.actions]
        return (*(apply for apply, _ in pairs), *(undo for _, undo in reversed(pairs)))

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in an alert, in the journal and in a file."""
        return {
            "case_id": self.case_id,
            "alert_id": self.alert_id,
            "rule_id": self.rule_id,
            "planned_at": iso(self.planned_at),
            "kind": self.kind,
            "means": self.means,
            "session": self.session,
            "principal_id": self.principal_id,
            "account": self.account,
            "actions": [action.to_json() for action in self.actions],
            "fallback": [action.to_json() for action in self.fallback],
            "why": self.why,
            "also_hits": self.also_hits,
            "cannot_stop": list(self.cannot_stop),
            "steps": list(self.steps),
            "commands": list(self.commands),
            "loss": dict(self.loss),
            "at_once": {name: list(values) for name, values in self.at_once.items()},
            "may_be_lifted_at": iso(self.may_be_lifted_at),
            "applicable": self.applicable,
            "refusals": list(self.refusals),
            "forbidden": list(self.forbidden),
        }


def plan(
    finding_json: Mapping[str, Any],
    *,
    planned_at: int,
    settings: ResponsePolicy,
    unbounded: bool = False,
    presigned_after: int | None = None,
    signers: Sequence[str] = (),
    person: bool = False,
) -> RevocationPlan:
    """The plan against a finding's session.

    finding_json: the contract's finding or alert, with the rule's own `respond` (and `stage`, if staged) beside it.
    planned_at: epoch second; credentials issued up to then are denied, later ones are not.
    unbounded: deny a session whenever its credentials were issued: somebody was seen to get new ones.
    presigned_after: deny, instead of the session, signed URLs of the buckets whose signature is older than so many
    seconds (0: all of them); signers: whose URLs these are, as far as known. person: deny, instead of the session, its
    source identity in all roles of the finding.
    """
    principal, evidence = finding_json.get("principal") or {}, finding_json.get("evidence") or {}
    identity = Identity(principal, settings.accounts, evidence, settings.workloads)
    kind = kind_of(identity)
    if unbounded and kind.means == "credential_set":
        kind = kind._replace(means="session_name", why="the session got new credentials after it was denied")
    if presigned_after is not None:
        kind = SIGNED
    if person:
        kind = PERSON
    case = Case(
        finding_json, planned_at, settings, identity, kind, presigned_after=presigned_after or 0, unbounded=unbounded
    )
    case_id = case_of(case.alert_id)
    actions = _actions(case, case_id)
    writable = all(_is_allowed(action, settings) for action in actions)
    case = replace(case, writable=writable and bool(actions or kind.means == "none"))
    refusals, forbidden = objections(case), objections(case, absolute=True)
    return RevocationPlan(
        case_id=case_id,
        alert_id=case.alert_id,
        rule_id=str(finding_json.get("rule_id") or ""),
        planned_at=planned_at,
        kind=kind.name,
        means=kind.means,
        session=identity.session,
        principal_id=identity.user_id,
        account=identity.account,
        actions=actions,
        fallback=_fallback(case, case_id),
        why=_why(case),
        also_hits=_also_hits(case, signers) if actions else "",
        cannot_stop=_cannot_stop(case) if actions else (),
        steps=kind.steps(identity),
        loss={name: evidence[name] for name in ("objects", "requests", "bytes", "since") if name in evidence},
        at_once={"networks": identity.nets, "issue_times": identity.issue_times},
        may_be_lifted_at=planned_at + max((action.lifetime for action in actions), default=LONGEST_SESSION),
        applicable=bool(actions) and not refusals,
        refusals=refusals,
        forbidden=forbidden,
    )


def _has_issue_time(identity: Identity) -> bool:
    """Whether the identity's credentials have an issue time: long-term keys have none."""
    return not identity.user_id.startswith("AIDA")


def case_of(alert_id: str) -> str:
    """The case an alert's revocation is filed under: the same for every alert of one finding."""
    return f"{fingerprint(('case', alert_id)):016x}"


# --- what is written


def _actions(case: Case, case_id: str) -> tuple[Action, ...]:
    """What the means writes, in the order it is written."""
    means, identity, now = case.kind.means, case.identity, case.planned_at
    if means == "person" and identity.source_identity:
        denial = Denial(until=now, source_identity=identity.source_identity)
        return tuple(_on_role(role, case_id, "", denial, case.settings) for role in identity.roles)
    if means == "person":
        return ()
    if means in ON_ROLES and case.role is not None:
        networks = identity.networks
        who = () if means == "role_sessions" else (identity.user_id,)
        until = now if means in ("credential_set", "role_sessions") else None
        denial = Denial(who, until, networks if means == "off_host" and networks else Denial().outside)
        return (_on_role(case.role, case_id, identity.user_id.partition(":")[0], denial, case.settings),)
    if means == "user_keys":
        denial = Denial(until=now)
        keys = [
            Action("access_key", identity.session, identity.user_id, key, identity.account, Denial(), None)
            for key in identity.keys
            if key.startswith("AKIA")
        ]
        tokens = Action(
            "user_policy",
            identity.session,
            identity.user_id,
            policy_name(case_id),
            identity.account,
            denial,
            document(case_id, denial),
        )
        return (*keys, tokens)
    if means == "bucket_policy":
        bound = _has_issue_time(identity) and not case.unbounded
        denial = Denial((identity.user_id,), now if bound else None)
        return tuple(_on_bucket(bucket, case_id, denial, case) for bucket in identity.buckets)
    if means == "presigned_urls":
        denial = Denial(presigned_after=case.presigned_after)
        return tuple(_on_bucket(bucket, case_id, denial, case) for bucket in identity.buckets)
    return ()


def _on_role(role: Role, case_id: str, role_id: str, denial: Denial, settings: ResponsePolicy) -> Action:
    boundary = settings.boundaries.get(role.account, "")
    if boundary:
        written = statement(case_id, denial)
        return Action("boundary", role.arn, role_id, sid(case_id), role.account, denial, written, boundary)
    written, name = document(case_id, denial), policy_name(case_id)
    return Action("role_policy", role.arn, role_id, name, role.account, denial, written)


def _fallback(case: Case, case_id: str) -> tuple[Action, ...]:
    """For one session of a role: the same denial in the policies of the buckets that may be written."""
    if case.kind.means not in ("credential_set", "session_name") or not case.identity.is_user_id:
        return ()
    denial = Denial((case.identity.user_id,), case.planned_at if case.kind.means == "credential_set" else None)
    made = (_on_bucket(bucket, case_id, denial, case) for bucket in case.identity.buckets)
    return tuple(action for action in made if _is_allowed(action, case.settings))


def _on_bucket(bucket: str, case_id: str, denial: Denial, case: Case) -> Action:
    arn = f"arn:{case.identity.partition}:s3:::{bucket}"
    account = case.settings.account_of(bucket)
    return Action("bucket_policy", arn, "", sid(case_id), account, denial, statement(case_id, denial, arn))


def _is_allowed(action: Action, settings: ResponsePolicy) -> bool:
    """Whether the operator lets us write there."""
    if action.writes == "bucket_policy":
        return bool(action.account)
    return action.account in settings.accounts


# --- what a person reads


def _why(case: Case) -> str:
    finding = case.finding
    title = printable(finding.get("title") or finding.get("rule_id") or "a finding", 200)
    return f"{title}: {case.kind.why}"


def _also_hits(case: Case, signers: Sequence[str]) -> str:
    name, until = printable(case.identity.session_name, 80), iso(case.planned_at)
    user = printable(case.identity.user or case.identity.session, 200)
    return {
        "credential_set": f"every other set of credentials issued under the session name {name} of this role up to"
        f" {until}: whoever shares the name (a Lambda function, a task, a second login) is cut off with it",
        "session_name": f"everybody who uses the session name {name} of this role, also with credentials issued later,"
        " until it is taken back",
        "off_host": f"the workload {name} itself, where it calls from addresses, VPCs or endpoints that"
        " response.workloads does not name",
        "role_sessions": f"every session of the role whose credentials were issued up to {until}",
        "user_keys": f"whatever uses the access keys of {user}, and every token made with them up to {until}",
        "bucket_policy": f"whoever else uses {printable(case.identity.user_id, 120)}, at these buckets",
        "presigned_urls": "whoever uses signed URLs of the bucket: "
        + (", ".join(printable(one, 200) for one in signers[:20]) or "name --logs to see who signs them"),
        "person": f"every session of {printable(case.identity.source_identity, 80)} in these roles, whatever its name",
        "none": "",
    }[case.kind.means]


def _cannot_stop(case: Case) -> tuple[str, ...]:
    means, until = case.kind.means, iso(case.planned_at)
    again = f"the role being assumed again after {until}, under this name or another"
    chained = "sessions of other roles that were assumed from this one: look for its AssumeRole events"
    copied = "data that was already copied, and downloads already under way"
    own = {
        "credential_set": (again, chained),
        "session_name": ("the role being assumed again under another name", chained),
        "off_host": ("a thief on the workload's own networks", chained),
        "role_sessions": (again, chained),
        "user_keys": ("keys and tokens of the user that the finding does not name", chained),
        "bucket_policy": ("reads of other buckets", chained),
        "person": (again, "their sessions of roles that the finding does not name"),
    }
    return (*own.get(means, ()), copied)
