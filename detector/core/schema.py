"""The JSON Schema of rule files, for editors: what is allowed where, as one types. Pure.

It is made from the models that read rule files, so that it cannot say anything else; what depends on several fields (a
threshold above the cap) only `rules check` knows.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import TypeAdapter

from detector.core.fields import Model
from detector.core.rule import Rule
from detector.core.site import WORD
from detector.core.suppression import Suppression

DRAFT = "https://json-schema.org/draft/2020-12/schema"


NAMED = {
    "type": "object",
    "propertyNames": {"pattern": f"^{WORD}$"},
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}


def rule_file_schema() -> dict[str, Any]:
    """Of a whole file."""
    item, quiet = TypeAdapter[Any](Rule).json_schema(), Suppression.model_json_schema()
    known = item.pop("$defs", {}) | quiet.pop("$defs", {})
    for model in _below(Model):
        _tell(model, quiet if model is Suppression else known.get(model.__name__, {}))
    item.pop("discriminator", None)  # no word of JSON Schema
    return {
        "$schema": DRAFT,
        "title": "bucketwatch rules",
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "rules": {"type": "array", "items": _as_written(item)},
            "suppress": {"type": "array", "items": _as_written(quiet)},
            "names": NAMED,
            "site": NAMED,
        },
        "$defs": _as_written(known),
    }


def told(model: type[Model]) -> dict[str, str]:
    """Field → what it is, as the docstring under it says; of fields that are inherited, too."""
    found: dict[str, str] = {}
    for one in reversed([cls for cls in model.__mro__ if issubclass(cls, Model)]):
        body = ast.parse(dedent(inspect.getsource(one))).body[0].body  # type: ignore[attr-defined]  # of a class
        for field, after in pairwise(body):
            said = after.value if isinstance(after, ast.Expr) else None
            if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Constant) and isinstance(said.value, str):
                found[ast.unparse(field.target)] = inspect.cleandoc(said.value)
    return found


def _below(model: type[Model]) -> Iterator[type[Model]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)


def _tell(model: type[Model], schema: dict[str, Any]) -> None:
    """Say of the fields of a model what they are."""
    properties, words = schema.get("properties", {}), told(model) if schema else {}
    for name, info in model.model_fields.items():
        if name in words and (info.alias or name) in properties:
            properties[info.alias or name]["description"] = words[name]


def _as_written(schema: Any) -> Any:
    """As people write it: where a list of words is meant, one word will do; titles made of field names say nothing."""
    if isinstance(schema, list):
        return [_as_written(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _as_written(one) for name, one in schema.items() if not (name == "title" and isinstance(one, str))}
    words = plain.get("items", {})
    if plain.get("type") == "array" and "minLength" in plain:  # pydantic cannot see that the bound is the list's
        plain["minItems"] = plain.pop("minLength")
    if plain.get("type") == "array" and (words.get("type") == "string" or "enum" in words or "const" in words):
        return {"anyOf": [words, plain]} | ({"default": plain.pop("default")} if "default" in plain else {})
    return plain
