"""`bucketwatch watch`: for the operator. Joins settings, engine and edges; the loop is in `detector.consumer`."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from detector.cli.joined import decoys, edges, learnt, limits, make_lease, policy, source
from detector.cli.said import hear_libraries, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from detector.consumer import Consumer, Orders
    from detector.core.watermark import Watermark
    from detector.drain import Drain
    from detector.edges import Edges
    from detector.errors import InputError
    from detector.metrics import Page
    from detector.rules import Rulebook, RuleFiles
    from detector.settings import Settings
    from detector.sight import Sight
    from detector.source import Lease

WAIT = 1.0
"""Seconds a turn waits for the first message: how long a signal or the end of idleness may go unnoticed."""
PATIENCE = 10.0
"""Seconds after a signal to end for which sources, sinks and the responder are waited for."""
LONGEST_END = 30
"""Seconds within which the daemon ends, last checkpoint included: what ECS grants."""
ALIVE = 120.0
"""Seconds without a turn after which the daemon calls itself dead."""

BEAT = 60.0
"""Seconds between heartbeats in the log, by which alarms outside the daemon know that it lives (deploy/)."""
BEATING = (
    "watermark_lag_seconds", "seconds_since_data", "alerts_waiting", "rules_failed", "records", "checkpoint_seconds",
    "memory_bytes",
)  # fmt: skip


def watch(
    config: Annotated[Path, typer.Option(help="The configuration file (YAML).")],
    until_idle: Annotated[
        float | None, typer.Option(help="End cleanly once the source has been empty for so many seconds.", min=0)
    ] = None,
    *,
    close: Annotated[bool, typer.Option("--close", help="With --until-idle: close every open finding first.")] = False,
    engine: Annotated[str, typer.Option(help="Where it is counted: local, or spark (docs/spark.md).")] = "local",
) -> None:
    """Run the daemon: read new logs as they arrive, alert, and plan (or apply) revocations.

    Example: bucketwatch watch --config bucketwatch.yaml
    """
    from detector.cli import collector
    from detector.drain import Drain, Hurry
    from detector.errors import InputError
    from detector.settings import read_settings

    if close and until_idle is None:
        raise InputError("--close goes with --until-idle", remedy="add --until-idle SECONDS, or leave --close out")
    elsewhere = machine(engine)
    settings = read_settings(config, os.environ)
    hear_libraries()
    drain, stopping = Drain(), list[int]()
    hung_up: list[int] = []
    listen(drain, stopping, hung_up)
    check(settings, elsewhere)
    running: list[Consumer] = []
    page, lease = _page(settings, running), make_lease(settings, say=say)
    try:
        with drain.edge():
            held = lease.acquire(math.inf, lambda: drain.asked)
        if not held:
            say("stopped", left=0)
            return
        files = rule_files_of(settings)
        consumer = build(settings, elsewhere, say=say, lease=lease, files=files, drain=drain)
        collector.rarely()
        running.append(consumer)
        consumer.start()
        idle = run(consumer, until_idle, stopping, lambda: files.changed(asked=_taken(hung_up)))
        if close and idle:
            consumer.close_all()
        say("stopping", signal=signal.Signals(stopping[0]).name if stopping else "", within=LONGEST_END)
        say("stopped", left=consumer.stop())
    except Hurry:
        say("stopped", left=0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        lease.release()
        if page:
            page.close()
    if drain.asked:  # a thread may hang in a call that nothing breaks off: Python would wait for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class Machine(Protocol):
    """Where it is counted, if not in this process."""

    def check(self, settings: Settings) -> None:
        """Raises InputError for what it cannot do of a configuration."""

    def join(self, settings: Settings, book: Rulebook, world: Edges, **how: Any) -> Consumer:
        """The loop over these edges, by these rules. how: `say`, `clock`, `sight` and `drain` of the loop."""


def machine(engine: str) -> Machine | None:
    """By name; None is this process. Raises InputError."""
    from detector.errors import InputError

    if engine == "local":
        return None
    if engine == "spark":  # a package above this one, looked up at run time
        found: Machine = import_module("replay.spark.joined")
        return found
    raise InputError(f"--engine: expected local or spark, got '{engine}'")


def listen(drain: Drain, stopping: list[int], hung_up: list[int]) -> None:
    """Deal with signals. SIGTERM and SIGINT: end; what waits for others is broken off in time, or by a second one."""

    def stop(number: int, _: Any) -> None:
        stopping.append(number)
        if drain.asked:
            drain.end()
        drain.ask()
        signal.setitimer(signal.ITIMER_REAL, PATIENCE, 1.0)

    signal.signal(signal.SIGALRM, lambda *_: drain.end())
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda number, _: hung_up.append(number))


def run(
    consumer: Consumer,
    until_idle: float | None,
    stopping: Sequence[int],
    changed: Callable[[], Rulebook | InputError | None] = lambda: None,
) -> bool:
    """Turn until nothing has come for `until_idle` seconds (True), or until a signal came (False).

    changed: the rule files, when they changed.
    """
    wait = WAIT if until_idle is None else min(WAIT, max(0.05, until_idle / 4))
    last = time.monotonic()
    told = last - BEAT
    while not stopping:
        if time.monotonic() - told >= BEAT:
            told = time.monotonic()
            values = consumer.values()
            say("heartbeat", **{name: round(values[name]) for name in BEATING})
        if (found := changed()) is not None:
            consumer.reload(found)
        if consumer.turn(wait):
            last = time.monotonic()
        elif until_idle is not None and time.monotonic() - last >= until_idle:
            return True
    return False


def check(settings: Settings, elsewhere: Machine | None = None) -> None:
    """Before waiting for the lease: mistakes are said at once, and what takes time to import is there afterwards.

    Raises InputError, EdgeError.
    """
    import detector.consumer
    import detector.watches  # noqa: F401

    rule_files_of(settings).read()
    learnt(settings)
    source(settings).close()
    if elsewhere is not None:
        elsewhere.check(settings)


def _taken(signals: list[int]) -> bool:
    """Whether there was a signal; it is dealt with."""
    came = bool(signals)
    signals.clear()
    return came


def rule_files_of(settings: Settings) -> RuleFiles:
    """The rule files of a configuration, and its registry of decoys."""
    from detector.rules import RuleFiles, shipped

    return RuleFiles(settings.rules or shipped(), registry=decoys(settings))


def build(
    settings: Settings,
    elsewhere: Machine | None = None,
    *,
    say: Any,
    clock: Callable[[], float] = time.time,
    lease: Lease | None = None,
    files: RuleFiles | None = None,
    drain: Drain | None = None,
) -> Consumer:
    """The daemon that a configuration describes. Raises InputError, StateError, EdgeError, BucketwatchError.

    elsewhere: where it is counted, and `check` was asked. lease: held. Without one a SQLite state takes its own, and
    state in S3 has only its fencing. files: of its rules. drain: how it is told to end.
    """
    from detector.drain import Drain

    book = (files or rule_files_of(settings)).read()
    joined = elsewhere.join if elsewhere else _join
    how = {"say": say, "clock": clock, "sight": sight(settings), "drain": drain or Drain()}
    return joined(settings, book, edges(settings, lease), **how)


def _join(settings: Settings, book: Rulebook, world: Edges, **how: Any) -> Consumer:
    """The loop with the engine in this process."""
    from detector.consumer import Consumer
    from detector.core.engine import Engine
    from detector.watches import watches

    engine = Engine(
        book.rules,
        watches(gather=True),
        watermark=watermark(settings),
        horizon=settings.horizon,
        memory=settings.memory,
        shelf=world.store,
    )
    return Consumer(engine, book, world, orders(settings), **how)


def watermark(settings: Settings) -> Watermark:
    """How late a configuration says that records come."""
    from detector.core.access import Log
    from detector.core.watermark import LATENESS, Watermark

    lateness = LATENESS | {Log[name]: seconds for name, seconds in settings.lateness.items()}
    return Watermark(lateness, settings.idle_after)


def sight(settings: Settings) -> Sight:
    """What the daemon sees of its own sight, by a configuration."""
    from detector.blindness import Limits
    from detector.canary import Canaries, place_of
    from detector.local import memory
    from detector.sight import Sight

    most = memory.limit()

    def taken() -> tuple[int, int]:
        return memory.used(), most

    blind, canary = settings.blind, settings.canary
    limits = Limits(blind.lag, blind.source, blind.partition, blind.bucket, blind.rejects)
    if canary is None:
        return Sight(limits, settings.protected_buckets, memory=taken)
    from detector.aws.probe import S3Probe

    places = [place_of(uri) for uri in canary.objects]
    limits = replace(
        limits, source=min(limits.source, canary.every + canary.within), canaries=frozenset(p.bucket for p in places)
    )
    canaries = Canaries(places, canary.every, canary.within)
    return Sight(limits, settings.protected_buckets, canaries, S3Probe(), taken)


def orders(settings: Settings) -> Orders:
    """What the operator wants, by a configuration."""
    import hashlib

    from detector.consumer import Orders
    from detector.core.admit import Admission
    from detector.core.owner import owners
    from detector.intake import Fetching
    from detector.outbox import Sending
    from detector.settings import Directory
    from detector.storm import Limits as Storming

    response = settings.response
    return Orders(
        Admission.of(None, None, settings.prefer),
        policy(settings),
        settings.redact_keys,
        settings.protected_buckets,
        limits(settings),
        Sending(
            Storming(**settings.storm.model_dump()),
            settings.sink_down_after,
            response.hourly,
            response.verify_after,
            owners(settings.owner) if settings.owner else None,
        ),
        hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:16],
        Fetching(1 if isinstance(settings.source, Directory) else settings.fetch.threads, settings.fetch.memory),
        learnt(settings),
        settings.daily_digest == "send",
    )


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
