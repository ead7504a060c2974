"""bucketwatch as a library: logs in, findings out. Names are imported when first used, so `import detector` is cheap.

    from pathlib import Path
    from detector import BatchBuilder, Engine, load_rules, read
    from detector.watches import watches

    into = BatchBuilder()
    read(Path("f.json.gz").read_bytes(), "f.json.gz", into)
    engine = Engine(load_rules(Path("rules")), watches())
    engine.process(into.build(), now=1 << 40)
    findings = engine.finish()

What `__all__` names is kept stable; everything else may move.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.core.access import AccessBatch
    from detector.core.builder import BatchBuilder
    from detector.core.engine import Engine
    from detector.core.finding import Finding
    from detector.logs.read import read
    from detector.rules import load_rules

__all__ = ["AccessBatch", "BatchBuilder", "Engine", "Finding", "load_rules", "read"]

_HOMES = {
    "AccessBatch": "detector.core.access",
    "BatchBuilder": "detector.core.builder",
    "Engine": "detector.core.engine",
    "Finding": "detector.core.finding",
    "load_rules": "detector.rules",
    "read": "detector.logs.read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
