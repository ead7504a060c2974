"""The program's own log: lines of JSON on standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_TEXT = 1_000
MOST_ITEMS = 50


def say(event: str, **fields: Any) -> None:
    """One line of the program's own log: JSON on standard error; hostile text cannot break out of it or flood it."""
    line: Mapping[str, Any] = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event} | fields
    sys.stderr.write(json.dumps(bounded(line), default=lambda value: bounded(str(value))) + "\n")
    sys.stderr.flush()


def bounded(value: Any) -> Any:
    """The value with texts and lists cut to what a line of a log may hold: names come out of logs."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    if isinstance(value, dict):
        return {bounded(str(name)): bounded(one) for name, one in list(value.items())[:MOST_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        kept = [bounded(one) for one in list(value)[:MOST_ITEMS]]
        return [*kept, "…"] if len(value) > MOST_ITEMS else kept
    return value


class _Said(logging.Handler):
    """What libraries log, as lines of the program's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told = record.getMessage()
        except Exception as error:  # noqa: BLE001  a log line must not end the daemon
            told = f"a message that cannot be told: {type(error).__name__}"
        say("library", logger=record.name, level=record.levelname.lower(), message=told)


def hear_libraries() -> None:
    """From now on warnings of libraries and of Python are lines of the program's own log."""
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers = [_Said(logging.WARNING)]
    logging.getLogger().setLevel(logging.WARNING)
