"""`bucketwatch demo`: a small organisation's day of logs with a theft in it, watched by the real daemon loop.

Nothing but the install is needed: a directory as the source, SQLite as the state, a file for the alerts. Time is
simulated: files arrive in the order and with the delay in which CloudTrail would deliver them.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from detector.consumer import Consumer
    from replay.example_day import Organisation

DAY = (2026, 5, 1)
FROM, UNTIL = 9, 15
"""Hours of the day that are shown (UTC)."""
THEFT_OBJECTS, THEFT_RATE = 40_000, 40.0
"""Objects, and objects a second: a quarter of an hour, so that an alert can still save something."""


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for logs, alerts, journal and report.", show_default="a new temporary one"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another organisation for every number.")] = 1,
) -> None:
    """Watch a theft from a bucket being caught, in under a minute, with nothing set up.

    Example: bucketwatch demo --out demo
    """
    from rich.console import Console

    folder = out or Path(tempfile.mkdtemp(prefix="bucketwatch-demo-"))
    run(folder, seed, Console(highlight=False, soft_wrap=True))


@dataclass(slots=True)
class Terminal:
    """A sink that shows alerts to the person watching, as they fire."""

    console: Console
    name: str = "terminal"
    keeps: bool = True
    alerts: list[dict[str, Any]] = field(default_factory=list)

    def send(self, alert: Mapping[str, Any]) -> None:
        """Show one alert."""
        from detector.core.times import duration
        from detector.response.plain import printable

        if alert["kind"] == "incident":
            self.console.print(f"  {alert['state']} {alert['sent_at'][11:19]}  {alert['title']}", markup=False)
            return
        self.alerts.append(dict(alert))
        title, peak = alert["title"], f"{alert['peak_value']:,} {alert['measure']}"
        within = duration(alert["window_seconds"])
        if alert["state"] == "opened":
            who = printable(next(iter(alert["group"].values())))
            self.console.print(f"  ALERT  {alert['sent_at'][11:19]}  {title}", style="bold red", markup=False)
            self.console.print(
                f"           {who}\n           {peak} in {within}, since {alert['opened_at'][11:19]}",
                markup=False,
            )
        else:
            self.console.print(f"  {alert['state']} {alert['sent_at'][11:19]}  {title}: peak {peak}", markup=False)


def run(folder: Path, seed: int, console: Console) -> None:
    """The whole demonstration."""
    from datetime import date, time

    from replay.example_day import smash_and_grab

    organisation = smash_and_grab(seed, day=date(*DAY), at=time(12, 40), objects=THEFT_OBJECTS, rate=THEFT_RATE)
    console.print(f"[bold]bucketwatch demo[/]: {date(*DAY)}, 40 people and jobs reading ml-voice and ml-face buckets.")
    console.print("Somewhere in this day one contractor's credentials are in a stranger's hands.\n")
    with _daemon(folder, console) as (consumer, clock, terminal):
        _deliver(organisation, folder / "logs", consumer, clock, console)
        consumer.close_all()
    _losses(organisation, terminal, console)
    _report(folder, terminal, console)


class Clock:
    """The simulated time, in epoch seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def _daemon(folder: Path, console: Console) -> Iterator[tuple[Consumer, Clock, Terminal]]:
    """The real daemon over the embedded twins."""
    from detector.cli.watch import build
    from detector.settings import Settings

    (folder / "logs").mkdir(parents=True, exist_ok=True)
    settings = Settings.model_validate(
        {
            "source": {"kind": "directory", "path": str(folder / "logs")},
            "state": {"kind": "sqlite", "path": str(folder / "state.db")},
            "alerts": ({"kind": "file", "path": str(folder / "alerts.jsonl")},),
            "journal": {"path": str(folder / "journal.jsonl")},
            "response": {"mode": "plan", "accounts": ("111122223333",)},
        }
    )
    clock, terminal = Clock(), Terminal(console)
    consumer = build(settings, say=lambda *_, **__: None, clock=clock)
    consumer.edges.sinks = [*consumer.edges.sinks, terminal]
    consumer.start()
    try:
        yield consumer, clock, terminal
    finally:
        consumer.stop()


