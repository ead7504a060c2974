"""`bucketwatch investigate`: for the responder. Only arguments, files and exit codes; the work is in `scope`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replay.arguments import (
    Cache,
    Jobs,
    Logs,
    Owner,
    Prefer,
    Quiet,
    RedactKeys,
    Since,
    Tmp,
    Until,
    admission,
    begin,
    owners_of,
    redaction,
)

if TYPE_CHECKING:
    from replay.cache.kept import Kept
    from replay.investigate.scope import Question
    from replay.options import Options

FINDINGS = Path("out/findings.jsonl")


def investigate(
    who: Annotated[
        str,
        typer.Argument(
            help="A session, role or user (ARN or unique id), an address or network, an access key, an account, a VPC "
            "endpoint, a finding (finding_id or alert_id), or an incident (incident_id): all of whom its findings are."
        ),
    ],
    paths: Logs,
    out: Annotated[Path, typer.Option(help="Folder for what is found.")] = Path("loss"),
    as_: Annotated[
        str, typer.Option("--as", help="What WHO is, where its shape does not tell.", show_default="told by its shape")
    ] = "",
    since: Since = "",
    until: Until = "",
    owner: Owner = None,
    findings: Annotated[
        Path,
        typer.Option(
            help="Where a finding or an incident is looked up: findings.jsonl, a file of alerts, or a journal."
        ),
    ] = FINDINGS,
    cache: Cache = None,
    prefer: Prefer = None,
    jobs: Jobs = 1,
    redact_keys: RedactKeys = "none",
    tmp: Tmp = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print summary.json.")] = False,
    quiet: Quiet = False,
) -> None:
    """Scope of loss: which objects somebody took, whose they are, from where, and what else belongs to it.

    Follows sessions that began each other, copies and who read them, and addresses that hardly anybody else used.

    \b
    Example: bucketwatch investigate arn:aws:sts::111122223333:assumed-role/Reader/x logs
    Example: bucketwatch investigate 198.51.100.0/24 logs --owner '{contractor}/**'
    Example: bucketwatch investigate 4f1c09a2b7d3e865 logs --findings out/findings.jsonl
    """  # noqa: D301  a backspace keeps the lines of the examples
    import json as js
    import time

    from detector.errors import InputError
    from replay.investigate.asking import who_of
    from replay.investigate.scope import Question
    from replay.lean import lean
    from replay.terminal import complain, progress_bar

    began = time.monotonic()
    lean()
    asked = Question(who_of(who, as_, findings), who, owners_of(owner), *_period(since, until), redaction(redact_keys))
    begin(out)
    with ExitStack() as stack:
        with progress_bar(quiet=quiet or json) as progress:
            options = _options(since, until, prefer, jobs, tmp, progress, cache)
            records = stack.enter_context(_kept(paths, cache, options))
        reads = records.reads
        try:
            summary = _answer(records, asked, out, tmp, began)
        except InputError:
            complain(reads)  # a better reason why nobody was found
            raise
    if json:
        typer.echo(js.dumps(summary, indent=2))
    elif not quiet:
        _show(summary, out)
    complain(reads)


def _answer(records: Kept, asked: Question, out: Path, tmp: Path | None, began: float) -> dict[str, Any]:
    """Write all files; the summary."""
    import time

    from replay.investigate.asking import logs_of
    from replay.investigate.page import render
    from replay.investigate.said import notification
    from replay.investigate.scope import scope
    from replay.investigate.written import Folder

    with Folder(out, tmp) as folder:
        summary = scope(records.indexed, asked, folder) | {"logs": logs_of(records)}
        summary["wall_seconds"] = round(time.monotonic() - began, 3)
        folder.json("summary.json", summary)
        folder.text("notification.md", notification(summary))
        folder.text("report.html", render(summary))
    return summary


def _show(summary: dict[str, Any], out: Path) -> None:
    from rich.console import Console

    from replay.investigate.said import show

    show(summary, Console(soft_wrap=True))
    files = "report.html, notification.md, objects.csv, objects.parquet, events.parquet, people.csv, summary.json"
    typer.echo(f"\nin {out}: {files}")


def _period(since: str, until: str) -> tuple[int | None, int | None]:
    from detector.core.times import epoch

    admission(since, until)  # says what is wrong
    return epoch(since) if since else None, epoch(until) if until else None


def _options(
    since: str, until: str, prefer: list[str] | None, jobs: int, tmp: Path | None, progress: Any, cache: Path | None
) -> Options:
    """How records are kept. A cache holds the whole period, for the next question."""
    from replay.options import Options

    whole = admission(prefer=prefer)
    return Options(whole if cache else admission(since, until, prefer), jobs, tmp=tmp, progress=progress)


def _kept(paths: list[str], cache: Path | None, options: Options) -> Any:
    from detector.response.plain import printable
    from replay.cache.kept import kept

    return kept(paths, cache, options, lambda text: typer.echo(printable(text), err=True))
