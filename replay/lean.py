"""pyarrow as commands want it that make no DataFrame, and end soon.

- pyarrow loads pandas with the first array it makes, whoever asks: a quarter of a second of CPU, and 30 MB. It looks
  for it once in a process; while it looks here, it finds none. Whoever imports pandas himself has it as ever.
- Its allocator asks the system for memory far more often than the C library's does: a second of CPU where 200,000
  objects are told.
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


def lean() -> None:
    """So it is in this process from now on, unless pandas is loaded already."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.scalar("")
    finally:
        sys.meta_path.remove(_NoPandas)