def _deliver(organisation: Organisation, logs: Path, consumer: Consumer, clock: Clock, console: Console) -> None:
    """Hand over the day's files in delivery order; the daemon takes a turn after each slot."""
    from itertools import groupby

    from detector.core.times import iso
    from replay.example_day import write

    hour = FROM
    wanted = (file for file in organisation.files() if FROM <= file.delivered_at % 86_400 // 3600 < UNTIL)
    for delivered_at, files in groupby(wanted, key=lambda file: file.delivered_at):
        write(logs, files)
        clock.now = delivered_at
        while consumer.turn(0):
            pass
        if delivered_at % 86_400 // 3600 > hour:
            hour += 1
            books = consumer.engine.books
            console.print(
                f"  [dim]{iso(delivered_at)[11:16]}  {books.records:,} records, {books.duplicates:,} duplicates[/]"
            )


def _losses(organisation: Organisation, terminal: Terminal, console: Console) -> None:
    """What had left before the first alert about the thief's session, and what would be revoked."""
    from detector.core.times import epoch

    theft = organisation.theft
    mine = [
        a for a in terminal.alerts if a["state"] == "opened" and theft and a["group"].get("session") == theft.session
    ]
    if theft is None or not mine:
        console.print("\nThe theft was not caught.")
        raise typer.Exit(1)
    alert = mine[0]
    sent, first = epoch(alert["sent_at"]) or 0, epoch(alert["opened_at"]) or 0
    lost = round(theft.objects * min(1.0, (sent - theft.started_at) / theft.seconds))
    at_crossing = round(theft.objects * min(1.0, (first - theft.started_at) / theft.seconds))
    console.print(
        f"\n[bold]Stolen before the alert:[/] {lost:,} of {theft.objects:,} objects. The threshold was crossed after "
        f"{at_crossing:,}; the alert came {sent - first} s later: that is how late CloudTrail delivers its files."
    )
    plan = alert["plan"]
    console.print("\n[bold]What would be revoked[/] (nothing is, in `plan` mode):")
    (action,) = plan["actions"]
    console.print(f"  session  {plan['session']}\n  means    policy {action['name']} on {action['target']}")
    console.print(f"  hits     {plan['also_hits']}")
    for line in plan["cannot_stop"]:
        console.print(f"  misses   {line}")
    console.print("  run      ", end="")
    console.print(plan["commands"][0], markup=False)


def _report(folder: Path, terminal: Terminal, console: Console) -> None:
    """The same logs through replay: the same findings, with a page to look at."""
    from detector.rules import load_rules, shipped
    from replay import output
    from replay.options import Options
    from replay.run import run as replay_run

    rules = load_rules(shipped())
    with output.inputs(folder) as inputs:
        result = replay_run([str(folder / "logs")], rules, Options(inputs=inputs.take))
    result.summary["inputs_sha256"] = inputs.sha256.hexdigest()
    output.write(result, folder, report=True)
    paging = {rule.id for rule in rules if rule.pages}
    closed = {alert["finding_id"] for alert in terminal.alerts if alert["state"] == "closed"}
    found = {f.finding_id for f in result.findings if f.rule_id in paging}
    quiet, same = len(result.findings) - len(found), closed == found
    console.print(
        f"\nReplay of the same {result.summary['files']} files: {len(found)} findings, "
        f"{'the same ones' if same else 'NOT the same as the daemon'}"
        f"{f'; and {quiet} of rules that page nobody' if quiet else ''}.\n"
        f"Report: {folder / 'report.html'}\nAlerts: {folder / 'alerts.jsonl'}\nJournal: {folder / 'journal.jsonl'}"
    )
    if not same:
        raise typer.Exit(1)
