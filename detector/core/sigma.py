"""Reads rules in Sigma form with pySigma (extra `sigma`): detections and count correlations over access records. Pure.

Rules of this file
- Whatever cannot be counted exactly is a problem that names the field or the construct, and its line: a rule never
  loads to find nothing.
- pySigma reads and parses; what it gives becomes an `Expression`, plain data that a digest and a checkpoint can hold.
- A file may hold several documents. A correlation finds the rules it names in all files that are read together; these
  then find nothing of their own, unless it says `generate: true`.

Source: the Sigma specification 2 (SigmaHQ), "Sigma Rules" and "Sigma Correlation Rules".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from detector.core.document import document_key, load_yaml, locate
from detector.core.kinds.sigma import Expression, SigmaRule
from detector.core.sigma_fields import FIELDS, KNOWN_CALLS, SOURCES
from detector.errors import Problem

if TYPE_CHECKING:
    from pydantic import ValidationError

MISSING = "a rule in Sigma form, and pySigma is not here; install it: pip install 'bucketwatch[sigma]'"
SEVERITIES = {"informational": "info", "low": "low", "medium": "medium", "high": "high", "critical": "critical"}
STAGES = {"stable": "live", "test": "live", "experimental": "staged"}
ALONE = {"measure": "requests", "threshold": 1, "window": "5m"}
"""A detection alone is found at once; matches at most five minutes apart are one finding."""
LONGEST_EXPRESSION = 1000
_LOOKS = re.compile(r"^(?:detection|correlation)\s*:", re.MULTILINE)
_NATIVE = re.compile(r"^(?:rules|suppress|names|site)\s*:", re.MULTILINE)
_CUT = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)


def is_sigma(text: str) -> bool:
    """Whether a rule file is in Sigma form, by what stands at its top level."""
    return bool(_LOOKS.search(text)) and not _NATIVE.search(text)


@dataclass
class _Document:
    """One document of a file, and what is wrong in it."""

    file: str
    node: CommentedMap
    problems: list[Problem]
    expression: Expression | None = None
    used: bool = False
    names: set[str] = field(default_factory=set)

    def wrong(self, message: str, *path: str | int) -> None:
        """Say what is wrong at a path."""
        self.problems.append(Problem(self.file, *locate(self.node, path), message))

    def wrong_field(self, name: str, message: str) -> None:
        """Say what is wrong with a field of the detection."""
        for parent in _mappings(self.node.get("detection")):
            for key in parent:
                if str(key).partition("|")[0] == name:
                    self.problems.append(Problem(self.file, *document_key(parent, key), f"{name}: {message}"))
                    return
        self.wrong(f"{name}: {message}", "detection")


def _mappings(node: Any) -> Iterator[CommentedMap]:
    if isinstance(node, CommentedMap):
        yield node
    for inner in node.values() if isinstance(node, CommentedMap) else node if isinstance(node, list) else ():
        yield from _mappings(inner)


def read_sigma(files: Mapping[str, str], problems: list[Problem]) -> Iterator[tuple[str, CommentedMap, SigmaRule]]:
    """The rules of these files (name → text): file, node, rule. What is wrong is put to the problems."""
    try:
        import re2  # noqa: F401  what expressions run in; it comes with pySigma
        import sigma.rule  # noqa: F401
    except ImportError:
        problems.extend(Problem(name, 1, 1, MISSING) for name in files)
        return
    documents = [one for name, text in files.items() for one in _documents(name, text, problems)]
    for one in documents:
        if "correlation" not in one.node:
            _read_detection(one)
    by_name = {name: one for one in documents for name in one.names}
    made = [(one, _correlated(one, by_name)) for one in documents if "correlation" in one.node]
    made += [(one, ALONE if one.expression else None) for one in documents if "correlation" not in one.node]
    for one, counted in made:
        if counted is not None and not one.used and (rule := _rule(one, counted)) is not None:
            yield one.file, one.node, rule


def _documents(name: str, text: str, problems: list[Problem]) -> Iterator[_Document]:
    at = 0
    for piece in _CUT.split(text):
        node = load_yaml(name, "\n" * at + piece, problems) if piece.strip() else None
        at += piece.count("\n")
        if isinstance(node, CommentedMap):
            one = _Document(name, node, problems)
            one.names = {str(node[key]) for key in ("id", "name") if key in node}
            yield one
        elif node is not None:
            problems.append(Problem(name, at + 1, 1, "expected a rule (title, id, detection, ...)"))


def _rule(one: _Document, counted: dict[str, Any]) -> SigmaRule | None:
    """The rule a document is, once all that is Sigma's about it is read."""
    from pydantic import ValidationError

    node = one.node
    references = node.get("references", ())
    try:
        return SigmaRule.model_validate(
            {
                "id": str(node.get("id", "")).lower(), "title": str(node.get("title", "")), "kind": "threshold",
                "severity": SEVERITIES.get(str(node.get("level")), "medium"),
                "stage": STAGES.get(str(node.get("status", "stable")), "live"),
                "description": str(node.get("description", "")), "where": {"outcome": "any", "log": "cloudtrail"},
                "references": tuple(map(str, references)) if isinstance(references, list) else (),
                "detection": one.expression,
            }
            | counted
        )  # fmt: skip
    except ValidationError as error:
        _explain(one, error)
        return None


