"""What a call that changes settings does: words of `detector.core.fields.Change`. Pure.

Rules of this file
- A word says what the call itself says: a policy that lets anybody in, a block that is lifted. No record tells what was
  there before; so a change that is none (the same policy once more) has its word, too.
- Parameters are spelled as the API's XML or JSON is, elements that may come several times with or without a list around
  them, names in either case. What is not of the expected form has no word.
- Whoever reads of a weakened control must not miss one for its odd form: where a policy is not understood, it counts as
  public if any statement of it allows and names everybody.

Source of the forms: real records (tests/logs/test_changes.py); AWS API references of S3, S3 Control and CloudTrail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from detector.core.principal import account_of_arn

EVERYBODY = tuple(f"http://acs.amazonaws.com/groups/global/{group}" for group in ("allusers", "authenticatedusers"))
PUBLIC_ACLS = frozenset({"public-read", "public-read-write", "authenticated-read"})
NARROWING = frozenset(
    {
        "aws:sourcevpc", "aws:sourcevpce", "aws:principalorgid", "aws:principalorgpaths", "aws:principalaccount",
        "aws:principalarn", "aws:sourcearn", "aws:sourceaccount", "aws:sourceorgid", "aws:userid", "aws:vpcsourceip",
        "s3:dataaccesspointaccount", "s3:dataaccesspointarn",
    }
)  # fmt: skip
"""Condition keys that bind a policy to somebody. An address does not: it may be a provider's, or all of them."""
BLOCKS = ("blockpublicacls", "ignorepublicacls", "blockpublicpolicy", "restrictpublicbuckets")
MOST_STATEMENTS = 1_000

Parameters = dict[str, Any]
Words = Iterator[str]


def change(api: str, parameters: Parameters, owner: str | None) -> str | None:
    """The words for a call, in their order; None if there are none.

    parameters: of the request. owner: the account that the call was made in, so far as is known.
    """
    given = _lowered(parameters)
    words = {word for reader in _READERS.get(api, (_acl,)) for word in reader(given, owner)}
    return " ".join(sorted(words)) or None


def replicated_to(parameters: Parameters) -> tuple[str | None, str | None]:
    """Bucket's ARN and account that a replication goes to: of the first rule that names an account, else the first."""
    found = [one for one in map(_destination, _rules(_lowered(parameters))) if one[0]]
    return next((one for one in found if one[1]), found[0] if found else (None, None))


def _lowered(value: Any) -> Any:
    """The same with the names of members in lower case."""
    if isinstance(value, dict):
        return {str(name).lower(): _lowered(inner) for name, inner in value.items()}
    return [_lowered(inner) for inner in value] if isinstance(value, list) else value


