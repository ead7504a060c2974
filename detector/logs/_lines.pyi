from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Ints: TypeAlias = npt.NDArray[np.int32]

def read(
    data: bytes,
    at: int,
    longest: int,
    asked: bytes,
    seed: int,
    room: int,
    slices: _Ints,
    codes: _Ints,
    firsts: _Ints,
    counts: _Ints,
    numbers: npt.NDArray[np.int64],
    others: _Ints,
    /,
) -> tuple[int, int, int]: ...
