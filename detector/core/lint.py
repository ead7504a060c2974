"""What is wrong with rules that are well formed: what can never fire, comes too late, leaves somebody unwatched. Pure.

`lint` looks at rules one by one, `blinded` at all of them together. A remark that is an `error` makes `rules check`
fail; the daemon loads such rules all the same: a rule of yesterday must not stop it in the night.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from detector.core.access import Log
from detector.core.asked import ABSENT, columns_of, logs_of
from detector.core.conditions import PRINCIPAL_FIELDS
from detector.core.fields import DISTINCT_MEASURES
from detector.core.globs import glob
from detector.core.operation import API_NAMES, CLASS
from detector.core.rule import DISTINCT_CAP, OPERATIONS, Conditions, Exemption, FirstSeen, Rule, Scope, Threshold, Where
from detector.core.rule import Sequence as RuleSequence
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

OF_ONE = {
    "session": {"role", "account", "session_name", "peer_group"},
    "role": {"account", "peer_group"},
    "access_key": {"account"},
    "source_ip": {"source_net"},
}
"""Level → what one group has only one of, so that nothing of it is ever new to a group that is known."""

NO_KEY = frozenset({"list", "assume"})
NO_BYTES = frozenset({"write", "delete", "head", "control", "assume", "decrypt", "restore", "copy"})
"""Classes whose records name no object, or tell of no bytes sent."""
NO_CHANGE = frozenset({"read", "list", "head", "delete", "decrypt", "restore", "assume"})
"""Classes whose calls change no settings."""

A_SECOND = {"requests": 10_000, "bytes": 10_000_000_000}
"""More than anybody reads for long: who may do so much is not watched."""
FOLDERS = ("7", "m", "Q", "_", "ü")
ANY_KEY = tuple(f"{name}/" * depth + f"{name}.{name}" for name in FOLDERS for depth in range(1, 13))
ANY_TEXT = tuple(f"{name}0{name}-1" for name in FOLDERS)
"""Texts unlike each other: globs that fit every one of them fit, as good as, everything."""

WORDS = {
    "auth": ("header", "query", "none"),
    "tls": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "sse": ("SSE_S3", "SSE_KMS", "SSE_C", "SSE_DSSE", "Default_SSE_S3", "Default_SSE_KMS", "Default_SSE_DSSE"),
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
        if where.unless is not None:
            yield from _misspelt_in((*path, "unless"), where.unless)


def _misspelt_in(path: Path, where: Conditions) -> Iterator[Remark]:
    for name in where.operation or ():
        if name in OPERATIONS or name in API_NAMES or re.search(r"[*?.]", name):
            continue
        close = [name.lower()] if name.lower() in OPERATIONS else difflib.get_close_matches(name, API_NAMES, 1, 0.8)
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


OF_EXPRESSIONS = re.compile(r"\[[^\]]+\]|\([^)]*\|[^)]*\)|\.\*|\\[dw.]")
"""What people write who take a glob for a regular expression."""


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
        if OF_EXPRESSIONS.search(text):
            told = f"only * and ? are wild here, this is compared letter by letter: '{text}'; write a list of globs"
            yield Remark((*path, "key"), told, error=False)


def _uncountable(rule: Rule) -> Iterator[Remark]:
    """A measure that is always nothing, or always one; what is never new."""
    if isinstance(rule, RuleSequence):
        for number, step in enumerate(rule.steps):
            yield from _uncounted(("steps", number), step.where, step.measure)
        return
    yield from _uncounted((), rule.where, rule.measure)
    if isinstance(rule, Scope) and rule.allowed_key and classes_of(rule.where) <= NO_KEY:
        yield Remark(("allowed_key",), f"can never fire: {_told(rule.where)} names no object")
    for level in rule.group_by:
        if rule.measure in ONE_EACH.get(level, ()) and (rule.threshold or 0) > 1:
            told = f"can never fire: one {level} has only one of {rule.measure}, got {rule.threshold}"
            yield Remark(("threshold",), told)
        if isinstance(rule, FirstSeen) and rule.what in OF_ONE.get(level, ()):
            yield Remark(("what",), f"nothing is ever new: one {level} has only one {rule.what}")


def _uncounted(path: Path, where: Where, measure: str) -> Iterator[Remark]:
    classes, told = classes_of(where), _told(where)
    if measure == "bytes" and classes <= NO_BYTES:
        yield Remark((*path, "measure"), f"can never fire: no bytes are sent by {told}")
    if measure == "bytes" and not {"success", "any"} & set(where.outcome):
        said = f"can never fire: no object is sent when the outcome is {', '.join(where.outcome)}"
        yield Remark((*path, "measure"), said)
    if measure in ("objects", "prefixes") and classes <= NO_KEY:
        yield Remark((*path, "measure"), f"can never fire: {told} names no object")
    if where.key and classes <= NO_KEY:
        yield Remark((*path, "where", "key"), f"can never match: {told} names no object")


def classes_of(where: Where) -> set[str]:
    """The classes of operation that a rule asks for; a call that has none, and no operation at all, is of `any`."""
    return {CLASS[name].name if name in CLASS else name for name in where.operation or ("any",)}


def _told(where: Where) -> str:
    return ", ".join(sorted(classes_of(where)))


def _contradicted(rule: Rule) -> Iterator[Remark]:
    """Conditions of which each is right by itself, and no record fulfils all."""
    for path, where in _wheres(rule):
        if where.error_code and set(where.outcome) == {"success"}:
            told = "can never match: what succeeds has no error code; say which outcome, such as `outcome: error`"
            yield Remark((*path, "error_code"), told)
        for name in ("signed_for_over", "signed_age_over"):
            if getattr(where, name) is not None and where.auth and not glob(where.auth).fullmatch("query"):
                yield Remark((*path, name), "can never match: only pre-signed URLs have it, which are `auth: query`")
        reads = {"copy"} if "read" in (where.operation or ()) else set[str]()
        if where.change and classes_of(where) | reads <= NO_CHANGE:
            yield Remark((*path, "change"), f"can never match: {_told(where)} changes no settings")
        if where.unless is not None and all(_implied(where, *one) for one in where.unless.given().items()):
            yield Remark((*path, "unless"), "counts no record: all that `where` asks for is what `unless` takes out")


def _implied(where: Where, name: str, taken: Any) -> bool:
    """Whether whatever fits a `where` fits this field of its `unless`, as far as can be told."""
    asked = getattr(where, name)
    if not isinstance(asked, tuple) or not isinstance(taken, tuple) or not all(isinstance(one, str) for one in taken):
        return asked is not None and bool(asked == taken)
    if name == "outcome" and "any" in taken:
        return True
    wanted = glob(taken, path=name == "key")
    return all(
        one in taken or (CLASS[one].name in taken if one in CLASS else wanted.fullmatch(one.replace("*", "w0/w1")))
        for one in asked
    )


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


def _self_told(rule: Rule) -> Iterator[Remark]:
    """Nobody loses access for what an application says of him: whoever writes its log could frame anybody."""
    if "revoke" in rule.respond and any(Log.access_audit in logs_of(where) for _, where in _wheres(rule)):
        told = "expected alert only: in the application's audit log whoever writes it says who it was"
        yield Remark(("respond",), told)


LOOKS: Sequence[Callable[[Rule], Iterator[Remark]]] = (
    _misspelt, _names, _uncountable, _unlogged, _contradicted, _self_told,
)  # fmt: skip


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
    if not (one.bucket or one.prefix or one.alert):
        for pattern in filter(_is_chosen, one.group or ()):
            told = f"suppress.group: '{pattern}' fits sessions of any role, and whoever assumes one chooses its name: "
            yield Remark(("group",), told + "name the role, and the bucket or prefix of the job", error=False)
    if one.until <= now:
        yield Remark(("until",), f"suppress: ended on {iso(one.until)} ({one.owner}): take it out", error=False)


def _is_chosen(pattern: str) -> bool:
    """Whether a glob of groups tells sessions by no more than the name that they were given."""
    name = re.sub(r"\*+|\?", "q", pattern.rpartition("/")[2])
    return glob([pattern]).fullmatch(f"arn:aws:sts::111122223333:assumed-role/q7Q/{name}") is not None


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
        most = DISTINCT_CAP if rule.measure in DISTINCT_MEASURES else A_SECOND[rule.measure] * rule.window
        return exemption.allow_up_to >= most
    return (
        _fits(exemption.key, ANY_KEY, path=True)
        and _fits(exemption.bucket, ANY_TEXT)
        and _fits(exemption.purpose, ANY_TEXT)
        and _is_everywhere(exemption.network)
    )


def _fits(patterns: tuple[str, ...] | None, texts: Iterable[str], *, path: bool = False) -> bool:
    """Whether nothing is asked, or nothing of any of these texts."""
    wanted = glob(patterns, path=path) if patterns else None
    return wanted is None or all(map(wanted.fullmatch, texts))


def _is_everywhere(networks: tuple[str, ...] | None) -> bool:
    """Whether no network is asked, or most of all addresses there are of a version."""
    nets = [ipaddress.ip_network(text) for text in networks or () if not text.startswith("vpce-")]
    four = ipaddress.collapse_addresses(net for net in nets if isinstance(net, ipaddress.IPv4Network))
    return networks is None or sum(net.num_addresses for net in four) > 1 << 31


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
