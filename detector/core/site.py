"""Names for what differs from place to place: protected buckets, the pipeline's roles, keys, days. Pure.

A rule says `$protected_buckets`. What that is here, `site` says in any file that is read with it; what it is in the
rule's tests, and which names there are, `names` says in the rule's own file. What a site does not say is not guessed: a
rule that asks for it waits, and that is told.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml.comments import CommentedMap

from detector.core.document import document_key, locate, plain, quoted
from detector.errors import Problem

Named = Mapping[str, Any]
"""Name → a text, or texts."""
WORD = "[a-z][a-z0-9_]{0,63}"
ASKED = re.compile(rf"\$({WORD})")
LONGEST = 1024
PROSE = frozenset({"id", "title", "description", "runbook", "references", "blind_spot", "tests", "owner", "reason"})
"""Fields in which a text that looks like a name is none."""


def read_named(file: str, document: CommentedMap, key: str, problems: list[Problem]) -> dict[str, Any]:
    """What a rule file says under `names` or `site`; what is wrong in it is told."""
    node = document.get(key)
    if node is None:
        return {}
    if not isinstance(node, CommentedMap):
        told = f"{key}: expected names under it, such as `protected_buckets: [ml-voice-*]`, got {quoted(node)}"
        problems.append(Problem(file, *locate(document, [key]), told))
        return {}
    found = {}
    for name, value in node.items():
        texts = (value,) if isinstance(value, str) else plain(value)
        if not re.fullmatch(WORD, str(name)):
            told = f"{key}: expected a name of a-z, 0-9 and _, got {quoted(name)}"
            problems.append(Problem(file, *document_key(node, name), told))
        elif not isinstance(texts, tuple) or not all(isinstance(t, str) and 0 < len(t) <= LONGEST for t in texts):
            told = f"{key}.{name}: expected a text or a list of texts, got {quoted(value)}"
            problems.append(Problem(file, *locate(node, [name]), told))
        else:
            found[str(name)] = plain(value)
    return found


def asked_for(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where in a rule, as plain data, a name stands, and which."""
    if isinstance(value, str) and (found := ASKED.fullmatch(value)):
        yield path, found[1]
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in PROSE:
                yield from asked_for(inner, (*path, key))
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from asked_for(inner, (*path, number))


def put_in(value: Any, named: Named) -> Any:
    """Plain data with what the names stand for; in a list, texts among its texts."""
    if isinstance(value, str) and (found := ASKED.fullmatch(value)):
        return named[found[1]]
    if isinstance(value, Mapping):
        return {key: inner if key in PROSE else put_in(inner, named) for key, inner in value.items()}
    if isinstance(value, tuple):
        out: list[Any] = []
        for inner in value:
            new = put_in(inner, named)
            out += new if isinstance(new, tuple) and isinstance(inner, str) else [new]
        return tuple(out)
    return value


def unknown(name: str, names: Named) -> str:
    """That a file has no such name."""
    close = difflib.get_close_matches(name, list(names), 1)
    hint = f"did you mean '${close[0]}'?" if close else f"say under `names` of this file what ${name} is in its tests"
    return f"no such name: '${name}'; {hint}"
