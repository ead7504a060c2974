"""`bucketwatch watch`: for the operator. Joins settings, engine and edges; the loop is in `detector.consumer`."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from detector.consumer import Consumer, Orders
    from detector.core.rule import Rule
    from detector.metrics import Page
    from detector.outbox import Edges
    from detector.settings import Settings
    from detector.sight import Sight
    from detector.source import Lease, Quarantine, Responder, Sink, Source, StateStore

WAIT = 1.0
"""Seconds a turn waits for the first message: how long a signal or the end of idleness may go unnoticed."""
ALIVE = 120.0
"""Seconds without a turn after which the daemon calls itself dead."""

BEAT = 60.0
"""Seconds between heartbeats in the log, by which alarms outside the daemon know that it lives (deploy/)."""
BEATING = (
    "watermark_lag_seconds", "seconds_since_data", "alerts_waiting", "rules_failed", "records", "checkpoint_seconds",
)  # fmt: skip


def watch(
    config: Annotated[Path, typer.Option(help="The configuration file (YAML).")],
    until_idle: Annotated[
        float | None, typer.Option(help="End cleanly once the source has been empty for so many seconds.", min=0)
    ] = None,
    *,
    close: Annotated[bool, typer.Option("--close", help="With --until-idle: close every open finding first.")] = False,
) -> None:
    """Run the daemon: read new logs as they arrive, alert, and plan (or apply) revocations.

    Example: bucketwatch watch --config bucketwatch.yaml
    """
    from detector.cli import collector
    from detector.errors import InputError
    from detector.settings import read_settings

    if close and until_idle is None:
        raise InputError("--close goes with --until-idle", remedy="add --until-idle SECONDS, or leave --close out")
    settings = read_settings(config, os.environ)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    check(settings)
    running: list[Consumer] = []
    page, lease = _page(settings, running), make_lease(settings, say=say)
    try:
        if not lease.acquire(math.inf, lambda: bool(stopping)):
            return
        consumer = build(settings, say=say, lease=lease)
        collector.rarely()
        running.append(consumer)
        consumer.start()
        idle = run(consumer, until_idle, stopping)
        if close and idle:
            consumer.close_all()
        consumer.stop()
    finally:
        lease.release()
        if page:
            page.close()


def run(consumer: Consumer, until_idle: float | None, stopping: Sequence[int]) -> bool:
    """Turn until nothing has come for `until_idle` seconds (True), or until a signal came (False)."""
    wait = WAIT if until_idle is None else min(WAIT, max(0.05, until_idle / 4))
    last = time.monotonic()
    told = last - BEAT
    while not stopping:
        if time.monotonic() - told >= BEAT:
            told = time.monotonic()
            values = consumer.values()
            say("heartbeat", **{name: round(values[name]) for name in BEATING})
        if consumer.turn(wait):
            last = time.monotonic()
        elif until_idle is not None and time.monotonic() - last >= until_idle:
            return True
    return False


def check(settings: Settings) -> None:
    """Before waiting for the lease: mistakes are said at once, and what takes time to import is there afterwards.

    Raises InputError, EdgeError.
    """
    import detector.consumer
    import detector.watches  # noqa: F401
    from detector.rules import load_rules, shipped

    load_rules(settings.rules or shipped())
    _source(settings).close()


def build(
    settings: Settings, *, say: Any, clock: Callable[[], float] = time.time, lease: Lease | None = None
) -> Consumer:
    """The daemon that a configuration describes. Raises InputError, StateError, EdgeError.

    lease: held. Without one a SQLite state takes its own, and state in S3 has only its fencing.
    """
    from detector.consumer import Consumer
    from detector.core.access import Log
    from detector.core.engine import Engine
    from detector.core.watermark import LATENESS, Watermark
    from detector.rules import load_rules, shipped
    from detector.watches import watches

    rules = load_rules(settings.rules or shipped())
    edges = _edges(settings, rules, lease)
    lateness = LATENESS | {Log[name]: seconds for name, seconds in settings.lateness.items()}
    engine = Engine(
        rules,
        watches(gather=True),
        watermark=Watermark(lateness, settings.idle_after),
        horizon=settings.horizon,
        memory=settings.memory,
        shelf=edges.store,
    )
    return Consumer(engine, rules, edges, _orders(settings), say=say, clock=clock, sight=_sight(settings))


def _sight(settings: Settings) -> Sight:
    from detector.blindness import Limits
    from detector.canary import Canaries, place_of
    from detector.sight import Sight

    blind, canary = settings.blind, settings.canary
    limits = Limits(blind.lag, blind.source, blind.partition, blind.bucket, blind.rejects)
    if canary is None:
        return Sight(limits, settings.protected_buckets)
    from detector.aws.probe import S3Probe

    places = [place_of(uri) for uri in canary.objects]
    limits = replace(
        limits, source=min(limits.source, canary.every + canary.within), canaries=frozenset(p.bucket for p in places)
    )
    return Sight(limits, settings.protected_buckets, Canaries(places, canary.every, canary.within), S3Probe())


def _orders(settings: Settings) -> Orders:
    from detector.consumer import Orders
    from detector.core.admit import Admission
    from detector.intake import Fetching
    from detector.logs.limits import Limits
    from detector.response.plan import ResponsePolicy
    from detector.settings import Sqs

    response = settings.response
    return Orders(
        Admission.of(None, None, settings.prefer),
        ResponsePolicy(
            mode=response.mode,
            max_age=response.max_age,
            armed=response.armed,
            accounts=frozenset(response.accounts),
            protected_roles=response.protected_roles,
        ),
        settings.redact_keys,
        settings.protected_buckets,
        Limits(**settings.limits.model_dump()),
        Fetching(settings.fetch.threads if isinstance(settings.source, Sqs) else 1, settings.fetch.memory),
    )


def _edges(settings: Settings, rules: Sequence[Rule], lease: Lease | None) -> Edges:
    from detector.journal import Journal
    from detector.outbox import Edges

    source = _source(settings)
    sinks = [_sink(alert) for alert in settings.alerts]
    revokes = settings.response.mode == "enforce" and any("revoke" in rule.respond for rule in rules)
    responder = _responder(settings) if revokes else None
    store = _store(settings, lease)
    return Edges(source, store, sinks, Journal(settings.journal.path), responder, lease, _quarantine(settings))


def _quarantine(settings: Settings) -> Quarantine:
    """Where the config says, else beside the journal."""
    from detector.settings import QuarantinePrefix as InS3

    if isinstance(settings.quarantine, InS3):
        from detector.aws.quarantine import QuarantinePrefix

        return QuarantinePrefix(settings.quarantine.bucket, settings.quarantine.prefix)
    from detector.local.quarantine import QuarantineFolder

    return QuarantineFolder(
        settings.quarantine.path if settings.quarantine else settings.journal.path.parent / "quarantine"
    )


def make_lease(settings: Settings, *, say: Any) -> Lease:
    """The lease of a configuration's state, not yet held."""
    from detector.settings import S3

    if isinstance(settings.state, S3):
        from detector.aws.lease import S3Lease

        return S3Lease(settings.state.bucket, settings.state.prefix, duration=settings.state.lease, say=say)
    from detector.local.lease import FileLease

    return FileLease(settings.state.path, say=say)


