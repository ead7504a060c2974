"""A drill through a live daemon: marked records go its own way, from queue or directory to alert, against the clock.

The records are marked by an account that AWS gives to nobody (`DRILL_ACCOUNT`): no thief can pass for a drill, and no
plan for it is ever carried out (`detector.response.guards`). They stay in journal and archive, under that name.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

from detector.core.principal import DRILL_ACCOUNT
from detector.core.times import epoch
from detector.errors import InputError
from detector.settings import Directory, File, Listing, Settings, Sqs, read_settings
from replay.drill.calls import Actor, Calls, LogFile, Partition, Record, Role, file_name, records, write

OBJECTS, SECONDS = 10_500, 240
"""What the drill reads: enough for the rule of 10,000 objects in five minutes."""
AGENT = "bucketwatch-drill"
LOOK_EVERY = 0.2


def go(config: Path | None, wait: int, *, as_json: bool) -> None:
    """Send the drill, wait for its alert and say how long it took. Exit status 3 if none came."""
    if config is None:
        raise InputError("--live needs --config FILE", remedy="name the configuration that the daemon runs with")
    settings = read_settings(config, os.environ)
    told = told_by(settings)
    if not told:
        raise InputError(
            "nothing here tells of alerts: neither a file sink nor a journal in a file",
            where=str(config),
            remedy="add `{kind: file, path: …}` to alerts on the machine that the drill is run on",
        )
    name = f"drill-{secrets.token_hex(4)}"
    marks = {path: path.stat().st_size if path.exists() else 0 for path in told}
    made = drill_records(name, settings, int(time.time()))
    sent = time.time()
    send(settings, made, int(sent))
    found = _awaited(marks, name, sent + wait)
    _say(found, name, sent, made, as_json=as_json)
    if found is None:
        raise typer.Exit(3)


def told_by(settings: Settings) -> list[Path]:
    """Files on this machine in which the daemon's alerts are told."""
    sinks = [alert.path for alert in settings.alerts if isinstance(alert, File)]
    return [*sinks, *([Path(settings.journal.path)] if settings.journal.path else [])]


def drill_records(name: str, settings: Settings, now: int) -> list[Record]:
    """Reads of 10,500 objects in the four minutes before `now`, by nobody."""
    pattern = next(iter(settings.protected_buckets), AGENT)
    bucket = pattern.replace("**", "drill").replace("*", "drill").replace("?", "x")
    account = next(iter(settings.accept.accounts), DRILL_ACCOUNT)
    actor = Actor(Role(DRILL_ACCOUNT, "/", AGENT).session(name, now - 900), "192.0.2.1", f"{AGENT}/{name}")
    times = now - SECONDS + np.arange(OBJECTS, dtype=np.int64) * SECONDS // OBJECTS
    keys = [f"{AGENT}/{name}/{number:06d}" for number in range(OBJECTS)]
    calls = Calls(actor, "GetObject", bucket, keys, times, home=Partition(account, "us-east-1"))
    return records(calls, np.random.default_rng(int.from_bytes(name.encode()[-8:])))


def send(settings: Settings, made: Sequence[Record], now: int) -> None:
    """Lay a log file into the daemon's directory, or send its queue the records as CloudWatch Logs would."""
    if isinstance(settings.source, Sqs):
        from detector.aws.posting import post

        post(settings.source.queue_url, made)
        return
    if isinstance(settings.source, Listing):
        raise InputError(
            "a drill writes nothing into a log bucket",
            where=f"s3://{settings.source.bucket}",
            remedy="put a log file with a theft under the prefix yourself, or drill on a copy: bucketwatch drill PATH",
        )
    source: Directory = settings.source
    if not source.path.is_dir():
        raise InputError("there is no such directory", where=str(source.path), remedy="mend source.path in the config")
    home = Partition(str(made[0]["recipientAccountId"]), "us-east-1")
    write(source.path, [LogFile(file_name(home, now, seed=now), now, list(made))])


def _awaited(marks: Mapping[Path, int], name: str, until: float) -> dict[str, Any] | None:
    """The first alert or finding about this drill, with `heard_at`, the time at which it stood in the file."""
    reading = {path: _Lines(path, mark) for path, mark in marks.items()}
    while time.time() < until:
        for lines in reading.values():
            for found in lines.new():
                if about := _about(found, name):
                    return about | {"heard_at": time.time()}
        time.sleep(LOOK_EVERY)
    return None


class _Lines:
    """What is appended to a file, line by line."""

    def __init__(self, path: Path, mark: int) -> None:
        self._path, self._mark = path, mark

    def new(self) -> Iterator[Any]:
        """Whole lines since the last call, as JSON."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._mark)
            whole = file.read().rpartition(b"\n")[0]
        self._mark += len(whole) + bool(whole)
        for line in whole.splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def _about(found: Any, name: str) -> dict[str, Any] | None:
    """An alert about the drill: in a sink's file a line, in the journal the body of an entry."""
    alert = found.get("body") if isinstance(found, dict) and "prev" in found else found
    if not isinstance(alert, dict) or alert.get("state") != "opened" or not isinstance(alert.get("group"), dict):
        return None
    mine = any(str(value).endswith(f"/{name}") for value in alert["group"].values())
    return alert if mine else None


def _say(found: Mapping[str, Any] | None, name: str, sent: float, made: Sequence[Record], *, as_json: bool) -> None:
    done: dict[str, Any] = {"session": name, "objects": len(made), "alert": None}
    if found is not None:
        crossed = epoch(found.get("opened_at")) or sent
        done |= {
            "alert": found.get("rule_id"),
            "seconds_sent_to_alert": round(found["heard_at"] - sent, 1),
            "seconds_read_to_alert": round(found["heard_at"] - crossed, 1),
        }
    typer.echo(json.dumps(done) if as_json else _text(done))


def _text(done: Mapping[str, Any]) -> str:
    if done["alert"] is None:
        return (
            f"No alert about {done['session']} came: the daemon is not running, does not read this source, or has no\n"
            "rule of 10,000 objects in five minutes. `bucketwatch doctor --config FILE` looks for the reason."
        )
    after_sent, after_read = done["seconds_sent_to_alert"], done["seconds_read_to_alert"]
    return (
        f"{done['alert']} alerted about {done['session']}: {after_sent} s after the records were sent,\n"
        f"{after_read} s after the read that crossed its line. Nothing will be revoked for it: the\n"
        f"session is of account {DRILL_ACCOUNT}, which AWS gives to nobody."
    )
