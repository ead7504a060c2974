"""Which means there is against an identity: the table of what can be revoked, how, and what a person has to do. Pure.

`KINDS` is read from the top, the first that fits counts. docs/responder.md prints what two simulators make of it.

Source: IAM user guide, "Revoke IAM role temporary security credentials", "AWS global condition context keys",
"Using service-linked roles"; IAM Identity Center user guide, "Revoke active IAM role sessions".
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Literal, NamedTuple

from detector.response.documents import of_organisation, policy_text
from detector.response.identity import OTHER_ID, USER_NAME, Identity, is_identity_center
from detector.response.plain import printable

Means = Literal[
    "credential_set", "session_name", "off_host", "role_sessions", "user_keys", "bucket_policy", "presigned_urls",
    "person", "none",
]  # fmt: skip
"""credential_set: one session's credentials issued so far. session_name: the session, whenever issued. off_host: the
session, outside its own networks. role_sessions: all of a role's sessions issued so far. user_keys: a user's keys, and
the tokens made with them. bucket_policy: the identity, at the buckets it read. presigned_urls: signed URLs of a bucket.
person: a source identity, in all roles of the finding.
"""


class Kind(NamedTuple):
    """One kind of identity: how it is told, what means there is, why, and what a person does (besides)."""

    name: str
    is_it: Callable[[Identity], bool]
    means: Means
    why: str
    steps: Callable[[Identity], tuple[str, ...]]


def kind_of(identity: Identity) -> Kind:
    """The identity's row of the table."""
    return next(kind for kind in KINDS if kind.is_it(identity))


# --- what a person does


def _always(*steps: str) -> Callable[[Identity], tuple[str, ...]]:
    return lambda _identity: steps


def _user_steps(identity: Identity) -> tuple[str, ...]:
    user = identity.user
    keys = [key for key in identity.keys if key.startswith("AKIA")]
    which = () if user and keys else (f"Turn the access keys of {printable(identity.session, 200)} off in IAM.",)
    return (
        *which,
        "Make a new key for the user's own programs: the old one is not safe any more, whoever uses it.",
        (
            "Look for roles the user assumed in the meantime: those sessions live on and are revoked one by one"
            " (`bucketwatch respond plan --logs` finds them where the trail has AssumeRole)."
        ),
    )


def _federated_steps(identity: Identity) -> tuple[str, ...]:
    return (
        "Put a deny with aws:TokenIssueTime on the IAM user that made the session (it hits all sessions it made).",
        *_bucket_steps(identity),
    )


def _log_steps(identity: Identity) -> tuple[str, ...]:
    role = identity.session.partition(":assumed-role/")[2].split("/")[0]
    read = shlex.join(["aws", "iam", "get-role", f"--role-name={role}", "--query", "Role.[Arn,RoleId]"])
    return (
        *((f"Find the role's id: {read}",) if USER_NAME.fullmatch(role) else ()),
        "Find the session in CloudTrail (userIdentity.principalId) and plan from a finding of that log.",
        "Or deny aws:userid `<role id>:<session name>` on the role by hand.",
    )


def _bucket_steps(identity: Identity) -> tuple[str, ...]:
    return (
        f"Tell the owner of account {printable(identity.account, 40)}: only they can end the session itself.",
        *_printed(identity, "resource control policy", resources=True),
    )


def _center_steps(identity: Identity) -> tuple[str, ...]:
    user = str(identity.principal.get("identity_center_user") or "<user id>")
    return (
        "Revoke the person's session in IAM Identity Center and disable the user.",
        f"Deny identitystore:UserId {printable(user, 80)} in the permission set's inline policy.",
        *_printed(identity, "service control policy", resources=False),
    )


def _printed(identity: Identity, kind: str, *, resources: bool) -> tuple[str, ...]:
    """The policy for a whole organisation: buckets that the plan does not name are open until then."""
    if not identity.is_user_id:
        return ()
    text = policy_text(of_organisation(identity.user_id, resources=resources))
    return (f"In an organisation, attach this {kind}, and take it off afterwards: {text}",)


def _workload_steps(identity: Identity) -> tuple[str, ...]:
    if identity.networks is None:
        return (
            (
                f"Name the networks of this {identity.workload} in response.workloads: then only its use from elsewhere"
                " is denied, and the workload goes on."
            ),
            "The plan's command takes the workload itself down: isolate it first, or decide that it has to stop.",
        )
    return ("The credentials left the workload: look how, before they are stolen again.",)


def _inside_steps(identity: Identity) -> tuple[str, ...]:
    return (
        (
            f"The reads came from the {identity.workload}'s own networks: isolate it (security group, stop the task)."
            " The plan's command takes it down."
        ),
    )


SIGNED = Kind(
    "signed URLs",
    lambda _identity: False,
    "presigned_urls",
    "URLs signed with the session's credentials were given away: whoever has one may read until it expires",
    _always("Revoking the session that signed them ends its URLs, too, and hits nobody else's: prefer it."),
)
"""Chosen by a person: no log tells a leaked URL from one in use."""

PERSON = Kind(
    "person",
    lambda _identity: False,
    "person",
    "a source identity stays with a person through every role they assume: all of their sessions are denied",
    _always("Disable the person where they sign in; their source identity is set there, at the first AssumeRole."),
)
"""Chosen by a person, too: whoever sets source identities knows whether they can be believed."""

