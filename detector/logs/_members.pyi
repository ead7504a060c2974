from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

_Ints: TypeAlias = npt.NDArray[np.int32]

def read(
    data: bytes,
    form: int,
    members: _Ints,
    keys: bytes,
    asked: bytes,
    nesting: int,
    longest: int,
    seed: int,
    room: int,
    slices: _Ints,
    codes: _Ints,
    firsts: _Ints,
    counts: _Ints,
    hashes: npt.NDArray[np.uint64],
    times: npt.NDArray[np.int64],
    /,
) -> int: ...
@overload
def texts(data: bytes, slices: _Ints, as_bytes: Literal[False], /) -> list[str | None]: ...
@overload
def texts(data: bytes, slices: _Ints, as_bytes: Literal[True], /) -> list[bytes]: ...
def hashes(data: bytes, slices: _Ints, key: bytes, hashes: npt.NDArray[np.uint64], /) -> None: ...
