"""Arrays with a place for each slot of the model's roles. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def grown(column: npt.NDArray[Any], slot: int, fill: float = 0) -> npt.NDArray[Any]:
    """The array with a place for this slot: as it is, or with `fill` in twice as many places, or more."""
    more = slot + 1 - len(column)
    if more <= 0:
        return column
    return np.concatenate([column, np.full((max(more, len(column)), *column.shape[1:]), fill, column.dtype)])
