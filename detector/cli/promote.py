"""`bucketwatch rules promote`: a staged rule goes live, once somebody has seen what it would have paged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from detector.core.rulefile import Located

NAMED = 10
"""Groups, and days, that are shown at most."""


def promote(
    rule: Annotated[str, typer.Argument(help="The id of a staged rule.")],
    config: Annotated[Path, typer.Option(help="The config file: where rules and journal are.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what a staged rule did, from the journal, and set it live in its file: nothing else there changes.

    Example: bucketwatch rules promote bulk-object-read-role-24h --config bucketwatch.yaml
    """
    import os

    from detector.cli.planned import journal_lines
    from detector.errors import InputError
    from detector.rules import rule_files
    from detector.settings import read_settings

    settings = read_settings(config, os.environ)
    if settings.rules is None:
        raise InputError(
            "the shipped rules are no files of yours", where=str(config), remedy="copy them into a folder: `rules: …`"
        )
    files = rule_files(settings.rules)
    staged = _staged(settings.rules, files, rule)
    path = settings.journal.path
    begun = path is None or Path(path).exists()  # before its first start a daemon has none
    _show(rule, _alerts(journal_lines(settings, None) if begun else (), rule))
    if not yes and not typer.confirm(f"From now on {rule} pages ({staged.rule.severity}). Set it live?"):
        raise typer.Exit(1)
    _write(Path(staged.file), live(files, staged))
    typer.echo(f"{staged.file}:{staged.line('stage')}: {rule} is live; a running daemon takes it up by itself")


def _staged(path: Path, files: Mapping[str, str], rule: str) -> Located:
    """Where a staged rule is written. Raises InputError."""
    import difflib

    from detector.core.rulefile import read_written
    from detector.errors import InputError

    rules = {located.rule.id: located for located in read_written(files).rules}
    if rule not in rules:
        close = difflib.get_close_matches(rule, rules, 1)
        remedy = f"did you mean {close[0]}?" if close else f"`bucketwatch rules list {path}` says which there are"
        raise InputError(f"no rule has the id {rule}", where=str(path), remedy=remedy)
    if rules[rule].waits:
        raise InputError(
            f"{rule} is not evaluated: it waits for {', '.join(rules[rule].waits)}", where=rules[rule].file,
            remedy="say under `site` what that is here (site.yaml), and read the rule's digest first",
        )  # fmt: skip
    if rules[rule].rule.stage != "staged":
        raise InputError("it is live already", where=f"{rules[rule].file}: {rule}")
    return rules[rule]


def _alerts(lines: Iterable[bytes], rule: str) -> list[Mapping[str, Any]]:
    """What a rule found while it was staged."""
    from detector.chain import parsed

    needle = rule.encode()
    entries = (parsed(line) for line in lines if needle in line)
    bodies = (entry["body"] for entry in entries if entry and entry.get("kind") == "finding")
    return [b for b in bodies if isinstance(b, dict) and b.get("rule_id") == rule and b.get("stage") == "staged"]


def _show(rule: str, alerts: list[Mapping[str, Any]]) -> None:
    from detector.response.plain import printable

    opened = [alert for alert in alerts if alert.get("state") == "opened"]
    if not opened:
        typer.echo(f"{rule} found nothing while it was staged, as far as the journal goes")
        return
    days = Counter(str(alert.get("opened_at", ""))[:10] for alert in opened)
    groups = Counter(_group(alert) for alert in opened)
    taken_back = sum(alert.get("state") == "withdrawn" for alert in alerts)
    typer.echo(f"{rule} would have paged {len(opened):,} times on {len(days):,} days; {taken_back:,} withdrawn")
    for day, count in sorted(days.items())[-NAMED:]:
        typer.echo(f"  {printable(day, 10)}  {count:,}")
    for group, count in groups.most_common(NAMED):
        peak = max((a.get("peak_value") or 0 for a in alerts if _group(a) == group), default=0)
        typer.echo(f"  {count:>6,}  peak {peak:,}  {printable(group, 300)}")
    if len(groups) > NAMED:
        typer.echo(f"  and {len(groups) - NAMED:,} other groups")


def _group(alert: Mapping[str, Any]) -> str:
    return ", ".join(map(str, (alert.get("group") or {}).values()))


def live(files: Mapping[str, str], staged: Located) -> str:
    """The rule's file with the one word changed. Raises InputError if this would change anything else, or nothing."""
    from detector.core.document import locate
    from detector.core.rulefile import read_rules
    from detector.errors import InputError

    line, column = locate(staged.node, ["stage"])
    lines = files[staged.file].splitlines(keepends=True)
    before, after = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
    lines[line - 1] = before + after.replace("staged", "live", 1)
    changed = "".join(lines)
    stages = {one.id: one.stage for one in read_rules(files)}
    if {one.id: one.stage for one in read_rules({**files, staged.file: changed})} != stages | {staged.rule.id: "live"}:
        raise InputError(
            "the word could not be changed", where=f"{staged.file}:{line}:{column}", remedy="write `stage: live` there"
        )
    return changed


def _write(path: Path, text: str) -> None:
    """All or nothing: a daemon may read it at any moment."""
    from detector.errors import InputError

    new = path.with_name(f".{path.name}.tmp")
    try:
        new.write_bytes(text.encode("utf-8"))
        new.chmod(path.stat().st_mode & 0o7777)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from error
