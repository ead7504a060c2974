"""Where alerts go, whose IAM is written to, and where state and journal lie. Pure.

Source: SNS API reference, GetTopicAttributes; KMS API reference, DescribeKey; S3 API reference, PutObject (conditions).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from detector.doctor.result import Answer, Ask, Result, unseen
from detector.doctor.subject import Place, Subject

PROBE = b"bucketwatch doctor: may be deleted\n"
STATE_VERSION = b"bucketwatch-state "


def topics(subject: Subject, ask: Ask) -> Iterator[Result]:
    """Each topic that alerts go to."""
    for arn in subject.topics:
        region = arn.split(":")[3]
        answer = ask("sns:get_topic_attributes", region=region, TopicArn=arn)
        if answer.found is None:
            yield unseen("alerts", answer, arn, absent="there is no such topic: alerts reach nobody", remedy="make it")
            continue
        attributes = answer.seen.get("Attributes", {})
        listed = ask("sns:list_subscriptions_by_topic", region=region, TopicArn=arn)
        if listed.found is not None:  # where it may be seen it is told sooner than in the attributes' counts
            attributes = {**attributes, **counted(listed.seen)}
        key = str(attributes.get("KmsMasterKeyId", ""))
        results = [*heard(attributes, arn), *(_key(ask, key, arn, region) if key else ())]
        yield from results
        if all(one.status == "ok" for one in results):
            count = attributes.get("SubscriptionsConfirmed", "0")
            yield Result("alerts", "ok", f"the topic exists; {count} confirmed subscriptions", arn)


def counted(listed: Mapping[str, Any]) -> dict[str, str]:
    """How many subscriptions are confirmed, and how many are not, as attributes say it."""
    arns = [str(one.get("SubscriptionArn", "")) for one in listed.get("Subscriptions", ())]
    confirmed = sum(arn.startswith("arn:") for arn in arns)
    return {"SubscriptionsConfirmed": str(confirmed), "SubscriptionsPending": str(len(arns) - confirmed)}


def heard(attributes: Mapping[str, Any], arn: str) -> Iterator[Result]:
    """Whether anybody listens."""
    confirmed, pending = (int(attributes.get(f"Subscriptions{name}", 0)) for name in ("Confirmed", "Pending"))
    if not confirmed:
        told = "nobody is subscribed: alerts are published and reach nobody"
        yield Result("alerts", "problem", told, arn, "subscribe somebody, and confirm")
    if pending:
        yield Result("alerts", "warn", f"{pending} subscriptions wait to be confirmed", arn, "follow the mailed link")
    if str(attributes.get("KmsMasterKeyId", "")).endswith("alias/aws/sns"):
        told = "its key is AWS's own (alias/aws/sns): CloudWatch alarms cannot publish to it"
        yield Result("alerts", "warn", told, arn, "use a key of your own that lets cloudwatch.amazonaws.com use it")


def _key(ask: Ask, key: str, arn: str, region: str) -> Iterator[Result]:
    answer = ask("kms:describe_key", region=region, KeyId=key)
    state = answer.seen.get("KeyMetadata", {}).get("KeyState")
    if answer.found is None:
        yield unseen("alerts", answer, key, absent="the topic's key does not exist: nothing can be published")
    elif state != "Enabled":
        told = f"the topic's key is {state}: nothing can be published"
        yield Result("alerts", "problem", told, arn, "enable the key, or give the topic another")


def response(subject: Subject, ask: Ask) -> Iterator[Result]:
    """Whether the mode fits the rules, and roles of other accounts can be assumed."""
    yield from mode(subject)
    for account, role in sorted(subject.responders.items()):
        if role is None or subject.mode != "enforce":
            continue
        external = {"ExternalId": role.external_id} if role.external_id else {}
        answer = ask("sts:assume_role", RoleArn=role.arn, RoleSessionName="bucketwatch-doctor", **external)
        if answer.found is None:
            told = f"the responder's role in {account} could not be assumed from here: {answer.told}"
            remedy = "its trust names the detector's role: run doctor as that role (in the task) to be sure"
            yield Result("response", "skipped" if answer.why == "denied" else "problem", told, role.arn, remedy)
        else:
            yield Result("response", "ok", f"the responder's role in {account} can be assumed", role.arn)


def mode(subject: Subject) -> Iterator[Result]:
    """Mode, rules and accounts against each other."""
    if subject.mode == "enforce" and not subject.responders:
        told = "mode enforce without accounts: nothing can be revoked anywhere"
        yield Result("response", "problem", told, "response.accounts", "name the accounts whose IAM may be written")
    elif subject.mode == "enforce" and not subject.revoking:
        told = "mode enforce, but no rule says `respond: [revoke]`: nothing is revoked"
        yield Result("response", "warn", told, "response.mode", "say so in the rules that may, or use mode plan")
    elif subject.mode == "off" and subject.revoking:
        told = f"{subject.revoking} rules say revoke, but mode is off: alerts carry no plans"
        yield Result("response", "warn", told, "response.mode", "use mode plan")
    else:
        whose = ", carried out by `bucketwatch respond serve`" if subject.separate and subject.mode == "enforce" else ""
        yield Result("response", "ok", f"mode {subject.mode}, {subject.revoking} rules that revoke{whose}")


def canaries(subject: Subject, ask: Ask) -> Iterator[Result]:
    """Whether each canary is there and may be read, and every protected bucket has one."""
    for uri in subject.canaries:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        answer = ask("s3:get_object", Bucket=bucket, Key=key)
        if answer.found is None:
            absent, remedy = "there is no such object: its reads are in no log", "put a small object there"
            yield unseen("canary", answer, uri, absent=absent, remedy=remedy)
        else:
            yield Result("canary", "ok", "can be read", uri)


def kept(subject: Subject, ask: Ask, nonce: str, now: float) -> Iterator[Result]:
    """Places of state and journal in S3: reachable, writable by condition, and whose the state is."""
    for what, place in sorted(subject.own.items()):
        yield from writable(what, place, ask, nonce)
        if what == "state":
            yield from _state(place, ask)
            yield from _lease(place, ask, now)


def writable(what: str, place: Place, ask: Ask, nonce: str) -> Iterator[Result]:
    """Write an object that must not exist, fail to write it again, delete it."""
    key = "/".join(filter(None, (place.prefix.strip("/"), f"doctor-{nonce}")))
    where = f"s3://{place.bucket}/{key}"
    first = ask("s3:put_object", Bucket=place.bucket, Key=key, Body=PROBE, IfNoneMatch="*")
    if first.found is None:
        told = f"the {what}'s bucket does not exist"
        yield unseen(what, first, where, absent=told, remedy=f"make it, or mend {what}.bucket")
        return
    again = ask("s3:put_object", Bucket=place.bucket, Key=key, Body=PROBE + b"again\n", IfNoneMatch="*")
    removed = ask("s3:delete_object", Bucket=place.bucket, Key=key)
    if again.found is not None:
        told = "this store ignores conditions (If-None-Match): two daemons could overwrite each other's state"
        yield Result(what, "problem", told, where, "use S3 itself, or a store with conditional writes")
    else:
        yield Result(what, "ok", "can be written, and only on condition", place.uri)
    if removed.found is None:
        told = f"the probe could not be deleted: {removed.told}"
        remedy = "delete it by hand" if what == "journal" else f"allow {removed.action}, and delete it"
        yield Result(what, "ok" if what == "journal" else "warn", told, where, remedy)


def _at(place: Place, name: str) -> str:
    return "/".join(filter(None, (place.prefix.strip("/"), name)))


def _state(place: Place, ask: Ask) -> Iterator[Result]:
    where = f"s3://{place.bucket}/{_at(place, 'manifest')}"
    answer = ask("s3:get_object", Bucket=place.bucket, Key=_at(place, "manifest"))
    if answer.why == "absent":
        yield Result("state", "ok", "no checkpoint yet", where)
    elif answer.found is None:
        yield unseen("state", answer, where)
    else:
        yield manifest(answer.seen.get("Body", b""), where)


def manifest(body: bytes, where: str) -> Result:
    """What the first line of a manifest says."""
    head = body.partition(b"\n")[0]
    if not head.startswith(STATE_VERSION):
        remedy = "choose another state.prefix, or bring back an earlier version of the object"
        return Result("state", "problem", "this is no state of bucketwatch, or it is damaged", where, remedy)
    version = head.split(b" ")[1].decode("ascii", "replace")
    return Result("state", "ok", f"there is a checkpoint, of version {version}", where)


def _lease(place: Place, ask: Ask, now: float) -> Iterator[Result]:
    where = f"s3://{place.bucket}/{_at(place, 'lease')}"
    answer = ask("s3:get_object", Bucket=place.bucket, Key=_at(place, "lease"))
    if answer.found is not None:
        yield lease(answer, where, now)
    elif answer.why != "absent":
        yield unseen("lease", answer, where)


def lease(answer: Answer, where: str, now: float) -> Result:
    """Who is the one daemon, and when it last said so."""
    try:
        body = json.loads(answer.seen.get("Body", b""))
        holder, duration = str(body["holder"]), float(body["duration"])
    except (ValueError, KeyError, TypeError):
        remedy = "stop every daemon that uses this state.prefix, then delete the object"
        return Result("lease", "problem", "this is no lease of bucketwatch, or one of another version", where, remedy)
    if body.get("released"):
        remedy = "start the daemon"
        return Result("lease", "warn", f"no daemon runs: {holder} gave the lease up", where, remedy)
    written = answer.seen.get("LastModified")
    age = now - written.timestamp() if written is not None else 0.0
    if age > 4 * duration:
        told = f"{holder} has held it, and not renewed it for {age:.0f} s: no daemon runs"
        return Result("lease", "problem", told, where, "see why the task is gone; the next one takes over by itself")
    return Result("lease", "ok", f"held by {holder}, epoch {body.get('epoch')}, renewed {age:.0f} s ago", where)
