"""The daemon's metrics: every name, what it means, and what to do about it; and the HTTP page that shows them.

Counting is plain integers in the loop; this turns them into Prometheus text when somebody asks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple


class Metric(NamedTuple):
    """One metric: its kind, what it says, and what to do when it looks wrong."""

    kind: Literal["counter", "gauge"]
    meaning: str
    remedy: str


METRICS: dict[str, Metric] = {
    "records": Metric("counter", "log records read", "none coming: see bucketwatch_seconds_since_data"),
    "access_events": Metric(
        "counter", "records about S3 access", "far fewer than records: check the trail's selectors"
    ),
    "duplicates": Metric("counter", "copies of records seen before", "a steady half: two trails deliver to one bucket"),
    "skipped": Metric("counter", "valid records that are not about S3 access", "none"),
    "rejected": Metric("counter", "records that could not be read", "see the journal's entries `rejected`"),
    "late": Metric("counter", "access events below the watermark", "raise `lateness` if it grows steadily"),
    "files": Metric("counter", "log files and inline events read", "none"),
    "quarantined": Metric("counter", "messages that could not be used", "see the journal's entries `quarantine`"),
    "fetch_failures": Metric("counter", "log files that could not be fetched", "see the program's log"),
    "findings_opened": Metric("counter", "findings opened", "none"),
    "findings_updated": Metric("counter", "open findings told again, or corrected by late records", "none"),
    "findings_closed": Metric("counter", "findings closed", "none"),
    "findings_withdrawn": Metric("counter", "findings taken back: all records in, the rule was not met", "none"),
    "alerts_sent": Metric("counter", "alerts delivered to a sink", "none"),
    "alerts_failed": Metric("counter", "failed attempts to deliver an alert", "see the program's log; they are kept"),
    "alerts_waiting": Metric("gauge", "alerts not yet delivered to every sink", "not 0 for minutes: a sink is down"),
    "alert_age_seconds": Metric("gauge", "age of the oldest alert that waits", "minutes: see bucketwatch_sink_down"),
    "alerts_grouped": Metric("counter", "alerts told in a digest only", "growing: a rule fires for very many"),
    "alerts_joined": Metric("counter", "findings that joined an incident told before", "see the journal's `incident`"),
    "incidents_open": Metric("gauge", "incidents that a finding may still join", "none"),
    "alerts_suppressed": Metric("counter", "alerts not sent, by `suppress`", "growing: see the journal's `daily`"),
    "sink_down": Metric("gauge", "sinks that have failed for `sink_down_after`", "not 0: mend it; alerts are kept"),
    "revocations": Metric("counter", "revocations carried out", "none"),
    "cases_standing": Metric("gauge", "revocations that stand", "see `bucketwatch respond list`"),
    "cases_not_holding": Metric("gauge", "of these, those whose session still reads", "not 0: see the alerts, now"),
    "rules_failed": Metric("gauge", "rules that failed", "not 0: restart, and report the program's log"),
    "rules_learning": Metric("gauge", "rules that know too little yet to find anything", "not 0 after weeks: no data"),
    "watermark_lag_seconds": Metric("gauge", "clock minus watermark", "more than lateness: a source is behind"),
    "seconds_since_data": Metric("gauge", "seconds since records last came", "check the source and its notices"),
    "blind": Metric("gauge", "signs of blindness that stand", "not 0: see the alerts of kind blindness"),
    "canary_delay_seconds": Metric(
        "gauge", "seconds the last canary's event took; -1: none has come", "growing: delivery is slow; -1: see alerts"
    ),
    "memory_bytes": Metric("gauge", "memory the process has", "above 0.9 of the limit: see the alert low-memory"),
    "memory_limit_bytes": Metric("gauge", "memory it may have, by container and machine; 0: not known", "none"),
    "archive_waiting": Metric("gauge", "access events not yet in the archive", "above 1,000,000: it cannot be written"),
    "archive_dropped": Metric("counter", "access events the archive lacks", "not 0: replay the log files instead"),
    "checkpoint_seconds": Metric("gauge", "seconds the last checkpoint took", "more than a few: a slow disk"),
}
"""Name (without the prefix `bucketwatch_`) → metric."""


@dataclass(frozen=True, slots=True)
class Health:
    """What /healthz and /readyz answer from. `alive`: the loop turned lately. `ready`: it has taken up its state."""

    alive: bool
    ready: bool


def exposition(values: Mapping[str, float]) -> bytes:
    """The metrics as Prometheus text."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

    registry = CollectorRegistry()
    for name, metric in METRICS.items():
        value = values.get(name, 0)
        if metric.kind == "counter":
            Counter(f"bucketwatch_{name}", metric.meaning, registry=registry).inc(value)
        else:
            Gauge(f"bucketwatch_{name}", metric.meaning, registry=registry).set(value)
    return generate_latest(registry)


class Page:
    """Serves /metrics, /healthz and /readyz in a thread of its own. `port`: the port it got."""

    def __init__(
        self, host: str, port: int, values: Callable[[], Mapping[str, float]], health: Callable[[], Health]
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = _answer(self.path, values, health)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Requests are not logged."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _answer(
    path: str, values: Callable[[], Mapping[str, float]], health: Callable[[], Health]
) -> tuple[int, str, bytes]:
    if path == "/metrics":
        return 200, "text/plain; version=0.0.4; charset=utf-8", exposition(values())
    if path in ("/healthz", "/readyz"):
        good = health().alive if path == "/healthz" else health().ready
        return (200 if good else 503), "application/json", json.dumps({"ok": good}).encode()
    return 404, "text/plain", b"/metrics, /healthz or /readyz\n"
