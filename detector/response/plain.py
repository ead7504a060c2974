"""An alert as plain text, for a person's mail or terminal. Pure.

Names in a log are chosen by whoever made the requests: session names, keys and user agents may hold line breaks,
terminal codes and characters that reverse the direction of writing. Nothing leaves here unescaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READING = {
    "opened": "STILL READING when this was sent",
    "updated": "STILL READING when this was sent",
    "closed": "no longer reading",
    "withdrawn": "WITHDRAWN: with all records in, the rule is not met",
}


def printable(text: object, limit: int = 1000) -> str:
    """Text that shows as itself on one line: all else is escaped, and what is longer than `limit` is cut."""
    whole = str(text)
    if len(whole) <= limit and whole.isprintable():
        return whole
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in whole[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def headline(alert: Mapping[str, Any]) -> str:
    """One line: how bad, which state, what, who."""
    severity, state = printable(alert.get("severity", "?"), 20).upper(), printable(alert.get("state", "?"), 20)
    return f"[{severity}] {state}: {printable(alert.get('title') or alert.get('rule_id', '?'), 200)} - {who(alert)}"


def who(alert: Mapping[str, Any]) -> str:
    """The group the finding is about."""
    group = alert.get("group")
    if _named(alert):
        return f"{alert['digest'].get('count', '?')} alerts, the largest of {_group(_named(alert)[0])}"
    if not isinstance(group, Mapping) or not group:
        return "nobody in particular"
    return _group(alert)


def _group(alert: Mapping[str, Any]) -> str:
    group = alert.get("group") or {}
    return ", ".join(f"{printable(level, 40)} {printable(name, 300)}" for level, name in group.items())


def message(alert: Mapping[str, Any]) -> str:
    """The whole alert: what, who, how much, still reading or not, one command to contain."""
    lines = [
        headline(alert),
        "",
        f"What:   {printable(alert.get('explanation') or alert.get('title', ''), 1500)}",
        f"Who:    {who(alert)}",
        *(f"        {_group(one)}: peak {printable(one.get('peak_value'), 30)}" for one in _named(alert)),
        *([] if alert.get("kind") == "alarm" else [f"How much: {_how_much(alert)}"]),
        f"When:   {printable(alert.get('opened_at', '?'), 40)} to {printable(alert.get('last_at', '?'), 40)}",
        f"State:  {_reading(alert)}",
        "",
        *_containment(alert.get("plan")),
        *_learning(alert),
        *(["Runbook:", *_lines(alert["runbook"])] if alert.get("runbook") else []),
        f"Rule {printable(alert.get('rule_id', '?'), 200)}, alert {printable(alert.get('alert_id', '?'), 80)}",
    ]
    return "\n".join(lines) + "\n"


def _learning(alert: Mapping[str, Any]) -> list[str]:
    """What is not judged yet: silence of these rules means nothing."""
    rules = alert.get("learning") or ()
    return [f"Still learning, and silent until then: {', '.join(printable(rule, 100) for rule in rules)}", ""] * bool(
        rules
    )


def _reading(alert: Mapping[str, Any]) -> str:
    """Whether somebody is still at it; of the daemon's own alarms just their state."""
    state = printable(alert.get("state", "?"), 40)
    return state if alert.get("kind") == "alarm" else READING.get(state, state)


def _named(alert: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The groups a digest names: the largest, then the first that are not among them."""
    digest = alert.get("digest")
    if not isinstance(digest, Mapping):
        return []
    largest = list(digest.get("largest") or ())
    known = {one.get("alert_id") for one in largest}
    return [*largest, *(one for one in digest.get("first") or () if one.get("alert_id") not in known)]


def _lines(text: object) -> list[str]:
    return [f"  {printable(line)}" for line in str(text).splitlines()[:100]]


def _how_much(alert: Mapping[str, Any]) -> str:
    evidence = alert.get("evidence") or {}
    counts = [f"{evidence[name]:,} {name}" for name in ("requests", "objects", "bytes") if _number(evidence.get(name))]
    peak, threshold = alert.get("peak_value"), alert.get("threshold")
    at_least = "at least " if alert.get("at_least") else ""
    if _number(peak) and _number(threshold):
        measure = printable(alert.get("measure", ""), 40)
        counts.append(f"peak {at_least}{peak:,} {measure} (threshold {threshold:,}) in {_window(alert)}")
    return "; ".join(counts) or "not counted"


def _window(alert: Mapping[str, Any]) -> str:
    return f"{printable(alert.get('window_seconds', '?'), 20)} s"


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _containment(plan: object) -> list[str]:
    """The first command of the plan, or the first step where no command can help."""
    if not isinstance(plan, Mapping):
        return []
    if plan.get("commands"):
        return ["To contain it, run:", printable(plan["commands"][0], 4000), ""]
    return [f"To contain it: {printable(plan['steps'][0], 2000)}", ""] if plan.get("steps") else []
