"""Which logs and columns a rule asks for, and which a kind of log never has. Pure."""

from __future__ import annotations

from detector.core.access import Log
from detector.core.globs import glob
from detector.core.rule import Conditions, Received, Rule, Where

ABSENT: dict[Log, frozenset[str]] = {
    Log.cloudtrail: frozenset({"purpose"}),
    Log.server_access: frozenset(
        {
            "vpc_endpoint", "access_key", "destination", "destination_account", "bucket_account", "source_identity",
            "mfa", "issued_at", "issued_to", "sse", "kms_key", "change", "purpose", "destination_key", "began",
            "began_arn", "began_key",
        }
    ),
    Log.access_audit: frozenset(
        {
            "region", "vpc_endpoint", "access_point", "access_key", "destination", "destination_account",
            "bucket_account", "auth", "signed_at", "signed_for", "tls", "source_identity", "mfa", "issued_at",
            "issued_to", "invoked_by", "sse", "kms_key", "version_id", "error_code", "change", "destination_key",
            "began", "began_arn", "began_key",
        }
    ),
}  # fmt: skip
"""Columns that a kind of log never fills."""


MADE_OF: dict[str, frozenset[str]] = {
    "person": frozenset({"source_identity"}),
    "peer_group": frozenset({"role"}),
    "source_net": frozenset({"vpc_endpoint", "source_ip"}),
    "source_nets": frozenset({"vpc_endpoint", "source_ip"}),
    "public_net": frozenset({"vpc_endpoint", "source_ip"}),
    "public_ip": frozenset({"source_ip"}),
    "prefix": frozenset({"bucket", "key"}),
    "source_ip_in": frozenset({"source_ip"}),
    "retention": frozenset({"key"}),
    "session_age_over": frozenset({"issued_at"}),
    "signed_for_over": frozenset({"signed_for"}),
    "signed_age_over": frozenset({"signed_at"}),
    "account_is": frozenset({"bucket_account"}),
    "destination_is": frozenset({"destination_account"}),
}
"""Level, measure or field that is no column itself → the columns it is made of."""


def columns_of(name: str) -> frozenset[str]:
    """The columns that a level, measure or field looks at."""
    return MADE_OF.get(name, frozenset({name}))


def columns_asked(conditions: Conditions) -> set[str]:
    """The columns that the given fields look at."""
    return set[str]().union(*map(columns_of, conditions.given()))


def asked(rule: Rule) -> set[str]:
    """Columns that a rule asks for: on records without them it cannot match, or tells apart less than it says."""
    names = (*rule.levels, *rule.measures)
    made = {column for name in names for column in MADE_OF.get(name, ())}
    plain = {level for level in rule.levels if level not in MADE_OF}
    wheres = [*rule.wheres, *(reader.where for reader in getattr(rule, "readers", ()))]
    conditions = [one for where in wheres for one in (where, where.unless) if one is not None]
    fields = set[str]().union(*map(columns_asked, conditions))
    return fields | plain | made | rule.extra_columns


def logs_of(where: Where) -> tuple[Log, ...]:
    """The kinds of log that a rule reads.

    The application's audit log tells of requests that AWS logs too: counted with them, each would count twice. So it
    is read only by rules that name it.
    """
    return tuple(Log[name] for name in where.log) if where.log else (Log.cloudtrail, Log.server_access)


def watches_bucket(rule: Rule, pattern: str) -> bool:
    """Whether a rule may count records of the buckets a glob stands for (a guess: by a name the glob could mean)."""
    if isinstance(rule, Received):  # it looks where copies went
        return False
    wanted = rule.where.bucket
    name = pattern.replace("**", "x").replace("*", "x").replace("?", "x")
    return wanted is None or pattern in wanted or glob(wanted).fullmatch(name) is not None
