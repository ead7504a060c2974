"""What is wrong with rules that are well formed: what can never fire, comes too late, leaves somebody unwatched. Pure.

`lint` looks at rules one by one, `blinded` at all of them together. A remark that is an `error` makes `rules check`
fail; the daemon loads such rules all the same: a rule of yesterday must not stop it in the night.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from detector.core.access import Log
from detector.core.fields import DISTINCT_MEASURES
from detector.core.operation import API_NAMES, CLASS
from detector.core.rule import DISTINCT_CAP, OPERATIONS, Exemption, Rule, Threshold, Where
from detector.core.rule import Sequence as RuleSequence
from detector.core.select import ABSENT, PRINCIPAL_FIELDS, columns_of, glob, logs_of
from detector.core.suppression import Suppression
from detector.core.times import duration, iso

DELIVERY = {Log.cloudtrail: 60, Log.server_access: 3600, Log.access_audit: 0}
"""Seconds after which the quickest delivery of a log brings a record, as AWS describes it: CloudTrail by events within
a minute, access logs "within a few hours"; the application writes its own at once."""

VOLUME = frozenset({"requests", "objects", "bytes"})
"""Measures of how much was read."""

ONE_EACH = {
    "session": {"sessions", "roles"},
    "role": {"roles"},
    "source_ip": {"source_ips", "source_nets"},
    "source_net": {"source_nets"},
    "bucket": {"buckets"},
}
"""Level → measures of which one group has only one."""

NO_OTHER = frozenset({"vpc_endpoint", "destination", "region"})
"""Levels at which a record without a value belongs to no group."""

NO_KEY = frozenset({"list", "assume"})
NO_BYTES = frozenset({"write", "delete", "head", "control", "assume", "decrypt", "restore", "copy"})
"""Classes whose records name no object, or tell of no bytes sent."""

WORDS = {
    "auth": ("header", "query", "none"),
    "tls": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "principal_type": (
        "AssumedRole", "IAMUser", "Root", "FederatedUser", "AWSAccount", "AWSService", "Role", "Directory",
        "IdentityCenterUser", "SAMLUser", "WebIdentityUser", "Unknown", "anonymous", "service", "unknown",
        "Application",
    ),
}  # fmt: skip
"""Field of a `where` → all that a log can say there."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is wrong, and at which field of the rule (a path such as `where`, `bucket`)."""

    path: tuple[str | int, ...]
    message: str
    error: bool = True


def lint(rule: Rule, now: int) -> Iterator[Remark]:
    """Remarks about one rule. now: epoch seconds."""
    for look in LOOKS:
        yield from look(rule)
    yield from _exceptions(rule, now)


Path = tuple[str | int, ...]


def _wheres(rule: Rule) -> list[tuple[Path, Where]]:
    """Everything that selects records, and where it stands in the rule."""
    if isinstance(rule, RuleSequence):
        return [(("steps", number, "where"), step.where) for number, step in enumerate(rule.steps)]
    return [(("where",), rule.where)]


def _misspelt(rule: Rule) -> Iterator[Remark]:
    for path, where in _wheres(rule):
        yield from _misspelt_in(path, where)


def _misspelt_in(path: Path, where: Where) -> Iterator[Remark]:
    for name in where.operation or ():
        if name in OPERATIONS or name in API_NAMES or re.search(r"[*?.]", name):
            continue
        close = difflib.get_close_matches(name, API_NAMES, 1, 0.8)
        told = f"; did you mean '{close[0]}'?" if close else ""
        yield Remark((*path, "operation"), f"no operation of S3 is known as '{name}'{told}", error=bool(close))
    for field, words in WORDS.items():
        for text in getattr(where, field) or ():
            if not any(glob([text]).fullmatch(word) for word in words):
                close = difflib.get_close_matches(text, words, 1, 0.4)
                told = f"; did you mean '{close[0]}'?" if close else ""
                yield Remark((*path, field), f"expected one of {', '.join(words)}, got '{text}'{told}")


def _names(rule: Rule) -> Iterator[Remark]:
    """Texts that nothing in a log can be equal to."""
    for path, where in _wheres(rule):
        yield from _names_in(path, where)


