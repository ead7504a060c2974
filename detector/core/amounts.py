"""Amounts in words for people: on the terminal, on a page, in a summary. Pure."""

from __future__ import annotations

from typing import Any


def number(value: Any) -> str:
    """A number for people."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if isinstance(value, float) else str(value)


def counted(count: int, what: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def people(count: int) -> str:
    """`1 person`, `2 people`."""
    return f"{count:,} {'person' if count == 1 else 'people'}"


def size(count: int) -> str:
    """An amount of bytes for people, in units of 1,000."""
    amount, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):  # noqa: B007  the last one is used
        if abs(amount) < 1000:
            break
        amount /= 1000
    return f"{amount:,.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:,.1f} {unit}"
