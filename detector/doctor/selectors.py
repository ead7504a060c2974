"""Which reads a trail's event selectors let into its logs. Pure.

Classic selectors name objects by the beginning of their ARN; advanced ones are lists of fields that all have to hold.
A selector that lets in only some calls, keys or callers covers a bucket in `part`: what it leaves out is in no log.

Source: CloudTrail User Guide, "Logging data events"; API reference, AdvancedFieldSelector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Extent = Literal["all", "part", "none"]
ORDER: tuple[Extent, ...] = ("none", "part", "all")
OBJECTS = "AWS::S3::Object"
OTHER_WAYS = {
    "AWS::S3::AccessPoint": "reads through access points",
    "AWS::S3ObjectLambda::AccessPoint": "reads through Object Lambda",
    "AWS::S3Express::Object": "reads of directory buckets (S3 Express)",
}
"""Kinds of resources through which objects are read too → what a trail without them does not log."""

READ_CALLS = {"GetObject": "true", "CopyObject": "false"}
"""Calls without which a theft is not seen → the value of their field `readOnly`."""
JUDGED = frozenset({"eventCategory", "resources.type", "resources.ARN", "readOnly", "eventName", "eventSource"})
"""Fields that are judged here; any other may leave something out."""
OPERATORS = ("Equals", "StartsWith", "EndsWith", "NotEquals", "NotStartsWith", "NotEndsWith")


@dataclass(frozen=True, slots=True)
class Selectors:
    """A trail's selectors of either kind, as GetEventSelectors answers."""

    classic: tuple[Mapping[str, Any], ...] = ()
    advanced: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Selectors:
        return cls(tuple(answer.get("EventSelectors") or ()), tuple(answer.get("AdvancedEventSelectors") or ()))

    def reads_of(self, bucket: str, partition: str = "aws") -> Extent:
        """How much of the reads of a bucket's objects is logged."""
        arn = f"arn:{partition}:s3:::{bucket}/"
        classic = (self._classic(one, arn) for one in self.classic)
        advanced = (_advanced(one, arn) for one in self.advanced)
        return max((*classic, *advanced), key=ORDER.index, default="none")

    def management(self) -> bool:
        """Whether calls that change something (policies, trails, logging) are logged."""
        classic = any(
            one.get("IncludeManagementEvents", True) and one.get("ReadWriteType", "All") != "ReadOnly"
            for one in self.classic
        )
        return classic or any(_management(_fields(one)) for one in self.advanced)

    def kinds(self) -> frozenset[str]:
        """Types of resources whose data events are logged in any part."""
        classic = {str(data.get("Type")) for one in self.classic for data in one.get("DataResources") or ()}
        return frozenset(classic | {kind for one in self.advanced for kind in _kinds(_fields(one))})

    @staticmethod
    def _classic(selector: Mapping[str, Any], arn: str) -> Extent:
        logged = selector.get("ReadWriteType", "All")
        if logged == "WriteOnly":
            return "none"
        values = [
            str(value)
            for data in selector.get("DataResources") or ()
            if data.get("Type") == OBJECTS
            for value in data.get("Values") or ()
        ]
        if any(map(arn.startswith, values)):
            return "all" if logged == "All" else "part"
        return "part" if _begins(values, arn) else "none"


def _begins(values: list[str], beginning: str) -> bool:
    """Whether any value is longer than `beginning`, and begins with it."""
    return any(value.startswith(beginning) for value in values)


def _fields(selector: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in selector.get("FieldSelectors") or ():
        found.setdefault(str(one.get("Field")), []).append(one)
    return found


def _kinds(fields: Mapping[str, list[Mapping[str, Any]]]) -> Iterator[str]:
    if _passes(fields, "eventCategory", "Data"):
        for one in fields.get("resources.type", ()):
            yield from map(str, one.get("Equals") or ())


def _management(fields: Mapping[str, list[Mapping[str, Any]]]) -> bool:
    return _passes(fields, "eventCategory", "Management") and _passes(fields, "readOnly", "false")


def _passes(fields: Mapping[str, list[Mapping[str, Any]]], field: str, value: str) -> bool:
    """Whether an event with this value passes what is asked of the field; a field that is not asked for passes."""
    return all(_meets(one, value) for one in fields.get(field, ()))


def _meets(asked: Mapping[str, Any], value: str) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "Equals": value.__eq__,
        "StartsWith": value.startswith,
        "EndsWith": value.endswith,
    }
    for operator, test in tests.items():
        if asked.get(operator) and not any(test(str(one)) for one in asked[operator]):
            return False
        if any(test(str(one)) for one in asked.get(f"Not{operator}") or ()):
            return False
    return True


def _advanced(selector: Mapping[str, Any], arn: str) -> Extent:
    fields = _fields(selector)
    if OBJECTS not in _kinds(fields):
        return "none"
    passing = [
        call
        for call, read_only in READ_CALLS.items()
        if _passes(fields, "eventName", call) and _passes(fields, "readOnly", read_only)
    ]
    extent: Extent = min((_keys(one, arn) for one in fields.get("resources.ARN", ())), key=ORDER.index, default="all")
    if "GetObject" not in passing or extent == "none" or not _passes(fields, "eventSource", "s3.amazonaws.com"):
        return "none"
    return "part" if len(passing) < len(READ_CALLS) or fields.keys() - JUDGED else extent


def _keys(asked: Mapping[str, Any], arn: str) -> Extent:
    """How many of a bucket's keys pass what is asked of the object's ARN."""
    values = {operator: [str(one) for one in asked.get(operator) or ()] for operator in OPERATORS}
    if any(map(arn.startswith, values["NotStartsWith"])):
        return "none"
    extent: Extent = "part" if _begins([*values["NotStartsWith"], *values["NotEquals"]], arn) else "all"
    if values["NotEndsWith"]:
        extent = "part"
    wanted = [operator for operator in ("Equals", "StartsWith", "EndsWith") if values[operator]]
    if not wanted or any(map(arn.startswith, values["StartsWith"])):
        return extent
    named = values["EndsWith"] or _begins([*values["Equals"], *values["StartsWith"]], arn)
    return "part" if named else "none"