def _explain(one: _Document, error: ValidationError) -> None:
    places = {"threshold": ("correlation", "condition"), "window": ("correlation", "timespan")}
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else ""
        one.wrong(f"{name}: {detail['msg'].removeprefix('Value error, ')}", *places.get(name, (name,)))


def _plain(node: Any) -> Any:
    """A YAML node as pySigma takes it."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq | list):
        return [_plain(value) for value in node]
    if isinstance(node, bool):
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


# --- detections


def _read_detection(one: _Document) -> None:
    from sigma.exceptions import SigmaError
    from sigma.rule import SigmaRule as Parsed

    before = len(one.problems)
    _check_head(one)
    try:
        parsed = Parsed.from_dict(_plain(one.node), collect_errors=True)
    except (SigmaError, TypeError, ValueError, AttributeError) as error:
        one.wrong(f"not a Sigma rule: {_said(error)}")
        return
    for told in parsed.errors:
        one.wrong(f"not a Sigma rule: {_said(told)}", _part(told))
    if not parsed.errors:
        expression = _condition(one, parsed)
        one.expression = expression if len(one.problems) == before else None


def _said(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]


def _part(error: BaseException) -> str:
    """The part of a rule that pySigma complains of, by the error's name."""
    name = type(error).__name__.lower()
    return next((part for part in ("title", "logsource", "level", "status", "date") if part in name), "detection")


def _check_head(one: _Document) -> None:
    node = one.node
    source = node.get("logsource")
    if "correlation" not in node:
        told = {key: source[key] for key in ("product", "service", "category") if key in source} if source else {}
        if told != {"product": "aws", "service": "cloudtrail"}:
            one.wrong(f"logsource: expected product aws, service cloudtrail, got {_listed(told)}", "logsource")
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", str(node.get("id", ""))):
        one.wrong(f"id: expected letters, digits and '-', got {str(node.get('id'))[:80]!r}", "id")
    if str(node.get("status", "stable")) not in STAGES:
        one.wrong(f"status: expected {', '.join(STAGES)}, got '{str(node.get('status'))[:40]}'", "status")
    if str(node.get("level")) not in SEVERITIES:
        one.wrong(f"level: expected {', '.join(SEVERITIES)}, got '{str(node.get('level'))[:40]}'", "level")


def _listed(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:60]}" for key, value in told.items()) or "nothing"


