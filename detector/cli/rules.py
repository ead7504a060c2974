"""`bucketwatch rules`: for the person who writes rule files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.promote import promote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from detector.core.rulefile import Located
    from detector.errors import Problem
    from detector.trial import Verdict

app = typer.Typer(help="Check and list rule files.", no_args_is_help=True, rich_markup_mode=None)

app.command()(promote)

OptionalRulesPath = Annotated[
    Path | None, typer.Argument(help="A rule file or a folder of them. Default: the shipped rules.", show_default=False)
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def check(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Rule files or folders of them. Default: the shipped rules.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say everything that is wrong with rule files: file:line:column: field: expected …, got ….

    Example: bucketwatch rules check rules/bulk-read.yaml
    """
    import json

    from detector.errors import RuleFileError
    from detector.response.plain import printable
    from detector.rules import rule_files, shipped

    files = {name: text for path in paths or [shipped()] for name, text in rule_files(path).items()}
    try:
        located, told = _checked(files)
    except RuleFileError as error:
        if not as_json:
            raise
        located, told = [], [(problem, True) for problem in error.problems]
    wrong = [problem for problem, error in told if error]
    if as_json:
        typer.echo(json.dumps({"rules": len(located), "files": len(files), "problems": _as_json(told)}, indent=1))
        raise typer.Exit(2 if wrong else 0)
    for note in (problem for problem, error in told if not error):
        typer.echo(printable(f"{note.file}:{note.line}:{note.column}: note: {note.message}", 1000), err=True)
    if wrong:
        raise RuleFileError(wrong)
    typer.echo(f"{len(located)} rules in {len(files)} file{'s' if len(files) != 1 else ''}: nothing wrong")
    if waiting := [one for one in located if one.waits]:
        names = sorted({name for one in waiting for name in one.waits})
        typer.echo(f"{len(waiting)} of them are not evaluated: `site` does not say what is {', '.join(names)}")


def _checked(files: Mapping[str, str]) -> tuple[list[Located], list[tuple[Problem, bool]]]:
    """The rules, and what is to be said of them: a problem, or else a note. Raises RuleFileError, InputError."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from detector.core.lint import remarks, suppression_remarks
    from detector.core.rulefile import read_written
    from detector.errors import InputError

    written = read_written(files)
    located = written.rules
    if not located:
        raise InputError(
            "no rules in here: nothing would ever be detected", where=", ".join(files), remedy="add a rule"
        )
    now = int(datetime.now(UTC).timestamp())
    by_id = {one.rule.id: one for one in located}
    told = [
        (by_id[rule.id].problem(remark.path, remark.message), remark.error)
        for rule, remark in remarks([one.rule for one in located], now)
    ]
    told += [
        (replace(place, message=remark.message), remark.error)
        for one, place in written.suppressions
        for remark in suppression_remarks(one, by_id, now)
    ]
    return [*located], told


def _as_json(told: Iterable[tuple[Problem, bool]]) -> list[dict[str, Any]]:
    return [
        {"file": one.file, "line": one.line, "column": one.column, "message": one.message,
         "kind": "error" if error else "note"}
        for one, error in told
    ]  # fmt: skip


@app.command()
def schema() -> None:
    """Print the JSON Schema of rule files, for editors that complete and check as one types.

    Example: bucketwatch rules schema > rules.schema.json, and in a rule file's first line:
    # yaml-language-server: $schema=rules.schema.json
    """
    import json

    from detector.core.schema import rule_file_schema

    typer.echo(json.dumps(rule_file_schema(), indent=1))


@app.command("list")
def list_(
    path: OptionalRulesPath = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List rules: id, severity, kind, stage, what fires them.

    Example: bucketwatch rules list rules/ --json
    """
    import json

    from detector.core.rulefile import read_written
    from detector.rules import rule_files, shipped

    heads = ("id", "severity", "kind", "stage", "summary")
    located = read_written(rule_files(path or shipped())).rules
    rows = [[getattr(one.rule, head) for head in heads] for one in located]
    if as_json:
        told = [
            dict(zip(heads, row, strict=True)) | ({"waits": list(one.waits)} if one.waits else {})
            for one, row in zip(located, rows, strict=True)
        ]
        typer.echo(json.dumps(told, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False)
    for head in heads:
        grid.add_column(head, overflow="fold", no_wrap=head != "summary")
    for one, (*first, stage, summary) in zip(located, rows, strict=True):
        line = f"for {', '.join(one.waits)}; {summary}" if one.waits else summary
        grid.add_row(*first, "waits" if one.waits else stage, line)
    Console(markup=False, highlight=False).print(grid)


@app.command("test")
def run_tests(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Rule files or folders of them. Default: the shipped rules.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the results as JUnit XML, for a build machine.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Run the tests inside rule files, each in every way that must not matter. Exit status 3 if one fails.

    Example: bucketwatch rules test rules/ --junit rules.xml
    """
    import json

    from detector.core.rulefile import read_written
    from detector.errors import UnreadablePathError
    from detector.rules import rule_files, shipped
    from detector.trial import junit_of, trial

    files = {name: text for path in paths or [shipped()] for name, text in rule_files(path).items()}
    located = read_written(files).rules
    results: list[tuple[str, Verdict]] = []
    for one in located:
        for number, example in enumerate(one.rule.tests):
            results.append((f"{one.file}:{one.line('tests', number)}", trial(one.tested, example)))
            if not as_json and not results[-1][1].passed:
                _tell(*results[-1])
    if junit is not None:
        try:
            junit.write_text(junit_of(results), "utf-8")
        except OSError as error:
            raise UnreadablePathError(
                f"cannot be written: {error.strerror}", where=str(junit), remedy="name another file with --junit"
            ) from error
    if as_json:
        typer.echo(json.dumps([{"where": place} | verdict.to_json() for place, verdict in results], indent=1))
    else:
        _sum_up([verdict for _, verdict in results], [one.rule.id for one in located if not one.rule.tests])
    if not all(verdict.passed for _, verdict in results):
        raise typer.Exit(3)


def _tell(place: str, verdict: Verdict) -> None:
    from detector.response.plain import printable

    typer.echo(f"{place}: {verdict.rule_id}: {printable(verdict.name)}: failed, {verdict.way}")
    for line in verdict.problems:
        typer.echo(f"    {printable(line, 1000)}")


def _sum_up(verdicts: list[Verdict], untested: list[str]) -> None:
    failed = sum(not verdict.passed for verdict in verdicts)
    rules = len({verdict.rule_id for verdict in verdicts})
    typer.echo(f"{len(verdicts)} tests of {rules} rules: {failed or 'none'} failed")
    if untested:
        typer.echo(f"without tests: {', '.join(untested)}")
