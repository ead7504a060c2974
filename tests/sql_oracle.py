"""An oracle in SQL: what a threshold rule finds, from the raw records, by the contract's sentences alone.

A `Fact` is a record as CloudTrail writes it, before anything is made of it. The engine gets it as CloudTrail JSON,
through the parser (`batch`); DuckDB gets it as a row (`episodes`). Neither shares a line of code with the other: who is
who, what is counted, where windows and episodes begin and end is written here a second time, in another language.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from detector.core.access import AccessBatch
from detector.core.builder import BatchBuilder
from detector.core.finding import Finding
from detector.core.rule import Threshold
from detector.logs import cloudtrail

CAP = 100_000
ACCOUNT = "111122223333"


class Fact(NamedTuple):
    """One raw record. `id`: all copies share it; `time`: epoch seconds; the rest as CloudTrail has it, or None."""

    id: str
    time: int
    type: str = "AssumedRole"
    principal_id: str | None = "AROAREADER1:thief"
    arn: str | None = f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader-1/thief"
    account: str | None = ACCOUNT
    access_key: str | None = "ASIATHIEF"
    invoked_by: str | None = None
    issuer_arn: str | None = f"arn:aws:iam::{ACCOUNT}:role/vendors/Reader-1"
    source_identity: str | None = None
    on_behalf_of: str | None = None
    address: str | None = "198.51.100.7"
    endpoint: str | None = None
    bucket: str = "ml-voice"
    key: str = "raw/a.wav"
    bytes: int = 1
    api: str = "GetObject"
    error: str | None = None


Shown = tuple[str, ...]
Episode = tuple[Shown, int, int, int, int, bool]
"""What a group is shown as, level by level; opened_at, last_at, peak_value, peak_at, and at_least."""


def batch(facts: Iterable[Fact]) -> AccessBatch:
    """The facts as the engine gets them, by way of a CloudTrail file."""
    into = BatchBuilder()
    assert cloudtrail.parse(json.dumps({"Records": [record(fact) for fact in facts]}).encode(), "file", into)
    made = into.build()
    assert not made.rejects
    return made


def record(fact: Fact) -> dict[str, Any]:
    context: dict[str, Any] = {"sourceIdentity": fact.source_identity}
    if fact.issuer_arn:
        context["sessionIssuer"] = {"type": "Role", "arn": fact.issuer_arn}
    identity = {
        "type": fact.type,
        "principalId": fact.principal_id,
        "arn": fact.arn,
        "accountId": fact.account,
        "accessKeyId": fact.access_key,
        "invokedBy": fact.invoked_by,
        "sessionContext": context,
        "onBehalfOf": fact.on_behalf_of and {"userId": fact.on_behalf_of},
    }
    return {
        "eventTime": datetime.fromtimestamp(fact.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "s3.amazonaws.com",
        "eventName": fact.api,
        "awsRegion": "us-east-1",
        "sourceIPAddress": fact.address,
        "errorCode": fact.error,
        "eventID": fact.id,
        "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
        "vpcEndpointId": fact.endpoint,
        "userIdentity": {name: value for name, value in identity.items() if value is not None},
        "requestParameters": {"bucketName": fact.bucket, "key": fact.key},
        "additionalEventData": {"bytesTransferredOut": fact.bytes},
    }


def found(findings: Iterable[Finding]) -> list[Episode]:
    """What the oracle says, of the engine's findings."""
    return sorted(
        (tuple(f.group.values()), f.opened_at, f.last_at, int(f.peak_value), f.peak_at, f.at_least) for f in findings
    )


def episodes(rule: Threshold, facts: Sequence[Fact], cap: int = CAP) -> list[Episode]:
    """Every episode of a rule over the distinct records among these facts. The rule is about successful GetObject.

    cap: values of distinct measures are at most this, and an episode says where more was counted.
    """
    table = pa.Table.from_pylist([fact._asdict() for fact in facts], _SCHEMA)
    connection = _connection()
    connection.register("facts", table)
    levels = len(rule.group_by)
    rows = connection.execute(_query(rule, cap)).fetchall()
    return sorted((tuple(row[:levels]), *map(int, row[levels:-1]), row[-1]) for row in rows)


