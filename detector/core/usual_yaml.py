"""The usual YAML of files that people write, read by libyaml: ten times as fast as by ruamel. Pure.

It has no say in what a document means. Whatever is out of the ordinary in one (aliases, tags, directives, keys that are
no texts or come twice, several documents, anything that is wrong) is left to ruamel, which reads YAML 1.2 and says best
what is wrong; and it is ruamel that says what a word such as `5` or `2027-01-31` stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml  # noqa: TID251  the one place
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.resolver import implicit_resolvers

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DISPUTED = ("\t", "\r", "\x85", "\u2028", "\u2029", "\ufeff", "|#", ">#")
"""What versions of YAML, or these two readers, take for different things."""
_SPECIAL = frozenset({"", "<<", "="})
"""Nothing, of which the two readers tell different places; what includes a mapping, and what nobody needs."""
_NUMBER = re.compile("[1-9][0-9]{0,17}")
_VERSION = (1, 2)
_WORDS = [pattern for versions, _, pattern, _ in implicit_resolvers if _VERSION in versions]
_BEGINNINGS = frozenset(one for versions, _, _, first in implicit_resolvers if _VERSION in versions for one in first)


class Unusual(Exception):  # noqa: N818  nothing need be wrong with it
    """The document is not for this reader."""


def load_usual(text: str) -> Any:
    """The values of a document, with their lines and columns, as ruamel would have them.

    Raises Unusual, and what ruamel raises, too: of a single word that it can make nothing of ValueError or IndexError,
    and RecursionError of what is nested too deep. At that ruamel would work for a long time, and fill all memory.
    """
    if any(one in text for one in _DISPUTED):
        raise Unusual
    try:
        return _document(yaml.parse(text, _LOADER))
    except yaml.YAMLError as error:
        raise Unusual from error


def _document(events: Iterator[Any]) -> Any:
    _, head = next(events), next(events)
    if not isinstance(head, yaml.DocumentStartEvent) or head.version or head.tags:
        raise Unusual
    found = _value(next(events), events)
    _, end = next(events), next(events)
    if isinstance(found, str) or not isinstance(end, yaml.StreamEndEvent):
        raise Unusual
    return found


def _value(event: Any, events: Iterator[Any]) -> Any:
    """The value that begins with an event; the events up to its end are taken."""
    if event.anchor is not None or event.tag is not None:
        raise Unusual
    if isinstance(event, yaml.ScalarEvent):
        return _word(event.value) if event.implicit[0] else event.value
    found = (_mapping if isinstance(event, yaml.MappingStartEvent) else _list)(events)
    found.lc.line, found.lc.col = _place(event)
    return found


def _mapping(events: Iterator[Any]) -> CommentedMap:
    into = CommentedMap()
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key, of_value = _value(event, events), next(events)
        if not isinstance(key, str) or key in into:
            raise Unusual
        into.lc.add_kv_line_col(key, [*_place(event), *_place(of_value)])
        into[key] = _value(of_value, events)
    return into


def _list(events: Iterator[Any]) -> CommentedSeq:
    into = CommentedSeq()
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        into.lc.add_idx_line_col(len(into), [*_place(event)])
        into.append(_value(event, events))
    return into


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line, event.start_mark.column


@lru_cache(maxsize=1024)
def _word(text: str) -> Any:
    """What a text without quotes stands for, if it is not a text."""
    if _NUMBER.fullmatch(text):
        return int(text)
    if text in _SPECIAL:
        raise Unusual
    if text[0] not in _BEGINNINGS or not any(pattern.match(text) for pattern in _WORDS):
        return text
    return YAML(typ="rt").load(text)
