"""`bucketwatch respond`: for the incident responder. See, do, take back, what stands; and the responder's process."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.planned import cases_of, line, me, planned, settings_of, show

if TYPE_CHECKING:
    from detector.response.register import What
    from detector.source import Applied

app = typer.Typer(
    help="Revocations: see what would be done, do it, take it back, list what stands.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Option(help="The daemon's configuration file (YAML).")]
Alerts = Annotated[
    list[str],
    typer.Argument(metavar="ALERT...", help="alert_id or finding_id; several are one case."),
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Look in this file (alerts.jsonl, findings.jsonl) and not in the journal."),
]
Logs = Annotated[
    list[Path] | None,
    typer.Option(help="CloudTrail files or folders: sessions that the one began by AssumeRole are denied, too."),
]
Unbounded = Annotated[
    bool, typer.Option("--unbounded", help="Deny the session's name whenever its credentials were issued.")
]
Presigned = Annotated[
    str,
    typer.Option(
        metavar="AGE",
        help="Deny signed URLs of the buckets, not the session: those signed longer ago than this (0s: all).",
    ),
]
Person = Annotated[
    bool, typer.Option("--person", help="Deny the person (source identity) in all roles of the finding.")
]
Own = Annotated[
    bool, typer.Option("--own-credentials", help="With your own rights: assume none of the responder's roles.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def plan(
    alerts: Alerts,
    config: Config,
    *,
    from_: From = None,
    logs: Logs = None,
    unbounded: Unbounded = False,
    presigned: Presigned = "",
    person: Person = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be done: to whom, by which policy, whom else it hits, what it cannot stop. Writes nothing.

    Example: bucketwatch respond plan a-0123456789abcdef --config bucketwatch.yaml
    """
    made = planned(settings_of(config), alerts, from_, logs, unbounded=unbounded, presigned=presigned, person=person)
    if as_json:
        typer.echo(json.dumps(made, indent=1))
        return
    show(made)


