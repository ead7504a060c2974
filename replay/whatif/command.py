"""`bucketwatch rules tune` and `rules diff`: what rules would have done in history. Only arguments and exit codes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replay.arguments import AsJson, Jobs, Logs, Model, Rules, Since, Until, admission

if TYPE_CHECKING:
    from detector.core.rule import Threshold
    from replay.reader import Reads
    from replay.whatif.summary import Summary

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def tune(
    rule: Annotated[str, typer.Argument(help="Id of a threshold rule, or a rule file that has one.")],
    logs: Logs,
    rules: Rules = None,
    window: Annotated[
        list[str] | None,
        typer.Option(help="A window to look at, such as 15m; may be repeated.", show_default="its own and neighbours"),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="JSON file of thefts that history is known to hold.")] = None,
    pages_per_day: Annotated[float, typer.Option(min=0, help="The budget: how many pages a day may be.")] = 1.0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for summaries, so that the same history is read once.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Draw a chart: a file that ends in .svg or .html.")] = None,
    since: Since = "",
    until: Until = "",
    jobs: Jobs = 1,
    *,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """What other thresholds and windows of a rule would have found in history, and which to take.

    Example: bucketwatch rules tune bulk-object-read-session ./AWSLogs --pages-per-day 0.5
    """
    from replay.terminal import complain
    from replay.whatif import chart
    from replay.whatif.labels import read_labels
    from replay.whatif.shown import Tuning, show, to_json
    from replay.whatif.suggest import suggest
    from replay.whatif.tune import tables, windows_of

    chosen = _chosen(rule, rules)
    windows = tuple(sorted({*map(_window, window), chosen.window})) if window else windows_of(chosen)
    known = read_labels(labels) if labels else []
    if out:
        chart.check(out)
    began = time.monotonic()
    summary, cached, reads, failures = _history(logs, chosen, cache, since, until, jobs, quiet=quiet or as_json)
    read = time.monotonic()
    found = tables(summary, chosen, windows, known)
    suggestion = suggest(summary, chosen, found, pages_per_day)
    took = read - began, time.monotonic() - read
    tuning = Tuning(chosen, summary, found, pages_per_day, suggestion, cached, *took)
    if as_json:
        typer.echo(json.dumps(to_json(tuning), indent=1))
    else:
        from rich.console import Console

        show(tuning, Console(highlight=False, markup=False), every=bool(window))
    if out:
        chart.write(tuning, out)
    if reads is not None:
        complain(reads, failures)


def diff(
    old: Annotated[Path, typer.Argument(help="A rule file or a folder of them: as it was.")],
    new: Annotated[Path, typer.Argument(help="A rule file or a folder of them: as it is to be.")],
    logs: Logs,
    since: Since = "",
    until: Until = "",
    jobs: Jobs = 1,
    *,
    model: Model = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="Exit with status 3 if anything changed.")
    ] = False,
) -> None:
    """Which findings of history a change of rules makes or unmakes, and what it does to pages a day.

    Example: bucketwatch rules diff rules.before rules ./AWSLogs
    """
    from detector.core.rule import BaselineRule
    from detector.rules import load_rules
    from replay.options import Options
    from replay.terminal import complain, progress_bar
    from replay.whatif.diff import difference
    from replay.whatif.diff_shown import show, to_json

    before, after = (
        [rule for rule in load_rules(path) if model or not isinstance(rule, BaselineRule)] for path in (old, new)
    )
    with progress_bar(quiet=quiet or as_json) as progress:
        found = difference(logs, before, after, Options(admission(since, until), jobs, progress=progress))
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=1))
    else:
        from rich.console import Console

        show(found, Console(highlight=False, markup=False))
    complain(found.reads, {**found.old.failures, **found.new.failures})
    if fail_on_change and found.changes:
        raise typer.Exit(3)


def _chosen(rule: str, rules: Path | None) -> Threshold:
    """The rule of this id, or the only threshold rule in the file of this name."""
    import difflib

    from detector.core.rule import Threshold
    from detector.errors import InputError
    from detector.rules import load_book, shipped

    path = Path(rule)
    in_file = rules is None and path.suffix in (".yaml", ".yml") and path.exists()
    book = load_book(path if in_file else rules or shipped())
    loaded = book.rules
    tunable = {one.id: one for one in loaded if isinstance(one, Threshold)}
    if in_file and len(tunable) == 1:
        return next(iter(tunable.values()))
    if rule in tunable:
        return tunable[rule]
    where = rule if in_file else str(rules or shipped())
    listed = ", ".join(sorted(tunable)) or "none"
    if in_file:
        raise InputError(
            f"expected one threshold rule in the file, got: {listed}",
            where=where,
            remedy=f"name one by its id: bucketwatch rules tune ID … --rules {rule}",
        )
    if rule in book.waiting:
        raise InputError(
            f"'{rule}' is not evaluated: it waits for {', '.join(book.waiting[rule])}", where=where,
            remedy="say under `site` what that is here (site.yaml)",
        )  # fmt: skip
    wrong_kind = next((one.kind for one in loaded if one.id == rule), None)
    what = f"a rule of kind {wrong_kind} has no threshold to tune" if wrong_kind else f"no rule with the id '{rule}'"
    close = difflib.get_close_matches(rule, tunable, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(what, where=where, remedy=f"{hint}threshold rules there: {listed}")


def _window(text: str) -> int:
    """Seconds of a window that a rule may have."""
    from pydantic import ValidationError

    from detector.core.rule import Threshold
    from detector.errors import InputError

    any_rule = {"id": "x", "title": "x", "severity": "info", "kind": "threshold", "measure": "requests", "threshold": 1}
    try:
        return Threshold.model_validate(any_rule | {"window": text}).window
    except ValidationError as error:
        raise InputError(f"--window: {error.errors()[0]['ctx']['error']}") from error


def _history(
    logs: list[str], rule: Threshold, cache: Path | None, since: str, until: str, jobs: int, *, quiet: bool
) -> tuple[Summary, bool, Reads | None, dict[str, str]]:
    """The summary of history; whether it was in the cache; what came of the files, if they were read."""
    from detector.core.dated import Period
    from replay.files import find
    from replay.options import Options
    from replay.terminal import progress_bar
    from replay.whatif import shelf
    from replay.whatif.summary import summarise

    options = Options(admission(since, until), jobs)
    files = find(logs, Period.of(options.admission))
    kept = shelf.Shelf(cache) if cache else None
    before = shelf.stamps_of(files) if kept else None
    digests = shelf.digests_of(files) if kept else None
    name = shelf.name_of(digests, rule, options) if digests is not None else ""
    if kept and name and (found := kept.get(name)) is not None:
        return found, True, None, {}
    with progress_bar(quiet=quiet) as progress:
        summary, reads, failures = summarise(files, rule, Options(options.admission, jobs, progress=progress))
    whole = not (failures or reads.damaged_count or reads.unknown)
    if kept and name and whole and before is not None and before == shelf.stamps_of(files):
        kept.put(name, summary)
    return summary, False, reads, dict(failures)
