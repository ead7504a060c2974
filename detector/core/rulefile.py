"""Reads rule files: YAML text → rules, or every mistake with file, line and column. Pure: texts in, no file opened."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from detector.core.addresses import AddressList, read_list
from detector.core.document import document_key, explain, fields_at, load_yaml, locate, plain, quoted
from detector.core.rule import KINDS, Model, Rule
from detector.core.sigma import is_sigma, read_sigma
from detector.core.suppression import Suppression
from detector.core.where import BESIDE, LIST_NAME, OF_LISTS
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


@dataclass(frozen=True, slots=True)
class Written:
    """All that rule files say."""

    rules: list[Located]
    suppressions: list[tuple[Suppression, Problem]]
    """Each with its place, as a problem without a message."""


def read_rules(files: Mapping[str, str]) -> list[Rule]:
    """The rules of these files (name → text), sorted by id. Raises RuleFileError with all problems of all files."""
    return [located.rule for located in read_written(files).rules]


def read_written(files: Mapping[str, str]) -> Written:
    """The rules, suppressions, and where each is written. Raises RuleFileError."""
    problems: list[Problem] = []
    found: list[Located] = []
    suppressions: list[tuple[Suppression, Problem]] = []
    where: dict[str, str] = {}
    lists = {name: text for name, text in files.items() if name.endswith(OF_LISTS)}
    in_sigma = {name: text for name, text in files.items() if name not in lists and is_sigma(text)}
    for name, text in files.items():
        if name not in in_sigma and name not in lists:
            document = _document(name, text, problems)
            beside = _Beside(name[: name.rfind("/") + 1], lists, problems)
            found += [Located(rule, name, node) for node, rule in _rules_of(name, document, problems, beside)]
            suppressions += _suppressions_of(name, document, problems)
    if in_sigma:
        found += [Located(rule, name, node) for name, node, rule in read_sigma(in_sigma, problems)]
    for one in found:
        if one.rule.id in where:
            told = f"two rules with one id: '{one.rule.id}' is already at {where[one.rule.id]}"
            problems.append(_at(one.file, one.node, "id", told))
        where.setdefault(one.rule.id, f"{one.file}:{_line(one.node)}")
    if problems:
        raise RuleFileError(problems)
    return Written(sorted(found, key=lambda located: located.rule.id), suppressions)


def named_lists(text: str) -> set[str]:
    """Every word of a rule file that may be the name of a list: at least those that its rules name."""
    return {found[0] for found in LIST_NAME.finditer(text)}


class _Beside:
    """The lists beside the rule files of a folder; each is read once, when a rule names it."""

    def __init__(self, folder: str, files: Mapping[str, str], problems: list[Problem]) -> None:
        self._folder, self._files, self._problems = folder, files, problems
        self._read: dict[str, AddressList] = {}

    def __contains__(self, name: str) -> bool:
        return self._folder + name in self._files

    def __getitem__(self, name: str) -> AddressList:
        if name not in self._read:
            self._read[name] = read_list(self._folder + name, self._files[self._folder + name], self._problems)
        return self._read[name]


LISTS = {"rules": "rule (id, title, ...)", "suppress": "suppression (rule, until, owner, ...)"}
"""What a rule file has → what stands in the list under it."""


def _document(name: str, text: str, problems: list[Problem]) -> CommentedMap:
    """A rule file; without what is wrong in it, which is told."""
    document = load_yaml(name, text, problems)
    if document is None:
        if not problems or problems[-1].file != name:
            problems.append(Problem(name, 1, 1, "expected a list under 'rules', got an empty file"))
        return CommentedMap()
    if not isinstance(document, CommentedMap) or not set(document) & set(LISTS):
        problems.append(Problem(name, *locate(document, ["rules"]), "rules: expected a list of rules"))
        return CommentedMap()
    problems.extend(
        Problem(name, *document_key(document, key), f"{key}: unknown field; a rule file has only {_listed(LISTS)}")
        for key in set(document) - set(LISTS)
    )
    return document


def _listed(words: Iterable[str]) -> str:
    return " and ".join(f"'{word}'" for word in words)


def _nodes(name: str, document: CommentedMap, key: str, problems: list[Problem]) -> Iterable[CommentedMap]:
    """The mappings in one of a file's lists."""
    nodes = document.get(key, ())
    if not isinstance(nodes, CommentedSeq | tuple):
        problems.append(Problem(name, *locate(document, [key]), f"{key}: expected a list of {key}"))
        return
    for number, node in enumerate(nodes):
        if isinstance(node, CommentedMap):
            yield node
        else:
            place = locate(document, [key, number])
            problems.append(Problem(name, *place, f"expected a {LISTS[key]}, got {quoted(node)}"))


def _suppressions_of(
    name: str, document: CommentedMap, problems: list[Problem]
) -> Iterable[tuple[Suppression, Problem]]:
    for node in _nodes(name, document, "suppress", problems):
        try:
            yield Suppression.model_validate(plain(node)), Problem(name, *locate(node, []), "")
        except ValidationError as error:
            problems.extend(_problem(name, node, one, Suppression) for one in error.errors(include_url=False))


def _rules_of(
    name: str, document: CommentedMap, problems: list[Problem], beside: _Beside
) -> Iterable[tuple[Any, Rule]]:
    for node in _nodes(name, document, "rules", problems):
        rule = _rule_of(name, node, problems, beside)
        if rule is not None:
            yield node, rule


def _rule_of(name: str, node: CommentedMap, problems: list[Problem], beside: _Beside) -> Rule | None:
    kind = node.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        close = difflib.get_close_matches(str(kind), list(KINDS), 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        wrong = f"expected one of {', '.join(KINDS)}, got {quoted(kind)}{hint}"
        what = wrong if kind is not None else "required field is missing"
        problems.append(_at(name, node, "kind", f"kind: {what}"))
        return None
    try:
        return model.model_validate(plain(node), context={BESIDE: beside})  # type: ignore[return-value]
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


def _problem(name: str, node: CommentedMap, detail: ErrorDetails, model: type[Model]) -> Problem:
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