@app.command()
def apply(
    alerts: Alerts,
    config: Config,
    *,
    from_: From = None,
    logs: Logs = None,
    unbounded: Unbounded = False,
    presigned: Presigned = "",
    person: Person = False,
    own: Own = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry a plan out, after showing it. What stands can be taken back with `respond undo`.

    Example: bucketwatch respond apply a-0123456789abcdef --config bucketwatch.yaml
    """
    from detector.cli.joined import cases, responder
    from detector.errors import InputError
    from detector.response.register import Register, event

    settings = settings_of(config)
    made = planned(settings, alerts, from_, logs, unbounded=unbounded, presigned=presigned, person=person)
    if not as_json:
        show(made)
    if made["forbidden"]:
        raise InputError(
            "the plan is not carried out: " + " ".join(made["forbidden"]), remedy="see the steps of the plan"
        )
    if as_json and not yes:
        raise InputError("--json asks nothing", remedy="see the plan with `respond plan`, then add --yes")
    if not yes and not typer.confirm("Carry this out?", default=False):
        typer.echo("Nothing was done.")
        raise typer.Exit(1)
    book, edge, by = Register(cases(settings), "person"), responder(settings, own=own), me()
    before, finding = edge.before(made), made.pop("finding", None)
    if before.status == "applied":  # known before anything is written: undo needs it
        book.add(event(made["case_id"], "begun", at=time.time(), by=by, plan=made, before=dict(before.before)))
    done = edge.apply(made) if before.status == "applied" else before
    standing = done.of(made)
    more = {"plan": standing or made, "before": dict(before.before), "finding": finding}
    told = event(
        made["case_id"], "applied" if standing else _refused(done), at=time.time(), by=by, detail=done.detail, **more
    )
    kept_in = book.add(told)
    if as_json:
        typer.echo(_outcome(done, made["case_id"], kept_in))
    else:
        typer.echo(f"{done.status}: {line(done.detail)}\ncase {made['case_id']}, kept in {kept_in}")
    if done.status in ("refused", "failed"):
        raise typer.Exit(1)
    if not as_json:
        typer.echo("Within minutes AWS denies its requests; the daemon tells when it sees that, or that it does not.")


def _outcome(done: Applied, case: str, kept_in: str | None = None) -> str:
    return json.dumps({"status": done.status, "detail": done.detail, "case_id": case, "kept_in": kept_in}, indent=1)


def _refused(done: Applied) -> What:
    return "refused" if done.status == "refused" else "failed"


@app.command()
def undo(
    case: Annotated[str, typer.Argument(help="The case's id, as `respond list` shows it.")],
    config: Config,
    *,
    own: Own = False,
    force: Annotated[bool, typer.Option("--force", help="Also while stolen credentials may be alive.")] = False,
    reason: Annotated[str, typer.Option(help="Why; goes into the journal. Needed with --force.")] = "",
    as_json: AsJson = False,
) -> None:
    """Take a revocation back: only what bucketwatch wrote, and only if it is still exactly that.

    Example: bucketwatch respond undo 0123456789abcdef --config bucketwatch.yaml
    """
    from detector.cli.joined import cases, responder
    from detector.core.times import epoch
    from detector.errors import InputError
    from detector.response.register import Register, event

    settings, now = settings_of(config), int(time.time())
    book = Register(cases(settings), "person")
    found = cases_of(book).get(case)
    if found is None or not found.get("plan"):
        raise InputError("there is no such case", where=case, remedy="`bucketwatch respond list` shows all of them")
    made = found["plan"]
    if force and not reason:
        raise InputError("--force needs a reason", where=case, remedy="add --reason 'why': it goes into the journal")
    until = epoch(made.get("may_be_lifted_at")) or 0
    if now < until and not force:
        raise InputError(
            f"stolen credentials may be alive until {made['may_be_lifted_at']}: taking it back would set them free",
            where=case,
            remedy="wait, or say --force --reason 'why'",
        )
    done = responder(settings, own=own).remove(made, found["before"])
    if not as_json:
        typer.echo(f"{done.status}: {line(done.detail)}")
    elif done.status in ("refused", "failed"):
        typer.echo(_outcome(done, case))
    if done.status in ("refused", "failed"):
        raise typer.Exit(1)
    told = event(case, "undone", at=now, by=me(), detail=done.detail, reason=reason)
    kept_in = book.add(told)
    typer.echo(_outcome(done, case, kept_in) if as_json else f"kept in {kept_in}; the daemon journals it")


@app.command("list")
def list_(
    config: Config,
    *,
    every: Annotated[bool, typer.Option("--all", help="Also what was taken back or has ended.")] = False,
    own: Own = False,
    look: Annotated[bool, typer.Option("--look", help="Ask AWS whether each still is as it was written.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what stands: whom it denies, since when, until when, and what it has done.

    Example: bucketwatch respond list --config bucketwatch.yaml
    """
    from detector.cli.joined import cases, responder
    from detector.response.register import Register

    settings = settings_of(config)
    found = cases_of(Register(cases(settings), "person"))
    shown = {case: one for case, one in found.items() if every or one["state"] in ("stands", "ordered", "begun")}
    if look:
        edge = responder(settings, own=own)
        for one in shown.values():
            how = edge.look(one.get("plan") or {})
            one["in_aws"] = f"{how.state}: {how.detail}"
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    if not shown:
        typer.echo("Nothing stands.")
    for case, one in shown.items():
        made = one.get("plan") or {}
        typer.echo(
            f"{case}  {one['state']:8} {line(one.get('since', '?'))} by {line(one.get('by', '?'))}\n"
            f"  whom    {line(made.get('session') or made.get('principal_id') or '?')}\n"
            f"  means   {line(made.get('means', '?'))}, until {line(made.get('may_be_lifted_at', '?'))} at least\n"
            f"  effect  {line(one.get('effect', 'nothing is known yet'))}"
            + (f"\n  in AWS  {line(one['in_aws'])}" if look else "")
        )


@app.command()
def serve(
    config: Config,
    *,
    once: Annotated[bool, typer.Option("--once", help="Do what waits, then end.")] = False,
) -> None:
    """Run the responder as a process and role of its own (response.responder: separate).

    It takes orders out of the register, reads the log files they name itself, and acts only if it finds the same.

    Example: bucketwatch respond serve --config responder.yaml
    """
    from detector.cli.joined import serving
    from detector.cli.said import hear_libraries, say

    settings = settings_of(config)
    hear_libraries()
    server, end = serving(settings, say=say), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    while not end.is_set():  # a signal ends it between two turns, never within one
        server.turn()
        if once:
            return
        end.wait(server.pause)
    say("stopped")
