"""Finished trials, kept in a folder: a bench that was stopped goes on where it was, as long as the code is the same.

A trial is known by what it asks, and its folder by everything that could change the answer: detectors, rules, generated
organisations and the bench itself. What older code found is removed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from bench.detection.peers import Table
from bench.detection.trials import Of, Result, Trial
from bench.measure import ROOT

CODE = ("detector", "rules", "replay/drill", "bench/detection")
SUFFIXES = frozenset({".py", ".yaml", ".c", ".h"})
PLAIN = ("events", "cpu", "principal_days", "thefts", "pages", "false", "before", "false_by_rule")
"""Fields of a result that are told as JSON; `scored` holds columns, which lie beside it."""


class Kept:
    """Results of one state of the code."""

    def __init__(self, place: Path) -> None:
        self._folder = place / _code()
        self._folder.mkdir(parents=True, exist_ok=True)
        for other in place.iterdir():
            if other != self._folder:
                shutil.rmtree(other)

    def load(self, trial: Trial) -> Result | None:
        """What came of a trial; None if it was not finished."""
        path = self._path(trial)
        if not path.exists():
            return None
        told = json.loads(path.read_text("utf-8"))
        thefts = {name: [Of(**one) for one in of] for name, of in told["result"].pop("thefts").items()}
        result = Result(trial, thefts=thefts, **told["result"])
        with np.load(path.with_suffix(".npz")) as columns:
            for name, about in told["scored"].items():
                table = Table(
                    columns["pane"], columns["role"], None, columns["steals"], about["thefts"], about["start"]
                )
                result.scored[name] = (table, columns[f"score {name}"])
        return result

    def save(self, result: Result) -> None:
        """Keep what came of a trial. The text is written last: without it there is nothing."""
        path = self._path(result.trial)
        tables = {name: table for name, (table, _) in result.scored.items()}
        columns = {f"score {name}": np.asarray(scores) for name, (_, scores) in result.scored.items()}
        for table in tables.values():  # all peers look at the same panes
            columns |= {"pane": table.pane, "role": table.role, "steals": table.steals}
        np.savez(path.with_suffix(".npz"), **columns)
        fields = asdict(replace(result, scored={}))
        about = {name: {"thefts": table.thefts, "start": table.start} for name, table in tables.items()}
        written = path.with_suffix(".part")
        written.write_text(json.dumps({"result": {name: fields[name] for name in PLAIN}, "scored": about}))
        written.replace(path)

    def _path(self, trial: Trial) -> Path:
        asked = json.dumps(asdict(trial), sort_keys=True, default=str)
        return self._folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"


def _code() -> str:
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
