"""What people and history teach the daemon's baselines: a file of what was learned before, verdicts on findings.

Rules of this file
- What was learned before is taken up by rules that have learned nothing themselves, and by the very rule only.
- A verdict is a file that somebody else added; each is taken up once, and journalled with what it did.
- What cannot be read keeps nobody from looking; what is no verdict is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from detector.core.engine import Engine
from detector.core.rule import Rule
from detector.core.verdict import LONGEST, Verdict, decode
from detector.drain import Drain, Hurry
from detector.errors import EdgeError
from detector.learnt import Learnt, belongs, refused
from detector.source import Files

POLL = 60
"""Seconds between looks for verdicts."""

Note = Callable[[str, dict[str, Any]], object]
Say = Callable[..., None]


class Teaching:
    """Joined with the engine by whoever runs both. verdicts: their files. learnt: from history."""

    def __init__(self, verdicts: Files | None, learnt: Learnt | None, *, note: Note, say: Say, drain: Drain) -> None:
        self._files, self._learnt = verdicts, learnt
        self._note, self._say, self._drain = note, say, drain
        self._known: set[str] = set()
        self._polled = 0
        self.unsaved = False

    def begin(self, engine: Engine, rules: Sequence[Rule], parts: Mapping[str, bytes]) -> None:
        """Teach rules that the checkpoint (`parts`) knows nothing of what was learned before."""
        if self._learnt is None:
            return
        digests = {rule.id: rule.digest() for rule in rules}
        for rule_id in refused(self._learnt, digests):
            self._say("learnt_refused", rule=rule_id, why="it was learned by another wording of the rule")
            self._note("learnt_refused", {"rule": rule_id})
        for rule_id, digest in digests.items():
            if belongs(self._learnt, rule_id, digest) and not _has_learned(parts, rule_id, digest):
                mine = {name: part for name, part in self._learnt.parts.items() if name.split("/")[1] == rule_id}
                if engine.teach(rule_id, mine):
                    self._say("learnt", rule=rule_id, until=self._learnt.until)
                    self._note("learnt", {"rule": rule_id, "until": self._learnt.until})

    def work(self, engine: Engine, now: int) -> None:
        """When there is time: take up verdicts that came."""
        if self._files is None or now - self._polled < POLL:
            return
        self._polled = now
        try:
            with self._drain.edge():
                names = [name for name in self._files.names() if name.endswith(".json") and name not in self._known]
                found = [(name, self._files.get(name, LONGEST)) for name in names]
        except Hurry:
            return
        except EdgeError as error:
            self._say("verdicts_failed", error=str(error))
            return
        for name, data in found:
            self._known.add(name)
            self.unsaved = True
            verdict = decode(data)
            if verdict is None:
                self._say("verdict_unreadable", file=name)
            else:
                self._take(engine, verdict)

    def _take(self, engine: Engine, verdict: Verdict) -> None:
        effect = engine.mark(verdict)
        told: dict[str, Any] = msgspec.to_builtins(verdict)
        self._note("verdict", told | {"effect": effect})
        self._say("verdict", rule=verdict.rule_id, verdict=verdict.verdict, by=verdict.by, effect=effect)

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint."""
        if not self.unsaved:
            return {}
        self.unsaved = False
        return {"verdicts": msgspec.msgpack.encode(sorted(self._known))}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        if "verdicts" in parts:
            self._known = set(msgspec.msgpack.decode(parts["verdicts"], type=list[str]))


def _has_learned(parts: Mapping[str, bytes], rule_id: str, digest: str) -> bool:
    """Whether the checkpoint has what this very rule has counted."""
    part = parts.get(f"watch/{rule_id}")
    return part is not None and msgspec.msgpack.decode(part)["digest"] == digest
