"""The tables of rules/README.md that say which fields there are: written from the models, `make tables`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`. What a field is, its docstring says; `{words}` in it
stands for the words that are allowed there.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from detector.core.example import Event, Example, Expected
from detector.core.kinds.sequence import Step
from detector.core.rule import KINDS, Exemption, Review, RuleBase, Where
from detector.core.schema import told
from detector.core.suppression import Suppression
from detector.core.times import duration

PAGE = Path(__file__).resolve().parents[1] / "rules" / "README.md"
TABLE = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MODELS: dict[str, type[BaseModel]] = {
    "rule": RuleBase,
    **{kind: model for kind, model in KINDS.items() if kind != "match"},  # which has nothing of its own
    "where": Where,
    "step": Step,
    "review": Review,
    "exception": Exemption,
    "suppression": Suppression,
    "test": Example,
    "event": Event,
    "finding": Expected,
}
"""Name of a table → the model whose fields it has; of a kind its own, and of `threshold` what windows have, too."""


def rewritten(page: str) -> str:
    """The page with its tables as the models say."""
    return TABLE.sub(lambda found: found[1] + table(found[2]) + found[3], page)


def table(name: str) -> str:
    """One table."""
    model = MODELS[name]
    fields = model.model_fields
    if name in KINDS:
        own = set(inspect.get_annotations(model)) if name != "threshold" else set(fields) - set(RuleBase.model_fields)
        fields = {field: info for field, info in fields.items() if field in own}
    words = told(model)
    rows = [_row(field, info, words.get(field, "")) for field, info in fields.items() if field != "kind"]
    if model is RuleBase:
        rows.insert(0, f"| `kind` | {_listed(KINDS)}, see below | required |")
    return "\n".join(["| field | is | default |", "|---|---|---|", *rows]) + "\n"


def _row(name: str, info: FieldInfo, said: str) -> str:
    if not said:
        raise SystemExit(f"{name}: has no docstring that says what it is")
    said = " ".join(said.split()).replace("|", "\\|")
    if "{words}" in said:
        said = said.replace("{words}", _listed(_words(info.annotation)))
    return f"| `{info.alias or name}` | {said} | {_default(info)} |"


def _words(annotation: Any) -> Iterable[str]:
    """The words that a field allows."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return list(dict.fromkeys(word for inner in get_args(annotation) for word in _words(inner)))


def _listed(words: Iterable[str]) -> str:
    *first, last = [f"`{word}`" for word in words]
    return f"{', '.join(first)} or {last}" if first else last


def _default(info: FieldInfo) -> str:
    value = info.default
    if info.default_factory is not None:
        return "none"
    if value is PydanticUndefined:
        return "required"
    if value is None or (isinstance(value, str | tuple | dict) and not value) or isinstance(value, BaseModel):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`"
    spelled = duration(value) if isinstance(value, int) and _is_duration(info) else value
    return f"`{spelled:g}`" if isinstance(spelled, float) else f"`{spelled}`"


def _is_duration(info: FieldInfo) -> bool:
    return any(getattr(getattr(one, "func", None), "__name__", "") in ("seconds", "span") for one in info.metadata)


if __name__ == "__main__":
    before = PAGE.read_text("utf-8")
    after = rewritten(before)
    PAGE.write_text(after, "utf-8")
    sys.stdout.write("rules/README.md: " + ("written anew\n" if after != before else "nothing to change\n"))