_SCHEMA = pa.schema([(name, pa.int64() if name in ("time", "bytes") else pa.string()) for name in Fact._fields])


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1})


KNOWN = """
    -- One record an id; of copies that differ the one that names the caller's ARN.
    records AS (
        SELECT DISTINCT ON (id) * FROM facts ORDER BY id, arn IS NULL
    ),
    -- The table of identity kinds.
    kinds AS (
        SELECT *, CASE
            WHEN account = 'anonymous' THEN 'anonymous'
            WHEN type = 'AWSService' THEN 'service'
            WHEN invoked_by IS NOT NULL AND principal_id IS NULL AND arn IS NULL THEN 'service'
            WHEN type = 'AssumedRole' OR (type = 'AWSAccount' AND principal_id LIKE 'AROA%') THEN 'role'
            ELSE 'other' END AS kind
        FROM records
    ),
    sessions AS (
        SELECT *,
            CASE kind
                WHEN 'anonymous' THEN 'anonymous@' || coalesce(address, 'unknown')
                WHEN 'service' THEN 'service:' || invoked_by
                WHEN 'role' THEN principal_id
                ELSE coalesce(arn, principal_id) END AS session,
            CASE kind WHEN 'role' THEN split_part(principal_id, ':', 2) END AS named,
            CASE kind
                WHEN 'anonymous' THEN 'anonymous'
                WHEN 'service' THEN 'service:' || invoked_by
                WHEN 'role' THEN split_part(principal_id, ':', 1)
                ELSE coalesce(arn, principal_id) END AS role,
            CASE kind WHEN 'role' THEN coalesce(arn, account || ':' || principal_id) END AS session_told,
            CASE kind WHEN 'role' THEN coalesce(issuer_arn, account || ':' || split_part(principal_id, ':', 1)) END
                AS role_told
        FROM kinds
    ),
    people AS (
        SELECT * EXCLUDE (access_key, account),
            coalesce(account, session) AS account,
            coalesce(access_key, session) AS access_key,
            coalesce(named, session) AS session_name,
            coalesce(session_told, session) AS session_seen,
            coalesce(role_told, role) AS role_seen,
            coalesce(
                source_identity,
                on_behalf_of,
                CASE WHEN issuer_arn LIKE 'arn:%:role/aws-reserved/sso.amazonaws.com/%' THEN named END,
                session) AS person,
            CASE
                WHEN endpoint IS NOT NULL THEN endpoint
                WHEN address IS NULL THEN invoked_by
                WHEN address LIKE 'AWS Internal%' THEN coalesce(invoked_by, 'AWS Internal')
                WHEN regexp_full_match(address, '[0-9.]+') THEN regexp_extract(address, '^(.*\\.)', 1) || '0/24'
                WHEN address LIKE '%:%' THEN regexp_extract(address, '^([^:]+:[^:]+:[^:]+):', 1) || '::/48'
                ELSE address END AS source_net
        FROM sessions
    ),
    groups AS (
        SELECT *, {peers} AS peer_group FROM people
    ),
    -- An identity is shown by the smallest ARN it was seen under, else by the smallest name.
    session_names AS (
        SELECT session, arg_min(session_seen, (session_seen NOT LIKE 'arn:%', session_seen)) AS shown
        FROM groups GROUP BY session
    ),
    role_names AS (
        SELECT role, arg_min(role_seen, (role_seen NOT LIKE 'arn:%', role_seen)) AS shown FROM groups GROUP BY role
    ),
    matching AS (
        SELECT *, time - time % {grain} AS t FROM groups WHERE api = 'GetObject' AND error IS NULL
    ),
    -- A record without a value at a level belongs to no group there.
    members AS (
        SELECT {key} AS g, t, {member} AS member, bytes FROM matching WHERE {known}
    ),
    -- The value at every second at which the group has a matching event.
    seconds AS (
        SELECT DISTINCT g, t FROM members
    ),
    valued AS (
        SELECT s.g, s.t, {value} AS v, {past} AS past
        FROM seconds s JOIN members m ON m.g = s.g AND m.t > s.t - {window} AND m.t <= s.t
        GROUP BY s.g, s.t
    ),
    crossing AS (
        SELECT g, t, v, past, t - lag(t) OVER (PARTITION BY g ORDER BY t) AS gap FROM valued WHERE v >= {threshold}
    ),
    -- An episode opens where the last crossing is more than one window ago, or a day (or one window) after the last.
    openings(g, t) AS (
        SELECT g, min(t) FROM crossing GROUP BY g
        UNION ALL
        SELECT c.g, min(c.t) FROM openings o JOIN crossing c ON c.g = o.g
        WHERE c.t > o.t AND (c.gap > {window} OR c.t >= o.t + greatest(86400, {window}))
        GROUP BY c.g
    ),
    placed AS (
        SELECT c.g, c.t, c.v, c.past, o.t AS opened FROM crossing c ASOF JOIN openings o ON o.g = c.g AND c.t >= o.t
    )
"""

