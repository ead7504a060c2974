"""The templates as values: read the way CloudFormation reads them, with the short forms of functions written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cfnlint.decode import decode

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
NAMES = ("existing-trail", "new-trail", "forward", "responder", "vpc-endpoints")


def template(name: str) -> dict[str, Any]:
    """A template as plain values."""
    found, problems = decode(str(path(name)))
    assert found is not None, problems
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return plain


def path(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def resources(name: str, kind: str = "") -> dict[str, Any]:
    """Its resources by logical id, of one type if one is named."""
    return {id_: one for id_, one in template(name)["Resources"].items() if kind in ("", one["Type"])}
