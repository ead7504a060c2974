"""`bucketwatch demo`, as a newcomer runs it: with nothing but the install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from detector.journal import verify

BUCKETWATCH = Path(sys.executable).with_name("bucketwatch")


def test_a_newcomer_sees_a_theft_being_caught(tmp_path):
    """Alerts fire while the theft goes on; what was lost, what would be revoked, and a report are shown; it ends."""
    done = subprocess.run(
        [BUCKETWATCH, "demo", "--out", tmp_path], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    for expected in (
        "ALERT",
        "Stolen before the alert:",
        "What would be revoked",
        "aws iam put-role-policy",
        "the same ones",
    ):
        assert expected in shown
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    states = {rule: [a["state"] for a in alerts if a["rule_id"] == rule] for rule in {a["rule_id"] for a in alerts}}
    assert states.pop("bucketwatch.incident")[-1] == "closed"
    assert set(states) == {"bulk-object-read-session", "bulk-object-read-session-1h", "bulk-object-read-role"}
    assert all(s[0] == "opened" and s[-1] == "closed" for s in states.values())
    plans = [a["plan"] for a in alerts if a["state"] == "opened" and "session" in a["group"]]
    users = [p["actions"][0]["document"]["Statement"][0]["Condition"]["StringEquals"]["aws:userid"] for p in plans]
    assert len(users) == 2
    assert all(user.endswith(":contractor-02") for user in users)
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert verify(tmp_path / "journal.jsonl") == []