def _object(value: Any) -> Parameters:
    """A member that is an object, also if it is the text of one."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = _lowered(msgspec.json.decode(value))
        except (msgspec.MsgspecError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _says(value: Any, *wanted: str) -> bool:
    return str(value).lower() in wanted


# --- policies


def _policy(given: Parameters, owner: str | None) -> Words:
    policy = _object(given.get("bucketpolicy")) or _object(given.get("policy"))
    for one in _list(policy.get("statement"))[:MOST_STATEMENTS]:
        statement = _object(one)
        if _says(statement.get("effect"), "allow"):
            yield from _allowed(statement, owner)


def _allowed(statement: Parameters, owner: str | None) -> Words:
    names = list(_principals(statement.get("principal")))
    bound = {key for test in _object(statement.get("condition")).values() for key in _object(test)}
    if ("*" in names or "notprincipal" in statement) and not bound & NARROWING:
        yield "public_policy"
    accounts = {account_of_arn(name) or name for name in names}
    if owner and any(account.isdecimal() and len(account) == 12 and account != owner for account in accounts):
        yield "foreign_policy"


def _principals(principal: Any) -> Iterator[str]:
    """Who a statement names: `*`, accounts and ARNs; services and identity providers are none of these."""
    for name in _list(_object(principal).get("aws") if isinstance(principal, dict) else principal):
        if isinstance(name, str):
            yield name


def _no_policy(_given: Parameters, _owner: str | None) -> Words:
    yield "policy_removed"


# --- access control lists, and the blocks against public access


def _acl(given: Parameters, owner: str | None) -> Words:
    """Canned, in headers, or as a document; also of an object that is written."""
    del owner
    for name, value in (*given.items(), *_object(given.get("accesscontrollist")).items()):
        if name == "x-amz-acl" and any(_says(one, *PUBLIC_ACLS) for one in _list(value)):
            yield "public_acl"
        elif name.startswith("x-amz-grant-"):
            yield from _grantees(" ".join(map(str, _list(value))).lower())
    grants = _object(_object(given.get("accesscontrolpolicy")).get("accesscontrollist")).get("grant")
    wanted = _object(_object(given.get("accesscontrolpolicy")).get("owner")).get("id")
    for grant in _list(grants):
        grantee = _object(_object(grant).get("grantee"))
        yield from _grantees(f"uri={grantee.get('uri')}".lower())
        if grantee.get("id") and wanted and grantee["id"] != wanted:
            yield "foreign_acl"


def _grantees(text: str) -> Words:
    if any(group in text for group in EVERYBODY):
        yield "public_acl"


def _block(given: Parameters, _owner: str | None) -> Words:
    block = _object(given.get("publicaccessblockconfiguration"))
    if not all(_says(block.get(name), "true") for name in BLOCKS):
        yield "public_access_allowed"


def _no_block(_given: Parameters, _owner: str | None) -> Words:
    yield "public_access_allowed"


def _ownership(given: Parameters, _owner: str | None) -> Words:
    rules = _list(_object(given.get("ownershipcontrols")).get("rule"))
    if not any(_says(_object(rule).get("objectownership"), "bucketownerenforced") for rule in rules):
        yield "acls_enabled"


# --- what keeps and guards the data


def _encryption(given: Parameters, _owner: str | None) -> Words:
    rules = _list(_object(given.get("serversideencryptionconfiguration")).get("rule"))
    defaults = [_object(_object(rule).get("applyserversideencryptionbydefault")) for rule in rules]
    if not any(_says(one.get("ssealgorithm"), "aws:kms", "aws:kms:dsse") for one in defaults):
        yield "encryption_weakened"


def _no_encryption(_given: Parameters, _owner: str | None) -> Words:
    yield "encryption_weakened"


def _versioning(given: Parameters, _owner: str | None) -> Words:
    versioning = _object(given.get("versioningconfiguration"))
    if _says(versioning.get("status"), "suspended"):
        yield "versioning_suspended"
    if _says(versioning.get("mfadelete"), "disabled"):
        yield "mfa_delete_off"


def _lifecycle(given: Parameters, _owner: str | None) -> Words:
    rules = map(_object, _list(_object(given.get("lifecycleconfiguration")).get("rule")))
    if any(not rule.keys().isdisjoint({"expiration", "noncurrentversionexpiration"}) for rule in rules):
        yield "lifecycle_deletes"


def _no_lifecycle(_given: Parameters, _owner: str | None) -> Words:
    yield "lifecycle_removed"


def _logging(given: Parameters, _owner: str | None) -> Words:
    if not _object(_object(given.get("bucketloggingstatus")).get("loggingenabled")):
        yield "logging_off"


def _lock(given: Parameters, _owner: str | None) -> Words:
    """A lock is weakened by who bypasses it, and by a bucket's default that is no compliance."""
    if _says(given.get("x-amz-bypass-governance-retention"), "true"):
        yield "lock_weakened"
    if "objectlockconfiguration" in given and not _object(_object(given["objectlockconfiguration"]).get("rule")):
        yield "lock_weakened"
    if _says(_object(given.get("legalhold")).get("status"), "off"):
        yield "lock_weakened"


# --- where data is made to go


def _rules(given: Parameters) -> list[Parameters]:
    configuration = _object(given.get("replicationconfiguration"))
    return [_object(rule) for rule in _list(configuration.get("rule") or configuration.get("rules"))]


def _destination(rule: Parameters) -> tuple[str | None, str | None]:
    destination = _object(rule.get("destination"))
    bucket, account = destination.get("bucket"), destination.get("account")
    return bucket if isinstance(bucket, str) else None, _text(account)


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value and value is not True else None


def _replication(given: Parameters, owner: str | None) -> Words:
    yield "replication"
    if any(account and owner and account != owner for _, account in map(_destination, _rules(given))):
        yield "replication_foreign"


