"""Whether a resource's policy lets a service in on behalf of something. Pure.

No full evaluation: it knows what decides between services (principal, action, resource, source ARN and account, TLS)
and says `unclear` where a policy rests on anything else. A denial that is sure goes before an allowance that is.

Source: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Condition operators".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from detector.core.globs import glob

Verdict = Literal["yes", "no", "unclear"]


@dataclass(frozen=True, slots=True)
class Request:
    """A service does something to a resource on behalf of a source. account: the source's, empty if unknown."""

    service: str
    action: str
    resource: str
    source: str
    account: str = ""

    def value(self, key: str) -> str | None:
        """What a condition key holds in this request; None if it cannot be known here."""
        known = {"aws:sourcearn": self.source, "aws:sourceaccount": self.account, "aws:securetransport": "true"}
        return known.get(key.lower()) or None


def lets_in(policy: object, request: Request) -> Verdict:
    """Whether a policy (text, or as read) allows the request. No policy allows nothing."""
    verdicts: dict[str, list[Verdict]] = {"Allow": [], "Deny": []}
    for statement in statements(policy):
        effect = statement.get("Effect")
        if effect in verdicts:
            verdicts[effect].append(_applies(statement, request))
    if "yes" in verdicts["Deny"]:
        return "no"
    if "yes" in verdicts["Allow"]:
        return "unclear" if "unclear" in verdicts["Deny"] else "yes"
    return "unclear" if "unclear" in verdicts["Allow"] else "no"


def statements(policy: object) -> Iterator[Mapping[str, Any]]:
    """The statements of a policy; none if it cannot be read."""
    if isinstance(policy, str):
        try:
            policy = json.loads(policy)
        except ValueError:
            return
    found = policy.get("Statement", []) if isinstance(policy, Mapping) else []
    yield from (one for one in several(found) if isinstance(one, Mapping))


def several(value: object) -> list[Any]:
    """A value that may be one or a list of them, as a list."""
    return value if isinstance(value, list) else [value]


def _applies(statement: Mapping[str, Any], request: Request) -> Verdict:
    plain = (
        _principal(statement, request.service)
        and _named(statement, "Action", request.action, caseless=True)
        and _named(statement, "Resource", request.resource)
    )
    return _conditions(statement.get("Condition", {}), request) if plain else "no"


def _principal(statement: Mapping[str, Any], service: str) -> bool:
    if "NotPrincipal" in statement:
        return False
    principal = statement.get("Principal")
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return False
    named = [str(one) for one in several(principal.get("Service", []))]
    return "*" in several(principal.get("AWS", [])) or service in named


def _named(statement: Mapping[str, Any], element: str, value: str, *, caseless: bool = False) -> bool:
    """Whether an element (or its negation) names the value. A policy without resources is about its own."""
    fold = str.lower if caseless else str
    if element in statement:
        return _like([fold(str(one)) for one in several(statement[element])], fold(value))
    if f"Not{element}" in statement:
        return not _like([fold(str(one)) for one in several(statement[f"Not{element}"])], fold(value))
    return element == "Resource"


def _like(patterns: list[str], value: str) -> bool:
    return glob(patterns).fullmatch(value) is not None if patterns else False


def _conditions(conditions: object, request: Request) -> Verdict:
    """All have to hold. One that surely does not, decides; one that cannot be judged leaves it open."""
    if not isinstance(conditions, Mapping):
        return "unclear"
    verdict: Verdict = "yes"
    for operator, keys in conditions.items():
        for key, wanted in keys.items() if isinstance(keys, Mapping) else ():
            holds = _holds(str(operator), request.value(str(key)), [str(one) for one in several(wanted)])
            if holds == "no":
                return "no"
            verdict = "unclear" if holds == "unclear" else verdict
    return verdict


EXACT = frozenset({"stringequals", "stringequalsignorecase", "bool"})
LIKE = frozenset({"stringlike", "arnlike", "arnequals"})
NOT_EXACT = frozenset({"stringnotequals", "stringnotequalsignorecase"})
NOT_LIKE = frozenset({"stringnotlike", "arnnotlike", "arnnotequals"})


def _holds(operator: str, value: str | None, wanted: list[str]) -> Verdict:
    name = operator.lower().removeprefix("foranyvalue:").removeprefix("forallvalues:").removesuffix("ifexists")
    if value is None or name not in EXACT | LIKE | NOT_EXACT | NOT_LIKE:
        return "unclear"
    folded = [one.lower() for one in wanted]
    if name in EXACT or name in NOT_EXACT:
        met = value in wanted if name in ("stringequals", "stringnotequals") else value.lower() in folded
    else:
        met = _like(wanted, value)
    return "yes" if met != (name in NOT_EXACT | NOT_LIKE) else "no"
