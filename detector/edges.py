"""The world as the daemon sees it: one object of every edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detector.chain import Journal
from detector.errors import LeaseLostError
from detector.source import Files, Lease, Responder, Sink, Source, StateStore


@dataclass(slots=True)
class Edges:
    """cases: the register's files. verdicts: what people say of findings. What is None is not configured."""

    source: Source
    store: StateStore
    sinks: Sequence[Sink]
    journal: Journal
    responder: Responder | None = None
    lease: Lease | None = None
    quarantine: Files | None = None
    archive: Files | None = None
    cases: Files | None = None
    verdicts: Files | None = None

    def insist(self) -> None:
        """Before anything leaves the program. Raises LeaseLostError if another daemon may be at work by now."""
        if self.lease is not None and not self.lease.held():
            raise LeaseLostError(
                "this daemon has lost its lease: it does nothing further, and whoever has it now goes on",
                where=self.lease.other,
                remedy="start it again (a service does): it then waits for its turn. If nobody stopped or froze it, "
                "look whether the state could be reached",
            )
