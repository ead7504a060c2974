"""Mutants of a module: the same source with one small fault. Pure: text in, mutants out.

Faults: an operator or a comparison is another, a number is one more or less, a truth is the other, a condition is
turned round, a call is its counterpart (min and max), a statement is left out. Annotations and docstrings stay.

Why not mutmut or cosmic-ray: mutmut numbers its mutants, so that an edit above renames what has been explained below,
and it makes none of constants outside functions; cosmic-ray rewrites the working tree and starts pytest for each anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

OPERATORS: dict[type[ast.AST], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in", ast.And: "or", ast.Or: "and",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.FloorDiv: "*", ast.Div: "*", ast.Mod: "//",
    ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "&", ast.LShift: ">>", ast.RShift: "<<",
}  # fmt: skip
"""Operator → what stands in its place. Its own text stands between its operands and is found there."""

SPELLED = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.Is: "is",
    ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in", ast.And: "and", ast.Or: "or", ast.Add: "+", ast.Sub: "-",
    ast.Mult: "*", ast.FloorDiv: "//", ast.Div: "/", ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip

COUNTERPARTS = {
    "min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum",
    "argmin": "argmax", "argmax": "argmin", "zeros": "ones", "ones": "zeros",
}  # fmt: skip
WORDS = {"left": "right", "right": "left"}
LEFT_OUT = (ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)


class Mutant(NamedTuple):
    """One fault: where it is (line from 1), the source with it, and the lines it touches before and after, stripped."""

    line: int
    source: str
    was: str
    now: str


class _Edit(NamedTuple):
    """Bytes of the source and what stands in their place."""

    start: int
    end: int
    text: str


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, by line; each is valid Python and differs from the others."""
    tree = ast.parse(source)
    edits = _Edits(source)
    found = {made.source: made for edit in edits.of(tree) if (made := _made(source.encode(), edit))}
    return sorted(found.values(), key=lambda one: (one.line, one.now))


def _made(source: bytes, edit: _Edit) -> Mutant | None:
    """The mutant of an edit, or None if that is no Python."""
    changed = (source[: edit.start] + edit.text.encode() + source[edit.end :]).decode()
    try:
        ast.parse(changed)
    except SyntaxError:
        return None
    begin, end = source.rfind(b"\n", 0, edit.start) + 1, source.find(b"\n", edit.end)
    was, now = source[begin:end], source[begin : edit.start] + edit.text.encode() + source[edit.end : end]
    return Mutant(source.count(b"\n", 0, edit.start) + 1, changed, _one_line(was), _one_line(now))


def _one_line(text: bytes) -> str:
    return " ".join(text.decode().split())


class _Edits:
    """Finds the places in a tree."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._lines = [0]
        for line in self._source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def of(self, node: ast.AST) -> Iterator[_Edit]:
        """All edits of a node and what it holds."""
        yield from self._here(node)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.of(child)

    def _here(self, node: ast.AST) -> Iterator[_Edit]:
        yield from self._operators(node)
        yield from self._values(node)
        match node:
            case ast.If(test) | ast.IfExp(test) | ast.While(test) if not isinstance(test, ast.UnaryOp):
                yield self._instead(test, f"not ({self._text(test)})")
            case ast.Return(ast.expr()):
                yield self._instead(node, "return None")
        if isinstance(node, LEFT_OUT) or _is_effect(node):
            yield self._instead(node, "pass")

    def _operators(self, node: ast.AST) -> Iterator[_Edit]:
        match node:
            case ast.BinOp(left, op, right):
                yield from self._operator(left, op, right)
            case ast.BoolOp(op, values):
                for left, right in pairwise(values):
                    yield from self._operator(left, op, right)
            case ast.Compare(first, ops, others):
                for left, compared, right in zip([first, *others], ops, others, strict=False):
                    yield from self._operator(left, compared, right)
            case ast.UnaryOp(_, operand):
                yield self._instead(node, self._text(operand))

    def _values(self, node: ast.AST) -> Iterator[_Edit]:
        match node:
            case ast.Constant(value):
                yield from (self._instead(node, text) for text in _other_values(value))
            case ast.Name(id=name) if name in COUNTERPARTS:
                yield self._instead(node, COUNTERPARTS[name])
            case ast.Attribute(attr=name) if name in COUNTERPARTS:
                yield _Edit(self._end(node) - len(name), self._end(node), COUNTERPARTS[name])

    def _operator(self, left: ast.AST, op: ast.AST, right: ast.AST) -> Iterator[_Edit]:
        """The operator's text is the first of its spelling between the operands; brackets may stand there, too."""
        start, spelling = self._end(left), SPELLED.get(type(op))
        at = self._source.find(spelling.encode(), start, self._start(right)) if spelling else -1
        if at >= 0:
            yield _Edit(at, at + len(str(spelling)), OPERATORS[type(op)])

    def _instead(self, node: ast.AST, text: str) -> _Edit:
        return _Edit(self._start(node), self._end(node), text)

    def _text(self, node: ast.AST) -> str:
        return self._source[self._start(node) : self._end(node)].decode()

    def _start(self, node: Any) -> int:
        return self._lines[int(node.lineno) - 1] + int(node.col_offset)

    def _end(self, node: Any) -> int:
        return self._lines[int(node.end_lineno) - 1] + int(node.end_col_offset)


def _other_values(value: object) -> list[str]:
    if isinstance(value, bool):
        return [str(not value)]
    if isinstance(value, int | float):
        return [repr(value + 1), repr(value - 1)]
    return [repr(WORDS[value])] if isinstance(value, str) and value in WORDS else []


def _is_effect(node: ast.AST) -> bool:
    """A statement whose only use is what it does: a call, or an assignment into something."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    into = ast.Attribute | ast.Subscript
    return isinstance(node, ast.Assign) and any(isinstance(target, into) for target in node.targets)
