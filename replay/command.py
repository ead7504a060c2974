"""`bucketwatch replay`: for the analyst. Only arguments, progress and exit codes; the work is in `replay.run`."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from detector.core.admit import Admission
    from detector.core.owner import Owners
    from detector.logs.limits import Limits
    from replay.reader import FileRead
    from replay.run import Options, Result


def replay(
    paths: Annotated[
        list[str],
        typer.Argument(help="Log files, folders, globs or s3://bucket/prefix. Kinds are told apart by content."),
    ],
    rules: Annotated[
        Path | None, typer.Option(help="A rule file or a folder of them.", show_default="the shipped rules")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for findings.jsonl, summary.json, rejected.jsonl, inputs.jsonl, report.html.")
    ] = Path("out"),
    since: Annotated[str, typer.Option(help="Only records from this time on (ISO 8601, UTC).")] = "",
    until: Annotated[str, typer.Option(help="Only records before this time (ISO 8601, UTC).")] = "",
    prefer: Annotated[
        list[str] | None, typer.Option(help="GLOB=cloudtrail or GLOB=server_access: the log that counts for a bucket.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Processes that read and parse.")] = 1,
    redact_keys: Annotated[str, typer.Option(help="Object keys in the output: none, prefix or hash.")] = "none",
    memory: Annotated[
        str, typer.Option(help="What counting may hold in memory, such as 256M; the rest goes to files.")
    ] = "256M",
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SIZE: how large a file (inflated), a record or a line may be; inflated, record or line. "
            "nesting=LEVELS: how deep a record may be nested."
        ),
    ] = None,
    tmp: Annotated[
        Path | None,
        typer.Option(help="Folder for what --memory has no room for.", show_default="the system's temporary folder"),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which parsed records are kept as Parquet: the next replay of these logs reads them there, "
            "and one that was interrupted goes on where it stopped.",
            show_default="none: an interrupted replay begins anew",
        ),
    ] = None,
    learn: Annotated[
        Path | None,
        typer.Option(
            help="Write what baselines have learned; the daemon's `learnt` takes it up.", show_default="nothing"
        ),
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose an object is, as its key says: a pattern such as {contractor}/**. The first that fits."
        ),
    ] = None,
    decoys: Annotated[
        str, typer.Option(help="The registry of decoys: a folder or s3://bucket/prefix.", show_default="none")
    ] = "",
    engine: Annotated[
        str, typer.Option(help="local, or spark: on Apache Spark, which needs pip install 'bucketwatch[spark]'.")
    ] = "local",
    digest_keys: Annotated[
        Path | None,
        typer.Option(
            help="CloudTrail's public keys for --verify-digests: a file or a folder (PEM, DER, or the JSON of "
            "list-public-keys).",
            show_default="asked of CloudTrail",
        ),
    ] = None,
    *,
    verify_digests: Annotated[
        bool,
        typer.Option(
            "--verify-digests",
            help="Check the log files against CloudTrail's signed digests; exit with status 3 if something is wrong.",
        ),
    ] = False,
    model: Annotated[bool, typer.Option("--model/--no-model", help="Judge baseline rules (the online model).")] = True,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="Hold baseline findings against an IsolationForest, in summary.json.")
    ] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what summary.json holds, for scripts, and nothing else.")
    ] = False,
    fail_on_finding: Annotated[bool, typer.Option(help="Exit with status 3 if anything was found.")] = False,
) -> None:
    """Run historical logs through the engine: what would have been found, exactly, whatever the order of the files.

    Example: bucketwatch replay ./AWSLogs --rules rules --out out

    Example: bucketwatch replay s3://org-logs/AWSLogs/ --since 2026-05-01 --until 2026-05-08 --cache cache --out out
    """
    from detector.cli import collector
    from detector.cli.joined import place
    from detector.errors import InputError
    from detector.rules import load_book, shipped
    from replay import output
    from replay.run import Options

    run = _engine(engine)
    if engine == "spark" and (cache or cross_check or learn):
        raise InputError(
            "--cache, --cross-check and --learn are for --engine local", remedy="leave one or the other out"
        )
    if digest_keys and not verify_digests:
        raise InputError("--digest-keys is for --verify-digests", remedy="give both, or neither")
    if redact_keys not in ("none", "prefix", "hash"):
        raise InputError(f"--redact-keys: expected none, prefix or hash, got '{redact_keys}'")
    book = load_book(rules or shipped(), place(decoys) if decoys else None)
    admitted = admission(since, until, prefer or [])
    collector.rarely()
    output.prepare(out)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what lies in --tmp is removed
    with (
        output.rejected(out, hide=redact_keys != "none") as rejected,
        output.inputs(out) as inputs,
        progress_bar(quiet=quiet) as progress,
    ):
        options = Options(
            admitted,
            jobs,
            model,
            redact_keys,  # type: ignore[arg-type]
            progress,
            _size("--memory", memory),
            _limits(limit or []),
            tmp,
            rejected.take,
            learn is not None,
            cross_check,
            waiting=book.waiting,
            inputs=inputs.take,
            cache=cache,
            tell=lambda told: None if quiet else typer.echo(told, err=True),
            owners=_owners(owner or []),
        )
        verified = _verify(paths, digest_keys, options) if verify_digests else {}
        result = run(paths, book.rules, options)
    result.summary.update(verified, inputs_sha256=inputs.sha256.hexdigest())
    output.write(result, out, report=report)
    if learn and result.learnt:
        output.write_learnt(result.learnt, learn)
    if as_json:
        typer.echo(json.dumps(result.summary, indent=2))
    elif not quiet:
        _say(result, out)
    _leave(result, fail_on_finding=fail_on_finding)


def _verify(paths: list[str], keys: Path | None, options: Options) -> dict[str, Any]:
    """What the digests say, for summary.json. Raises InputError, EdgeError."""
    from replay.digests import keys_from_aws, keys_of, verify

    given = keys_of(keys) if keys else None
    made = (lambda _: given) if given else keys_from_aws
    return {"digests": verify(paths, made, jobs=options.jobs, limits=options.limits, progress=options.progress)}


def _engine(name: str) -> Callable[..., Result]:
    """What runs a replay. Raises InputError."""
    from detector.errors import InputError

    if name == "local":
        from replay.run import run

        return run
    if name == "spark":
        from replay.spark.history import run as on_spark

        return on_spark
    raise InputError(f"--engine: expected local or spark, got '{name}'")


def admission(since: str, until: str, prefer: list[str]) -> Admission:
    """What counts at all. Raises InputError."""
    from detector.core.admit import Admission
    from detector.errors import InputError

    preferred = {}
    for text in prefer:
        bucket, _, log = text.rpartition("=")
        if not bucket or log not in ("cloudtrail", "server_access"):
            raise InputError(f"--prefer: expected GLOB=cloudtrail or GLOB=server_access, got '{text}'")
        preferred[bucket] = log
    first, end = _time("--since", since), _time("--until", until)
    if first is not None and end is not None and first >= end:
        raise InputError(f"--since {since} is not before --until {until}: no record could count")
    return Admission.of(first, end, preferred)


def _time(option: str, text: str) -> int | None:
    from detector.core.times import epoch
    from detector.errors import InputError

    if not text:
        return None
    second = epoch(text)
    if second is None:
        raise InputError(f"{option}: expected a time such as 2026-05-01T09:00:00Z or 2026-05-01, got '{text}'")
    return second


def _owners(patterns: list[str]) -> Owners | None:
    from detector.core.owner import owners
    from detector.errors import InputError

    try:
        return owners(patterns) if patterns else None
    except ValueError as error:
        raise InputError(f"--owner: {error}") from error


OF_FILES = ("inflated", "record", "nesting", "line")
"""Limits of what replay reads; it reads no messages."""


def _limits(given: list[str]) -> Limits:
    from detector.errors import InputError
    from detector.logs.limits import Limits

    chosen = {}
    for one in given:
        name, _, amount = one.partition("=")
        if name not in OF_FILES:
            raise InputError(f"--limit: expected {', '.join(OF_FILES)} and how much, such as record=4M, got '{one}'")
        chosen[name] = (_levels if name == "nesting" else _size)(f"--limit {name}", amount)
    return Limits(**chosen)


def _levels(option: str, text: str) -> int:
    from detector.errors import InputError

    if not (text.isascii() and text.isdigit() and int(text[:9])):
        raise InputError(f"{option}: expected a number of levels such as 100, got '{text}'")
    return int(text[:9])


def _size(option: str, text: str) -> int:
    from detector.core.rule import size
    from detector.errors import InputError

    try:
        return size(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from error


def progress_bar(*, quiet: bool) -> _Bar:
    """To be entered; gives what `Options.progress` is."""
    return _Bar(shown=not quiet and sys.stderr.isatty())


class _Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def __enter__(self) -> Callable[[int, int, int, str], None]:
        if not self._shown:
            return lambda *_: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._bar.start()
        task = self._bar.add_task("reading", total=None, rate="")
        began: dict[str, float] = {}

        def show(done: int, total: int, size: int, step: str) -> None:
            seconds = time.monotonic() - began.setdefault(step, time.monotonic())
            rate = f"{size / seconds / 1e6:,.1f} MB/s" if size and seconds > 1 else ""
            self._bar.update(task, completed=done, total=total or None, description=step, rate=rate)

        return show

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()


def _say(result: Result, out: Path) -> None:
    from detector.response.plain import printable
    from replay.covered import line
    from replay.digests import lines

    summary = result.summary
    typer.echo(
        f"{summary['records']:,} records: {summary['access_events']:,} access events, "
        f"{summary['duplicates']:,} duplicates, "
        f"{summary['skipped']['count']:,} skipped, {summary['rejected']['count']:,} rejected"
    )
    typer.echo(printable(line(summary["coverage"]), 1000))
    for told in lines(summary["digests"]) if "digests" in summary else ():
        typer.echo(printable(told, 1000))
    for incident in result.incidents[:20]:
        typer.echo(f"  {incident.severity:8} {printable(incident.told)}")
    more = len(result.incidents) - 20
    if more > 0:
        typer.echo(f"  … and {more} more")
    count = len(result.incidents)
    together = f" in {count} incident{'' if count == 1 else 's'}" if count < len(result.findings) else ""
    typer.echo(f"{summary['findings']} findings{together}: {out / 'findings.jsonl'}; {summary['wall_seconds']} s")


def _leave(result: Result, *, fail_on_finding: bool) -> None:
    complain(result.failures, result.unknown, result.damaged, result.summary["files_damaged_count"])
    if (fail_on_finding and result.findings) or not result.summary.get("digests", {"ok": True})["ok"]:
        raise typer.Exit(3)


def complain(failures: Mapping[str, str], unknown: list[FileRead], damaged: list[FileRead], count: int) -> None:
    """What went wrong on the way is said last and decides the exit status; the output is complete all the same."""
    from detector.errors import BucketwatchError, InputError, UnreadablePathError

    if failures:
        raise BucketwatchError(
            "; ".join(f"rule {rule} failed: {why}" for rule, why in sorted(failures.items())),
            remedy="its findings are incomplete; please report this",
        )
    if unknown:
        raise UnreadablePathError(
            unknown[0].reason, where=unknown[0].file.name, remedy="name CloudTrail, S3 access or audit logs"
        )
    if damaged:
        listed = "\n".join(f"{read.file.name}: {read.damage}" for read in damaged[:20])
        raise InputError(
            f"{count} damaged files, read as far as possible:\n{listed}",
            remedy="fetch them again; what could be read has been counted, the rest has not",
        )
