"""Files that people write, as values that know their place; mistakes in them, in people's words. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from detector.core.usual_yaml import Unusual, load_usual
from detector.errors import Problem

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 100_000


def load_yaml(name: str, text: str, problems: list[Problem]) -> Any:
    """The document with line numbers, or None and a problem. Safe: plain values only, duplicate keys refused."""
    if len(text) > MAX_BYTES:
        problems.append(Problem(name, 1, 1, f"expected at most {MAX_BYTES} bytes, got {len(text)}"))
        return None
    if (cut := _not_utf8(text)) is not None:
        problems.append(Problem(name, text.count("\n", 0, cut) + 1, cut - text.rfind("\n", 0, cut), "not UTF-8 text"))
        return None
    try:
        document = _loaded(text)
        _bounded(document)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        told = error.problem or error.context or "cannot be read"
        hint = next((f"; {what}" for part, what in MEANT.items() if part in told), "")
        problems.append(Problem(name, line, column, f"not YAML: {told}{hint}"))
    except (YAMLError, ValueError, IndexError, RecursionError) as error:
        problems.append(Problem(name, 1, 1, f"not YAML: {str(error).partition(chr(10))[0]}"))
    else:
        return document
    return None


def _loaded(text: str) -> Any:
    try:
        return load_usual(text)
    except Unusual:
        return YAML(typ="rt").load(text)


MEANT = {
    "'\\t'": "this is a tab: indent with spaces",
    "<block end>": "this line is indented unlike those above that it belongs to",
    "undefined alias": 'a text that begins with * needs quotes: "*-voice"',
    "mapping values are not allowed": "a text that has a colon in it needs quotes",
}
"""Part of what the YAML reader says → what has mostly been done, and what to do."""


def _not_utf8(text: str) -> int | None:
    """Where a text that was decoded with `surrogateescape` was no UTF-8."""
    return next((at for at, c in enumerate(text) if "\ud800" <= c <= "\udfff"), None) if not text.isascii() else None


def _bounded(document: Any) -> None:
    """Refuse a document that names itself or grows without bound through its aliases."""
    waiting, nodes = [document], 0
    while waiting:
        node = waiting.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} values: write them out without aliases, or cut the file")
        waiting += node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()


def locate(document: Any, path: Sequence[int | str]) -> tuple[int, int]:
    """Line and column (from 1) of the value at a path, or of the nearest thing above it that has a place."""
    node, place = document, (1, 1)
    if isinstance(document, (CommentedMap, CommentedSeq)):
        place = (document.lc.line + 1, document.lc.col + 1)
    for step in path:
        if isinstance(node, CommentedMap) and step in node:
            line, column = node.lc.value(step)
        elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
            line, column = node.lc.item(step)
        else:
            break
        place, node = (line + 1, column + 1), node[step]
    return place


def field_name(path: Iterable[str | int]) -> str:
    """The field at a path, without places in lists: `where.bucket`."""
    return ".".join(str(step) for step in path if not isinstance(step, int))


def explain(error: ErrorDetails, fields: Iterable[str]) -> str:
    """A pydantic error as a person would say it: `window: expected a duration such as 5m, got 'five'`."""
    name = field_name(error["loc"]) or "file"
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        return text if ":" in text.partition(" ")[0] else f"{name}: {text}"
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(error["loc"][-1]), list(fields), 1)
        return f"{name}: unknown field" + (f"; did you mean '{close[0]}'?" if close else "")
    if error["type"] == "missing":
        return f"{name}: required field is missing"
    got = error["input"]
    if error["type"].startswith("union_tag"):
        name, got = f"{name}.kind", error.get("ctx", {}).get("tag", got)
    kind = "string_type" if error["type"] == "tuple_type" and name.startswith("where") else error["type"]
    told = EXPECTED[kind].format(**error.get("ctx", {})) if kind in EXPECTED else error["msg"]
    hint = HINTS.get(kind, "") or _meant(got, re.findall(r"'([^']+)'", told) if kind == "literal_error" else ())
    return f"{name}: {told[:1].lower()}{told[1:]}, got {quoted(got)}{hint}"


def _meant(got: object, words: Iterable[str]) -> str:
    """Which of the words that are allowed somebody may have meant."""
    close = difflib.get_close_matches(got, list(words), 1) if isinstance(got, str) else []
    return f"; did you mean '{close[0]}'?" if close else ""


EXPECTED = {
    "literal_error": "expected {expected}",
    "union_tag_invalid": "expected {expected_tags}",
    "union_tag_not_found": "expected a kind",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "model_type": "expected fields under it",
    "dict_type": "expected fields under it",
    "string_pattern_mismatch": "expected text of the form {pattern}",
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing"), "expected a day such as 2027-01-31"),
}
"""pydantic's type of error → what was expected; others are told in pydantic's own words."""
HINTS = {"string_type": "; write it in quotes"}


def plain(node: Any) -> Any:
    """A YAML node as plain Python values."""
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return tuple(plain(value) for value in node)
    if isinstance(node, bool) or node is None:
        return node
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node


def fields_at(model: Any, path: Sequence[int | str]) -> list[str]:
    """The field names a model knows at a path of an error: for hints about misspelt ones."""
    fields = model.model_fields
    for step in path[:-1]:
        if isinstance(step, str) and step in fields:
            inner = [
                arg
                for arg in (fields[step].annotation, *getattr(fields[step].annotation, "__args__", ()))
                if hasattr(arg, "model_fields")
            ]
            fields = inner[0].model_fields if inner else fields
    return list(fields)


def document_key(node: CommentedMap, key: Any) -> tuple[int, int]:
    """Line and column of a key itself (not of its value)."""
    written = next((k for k in node if str(k) == str(key)), key)  # a key may have been written as a number
    line, column = node.lc.key(written)
    return line + 1, column + 1


def quoted(value: Any) -> str:
    text = (
        repr(plain(value))
        if not isinstance(value, (dict, tuple, list))
        else f"a {'mapping' if isinstance(value, dict) else 'list'}"
    )
    return text if len(text) <= 60 else text[:57] + "..."