MEMBERS = {
    "objects": "CASE WHEN key IS NOT NULL THEN (bucket, key) END",
    "prefixes": "CASE WHEN key IS NOT NULL THEN (bucket, regexp_extract(key, '^(.*/)?')) END",
    "source_ips": "address",
    "source_nets": "source_net",
    "buckets": "bucket",
    "sessions": "session",
    "roles": "role",
}
COLUMNS = {"source_ip": "address", "vpc_endpoint": "endpoint"}
STEM = """CASE
    WHEN kind = 'role' AND issuer_arn IS NOT NULL
        THEN regexp_replace(regexp_extract(issuer_arn, '[^/]+$'), '(-[0-9]+|_[0-9a-f]{16})$', '')
    WHEN role_seen LIKE '%:user/%' THEN 'user/' || regexp_extract(role_seen, '[^/]+$')
    ELSE role_seen END"""


def _query(rule: Threshold, cap: int) -> str:
    value = {"requests": "count(*)", "bytes": "sum(m.bytes)"}.get(rule.measure)
    columns = [COLUMNS.get(level, level) for level in rule.group_by]
    declared = "".join(
        f"WHEN {' OR '.join(f'''role_seen GLOB '{glob}' ''' for glob in globs)} THEN '{name}' "
        for name, globs in rule.peer_groups.items()
    )
    known = KNOWN.format(
        peers=f"CASE {declared}ELSE {STEM} END" if declared else STEM,
        grain=60 if rule.window > 3600 else 1,
        key=f"[{', '.join(columns)}]",
        known=" AND ".join(f"{column} IS NOT NULL" for column in columns),
        member=MEMBERS.get(rule.measure, "NULL"),
        value=value or f"least(count(DISTINCT m.member), {cap})",
        past="false" if value else f"count(DISTINCT m.member) > {cap}",
        window=rule.window,
        threshold=rule.threshold,
    )
    shown = []
    for place, level in enumerate(rule.group_by, 1):
        table = f"(SELECT shown FROM {level}_names n WHERE n.{level} = g[{place}])"
        shown.append(table if level in ("session", "role") else f"g[{place}]")
    return f"""
        WITH RECURSIVE {known}
        SELECT {", ".join(shown)}, opened, last_at, peak, peak_at, at_least FROM (
            SELECT g, opened, max(t) AS last_at,
                max(v) AS peak, arg_min(t, (-v, t)) AS peak_at, bool_or(past) AS at_least
            FROM placed GROUP BY g, opened
        )
    """