def _condition(one: _Document, parsed: Any) -> Expression | None:
    from sigma.exceptions import SigmaError

    conditions = parsed.detection.parsed_condition
    if len(conditions) != 1:
        one.wrong("condition: expected one condition, got several", "detection", "condition")
        return None
    try:
        return _expression(one, conditions[0].parsed)
    except (SigmaError, RecursionError) as error:
        one.wrong(f"condition: {_said(error)}", "detection", "condition")
        return None


def _expression(one: _Document, node: Any) -> Expression:
    from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR

    for kind, word in ((ConditionAND, "and"), (ConditionOR, "or"), (ConditionNOT, "not")):
        if isinstance(node, kind):
            return (word, *(_expression(one, inner) for inner in node.args))
    if isinstance(node, ConditionFieldEqualsValueExpression):
        return _of_value(one, node.field, node.value)
    one.wrong("keywords: expected fields; a search for words in the whole record is not possible", "detection")
    return ("field", "eventName", "exists", False)


def _of_value(one: _Document, name: str, value: Any) -> Expression:
    from sigma.types import SigmaExpansion

    if name not in FIELDS:
        known = ", ".join(FIELDS)
        one.wrong_field(name, f"no field that an access record has; it has {known}")
        return ("field", name, "exists", False)
    if isinstance(value, SigmaExpansion):
        return ("or", *(_of_value(one, name, each) for each in value.values))
    found = _how(value)
    if found is None:
        kind = type(value).__name__.removeprefix("Sigma")
        one.wrong_field(name, f"expected texts, wildcards, re, cidr, exists or null, got {kind}")
        return ("field", name, "exists", False)
    how, what, cased_text = found
    if told := _unfit(name, how, what, cased_text):
        one.wrong_field(name, told)
    return ("field", name, how, what)


def _how(value: Any) -> tuple[str, Any, str] | None:
    """How a value is compared, with what; and its text as written."""
    from sigma import types

    if isinstance(value, types.SigmaNull):
        return "exists", False, ""
    if isinstance(value, types.SigmaExists):
        return "exists", bool(value.exists), ""
    if isinstance(value, types.SigmaCIDRExpression):
        return "cidr", str(value.network), ""
    if isinstance(value, types.SigmaRegularExpression):
        flags = "".join(sorted({"IGNORECASE": "i", "MULTILINE": "m", "DOTALL": "s"}[f.name] for f in value.flags))
        text = str(value.regexp.original)
        return "re", f"(?{flags}){text}" if flags else text, text
    if isinstance(value, types.SigmaBool | types.SigmaNumber):
        text = str(value.boolean).lower() if isinstance(value, types.SigmaBool) else str(value.number)
        return "like", f"(?is)\\A(?:{re.escape(text)})\\z", text
    if isinstance(value, types.SigmaString) and not value.contains_placeholder():
        return "like", _wildcards(value, cased=isinstance(value, types.SigmaCasedString)), str(value.original)
    return None


def _wildcards(value: Any, *, cased: bool) -> str:
    """An expression for a text with wildcards. Sigma compares without regard to case, unless it is told to."""
    from sigma.types import SpecialChars

    signs = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    inside = "".join(re.escape(part) if isinstance(part, str) else signs[part] for part in value.s)
    return f"(?{'s' if cased else 'is'})\\A(?:{inside})\\z"


def _unfit(name: str, how: str, what: Any, text: str) -> str:
    """Why a comparison could never hold, or cannot be made; empty if it can."""
    from detector.core.sigma_mask import matcher

    if how == "re" and (told := _unsafe(what)):
        return told
    if how in ("like", "re") and name == "eventSource" and not any(map(matcher(how, what), SOURCES)):
        return f"'{text}': no source of access records; they are of {', '.join(SOURCES)}"
    if how in ("like", "re") and name == "eventName" and not any(map(matcher(how, what), KNOWN_CALLS)):
        return f"'{text}': no call about S3 access that is known"
    if how == "cidr" and name != "sourceIPAddress":
        return "cidr: expected an address; this field has none"
    return ""


