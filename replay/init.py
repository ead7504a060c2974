"""`bucketwatch init`: for the operator's first run. History in; a config, staged rules and their digest out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.core.finding import Finding
    from replay.discover import Listed, Surroundings
    from replay.history import History
    from replay.propose import Level

AT_ONCE = 8
"""Log files fetched at the same time."""
ASKED_AGAIN = 90
"""Days after the end of the history for which proposed exceptions hold."""


def init(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Log files, folders or globs: two to four weeks. None: look into AWS.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for bucketwatch.yaml and rules/.")] = Path(),
    *,
    days: Annotated[int, typer.Option(help="From AWS: how many whole days to learn from.", min=1, max=90)] = 14,
    most: Annotated[str, typer.Option(help="From AWS: fetch no more than this; older days are left out.")] = "4G",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Learn from history: write a config and staged rules, and say what they would have paged.

    Without a path it finds trails, log buckets and queue by itself, and fetches the history. Thefts under way are not
    learnt; what was set aside is listed.

    Example: bucketwatch init ./AWSLogs --out .
    """
    from pydantic import TypeAdapter, ValidationError

    from detector.core.rule import Size
    from detector.errors import InputError

    names = ("learnt.yaml", *shipped_files())
    there = [path for path in (out / "bucketwatch.yaml", *(out / "rules" / n for n in names)) if path.exists()]
    if there and not force:
        listed = ", ".join(map(str, there))
        raise InputError("is there already", where=listed, remedy="choose another --out, or overwrite with --force")
    try:
        size = TypeAdapter(Size).validate_python(most)
    except ValidationError as error:
        raise InputError(f"--most {most}: expected a size", remedy="write 500M or 4G") from error
    if paths:
        learn(paths, out)
    else:
        from_aws(out, days, size)


def learn(paths: list[str], out: Path, around: Surroundings | None = None) -> None:
    """Read the history under these paths, write config and rules, and tell of it."""
    from detector.errors import InputError
    from replay.history import LEVELS, history
    from replay.propose import level

    found = history(paths)
    if not found.events:
        raise InputError("no successful reads in these logs", where=", ".join(paths), remedy="name data event logs")
    levels = {name: level(found.peaks[name]) for name in LEVELS}
    rules = out / "rules"
    rules.mkdir(parents=True, exist_ok=True)
    (out / "bucketwatch.yaml").write_text(config_of(found, around), "utf-8")
    (rules / "learnt.yaml").write_text(rules_of(found, levels), "utf-8")
    for name, text in (shipped_files() | {"site.yaml": site_of(found)}).items():
        (rules / name).parent.mkdir(exist_ok=True)
        (rules / name).write_text(text, "utf-8")
    tell(found, levels, _digest(paths, rules), out)


def from_aws(out: Path, days: int, most: int) -> None:
    """Find the logs, fetch their last days into a folder that goes again, and learn from them. Raises InputError."""
    import time
    from tempfile import TemporaryDirectory

    from detector.aws.look import Look
    from detector.errors import InputError
    from replay.discover import discover, history_of

    look = Look()
    try:
        around = discover(look)
        tell_around(around)
        known = len(around.unseen)
        chosen, over = history_of(around, look, time.time(), days, most)
        tell_unseen(around.unseen[known:])
    finally:
        look.close()
    if not chosen and over:
        raise InputError(
            f"the newest day alone has {over / 1e6:,.1f} MB of log files, more than --most",
            remedy="allow more with --most, or name log files: bucketwatch init PATH…",
        )
    if not chosen and around.unseen:
        raise InputError(
            "no logs were found, and not all could be looked at",
            remedy="see above: check region, credentials and rights; or name log files: bucketwatch init PATH…",
        )
    if not chosen:
        raise InputError(
            "no log files found" if around.logs else "no trail logs reads of objects, and no bucket has access logs",
            where=", ".join(sorted(f"s3://{logs.bucket}" for logs in around.logs)),
            remedy="name log files (bucketwatch init PATH…), or switch logging on: deploy/new-trail.yaml",
        )
    fetched, size = {one.day for one in chosen}, sum(one.size for one in chosen)
    typer.echo(f"fetching {len(chosen):,} files of {len(fetched)} days, {size / 1e6:,.1f} MB")
    if over:
        typer.echo("  older days would be more than --most: left out")
    with TemporaryDirectory(prefix="bucketwatch-") as folder:
        if gone := fetch(chosen, Path(folder)):
            typer.echo(f"  {gone:,} of them were gone by then")
        learn([folder], out, around)