def _names_in(path: Path, where: Where) -> Iterator[Remark]:
    for text in where.bucket or ():
        if re.search(r"[^A-Za-z0-9._*?-]", text) or len(text.replace("*", "")) > 255:
            yield Remark((*path, "bucket"), f"no bucket can be named so: expected such as ml-voice-*, got '{text}'")
    for text in where.account or ():
        if re.fullmatch(r"\d+", text) and len(text) != 12:
            yield Remark((*path, "account"), f"expected the 12 digits of an account, got '{text}'")
    for text in where.session or ():
        if ":role/" in text:
            yield Remark(
                (*path, "session"), f"this is a role: expected arn:aws:sts::…:assumed-role/ROLE/NAME, got '{text}'"
            )
    for text in where.key or ():
        if text.startswith(("/", "s3://")):
            yield Remark((*path, "key"), f"keys have no bucket and no leading slash, got '{text}'", error=False)


def _uncountable(rule: Rule) -> Iterator[Remark]:
    """A measure that is always nothing, or always one."""
    measure, by = rule.measure, rule.group_by
    classes = {CLASS[name].name if name in CLASS else name for name in rule.where.operation or ()}
    if measure == "bytes" and classes and classes <= NO_BYTES:
        yield Remark(("measure",), f"can never fire: no bytes are sent by {', '.join(sorted(classes))}")
    if measure == "bytes" and not {"success", "any"} & set(rule.where.outcome):
        yield Remark(
            ("measure",), f"can never fire: no object is sent when the outcome is {', '.join(rule.where.outcome)}"
        )
    if classes and classes <= NO_KEY and measure in ("objects", "prefixes"):
        yield Remark(("measure",), f"can never fire: {', '.join(sorted(classes))} names no object")
    if classes and classes <= NO_KEY and rule.where.key:
        yield Remark(("where", "key"), f"can never match: {', '.join(sorted(classes))} names no object")
    for level in by:
        if measure in ONE_EACH.get(level, ()) and (rule.threshold or 0) > 1:
            yield Remark(("threshold",), f"can never fire: one {level} has only one of {measure}, got {rule.threshold}")


def _unlogged(rule: Rule) -> Iterator[Remark]:
    """What no log that the rule reads tells."""
    logs = {log for _, where in _wheres(rule) for log in logs_of(where)}
    for level in NO_OTHER.intersection(rule.levels):
        if all(level in ABSENT[log] for log in logs):
            field = "what" if level == getattr(rule, "what", None) else "group_by"
            told = " and ".join(sorted(log.name for log in logs))
            yield Remark((field,), f"can never fire: {told} never tell{'s' * (len(logs) == 1)} {level}")
    for path, where in _wheres(rule):
        yield from _unlogged_in(path, where, getattr(rule, "window", None))


def _unlogged_in(path: Path, where: Where, window: int | None) -> Iterator[Remark]:
    logs = logs_of(where)
    told = " and ".join(log.name for log in logs)
    given = {name: columns_of(name) for name in type(where).model_fields if getattr(where, name) is not None}
    for name, columns in given.items():
        if all(columns & ABSENT[log] for log in logs):
            yield Remark((*path, name), f"can never match: {told} never tell{'s' * (len(logs) == 1)} it")
    of_unless = set[str]().union(*map(columns_of, where.unless.given() if where.unless else ()))
    if all(of_unless & ABSENT[log] for log in logs):
        never = ", ".join(sorted(of_unless & ABSENT[logs[0]]))
        yield Remark((*path, "unless"), f"counts no record: {told} never tell{'s' * (len(logs) == 1)} {never}")
    asked = set[str]().union(of_unless, *given.values())
    served = [log for log in logs if not ABSENT[log].intersection(asked)]
    quickest = min((DELIVERY[log] for log in served), default=0)
    if window is not None and window < quickest:
        yield Remark(
            ("window",),
            f"records of {', '.join(log.name for log in served)} come {duration(quickest)} late or later: "
            f"what happens within {duration(window)} is found, but long after it ended",
            error=False,
        )


LOOKS: Sequence[Callable[[Rule], Iterator[Remark]]] = (_misspelt, _names, _uncountable, _unlogged)


