"""The quick reader of YAML has no say: what it reads, ruamel reads alike, down to every line and column."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from detector.core.document import load_yaml, plain
from detector.core.usual_yaml import Unusual, load_usual
from detector.rules import rule_files, shipped

RULES = """\
rules:
  - id: a
    where: {operation: read, key: ["*.wav", 'x'], auth: none}
    window: 5m # a comment
    threshold: 10_000
    description: >-
      some folded
      text: here

      more
    runbook: |
      a
       b
    until: 2027-01-31
    title: some words
      go on
    tests:
    - 1.5
    - - x
      - y
    owner: "a\\n\\u00e9b"
site:
  roles: [b, c]
"""
PIECES = [*" :-?,[]{}#&*!|>'\"%@`~<=+.\n01aeE_xnNtT/\\é😀\x7f\xa0", ": ", "- ", "\n  ", "...", "---", " #", "? "]
PIECES += ["<<: ", "!!str ", "&a ", "*a", "true", "null", "0x1f", "1e3", "{}", '""', "|\n", ">+\n", "|2\n"]
CHANGES = st.lists(
    st.tuples(st.integers(0, len(RULES)), st.integers(0, 3), st.sampled_from(["", *PIECES])), min_size=1, max_size=4
)


def told(node: Any) -> Any:
    """All that is known of a value: types, order, places."""
    if isinstance(node, CommentedMap):
        places = [(key, node.lc.key(key), node.lc.value(key)) for key in node]
        return node.lc.line, node.lc.col, places, [told(value) for value in node.values()]
    if isinstance(node, CommentedSeq):
        places = [node.lc.item(number) for number in range(len(node))]
        return node.lc.line, node.lc.col, places, list(map(told, node))
    return type(plain(node)), repr(plain(node))


def by_ruamel(text: str) -> Any:
    return told(YAML(typ="rt").load(text))


def test_the_shipped_rules_are_read_the_quick_way_and_as_ruamel_reads_them():
    for name, text in rule_files(shipped()).items():
        if name.endswith(".yaml"):
            assert told(load_usual(text)) == by_ruamel(text), name


@given(CHANGES)
@example([(0, 0, "")])
def test_whatever_is_read_the_quick_way_is_read_alike_by_ruamel(changes):
    text = RULES
    for at, length, put_in in changes:
        text = text[:at] + put_in + text[at + length :]
    try:
        found = load_usual(text)
    except (Unusual, ValueError, IndexError):
        return
    assert told(found) == by_ruamel(text)


@pytest.mark.parametrize(
    "text",
    ["", "a", "|\n...\n", "a:\n", "a: 1\na: 2\n", "a: &x 1\nb: *x\n", "a: !!str 1\n", "5: a\n", "a: 1\n---\nb: 1\n",
     "a: [\n", "\ta: 1\n", "%YAML 1.1\n---\na: yes\n", "<<: {a: 1}\n", "a: =\n", "a: |#b\n", "a: b\x85c\n"],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_left_to_ruamel(text):
    with pytest.raises(Unusual):
        load_usual(text)


def test_what_is_nested_too_deep_is_not_left_to_ruamel():
    """It would say so as well, after it has filled all memory."""
    problems = []
    assert load_yaml("x.yaml", 100_000 * "[", problems) is None
    assert problems[0].message.startswith("not YAML: maximum recursion depth")
    with pytest.raises(RecursionError):
        load_usual(1200 * "{a: ")


def test_a_word_that_is_no_number_though_it_looks_like_one_is_a_problem_of_the_file():
    problems = []
    assert load_yaml("x.yaml", "a: -_\n", problems) is None
    assert problems[0].message.startswith("not YAML")
