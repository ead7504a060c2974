"""Historical logs through the same engine as the daemon's.

`replay(paths, rules)` is for notebooks: findings as a pandas DataFrame, one row a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["replay"]


def replay(
    paths: str | Path | Sequence[str | Path], rules: str | Path | None = None, *, model: bool = True
) -> pd.DataFrame:
    """Findings of the logs under these paths (files, folders, globs), by these rules (default: the shipped ones).

    One row a finding, columns as in findings.jsonl; times are UTC timestamps; `group`, `principal` and `evidence` are
    dicts. Raises detector.errors.InputError for what the caller should mend.
    """
    import pandas as pd

    from detector.errors import UnreadablePathError
    from detector.rules import load_rules, shipped
    from replay.run import Options, run

    every = [paths] if isinstance(paths, (str, Path)) else list(paths)
    result = run([str(p) for p in every], load_rules(Path(rules) if rules else shipped()), Options(model=model))
    if result.unknown:
        raise UnreadablePathError(result.unknown[0].reason, where=result.unknown[0].file.name)
    frame = pd.DataFrame([finding.to_json() for finding in result.findings])
    for column in ("opened_at", "last_at", "peak_at"):
        if column in frame:
            frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame
