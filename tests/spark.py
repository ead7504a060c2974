"""A daemon on Spark over a folder: its config, and what of its findings replay has as well. For tests and soak."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = """
source: {1}
rules: {0}/rules.yaml
state: {{kind: sqlite, path: {0}/state.db}}
alerts: [{{kind: file, path: {0}/alerts.jsonl}}]
journal: {{path: {0}/journal.jsonl}}
spark: {{path: {0}/spark, shards: 2}}
lateness: {{cloudtrail: {2}}}
"""
SHARED = ("finding_id", "rule_id", "last_at", "peak_value", "group", "explanation")


def prepared(folder: Path, rules: str, source: Mapping[str, Any] | None = None, lateness: str = "300d") -> Path:
    """Rules, an empty folder `in` for logs, and the config, whose path this gives. source: if not that folder."""
    (folder / "in").mkdir(parents=True)
    (folder / "rules.yaml").write_text(rules)
    config = folder / "config.yaml"
    where = source or {"kind": "directory", "path": str(folder / "in")}
    config.write_text(CONFIG.format(folder, json.dumps(where), lateness))
    return config


def essence(finding: dict[str, Any]) -> str:
    """What the daemon and replay agree on: all but the evidence and what goes with an alert."""
    return json.dumps({name: finding[name] for name in SHARED}, sort_keys=True)