def _exceptions(rule: Rule, now: int) -> Iterator[Remark]:
    for number, exemption in enumerate(getattr(rule, "exceptions", ())):
        path = ("exceptions", number)
        if exemption.ends_at <= now:
            ended = f"the exception for {exemption.owner} ended on {exemption.until}: remove it, or renew it"
            yield Remark((*path, "until"), ended, error=False)
        if exemption.allow_up_to is not None and exemption.allow_up_to < rule.threshold:
            told = (
                f"expected more than the threshold {rule.threshold:,}, got {exemption.allow_up_to:,}: it allows nothing"
            )
            yield Remark((*path, "allow_up_to"), told, error=False)


def remarks(rules: Sequence[Rule], now: int) -> list[tuple[Rule, Remark]]:
    """All that there is to say about these rules."""
    return [(rule, remark) for rule in rules for remark in lint(rule, now)] + list(blinded(rules, now))


def suppression_remarks(one: Suppression, rules: Iterable[str], now: int) -> Iterator[Remark]:
    """Remarks about a suppression. rules: ids of all rules there are."""
    known = list(rules)
    for pattern in one.rule or ():
        if not any(glob([pattern]).fullmatch(name) for name in known):
            close = difflib.get_close_matches(pattern, known, 1)
            told = f"; did you mean '{close[0]}'?" if close else ""
            yield Remark(("rule",), f"suppress.rule: no rule has the id '{pattern}'{told}")
    if one.until <= now:
        yield Remark(("until",), f"suppress: ended on {iso(one.until)} ({one.owner}): take it out", error=False)


def blinded(rules: Iterable[Rule], now: int) -> Iterator[tuple[Rule, Remark]]:
    """Exceptions that leave somebody without any rule of volume, and do not say `accept_blind`."""
    every = [rule for rule in rules if _is_of_volume(rule)]
    for rule in every:
        for number, exemption in enumerate(rule.exceptions):
            if exemption.accept_blind or exemption.ends_at <= now or not _swallows(rule, exemption):
                continue
            who = _somebody(exemption)
            if not any(_watches(other, who, now) for other in every):
                told = (
                    "leaves them without any live rule of volume: allow less, or keep another rule; "
                    "if that is meant, say `accept_blind: true`"
                )
                yield rule, Remark(("exceptions", number), told)


def _is_of_volume(rule: Rule) -> TypeGuard[Threshold]:
    reads = rule.where.operation is None or bool({"read", "GetObject"} & set(rule.where.operation))
    succeeds = bool({"success", "any"} & set(rule.where.outcome))
    return isinstance(rule, Threshold) and rule.measure in VOLUME and rule.stage == "live" and reads and succeeds


def _swallows(rule: Threshold, exemption: Exemption) -> bool:
    """Whether nothing is left that the rule could find of whom the exception is for."""
    if exemption.allow_up_to is not None:
        return rule.measure in DISTINCT_MEASURES and exemption.allow_up_to >= DISTINCT_CAP
    return "**" in (exemption.key or ()) and not any((exemption.bucket, exemption.network, exemption.purpose))


def _somebody(exemption: Exemption) -> dict[str, str]:
    """One whom the exception is for: a glob's wildcards stand for a letter."""
    return {
        name: re.sub(r"\*+|\?", "x", patterns[0])
        for name in PRINCIPAL_FIELDS
        if (patterns := getattr(exemption, name, None))
    }


def _watches(rule: Threshold, who: dict[str, str], now: int) -> bool:
    """Whether a rule of volume may still find something of somebody."""
    wanted = {name: getattr(rule.where, name) for name in PRINCIPAL_FIELDS}
    if any(patterns and name in who and not glob(patterns).fullmatch(who[name]) for name, patterns in wanted.items()):
        return False
    return not any(
        exemption.ends_at > now and _swallows(rule, exemption) and _covers(exemption, who)
        for exemption in rule.exceptions
    )


def _covers(exemption: Exemption, who: dict[str, str]) -> bool:
    named: dict[str, Any] = {name: getattr(exemption, name, None) for name in PRINCIPAL_FIELDS}
    return all(name in who and glob(patterns).fullmatch(who[name]) for name, patterns in named.items() if patterns)