def _unsafe(expression: str) -> str:
    """Why RE2 cannot run an expression."""
    import re2

    from detector.core.sigma_mask import quiet

    if len(expression) > LONGEST_EXPRESSION:
        return f"re: expected at most {LONGEST_EXPRESSION} characters, got {len(expression)}"
    try:
        re2.compile(expression, quiet())  # type: ignore[no-untyped-call]
    except re2.error as error:
        return f"re: RE2 cannot run '{expression[:60]}': {_said(error)}; it has no lookaround and no back-references"
    return ""


# --- correlations


def _correlated(one: _Document, by_name: Mapping[str, _Document]) -> dict[str, Any] | None:
    """What a correlation counts, as fields of a threshold rule; its expression is set."""
    from sigma.correlations import SigmaCorrelationRule
    from sigma.exceptions import SigmaError

    before = len(one.problems)
    try:
        parsed = SigmaCorrelationRule.from_dict(_plain(one.node), collect_errors=True)
    except (SigmaError, TypeError, ValueError, AttributeError) as error:
        one.wrong(f"not a Sigma correlation: {_said(error)}", "correlation")
        return None
    for told in parsed.errors:
        one.wrong(f"not a Sigma correlation: {_said(told)}", "correlation")
    _check_head(one)
    if len(one.problems) > before:
        return None
    counted = _counted(one, parsed) | {"group_by": _levels(one, parsed.group_by or [])}
    parts = [_referred(one, reference.reference, by_name) for reference in parsed.rules or ()]
    if parsed.aliases and parsed.aliases.aliases:
        one.wrong("aliases: not supported", "correlation", "aliases")
    if len(one.problems) > before or any(part is None or part.expression is None for part in parts):
        return None
    for part in parts:
        if part is not None:
            part.used |= not parsed.generate
    one.expression = ("or", *(part.expression for part in parts if part is not None))
    return counted


def _counted(one: _Document, parsed: Any) -> dict[str, Any]:
    kind, condition = parsed.type.name.lower(), parsed.condition
    counted: dict[str, Any] = {"measure": "requests", "window": f"{parsed.timespan.seconds}s"}
    if kind not in ("event_count", "value_count"):
        one.wrong(f"type: expected event_count or value_count, got {kind}", "correlation", "type")
        return counted
    operator = getattr(getattr(condition, "op", None), "name", "")
    if operator not in ("GTE", "GT"):
        one.wrong("condition: expected gte or gt", "correlation", "condition")
        return counted
    counted["threshold"] = condition.count + (operator == "GT")
    if kind == "value_count":
        named = condition.fieldref
        measure = FIELDS[named].measure if isinstance(named, str) and named in FIELDS else None
        if measure is None:
            known = ", ".join(name for name, about in FIELDS.items() if about.measure)
            one.wrong(f"field: expected one of {known}, got {named}", "correlation", "condition")
        counted["measure"] = measure or "requests"
    return counted


def _levels(one: _Document, names: Sequence[str]) -> tuple[str, ...]:
    levels = []
    for name in names:
        level = FIELDS[name].level if name in FIELDS else None
        if level is None:
            known = ", ".join(known for known, about in FIELDS.items() if about.level)
            one.wrong(f"group-by: expected some of {known}, got '{name}'", "correlation", "group-by")
        else:
            levels.append(level)
    if not names:
        one.wrong("group-by: required here: whose records are counted together", "correlation")
    return tuple(dict.fromkeys(levels))


def _referred(one: _Document, name: str, by_name: Mapping[str, _Document]) -> _Document | None:
    found = by_name.get(name)
    if found is None or "correlation" in found.node:
        what = "a correlation, which cannot be counted" if found else "no rule with this id or name"
        one.wrong(f"rules: '{name[:80]}': {what}", "correlation", "rules")
        return None
    return found
