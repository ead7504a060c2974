"""The templates as values: read the way CloudFormation reads them, with the short forms of functions written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cfnlint.decode import decode

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
NAMES = ("existing-trail", "new-trail", "forward", "responder", "responder-service", "vpc-endpoints")


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


LEFT_OUT = {"Ref": "AWS::NoValue"}


def chosen(name: str, **parameters: str) -> dict[str, Any]:
    """Its resources as these parameters choose them, the others at their defaults: no condition is left."""
    described = template(name)
    given = {id_: one.get("Default", "x") for id_, one in described["Parameters"].items()} | parameters
    assert set(parameters) <= set(described["Parameters"])

    def holds(test: dict[str, Any]) -> bool:
        [(function, of)] = test.items()
        if function == "Condition":
            return holds(described["Conditions"][of])
        if function == "Fn::Equals":
            left, right = (given[one["Ref"]] if isinstance(one, dict) else one for one in of)
            return str(left) == str(right)
        if function == "Fn::Not":
            return not holds(of[0])
        return {"Fn::And": all, "Fn::Or": any}[function](map(holds, of))

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [one for one in map(resolved, node) if one != LEFT_OUT]
        if not isinstance(node, dict):
            return node
        if "Fn::If" in node:
            condition, yes, no = node["Fn::If"]
            return resolved(yes if holds({"Condition": condition}) else no)
        return {key: value for key, value in ((k, resolved(v)) for k, v in node.items()) if value != LEFT_OUT}

    made = described["Resources"].items()
    return {id_: resolved(one) for id_, one in made if "Condition" not in one or holds({"Condition": one["Condition"]})}
