"""pyarrow without pandas, for commands that make no DataFrame.

pyarrow loads pandas with the first array it makes, whoever asks: a quarter of a second of CPU, and 30 MB. It looks for
it once in a process; while it looks here, it finds none. Whoever imports pandas himself has it as ever.
"""

from __future__ import annotations

import sys


class _NoPandas:
    """Finds every module but this one where the others do."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """As a finder on `sys.meta_path`. Raises ModuleNotFoundError."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def without_pandas() -> None:
    """From now on pyarrow makes no DataFrames in this process, unless pandas is loaded already."""
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.scalar("")
    finally:
        sys.meta_path.remove(_NoPandas)