def _store(settings: Settings, lease: Lease | None) -> StateStore:
    from detector.settings import S3

    if isinstance(settings.state, S3):
        from detector.aws.state import S3State

        return S3State(settings.state.bucket, settings.state.prefix, epoch=lambda: lease.epoch if lease else 0)
    from detector.local.sqlite import SqliteState

    return SqliteState(settings.state.path, lease)


def _source(settings: Settings) -> Source:
    from detector.settings import Sqs

    if isinstance(settings.source, Sqs):
        from detector.aws.objects import S3Objects
        from detector.aws.queue import SqsSource
        from detector.logs.envelope import Accept
        from detector.logs.limits import Limits

        accept = Accept(frozenset(settings.accept.buckets), frozenset(settings.accept.accounts))
        queue = SqsSource(settings.source.queue_url, accept, S3Objects(), limits=Limits(**settings.limits.model_dump()))
        queue.check()
        return queue
    from detector.local.directory import DirectorySource

    directory = DirectorySource(settings.source.path)
    directory.check()
    return directory


def _sink(alert: Any) -> Sink:
    from detector.local.file_sink import FileSink, StdoutSink
    from detector.settings import File, Sns

    if isinstance(alert, Sns):
        from detector.aws.topic import SnsSink

        return SnsSink(alert.topic_arn)
    return FileSink(alert.path) if isinstance(alert, File) else StdoutSink(as_json=True)


def _responder(settings: Settings) -> Responder:
    from detector.aws.roles import IamResponder
    from detector.aws.session import OtherAccount

    accounts = {
        account: OtherAccount(how.role_arn, how.external_id or "") if how.role_arn else None
        for account, how in settings.response.accounts.items()
    }
    return IamResponder(accounts)


def _page(settings: Settings, running: Sequence[Consumer]) -> Page | None:
    """Metrics and health. While the daemon waits for its lease it is alive and not ready, and has counted nothing."""
    from detector.errors import InputError
    from detector.metrics import Health, Page

    if settings.http is None:
        return None

    def health() -> Health:
        alive = all(time.time() - one.last_turn < ALIVE for one in running)
        return Health(alive, alive and any(one.started for one in running))

    def values() -> Mapping[str, float]:
        return running[0].values() if running else {}

    try:
        page = Page(settings.http.host, settings.http.port, values, health)
    except OSError as error:
        raise InputError(
            f"cannot listen on {settings.http.host}:{settings.http.port}: {error.strerror}",
            remedy="choose another http.port, or 0 for a free one",
        ) from error
    say("listening", address=f"http://{settings.http.host}:{page.port}")
    return page


def say(event: str, **fields: Any) -> None:
    """One line of the program's own log: JSON on standard error; hostile text cannot break out of it."""
    line: Mapping[str, Any] = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event} | fields
    sys.stderr.write(json.dumps(line, default=str) + "\n")
    sys.stderr.flush()