KINDS = (
    Kind(
        "anonymous",
        lambda i: i.type == "anonymous" or i.session.startswith("anonymous"),
        "none",
        "the requests were made without credentials: there is no session to revoke",
        _always("Turn Block Public Access on for the bucket, or take the public grant out of its policy and ACLs."),
    ),
    Kind(
        "AWS service",
        lambda i: i.type == "AWSService" or i.session.startswith("service:"),
        "none",
        "an AWS service acted for itself: it has no session to revoke",
        _always(
            "Find the configuration that makes the service read (replication, inventory, batch jobs) and change it."
        ),
    ),
    Kind(
        "root",
        lambda i: i.type == "Root",
        "none",
        "the permissions of an account's root user cannot be changed by IAM",
        _always(
            "Change the root user's password, delete its access keys and check its MFA devices, now.",
            "In an organisation, deny the account by a service control policy meanwhile.",
        ),
    ),
    Kind(
        "IAM user",
        lambda i: i.type == "IAMUser" and i.is_real_user and i.account in i.accounts,
        "user_keys",
        "an IAM user: its keys are turned off, and tokens made with them are denied by their issue time",
        _user_steps,
    ),
    Kind(
        "foreign IAM user",
        lambda i: i.type == "IAMUser" and i.is_real_user,
        "bucket_policy",
        "the user is in an account where bucketwatch may not write to IAM (response.accounts)",
        _bucket_steps,
    ),
    Kind(
        "unnamed IAM user",
        lambda i: i.type == "IAMUser",
        "none",
        "the record does not name the user's id and ARN (S3 access logs never do)",
        _user_steps,
    ),
    Kind(
        "federated user",
        lambda i: i.type == "FederatedUser" and OTHER_ID.fullmatch(i.user_id) is not None,
        "bucket_policy",
        "a federated user's session has the permissions of the IAM user who made it, not of a role",
        _federated_steps,
    ),
    Kind(
        "unnamed federated user",
        lambda i: i.type == "FederatedUser",
        "none",
        "the record does not name the federated user's id",
        _always("Put a deny with aws:TokenIssueTime on the IAM user that made the session."),
    ),
    Kind(
        "all of a role's sessions",
        lambda i: not i.session and i.is_own_role,
        "role_sessions",
        "the finding is about a role, not about one of its sessions: all issued so far are denied",
        _always(
            "Better: find the sessions in the finding's evidence, and plan from findings of one session each; the"
            " others then go on."
        ),
    ),
    Kind(
        "no single session",
        lambda i: not i.session,
        "none",
        "the finding names no single session",
        _always("Find the sessions in the finding's evidence, then plan from a finding of one session."),
    ),
    Kind(
        "access log only",
        lambda i: i.is_role_session and not i.user_id,
        "none",
        "the record has no principal id (S3 access logs never do), and a session is denied by that id only",
        _log_steps,
    ),
    Kind(
        "no real session",
        lambda i: (i.is_role_session or i.type == "AWSAccount") and not i.is_real_session,
        "none",
        "the session's name, id and ARN do not agree or are not what AWS writes: the log may be forged or cut",
        _always("Check the log file's integrity (aws cloudtrail validate-logs) before anything is denied."),
    ),
    Kind(
        "foreign role",
        lambda i: i.type == "AWSAccount" or (i.is_role_session and i.account not in i.accounts),
        "bucket_policy",
        "the role is in an account where bucketwatch may not write to IAM (response.accounts)",
        _bucket_steps,
    ),
    Kind(
        "service-linked role",
        lambda i: i.role is not None and i.role.path.startswith("/aws-service-role/"),
        "none",
        "a service-linked role cannot be changed (IAM answers UnmodifiableEntity)",
        _always("Stop it in the service that owns the role."),
    ),
    Kind(
        "Identity Center role",
        lambda i: i.role is not None and is_identity_center(i.role),
        "bucket_policy",
        "an AWSReservedSSO role belongs to IAM Identity Center and cannot be changed in IAM",
        _center_steps,
    ),
    Kind(
        "role not named",
        lambda i: i.is_role_session and i.role is None,
        "none",
        "the record does not name the role's own ARN, and a session's ARN leaves the role's path out",
        _log_steps,
    ),
    Kind(
        "workload read from outside",
        lambda i: i.type == "AssumedRole" and bool(i.workload) and i.networks is not None and i.seen_outside,
        "off_host",
        "the session's credentials renew themselves, and its name is the workload's: it is denied outside the"
        " workload's own networks",
        _workload_steps,
    ),
    Kind(
        "workload read from inside",
        lambda i: i.type == "AssumedRole" and bool(i.workload) and i.networks is not None,
        "session_name",
        "the reads came from the workload's own networks: to deny it elsewhere stops nothing",
        _inside_steps,
    ),
    Kind(
        "workload without known networks",
        lambda i: i.type == "AssumedRole" and bool(i.workload),
        "session_name",
        "the session's credentials renew themselves, so an issue time would hold until the next refresh only",
        _workload_steps,
    ),
    Kind(
        "role session",
        lambda i: i.type == "AssumedRole",
        "credential_set",
        "a session of a role in our own account: a deny on the role, bound to this session, ends what it may do",
        _always(),
    ),
    Kind(
        "unknown",
        lambda _identity: True,
        "none",
        "bucketwatch knows no means against this kind of identity",
        _always("Deny the identity in the bucket's policy, and end its session where it signs in."),
    ),
)
