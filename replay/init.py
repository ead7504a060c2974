"""`bucketwatch init`: for the operator's first run. History in; a config, staged rules and their digest out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.core.finding import Finding
    from replay.history import History
    from replay.propose import Level

ASKED_AGAIN = 90
"""Days after the end of the history for which proposed exceptions hold."""


def init(
    paths: Annotated[list[str], typer.Argument(help="Log files, folders or globs: two to four weeks of history.")],
    out: Annotated[Path, typer.Option(help="Folder for bucketwatch.yaml and rules/.")] = Path(),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> None:
    """Learn from history: write a config and staged rules, and say what they would have paged.

    Thefts under way are not learnt; what was set aside is listed. Example: bucketwatch init ./AWSLogs --out .
    """
    from detector.errors import InputError
    from replay.history import LEVELS, history
    from replay.propose import level

    config, rules = out / "bucketwatch.yaml", out / "rules"
    there = [path for path in (config, rules / "learnt.yaml", rules / "shipped.yaml") if path.exists()]
    if there and not force:
        listed = ", ".join(map(str, there))
        raise InputError("is there already", where=listed, remedy="choose another --out, or overwrite with --force")
    found = history(paths)
    if not found.events:
        raise InputError("no successful reads in these logs", where=", ".join(paths), remedy="name data event logs")
    levels = {name: level(found.peaks[name]) for name in LEVELS}
    rules.mkdir(parents=True, exist_ok=True)
    config.write_text(config_of(found), "utf-8")
    (rules / "learnt.yaml").write_text(rules_of(found, levels), "utf-8")
    (rules / "shipped.yaml").write_text(shipped_of(), "utf-8")
    tell(found, levels, _digest(paths, rules), out)


def config_of(found: History) -> str:
    """A config to be gone through by a person."""
    from replay.propose import worth_protecting

    protected = worth_protecting(found)
    lines = [
        f"# Proposed from {found.days} days of history ({_span(found)}). Go through it line by line.",
        "# Every key: docs/operator.md. Then: bucketwatch doctor --config bucketwatch.yaml",
        "",
        "# With AWS: source: {kind: sqs, queue_url: …} and accept: {buckets: [the log bucket]}.",
        "source: {kind: directory, path: ./incoming}",
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


def shipped_of() -> str:
    """The shipped rules in one file; those of volume staged."""
    from detector.rules import rule_files, shipped

    lines = ["# The shipped rules; those that judge volume are staged.", "rules:"]
    for name, text in sorted(rule_files(shipped()).items()):
        body = text.partition("\nrules:\n")[2].rstrip("\n").split("\n")
        if "bulk" in Path(name).name:
            body = [line + "\n    stage: staged" * line.startswith("    kind:") for line in body]
        lines += [*body, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


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
