"""Reads rule files: YAML text → rules, or every mistake with file, line and column. Pure: texts in, no file opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from detector.core.document import document_key, explain, fields_at, load_yaml, locate, plain, quoted
from detector.core.rule import KINDS, Rule, RuleBase
from detector.errors import Problem, RuleFileError


@dataclass(frozen=True, slots=True)
class Located:
    """A rule and where it is written."""

    rule: Rule
    file: str
    node: CommentedMap

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """Something to say about the field at a path."""
        name = ".".join(str(step) for step in path if not isinstance(step, int))
        return Problem(self.file, *locate(self.node, path), f"{name}: {message}")

    def line(self, *path: str | int) -> int:
        """The line of the field at a path."""
        return locate(self.node, path)[0]


def read_rules(files: Mapping[str, str]) -> list[Rule]:
    """The rules of these files (name → text), sorted by id. Raises RuleFileError with all problems of all files."""
    return [located.rule for located in read_located(files)]


def read_located(files: Mapping[str, str]) -> list[Located]:
    """The same, and where each is written."""
    problems: list[Problem] = []
    found: list[Located] = []
    where: dict[str, str] = {}
    for name, text in files.items():
        for node, rule in _rules_of(name, text, problems):
            if rule.id in where:
                problems.append(
                    _at(name, node, "id", f"two rules with one id: '{rule.id}' is already at {where[rule.id]}")
                )
            where.setdefault(rule.id, f"{name}:{_line(node)}")
            found.append(Located(rule, name, node))
    if problems:
        raise RuleFileError(problems)
    return sorted(found, key=lambda located: located.rule.id)


def _rules_of(name: str, text: str, problems: list[Problem]) -> Iterable[tuple[Any, Rule]]:
    document = load_yaml(name, text, problems)
    if document is None:
        if not problems or problems[-1].file != name:
            problems.append(Problem(name, 1, 1, "expected a list under 'rules', got an empty file"))
        return
    if not isinstance(document, CommentedMap) or not isinstance(document.get("rules"), CommentedSeq):
        problems.append(Problem(name, *locate(document, ["rules"]), "rules: expected a list of rules"))
        return
    problems.extend(
        Problem(name, *document_key(document, key), f"{key}: unknown field; a rule file has only 'rules'")
        for key in set(document) - {"rules"}
    )
    for number, node in enumerate(document["rules"]):
        if not isinstance(node, CommentedMap):
            place = locate(document, ["rules", number])
            problems.append(Problem(name, *place, f"expected a rule (id, title, ...), got {quoted(node)}"))
            continue
        rule = _rule_of(name, node, problems)
        if rule is not None:
            yield node, rule


def _rule_of(name: str, node: CommentedMap, problems: list[Problem]) -> Rule | None:
    kind = node.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        what = "required field is missing" if kind is None else f"expected {' or '.join(KINDS)}, got {quoted(kind)}"
        problems.append(_at(name, node, "kind", f"kind: {what}"))
        return None
    try:
        return model.model_validate(plain(node))  # type: ignore[return-value]
    except ValidationError as error:
        details = _first_causes(error.errors(include_url=False))
        problems.extend(_problem(name, node, detail, model) for detail in details)
        if all(detail["loc"] for detail in details):  # otherwise the model has looked at the fields together
            problems.extend(_at(name, node, field, told) for field, told in model.contradictions(plain(node)))
        return None


def _first_causes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without lists that are called too short because something in them is wrong, which is told anyway."""
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or not any(p[: len(detail["loc"])] == detail["loc"] != p for p in places)
    ]


def _problem(name: str, node: CommentedMap, detail: ErrorDetails, model: type[RuleBase]) -> Problem:
    message = explain(detail, fields_at(model, detail["loc"]))
    path: Sequence[int | str] = detail["loc"]
    if detail["type"] == "extra_forbidden":
        parent: Any = node
        for step in path[:-1]:
            parent = parent[step]
        return Problem(name, *document_key(parent, path[-1]), message)
    if not path:
        path = [message.split(":")[0]]
    return Problem(name, *locate(node, path), message)


def _at(name: str, node: CommentedMap, key: str, message: str) -> Problem:
    return Problem(name, *locate(node, [key]), message)


def _line(node: CommentedMap) -> int:
    return int(node.lc.line) + 1
