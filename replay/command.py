"""`bucketwatch replay`: for the analyst. Only arguments, messages and exit codes; the work is in `replay.run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replay.arguments import (
    Cache,
    Decoys,
    Jobs,
    Logs,
    Model,
    Owner,
    Prefer,
    Quiet,
    RedactKeys,
    Rules,
    Since,
    Tmp,
    Until,
    admission,
    begin,
    owners_of,
    redaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.logs.limits import Limits
    from replay.options import Options
    from replay.run import Result

Out = Annotated[
    Path, typer.Option(help="Folder for findings.jsonl, summary.json, rejected.jsonl, inputs.jsonl, report.html.")
]
Memory = Annotated[str, typer.Option(help="What counting may hold in memory, such as 256M; the rest goes to files.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=SIZE: how large a file (inflated), a record or a line may be; inflated, record or line. "
        "nesting=LEVELS: how deep a record may be nested."
    ),
]
Learn = Annotated[
    Path | None,
    typer.Option(help="Write what baselines have learned; the daemon's `learnt` takes it up.", show_default="nothing"),
]
Engine = Annotated[
    str, typer.Option(help="local, or spark: on Apache Spark, which needs pip install 'bucketwatch[spark]'.")
]
DigestKeys = Annotated[
    Path | None,
    typer.Option(
        help="CloudTrail's public keys for --verify-digests: a file or a folder (PEM, DER, or the JSON of "
        "list-public-keys).",
        show_default="asked of CloudTrail",
    ),
]
VerifyDigests = Annotated[
    bool,
    typer.Option(
        "--verify-digests",
        help="Check the log files against CloudTrail's signed digests; exit with status 3 if something is wrong.",
    ),
]
CrossCheck = Annotated[
    bool, typer.Option("--cross-check", help="Hold baseline findings against an IsolationForest, in summary.json.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what summary.json holds, for scripts, and nothing else.")]


def replay(
    paths: Logs,
    rules: Rules = None,
    out: Out = Path("out"),
    since: Since = "",
    until: Until = "",
    prefer: Prefer = None,
    jobs: Jobs = 1,
    redact_keys: RedactKeys = "none",
    memory: Memory = "256M",
    limit: Limit = None,
    tmp: Tmp = None,
    cache: Cache = None,
    learn: Learn = None,
    owner: Owner = None,
    decoys: Decoys = "",
    engine: Engine = "local",
    digest_keys: DigestKeys = None,
    *,
    verify_digests: VerifyDigests = False,
    model: Model = True,
    cross_check: CrossCheck = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
    fail_on_finding: Annotated[bool, typer.Option(help="Exit with status 3 if anything was found.")] = False,
) -> None:
    """Run historical logs through the engine: what would have been found, exactly, whatever the order of the files.

    Example: bucketwatch replay ./AWSLogs --rules rules --out out

    Example: bucketwatch replay s3://org-logs/AWSLogs/ --since 2026-05-01 --until 2026-05-08 --cache cache --out out
    """
    from detector.cli.joined import place
    from detector.errors import InputError
    from detector.rules import load_book, shipped
    from replay import output
    from replay.options import Options
    from replay.terminal import progress_bar

    run = _engine(engine)
    if engine == "spark" and (cache or cross_check or learn):
        raise InputError(
            "--cache, --cross-check and --learn are for --engine local", remedy="leave one or the other out"
        )
    if digest_keys and not verify_digests:
        raise InputError("--digest-keys is for --verify-digests", remedy="give both, or neither")
    hidden = redaction(redact_keys)
    book = load_book(rules or shipped(), place(decoys) if decoys else None)
    admitted = admission(since, until, prefer)
    begin(out)
    with (
        output.rejected(out, hide=hidden != "none") as rejected,
        output.inputs(out) as inputs,
        progress_bar(quiet=quiet) as progress,
    ):
        options = Options(
            admission=admitted,
            jobs=jobs,
            model=model,
            redact=hidden,
            progress=progress,
            memory=_size("--memory", memory),
            limits=_limits(limit or []),
            tmp=tmp,
            rejects=rejected.take,
            learn=learn is not None,
            cross_check=cross_check,
            waiting=book.waiting,
            inputs=inputs.take,
            cache=cache,
            tell=lambda told: None if quiet else typer.echo(told, err=True),
            owners=owners_of(owner),
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
    from replay.terminal import complain

    complain(result.reads, result.failures)
    if (fail_on_finding and result.findings) or not result.summary.get("digests", {"ok": True})["ok"]:
        raise typer.Exit(3)
