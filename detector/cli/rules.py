"""`bucketwatch rules`: for the person who writes rule files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check and list rule files.", no_args_is_help=True, rich_markup_mode=None)

OptionalRulesPath = Annotated[
    Path | None, typer.Argument(help="A rule file or a folder of them. Default: the shipped rules.", show_default=False)
]


@app.command()
def check(paths: Annotated[list[Path], typer.Argument(help="Rule files or folders of them.")]) -> None:
    """Say everything that is wrong with rule files: file:line:column: field: expected …, got …."""
    from datetime import UTC, datetime

    from detector.core.rulefile import read_rules
    from detector.errors import InputError
    from detector.rules import hints, rule_files

    files = {name: text for path in paths for name, text in rule_files(path).items()}
    rules = read_rules(files)
    if not rules:
        raise InputError(
            "no rules in here: nothing would ever be detected", where=", ".join(files), remedy="add a rule"
        )
    for hint in hints(rules, int(datetime.now(UTC).timestamp())):
        typer.echo(f"note: {hint}", err=True)
    typer.echo(f"{len(rules)} rules in {len(files)} file{'s' if len(files) != 1 else ''}: nothing wrong")


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
def list_(path: OptionalRulesPath = None) -> None:
    """List rules: id, severity, kind, what fires them."""
    from detector.rules import load_rules, shipped

    for rule in load_rules(path or shipped()):
        typer.echo(f"{rule.id:32} {rule.severity:8} {rule.kind:10} {rule.stage:7} {rule.summary}")
