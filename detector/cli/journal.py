"""`bucketwatch journal`: for the auditor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check the journal of findings and actions.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _journal() -> None: ...


@app.command()
def verify(path: Annotated[Path, typer.Argument(help="The journal file.")]) -> None:
    """Check the hash chain of a journal: an edit, a reordering or a cut in the middle is found (exit status 3).

    A cut at the end is not: compare the last hash with a copy kept elsewhere.
    """
    from detector.errors import UnreadablePathError
    from detector.journal import verify as problems_of

    if not path.is_file():
        raise UnreadablePathError("no such file", where=str(path), remedy="name journal.path of your config")
    problems = problems_of(path)
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(3)
    typer.echo(f"{path}: the chain is whole")