def fetch(listed: list[Listed], folder: Path) -> int:
    """Log files from S3 into a folder, under numbers: their names are somebody else's. How many were gone.

    Raises EdgeError.
    """
    from concurrent.futures import ThreadPoolExecutor

    from detector.aws.objects import S3Objects
    from detector.aws.session import code_of
    from detector.errors import EdgeError

    objects = S3Objects()

    def one(number: int) -> bool:
        asked = listed[number]
        try:
            data = objects.fetch(asked.bucket, asked.key)
        except EdgeError as error:
            if code_of(error) != "NoSuchKey":
                raise
            return False
        (folder / f"{number:07}").write_bytes(data)
        return True

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        return sum(not done.result() for done in [pool.submit(one, number) for number in range(len(listed))])
    finally:
        pool.shutdown(cancel_futures=True)
        objects.close()


def tell_around(around: Surroundings) -> None:
    """What was found in AWS."""
    from detector.response.plain import printable

    for arn in around.trails[:20]:
        typer.echo(f"trail that logs reads: {printable(arn)}")
    for arn in around.others[:20]:
        typer.echo(f"trail that does not: {printable(arn)}")
    for logs in around.logs:
        told = (
            f"told to {around.queues[logs.bucket]}" if logs.bucket in around.queues else "no queue is told of new files"
        )
        typer.echo(f"{logs.kind}: s3://{printable(logs.bucket)}, {printable(told)}")
    tell_unseen(around.unseen)


def tell_unseen(unseen: list[str]) -> None:
    """What may be missing from all that follows."""
    from detector.response.plain import printable

    for one in unseen[:20]:
        typer.echo(f"could not be looked at: {printable(one)}")


def config_of(found: History, around: Surroundings | None = None) -> str:
    """A config to be gone through by a person."""
    from replay.propose import worth_protecting

    protected = worth_protecting(found)
    lines = [
        f"# Proposed from {found.days} days of history ({_span(found)}). Go through it line by line.",
        "# Every key: docs/operator.md. Then: bucketwatch doctor --config bucketwatch.yaml",
        "",
        *_source_of(around),
        "rules: rules",
        "state: {kind: sqlite, path: state.db}",
        "journal: {path: journal.jsonl}",
        "# For people: {kind: sns, topic_arn: …}",
        "alerts: [{kind: file, path: alerts.jsonl}]",
        "response: {mode: plan}",
        "",
        "# Buckets that are read, most reads first; names that say logs or builds are left out. Keep what matters.",
        "protected_buckets:" if protected else "protected_buckets: []",
        *(f"  - {_quoted(name)}   # {found.buckets[name]:,} reads" for name in protected),
    ]
    return "\n".join(lines) + "\n"


def _source_of(around: Surroundings | None) -> list[str]:
    told = sorted(around.queues.items()) if around else []
    if not told:
        return [
            "# With AWS: source: {kind: sqs, queue_url: …} and accept: {buckets: [the log bucket]}.",
            "source: {kind: directory, path: ./incoming}",
        ]
    url = told[0][1]
    buckets = [bucket for bucket, queue in told if queue == url]
    return [
        "# This queue is told of new log files; another program may read it already.",
        f"source: {{kind: sqs, queue_url: {_quoted(url)}}}",
        f"accept: {{buckets: [{', '.join(map(_quoted, buckets))}]}}",
    ]


def rules_of(found: History, levels: dict[str, Level]) -> str:
    """Volume rules with what was learnt, all staged."""
    lines = [
        f"# Learnt from {found.days} days of history ({_span(found)}). Staged: they page nobody.",
        "# Say `stage: live` when their digest is quiet enough, and each heavy reader is confirmed by its owner.",
        "rules:",
    ]
    until = datetime.fromtimestamp(found.last, UTC).date() + timedelta(days=ASKED_AGAIN)
    for name, one in levels.items():
        lines += _rule(name, one, until)
    return "\n".join(lines) + "\n"


def _rule(name: str, one: Level, until: date) -> list[str]:
    lines = [
        f"  - id: learnt-objects-{name}",
        f"    title: A {name} read {one.threshold:,} objects in five minutes, more than any usually does here",
        "    severity: high",
        "    kind: threshold",
        "    where: {operation: read}",
        f"    group_by: {name}",
        "    measure: objects",
        "    window: 5m",
        f"    threshold: {one.threshold}",
        "    stage: staged",
        "    description: Twice the most that those who are no heavy readers usually read. Proposed by init.",
        "    runbook: As for bulk-object-read; this threshold is learnt, so ask first whether the work is new.",
    ]
    if one.heavy:
        lines.append("    exceptions:")
    for heavy in one.heavy:
        lines += [
            f"      - {name}: {_literal(heavy.who)}",
            f"        allow_up_to: {heavy.allow}",
            f"        until: {until.isoformat()}",
            "        owner: nobody yet, to be confirmed",
            f"        reason: usually reads {heavy.usual:,} objects in five minutes",
        ]
    return lines


