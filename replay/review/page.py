"""The page of a review, from the frame of all pages."""

from __future__ import annotations

from detector.core.amounts import counted
from replay.page import render
from replay.review.judged import Json

ROWS = 500
"""Rows of a table that are shown; review.json and access.csv have all."""
LISTS = (
    "tighten",
    "roles",
    "unused",
    "only_assumed",
    "long_lived",
    "cross_scope",
    "several_owners",
    "purposes",
    "policies",
)


def page(told: Json) -> str:
    """As text."""
    shown = {name: told[name][:ROWS] for name in LISTS}
    hidden = {name: max(0, len(told[name]) - ROWS) for name in LISTS}
    return render("review.html", told=told | shown, hidden=hidden, headline=headline(told))


def headline(told: Json) -> str:
    """What it comes to, in a line."""
    used = sum(1 for one in told["roles"] if one["used"])
    return f"{used:,} identities used {_buckets(told)}; {counted(len(told['tighten']), 'thing')} to tighten"


def _buckets(told: Json) -> str:
    every = {bucket for one in told["roles"] for bucket in one["buckets"]}
    more = any(one["buckets_count"] > len(one["buckets"]) for one in told["roles"])
    return f"{'at least ' if more else ''}{counted(len(every), 'bucket')}"
