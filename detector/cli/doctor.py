"""`bucketwatch doctor`: for the operator. Joins settings, questions and checks; judging is in `detector.doctor`."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from detector.aws.look import Look
    from detector.core.rule import Rule
    from detector.doctor.result import Result
    from detector.doctor.subject import Place, Subject
    from detector.rules import Rulebook
    from detector.settings import Settings

VARIABLE = "AWS_ENDPOINT_URL"


def doctor(
    config: Annotated[Path, typer.Option(help="The daemon's configuration file (YAML).")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Look for what would make the detector blind: source, trails, permissions, state, alerts, clock, cost.

    Harmless calls with the credentials of whoever runs it. Exit status 3 if it finds problems; warnings and what may
    not be looked at are no problems.

    Example: bucketwatch doctor --config bucketwatch.yaml
    """
    from detector.cli.joined import decoys
    from detector.rules import load_book, shipped
    from detector.settings import read_settings

    settings = read_settings(config, os.environ)
    book = load_book(settings.rules or shipped(), decoys(settings))
    results = list(examine(settings, book, time.time))
    _show_json(results) if as_json else _show(results)
    if any(result.status == "problem" for result in results):
        raise typer.Exit(3)


def examine(settings: Settings, book: Rulebook, clock: Callable[[], float]) -> Iterator[Result]:
    """All checks of a configuration, in the order of a record's way."""
    from detector.aws.look import Look

    subject = subject_of(settings, book.rules)
    yield from _guarded("rules", lambda: _rules(settings, book, clock()))
    if _asks_aws(subject):
        look = Look()
        try:
            yield from _of_aws(subject, look, clock)
        finally:
            look.close()
    yield from _local(settings, book.rules)
    if not _asks_aws(subject):
        from detector.doctor.edges import mode

        yield from mode(subject)


def subject_of(settings: Settings, rules: Sequence[Rule]) -> Subject:
    """What the checks need to know of a configuration."""
    from detector.doctor.subject import Role, Subject
    from detector.settings import Directory, Sns, Sqs

    response = settings.response
    separate = response.responder == "separate"
    return Subject(
        queue_url=settings.source.queue_url if isinstance(settings.source, Sqs) else "",
        log_buckets=() if isinstance(settings.source, Directory) else settings.log_buckets,
        accounts=settings.accept.accounts,
        protected=settings.protected_buckets,
        prefer=settings.prefer,
        topics=tuple(alert.topic_arn for alert in settings.alerts if isinstance(alert, Sns)),
        own={what: place for what in ("state", "journal") if (place := _place(getattr(settings, what)))},
        others={
            what: place
            for what, kept in (
                ("quarantine", settings.quarantine),
                ("archive", settings.archive),
                ("register of cases", response.cases),
            )
            if (place := _place(kept))
        },
        mode=response.mode,
        armed=response.armed,
        responders={
            account: Role(how.role_arn, how.external_id or "") if how.role_arn and not separate else None
            for account, how in response.accounts.items()
        },
        separate=separate,
        revoking=sum("revoke" in rule.respond for rule in rules),
        canaries=settings.canary.objects if settings.canary else (),
    )


def _place(kept: Any) -> Place | None:
    """Where in S3 something is kept; None if it is a file."""
    from detector.doctor.subject import Place

    bucket = getattr(kept, "bucket", None)
    return Place(bucket, getattr(kept, "prefix", None) or "") if bucket else None


def _asks_aws(subject: Subject) -> bool:
    enforcing = subject.mode == "enforce" and any(subject.responders.values())
    return bool(
        subject.queue_url or subject.log_buckets or subject.topics or subject.own or subject.canaries or enforcing
    )


def _of_aws(subject: Subject, look: Look, clock: Callable[[], float]) -> Iterator[Result]:
    """What AWS is asked. Without an identity nothing else is."""
    from detector.doctor import account, edges, encryption, logs, queue, trails, ways
    from detector.doctor.result import Result

    who = account.identity(look)
    yield who
    yield account.clock(look("sts:get_caller_identity"), clock())
    if who.status == "problem":
        yield Result("aws", "skipped", "nothing else was asked of AWS, for want of an identity", "", who.remedy)
        return
    partition, number = account.partition_and_account(look)
    checks: list[tuple[str, Callable[[], Iterable[Result]]]] = []
    if subject.queue_url:
        described = [trail.described for trail in trails.trails_of(subject, look)[1]]
        checks += [
            ("queue", lambda: queue.queue(subject, look, clock())),
            ("notices", lambda: ways.notices(subject, look, described, number)),
        ]
    if subject.log_buckets:
        checks += [
            ("logs", lambda: logs.logs(subject, look, clock())),
            ("trails", lambda: trails.trails(subject, look, clock())),
            ("coverage", lambda: trails.coverage(subject, look, partition)),
            ("loops", lambda: trails.loops(subject, look, partition)),
            ("two-logs", lambda: trails.two_logs(subject, look, partition)),
            ("encryption", lambda: encryption.encryption(subject, look)),
        ]
    checks += [
        ("canary", lambda: edges.canaries(subject, look)),
        ("state", lambda: edges.kept(subject, look, uuid.uuid4().hex[:12], clock())),
        ("alerts", lambda: edges.topics(subject, look)),
        ("response", lambda: edges.response(subject, look)),
    ]
    for name, check in checks:
        yield from _guarded(name, check)
    variables = {name: value for name, value in os.environ.items() if name.startswith(VARIABLE) and value}
    yield from account.endpoints(look.endpoints(), variables)


