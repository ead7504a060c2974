"""Python's collector of cycles, for processes that hold much and make few cycles."""

from __future__ import annotations

import gc


def rarely() -> None:
    """Leave what is loaded by now alone, and look seldom: otherwise every identity is looked at again and again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