def shipped_files() -> dict[str, str]:
    """The shipped rule files and lists, by name; what judges volume is staged. Examples are in a folder."""
    from detector.rules import rule_files, shipped

    found = rule_files(shipped()) | rule_files(shipped() / "examples")
    return {Path(name).relative_to(shipped()).as_posix(): _staged(text) for name, text in sorted(found.items())}


def site_of(found: History) -> str:
    """The shipped site.yaml with the buckets that are worth protecting."""
    from detector.rules import shipped
    from replay.propose import worth_protecting

    listed = ", ".join(map(_literal, worth_protecting(found)))
    text = (shipped() / "site.yaml").read_text("utf-8")
    return text.replace("  protected_buckets: [] ", f"  protected_buckets: [{listed}] ")


def _staged(text: str) -> str:
    """A rule file whose thresholds and baselines page nobody yet."""
    head, *rules = re.split(r"(?=^  - id: )", text, flags=re.MULTILINE)
    judging = re.compile(r"^    kind: (?:threshold|baseline)$", re.MULTILINE)
    return head + "".join(
        rule if "\n    stage:" in rule else judging.sub(r"\g<0>\n    stage: staged", rule) for rule in rules
    )


def _digest(paths: list[str], rules: Path) -> tuple[list[str], list[Finding], dict[str, str]]:
    """Ids of the rules, and what they find in the history."""
    from detector.rules import load_rules
    from replay.run import run

    loaded = load_rules(rules)
    result = run(paths, loaded)
    return [rule.id for rule in loaded], result.findings, dict(result.failures)


def tell(
    found: History, levels: dict[str, Level], digest: tuple[list[str], list[Finding], dict[str, str]], out: Path
) -> None:
    """What was found, proposed and set aside, and what would have paged."""
    from detector.response.plain import printable
    from replay.propose import groups_of, worth_protecting

    say = typer.echo
    say(f"{found.events:,} reads in {found.days} days, {_span(found)}")
    if found.days < 14:
        say("  less than 14 days: thresholds are a first guess, run init again with more")
    say(f"worth protecting: {', '.join(map(printable, worth_protecting(found)[:10])) or 'none found'}")
    for group, roles in list(groups_of(found).items())[:20]:
        say(f"peer group {printable(group)}: {len(roles)} roles")
    for role in sorted(found.services)[:20]:
        say(f"works for a service: {printable(role)}")
    for name, one in levels.items():
        say(f"by {name}: {one.threshold:,} objects in 5 minutes, learnt from {one.learnt}")
        for heavy in one.heavy:
            say(f"  heavy reader, confirm: {printable(heavy.who)}: usually {heavy.usual:,}, allowed {heavy.allow:,}")
        for suspect in one.suspects:
            usual = f"usually {suspect.usual:,}" if suspect.usual else "seen on less than 3 days"
            say(f"  look at this: {printable(suspect.who)} on {_day(suspect.day * 86_400)}: {suspect.peak:,}, {usual}")
    ids, findings, failures = digest
    say("these rules on that history (all of volume are staged and page nobody):")
    for line in per_rule(ids, findings, found.days):
        say(f"  {line}")
    for rule, why in sorted(failures.items()):
        say(f"  {rule} failed: {printable(why)}")
    say(f"written: {out / 'bucketwatch.yaml'}, {out / 'rules'}")


def per_rule(ids: Iterable[str], findings: Iterable[Finding], days: int) -> list[str]:
    """Findings of each rule, and how many a day."""
    counts = Counter(finding.rule_id for finding in findings)
    return [f"{counts[id_]:>6} findings, {counts[id_] / max(1, days):.1f} a day: {id_}" for id_ in sorted(ids)]


def _span(found: History) -> str:
    return f"{_day(found.first)} to {_day(found.last)}"


def _day(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).date().isoformat()


def _quoted(text: str) -> str:
    """As a YAML text, whatever is in it."""
    import json

    return json.dumps(text)


def _literal(name: str) -> str:
    """As a YAML text that stands for this name alone, where globs are read: one character for each wildcard."""
    return _quoted(name.replace("*", "?"))