def _guarded(name: str, check: Callable[[], Iterable[Result]]) -> Iterator[Result]:
    """A check that fails is a result of its own: it must not hide the others, nor pass for one that found nothing."""
    from detector.doctor.result import Result

    try:
        yield from check()
    except Exception as error:  # noqa: BLE001  whatever it is, it is told
        told = f"the check itself failed: {type(error).__name__}: {error}"
        yield Result(name, "problem", told, "", "please report this")


def _rules(settings: Settings, book: Rulebook, now: float) -> Iterator[Result]:
    from detector.core.asked import watches_bucket
    from detector.core.lint import remarks
    from detector.doctor.result import Result
    from detector.rules import shipped

    where, rules = str(settings.rules or shipped()), book.rules
    staged = sum(rule.stage == "staged" for rule in rules)
    waits = {name for names in book.waiting.values() for name in names}
    told = f"; others wait for names that no `site` says: {', '.join(sorted(waits))}" if waits else ""
    yield Result("rules", "ok", f"{len(rules)} rules, {staged} of them staged{told}", where)
    if not any(rule.pages for rule in rules):
        yield Result("rules", "problem", "no rule pages: all are staged, info or low", where, "put some live")
    for rule, remark in remarks(rules, int(now)):
        told = f"{rule.id}: {'.'.join(map(str, remark.path))}: {remark.message}"
        yield Result("rules", "problem" if remark.error else "warn", told, where, "see bucketwatch rules check")
    for bucket in settings.protected_buckets:
        if not any(watches_bucket(rule, bucket) and rule.pages for rule in rules):
            told = "no live rule looks at this protected bucket"
            yield Result("rules", "problem", told, bucket, "name it in a rule's where.bucket, or leave that out")
    if not settings.protected_buckets:
        told = "no protected buckets: which buckets must never go silent is not known"
        yield Result("rules", "warn", told, "protected_buckets", "name the buckets that matter most")


def _local(settings: Settings, rules: Sequence[Rule]) -> Iterator[Result]:
    """What lies on this machine."""
    from detector.local import look
    from detector.settings import Directory, File

    if isinstance(settings.source, Directory):
        yield from _guarded("source", lambda: look.directory(settings.source.path))  # type: ignore[union-attr]
    state, journal = getattr(settings.state, "path", None), getattr(settings.journal, "path", None)
    if state:
        yield from _guarded("state", lambda: look.state(state))
        yield from _guarded("model", lambda: _model(rules, state))
    if journal:
        yield from _guarded("journal", lambda: look.journal(journal))
    for alert in settings.alerts:
        if isinstance(alert, File):
            yield from _guarded("alerts", lambda alert=alert: look.alerts(alert.path))  # type: ignore[misc]


def _model(rules: Sequence[Rule], state: Path) -> Iterator[Result]:
    import sqlite3

    from detector.doctor.model import learning
    from detector.local.look import parts

    try:
        known = parts(state)
    except sqlite3.Error:
        return  # the state's own check says so
    yield from learning(rules, known, str(state))


def _show_json(results: list[Result]) -> None:
    counts = Counter(result.status for result in results)
    document = {
        "problems": counts["problem"],
        "warnings": counts["warn"],
        "skipped": counts["skipped"],
        "results": [result.shown() for result in results],
    }
    typer.echo(json.dumps(document, indent=2))


def _show(results: list[Result]) -> None:
    """A table: the worst first, each check's results together."""
    from detector.doctor.result import STATUSES

    for result in sorted(results, key=lambda one: STATUSES.index(one.status)):
        one = result.shown()
        typer.echo(f"{one['status']:<8} {one['check']:<13} {one['what']}")
        for mark, text in (("", one["where"]), ("→ ", one["remedy"])):
            if text:
                typer.echo(f"{'':<22} {mark}{text}")
    counts: Counter[str] = Counter(result.status for result in results)
    told = ", ".join(f"{counts[status]} {name}" for status, name in NAMES if counts[status])
    typer.echo(f"\n{len(results)} results: {told}")


NAMES = (("problem", "problems"), ("warn", "warnings"), ("skipped", "not looked at"), ("ok", "well"))
