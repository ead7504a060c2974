"""Law: what a rule finds does not depend on the columns that it does not look at."""

from __future__ import annotations

import random
import typing

import pytest

from detector.core.access import Log, Operation, Outcome, Row
from detector.core.addresses import joined, read_list
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.projection import columns
from detector.core.rule import Level, Measure, Where
from detector.watches import watches
from tests.streams import NOW, principal, rule

T0 = 1_777_626_000
TEXTS = (
    "api", "bucket", "key", "destination", "source_ip", "user_agent", "auth", "region", "access_point", "vpc_endpoint",
    "tls", "log_operation", "error_code", "version_id", "sse", "kms_key",
)  # fmt: skip


WHO = [
    principal(name)._replace(source_identity=person, mfa=mfa, invoked_by=service, issued_at=at)
    for name, person, mfa, service, at in (("a", "a", True, None, T0 - 600), ("b", None, False, "a", None))
]


def rows(seed):
    """Sixteen odd records in a minute, and copies of some that differ."""
    few = random.Random(seed).choice
    for _ in range(16):
        texts = {name: few([None, "a", "b/c", "10.0.0.1", "header"]) for name in TEXTS}
        texts |= {name: few([None, "GetObject", "ListObjects"]) for name in ("api", "log_operation")}
        texts |= {
            name: few([None, "111122223333", "444455556666"]) for name in ("bucket_account", "destination_account")
        }
        texts |= {"change": few([None, "replication"]), "key": few([None, "a", "b/c", "2025/c"])}
        texts |= {"purpose": few([None, "a"])}
        yield Row(
            few(list(Log)), T0 + few(range(60)), few(range(1, 30)), "1/r",
            operation=few([Operation.read, Operation.copy, Operation.list]),
            outcome=few([Outcome.success, Outcome.denied]), bytes=few(range(3)),
            who=few(WHO), signed_at=few([-1, 1, T0]), signed_for=few([-1, 1, 7200]),
            has_arn=few([True, False]), **texts,
        )  # fmt: skip


LISTED = joined({"bad.txt": read_list("bad.txt", "10.0.0.0/8", [])})
WHERES = {
    "operation": "GetObject", "outcome": "any", "bucket": "a", "key": "**/c", "session": "*/a", "role": "*",
    "account": "1*", "session_name": "b", "principal_type": "A*",
    "issued_to": "nobody", "source_ip": "10.*", "user_agent": "a", "region": "a",
    "vpc_endpoint": "b*", "access_point": "a", "destination": "b*", "auth": "header", "tls": "a", "log": "cloudtrail",
    "error_code": "a", "change": "replication",
    "bucket_account": "1*", "version_id": "*", "retention": {"key": "{yyyy}/*", "keep": "1d"}, "account_is": "own",
    "access_key": "ASIA*", "source_identity": "a", "mfa": True, "invoked_by": "a", "session_age_over": "1m",
    "destination_account": "4*", "destination_is": "foreign", "signed_for_over": "1h", "signed_age_over": "1h",
    "sse": "a", "kms_key": "a", "purpose": "a", "source_ip_in": LISTED, "unless": {"key": "a", "operation": "Get*"},
}  # fmt: skip
WITH = {"purpose": {"log": "access_audit"}}
LOOKS = [
    *({"measure": measure} for measure in typing.get_args(Measure)),
    *({"measure": "requests", "group_by": level} for level in typing.get_args(Level)),
    *({"measure": "objects", "where": WITH.get(name, {}) | {name: value}} for name, value in WHERES.items()),
]


def test_every_field_of_a_where_is_looked_at_here():
    """A field that is added to rules is added to this law."""
    assert set(WHERES) == set(Where.model_fields)


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_a_rule_finds_the_same_with_only_its_own_columns(look):
    """Every measure, level and condition: the columns it says it needs give the findings that all columns give."""
    chosen, some = rule(**({"threshold": 1} | look)), 0
    for seed in range(30):
        builder = BatchBuilder()
        for row in rows(seed):
            builder.add(row)
        whole = builder.build()
        found_of_all = found(chosen, whole)
        assert found(chosen, whole.cut(columns([chosen]))) == found_of_all
        some += len(found_of_all)
    assert some


def found(chosen, batch):
    """The figures of all closed findings; of differing copies the first is kept."""
    engine = Engine([chosen], watches())
    engine.process(batch, NOW)
    findings = engine.finish()
    assert engine.failures == {}
    return [finding.to_json() for finding in findings]
