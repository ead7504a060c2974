from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

_Ints: TypeAlias = npt.NDArray[np.int32]

_Documents: TypeAlias = tuple[bytes, ...]
_Hashes: TypeAlias = npt.NDArray[np.uint64]

def read(
    data: bytes,
    form: int,
    members: _Ints,
    keys: bytes,
    asked: bytes,
    nesting: int,
    longest: int,
    seed: int,
    base: int,
    row: int,
    room: int,
    slices: _Ints,
    codes: _Ints,
    firsts: _Ints,
    counts: _Ints,
    hashes: _Hashes,
    times: npt.NDArray[np.int64],
    /,
) -> int: ...
def join(
    documents: _Documents,
    slices: _Ints,
    rows: int,
    room: int,
    seed: int,
    codes: _Ints,
    firsts: _Ints,
    counts: _Ints,
    /,
) -> None: ...
@overload
def texts(documents: _Documents, slices: _Ints, as_bytes: Literal[False], /) -> list[str | None]: ...
@overload
def texts(documents: _Documents, slices: _Ints, as_bytes: Literal[True], /) -> list[bytes]: ...
def hashes(documents: _Documents, slices: _Ints, key: bytes, hashes: _Hashes, /) -> None: ...
def rest(
    documents: _Documents, slices: _Ints, codes: _Ints, prefixes: bytes, ends: _Ints, rest: _Ints, hashes: _Hashes, /
) -> None: ...
def numbers(documents: _Documents, slices: _Ints, numbers: npt.NDArray[np.float64], /) -> bool: ...
