"""`bucketwatch journal`: for the auditor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.chain import Verdict

app = typer.Typer(help="Check the journal of findings and actions.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _journal() -> None: ...


@app.command()
def verify(
    place: Annotated[str, typer.Argument(metavar="PATH", help="The journal: a file, or s3://bucket/prefix.")],
    head: Annotated[str, typer.Option(help="A hash kept elsewhere: it has to be in the chain.", metavar="HASH")] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the hash chain of a journal: any edit, reordering, repetition, or cut in the middle (exit status 3).

    In S3 also objects that are none of it, and objects written or deleted again. A cut at the end is found with --head:
    the daemon's log has the last hash at every start and stop (`journal_head`).

    Example: bucketwatch journal verify journal.jsonl
    """
    import json
    import re

    if head and not re.fullmatch(r"[0-9a-f]{64}", head):
        from detector.errors import InputError

        raise InputError("--head is no hash", remedy="expected the 64 hexadecimal digits of an entry's `hash`")
    found = _examined(place, head)
    lost = bool(head) and not found.seen
    if as_json:
        told = {"path": place, "problems": found.problems, "notes": list(found.notes), "entries": found.head.seq}
        typer.echo(json.dumps(told | {"head": found.head.hash, "head_seen": found.seen if head else None}, indent=1))
        raise typer.Exit(3 if found.problems or lost else 0)
    for problem in found.problems:
        typer.echo(problem)
    for note in found.notes:
        typer.echo(note, err=True)
    if lost:
        typer.echo(f"no entry has the hash {head}: the end was cut, or this is another journal")
    if found.problems or lost:
        raise typer.Exit(3)
    typer.echo(f"{place}: the chain is whole; its last entry is {found.head.seq}, with hash {found.head.hash}")


def _examined(place: str, head: str) -> Verdict:
    from detector.errors import UnreadablePathError

    if place.startswith("s3://"):
        from detector.aws.journal import examine as in_bucket

        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        return in_bucket(bucket, prefix, head)
    from detector.journal import examine

    if not Path(place).is_file():
        raise UnreadablePathError("no such file", where=place, remedy="name journal.path of your config")
    return examine(place, head)
