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
from detector.core.document import document_key, explain, field_name, fields_at, load_yaml, locate, plain, quoted
from detector.core.rule import KINDS, Model, Rule
from detector.core.sigma import is_sigma, read_sigma
from detector.core.site import Named, asked_for, put_in, read_named, unknown
from detector.core.suppression import Suppression
from detector.core.where import BESIDE, LIST_NAME, OF_LISTS
from detector.errors import Problem, RuleFileError


@dataclass(frozen=True, slots=True)
class Located:
    """A rule and where it is written.

    waits: names that it asks for and no `site` says: then it is not evaluated, and `rule` is as in its tests.
    """

    rule: Rule
    file: str
    node: CommentedMap
    waits: tuple[str, ...] = ()
    stand_in: Rule | None = None

    @property
    def tested(self) -> Rule:
        """The rule with the names that its tests use."""
        return self.stand_in or self.rule

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """Something to say about the field at a path."""
        return _about(self.file, self.node, path, message)

    def line(self, *path: str | int) -> int:
        """The line of the field at a path."""
        return locate(self.node, path)[0]


@dataclass(frozen=True, slots=True)
class Written:
    """All that rule files say. rules: those that wait among them."""

    rules: list[Located]
    suppressions: list[tuple[Suppression, Problem]]
    """Each with its place, as a problem without a message."""


def read_rules(files: Mapping[str, str]) -> list[Rule]:
    """The rules of these files (name → text) that are evaluated, sorted by id.

    Raises RuleFileError with all problems of all files.
    """
    return [located.rule for located in read_written(files).rules if not located.waits]


def read_written(files: Mapping[str, str]) -> Written:
    """The rules, suppressions, and where each is written. Raises RuleFileError."""
    problems: list[Problem] = []
    found: list[Located] = []
    suppressions: list[tuple[Suppression, Problem]] = []
    where: dict[str, str] = {}
    lists = {name: text for name, text in files.items() if name.endswith(OF_LISTS)}
    in_sigma = {name: text for name, text in files.items() if name not in lists and is_sigma(text)}
    native = [name for name in files if name not in in_sigma and name not in lists]
    documents = {name: _document(name, files[name], problems) for name in native}
    site = _site(documents, problems)
    for name, document in documents.items():
        beside = _Beside(name[: name.rfind("/") + 1], lists, problems)
        reader = _Reader(name, problems, beside, read_named(name, document, "names", problems), site)
        found += filter(None, map(reader.rule_of, _nodes(name, document, "rules", problems)))
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


def _site(documents: Mapping[str, CommentedMap], problems: list[Problem]) -> dict[str, Any]:
    """What all files together say that names stand for here; an empty list says nothing."""
    site: dict[str, Any] = {}
    said: dict[str, str] = {}
    for file, document in documents.items():
        for name, value in read_named(file, document, "site", problems).items():
            line, column = locate(document, ["site", name])
            if value and name in site:
                problems.append(Problem(file, line, column, f"site: '{name}' is said already at {said[name]}"))
            elif value:
                site[name], said[name] = value, f"{file}:{line}"
    return site


LISTS = {"rules": "rule (id, title, ...)", "suppress": "suppression (rule, until, owner, ...)"}
"""What a rule file has → what stands in the list under it."""
TOP = (*LISTS, "names", "site")


def _document(name: str, text: str, problems: list[Problem]) -> CommentedMap:
    """A rule file; without what is wrong in it, which is told."""
    document = load_yaml(name, text, problems)
    if document is None:
        if not problems or problems[-1].file != name:
            problems.append(Problem(name, 1, 1, "expected a list under 'rules', got an empty file"))
        return CommentedMap()
    if not isinstance(document, CommentedMap) or not set(document) & set(TOP):
        problems.append(Problem(name, *locate(document, ["rules"]), "rules: expected a list of rules"))
        return CommentedMap()
    problems.extend(
        Problem(name, *document_key(document, key), f"{key}: unknown field; a rule file has only {_listed(TOP)}")
        for key in document
        if key not in TOP
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


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the rules of one file. names: of the file. site: of all."""

    file: str
    problems: list[Problem]
    beside: _Beside
    names: Named
    site: Named

    def rule_of(self, node: CommentedMap) -> Located | None:
        """A rule, with what its names stand for here and in its tests; None if anything is wrong with it."""
        written = plain(node)
        asked = list(asked_for(written))
        strange = [(path, name) for path, name in asked if name not in self.names]
        if strange:
            self.problems.extend(_about(self.file, node, path, unknown(name, self.names)) for path, name in strange)
            return None
        tested = self._read(node, put_in(written, self.names))
        waits = tuple(sorted({name for _, name in asked} - set(self.site)))
        if not asked or waits or tested is None:
            return Located(tested, self.file, node, waits) if tested else None
        rule = self._read(node, put_in(written, self.site))
        return Located(rule, self.file, node, stand_in=tested) if rule else None

    def _read(self, node: CommentedMap, values: Any) -> Rule | None:
        return _rule_of(self.file, node, values, self.problems, self.beside)


def _rule_of(name: str, node: CommentedMap, values: Any, problems: list[Problem], beside: _Beside) -> Rule | None:
    """A rule of these values, which stand at a node."""
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
        return model.model_validate(values, context={BESIDE: beside})  # type: ignore[return-value]
    except ValidationError as error:
        details = _first_causes(error.errors(include_url=False))
        problems.extend(_problem(name, node, detail, model) for detail in details)
        if all(detail["loc"] for detail in details):  # otherwise the model has looked at the fields together
            problems.extend(_at(name, node, field, told) for field, told in model.contradictions(values))
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


def _about(name: str, node: CommentedMap, path: Sequence[str | int], message: str) -> Problem:
    """Something to say about the field at a path, which is named."""
    return Problem(name, *locate(node, path), f"{field_name(path)}: {message}")


def _at(name: str, node: CommentedMap, key: str, message: str) -> Problem:
    return Problem(name, *locate(node, [key]), message)


def _line(node: CommentedMap) -> int:
    return int(node.lc.line) + 1
