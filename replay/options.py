"""How logs are read and counted: what all commands over logs have in common. It loads no rules and no engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from detector.core.access import Reject
from detector.core.admit import Admission
from detector.core.part import MEMORY
from detector.core.redaction import Redaction
from detector.logs.limits import LIMITS, Limits
from replay.reader import FileRead, Progress

if TYPE_CHECKING:
    from detector.core.owner import Owners

CURVES = 1000


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay. progress: as in `replay.reader`.

    memory: bytes of the engine's state held in memory. tmp: where the rest goes; None: the system's temporary folder.
    learn: give what baselines have learned at the end. cross_check: hold what they found against an IsolationForest.
    curves: of how many findings, the worst first, it is worked out how their value went.
    waiting: as in `Rulebook`, for the summary. now: epoch seconds; records from after it do not move the data's end.
    cache: folder for parsed records (`replay.cache`).
    tell: is given what a person should know on the way.
    owners: says from keys whose objects are; None: nobody asks.
    rejects: is given the rejected records of each batch, in the order of files; None when all comes once more.
    inputs: the same of what came of the files.
    """

    admission: Admission = field(default_factory=Admission)
    jobs: int = 1
    model: bool = True
    redact: Redaction = "none"
    progress: Progress = lambda *_: None
    memory: int = MEMORY
    limits: Limits = LIMITS
    tmp: Path | None = None
    rejects: Callable[[list[Reject] | None], None] = lambda _: None
    learn: bool = False
    cross_check: bool = False
    curves: int = CURVES
    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    now: int = field(default_factory=lambda: int(time.time()))
    cache: Path | None = None
    tell: Callable[[str], None] = lambda _: None
    owners: Owners | None = None
    inputs: Callable[[list[FileRead] | None], None] = lambda _: None
