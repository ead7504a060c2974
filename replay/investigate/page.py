"""The page of an investigation, for counsel and whoever asks: the summary with its reasons, by `replay.page`."""

from __future__ import annotations

from typing import Any

from replay.investigate.said import headline
from replay.page import render as page


def render(loss: dict[str, Any]) -> str:
    """The page as text. loss: what is in summary.json."""
    return page(
        "loss.html", headline=headline(loss), loss=loss, most=max((one["objects"] for one in loss["people"]), default=0)
    )