def _access_point(given: Parameters, owner: str | None) -> Words:
    """A point that is not bound to a VPC; one for a bucket of another account."""
    asked = _object(given.get("createaccesspointrequest")) or given
    if not _object(asked.get("vpcconfiguration")):
        yield "open_access_point"
    account = _text(asked.get("bucketaccountid"))
    if account and owner and account != owner:
        yield "foreign_access_point"


# --- the trail itself


def _stopped(_given: Parameters, _owner: str | None) -> Words:
    yield "trail_stopped"


def _trail(given: Parameters, _owner: str | None) -> Words:
    narrow = ("ismultiregiontrail", "includeglobalserviceevents", "isorganizationtrail", "enablelogfilevalidation")
    if any(_says(given.get(name), "false") for name in narrow):
        yield "trail_narrowed"


def _selectors(given: Parameters, _owner: str | None) -> Words:
    """Whether reads of objects are still among the events that are logged, of any bucket at all."""
    of_data = [*_basic(given), *_advanced(given)]
    if not of_data:
        yield "data_events_off"
    elif not any(of_data):
        yield "reads_not_logged"


def _basic(given: Parameters) -> Iterator[bool]:
    """Of each selector of S3 objects whether it takes reads."""
    for selector in map(_object, _list(given.get("eventselectors"))):
        resources = map(_object, _list(selector.get("dataresources")))
        if any(_says(one.get("type"), "aws::s3::object") and _list(one.get("values")) for one in resources):
            yield not _says(selector.get("readwritetype"), "writeonly")


def _advanced(given: Parameters) -> Iterator[bool]:
    for selector in map(_object, _list(given.get("advancedeventselectors"))):
        fields = {str(one.get("field")).lower(): one for one in map(_object, _list(selector.get("fieldselectors")))}
        if any(_says(name, "aws::s3::object") for name in _list(fields.get("resources.type", {}).get("equals"))):
            yield not any(_says(one, "false") for one in _list(fields.get("readonly", {}).get("equals")))


_READERS: dict[str, tuple[Callable[[Parameters, str | None], Words], ...]] = {
    **dict.fromkeys(("PutBucketPolicy", "PutAccessPointPolicy", "PutMultiRegionAccessPointPolicy"), (_policy,)),
    "PutAccessPointPolicyForObjectLambda": (_policy,),
    "DeleteBucketPolicy": (_no_policy,),
    **dict.fromkeys(
        ("PutBucketPublicAccessBlock", "PutPublicAccessBlock", "PutAccountPublicAccessBlock",
         "PutAccessPointPublicAccessBlock"), (_block,)
    ),
    **dict.fromkeys(
        ("DeleteBucketPublicAccessBlock", "DeletePublicAccessBlock", "DeleteAccountPublicAccessBlock",
         "DeleteAccessPointPublicAccessBlock"), (_no_block,)
    ),
    "PutBucketOwnershipControls": (_ownership,),
    "DeleteBucketOwnershipControls": (_ownership,),
    "PutBucketEncryption": (_encryption,),
    "DeleteBucketEncryption": (_no_encryption,),
    "PutBucketVersioning": (_versioning,),
    **dict.fromkeys(("PutBucketLifecycle", "PutBucketLifecycleConfiguration"), (_lifecycle,)),
    **dict.fromkeys(("DeleteBucketLifecycle", "DeleteBucketLifecycleConfiguration"), (_no_lifecycle,)),
    **dict.fromkeys(("PutBucketLogging", "DeleteBucketLogging"), (_logging,)),
    **dict.fromkeys(("PutBucketReplication", "PutBucketReplicationConfiguration"), (_replication,)),
    **dict.fromkeys(
        ("PutBucketObjectLockConfiguration", "PutObjectLockConfiguration", "PutObjectRetention", "PutObjectLegalHold",
         "PutObjectLockRetention", "PutObjectLockLegalHold", "DeleteObject", "DeleteObjects"), (_lock,)
    ),
    "CreateAccessPoint": (_access_point,),
    **dict.fromkeys(("StopLogging", "DeleteTrail", "DeleteEventDataStore", "StopEventDataStoreIngestion"), (_stopped,)),
    "UpdateTrail": (_trail,),
    "PutEventSelectors": (_selectors,),
}  # fmt: skip
"""API → what is looked at. Calls that are not here may still set an access control list."""
