"""`bucketwatch decoy`: for the operator. Plan objects that nobody has reason to read, plant them, list and remove them.

The work is in `detector.decoy`; here are arguments, what is read for a plan (a listing, the history), and messages.
What is written needs rights that the daemon must not have: it is done with the credentials of whoever runs this.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from detector.decoy.planning import Neighbour
    from detector.decoy.planting import Done
    from detector.decoy.registry import Decoy, Plan
    from detector.source import Plot

app = typer.Typer(
    help="Decoys: objects nobody has reason to read. Plan, plant, list and remove them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LISTED = 1_000_000
"""Objects of one target that are looked at, at most."""
SHARES = (0.01, 0.1, 0.5)

Registry = Annotated[
    str, typer.Option(help="Where the registry lies: a folder, or s3://bucket/prefix. The daemon's `decoys` names it.")
]
Root = Annotated[
    Path | None, typer.Option(help="A folder of folders that stand for buckets, instead of S3 (to try it out).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def plan(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="s3://bucket or s3://bucket/prefix/")],
    out: Annotated[Path, typer.Option(help="The plan is written here. It is secret.")],
    logs: Annotated[
        list[str] | None, typer.Option(help="Log files, folders or globs: who reads which folders whole.")
    ] = None,
    seed: Annotated[Path, typer.Option(help="Secret that decides the names; made if it is not there.")] = Path(
        "decoys.seed"
    ),
    per_folder: Annotated[int, typer.Option(min=1, max=1000, help="Decoys of a folder.")] = 3,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="Decoys in all; the fullest folders come first.")] = 100,
    largest: Annotated[str, typer.Option(help="Size of a decoy at most, such as 1M.")] = "1M",
    root: Root = None,
    *,
    listing: Annotated[
        bool, typer.Option("--listing/--no-listing", help="Take the names from a listing, or from the logs.")
    ] = True,
    even_so: Annotated[
        bool, typer.Option("--even-so", help="Also where a role reads the whole folder: it needs to be a reader.")
    ] = False,
) -> None:
    """Plan decoys: names like their neighbours', sizes and classes like theirs. Nothing is written but the plan.

    Example: bucketwatch decoy plan s3://ml-voice/raw/ --logs ./AWSLogs --out decoys-plan.json
    """
    from detector.core.rule import size
    from detector.core.times import iso
    from detector.decoy import planning
    from detector.decoy.registry import encode
    from detector.errors import InputError

    places = [_target(text) for text in targets]
    if not listing and not logs:
        raise InputError("without a listing the names come from the logs", remedy="add --logs PATH")
    if out.exists():
        raise InputError("there is a file already", where=str(out), remedy="choose another --out")
    try:
        wish = planning.Wish(per_folder, most, size(largest), even_so)
    except ValueError as error:
        raise InputError(f"--largest: {error}") from error
    read, named = _history(logs or [], places)
    there = _listed(_plot(root), places) if listing else named
    made = planning.plan(planning.folders_of(there, read), wish, _seed(seed), made_at=iso(int(time.time())))
    _write_secret(out, encode(made))
    _say_plan(made, out)


@app.command()
def plant(
    path: Annotated[Path, typer.Argument(metavar="PLAN", help="What `decoy plan` wrote; entries may be taken out.")],
    registry: Registry,
    most: Annotated[int | None, typer.Option(min=1, help="Plant so many now, the others another time.")] = None,
    root: Root = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Plant a plan's decoys. An object that is there is never overwritten. Safe to repeat.

    Example: bucketwatch decoy plant decoys-plan.json --registry decoys/
    """
    from detector.cli.joined import place
    from detector.decoy import planting
    from detector.decoy.registry import decode
    from detector.errors import UnreadablePathError

    try:
        made = decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=str(path)) from error
    buckets = ", ".join(sorted({one.bucket for one in made.decoys}))
    if not yes and not typer.confirm(f"Put up to {most or len(made.decoys)} objects into {buckets}?", err=as_json):
        typer.echo("Nothing was done.", err=as_json)
        return
    done = planting.plant(made, _plot(root), place(registry), int(time.time()), most=most)
    _tell(done, "planted", as_json=as_json)


@app.command("list")
def list_(
    registry: Registry,
    root: Root = None,
    *,
    look: Annotated[bool, typer.Option("--look", help="Also whether each still lies there. Reads none.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the decoys of a registry.

    Example: bucketwatch decoy list --registry decoys/ --look
    """
    from detector.cli.joined import place
    from detector.decoy import planting
    from detector.decoy.registry import decoys, read_all

    every = list(decoys(read_all(place(registry))))
    if look:
        _tell(planting.look(every, _plot(root)), "there", as_json=as_json)
        return
    if as_json:
        typer.echo(json.dumps([_plain(one, one.state) for one in every], indent=1))
        return
    for one in every:
        typer.echo(_line(one.state, one.bucket, one.key, one.at))
    typer.echo(f"{sum(one.state == 'planted' for one in every):,} decoys are planted")


@app.command()
def remove(
    registry: Registry,
    only: Annotated[
        list[str] | None, typer.Option(help="s3://bucket/key, globs allowed (`*` crosses slashes). Default: all.")
    ] = None,
    root: Root = None,
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove decoys that still are what was planted; anything else that lies there now stays.

    Example: bucketwatch decoy remove --registry decoys/ --only 's3://ml-voice/raw/*'
    """
    from detector.cli.joined import place
    from detector.core.globs import glob
    from detector.decoy import planting
    from detector.decoy.registry import decode, read_all

    files, wanted = place(registry), glob(only) if only else None

    def chosen(one: Decoy) -> bool:
        return wanted is None or wanted.fullmatch(f"s3://{one.bucket}/{one.key}") is not None

    plans = [decode(text, name) for name, text in sorted(read_all(files).items())]
    count = sum(one.state == "planted" and chosen(one) for made in plans for one in made.decoys)
    if not yes and not typer.confirm(f"Remove {count} decoys?", err=as_json):
        typer.echo("Nothing was done.", err=as_json)
        return
    now = int(time.time())
    removed = (done for made in plans for done in planting.remove(made, _plot(root), files, now, chosen))
    _tell(removed, "removed", as_json=as_json)


def _target(text: str) -> tuple[str, str]:
    from detector.errors import InputError

    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not bucket:
        raise InputError(f"expected s3://bucket or s3://bucket/prefix/, got {text!r}")
    return bucket, prefix


def _plot(root: Path | None) -> Plot:
    if root is not None:
        from detector.local.plot import FolderPlot

        return FolderPlot(root)
    from detector.aws.plot import S3Plot

    return S3Plot()


def _listed(plot: Plot, places: Iterable[tuple[str, str]]) -> list[Neighbour]:
    from detector.decoy.planning import Neighbour

    return [
        Neighbour(bucket, one.key, one.size, one.storage_class)
        for bucket, prefix in places
        for one in plot.listed(bucket, prefix, LISTED)
    ]


def _history(
    logs: list[str], places: list[tuple[str, str]]
) -> tuple[Mapping[tuple[str, str], Mapping[str, int]], list[Neighbour]]:
    """Of the objects below these places: how many each role has read, by folder; and all that were read or written."""
    from detector.core.access import Operation
    from detector.core.finding import prefix_of
    from detector.decoy.planning import Neighbour
    from replay.files import find
    from replay.reader import batches, records

    sizes: dict[tuple[str, str], int] = {}
    read: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    columns = frozenset({"bucket", "key", "bytes"})
    for batch, _ in batches(find(logs), lambda files: records(files, columns)) if logs else ():
        rows = zip(
            batch.text["bucket"].texts(), batch.text["key"].texts(), batch.operation.tolist(), batch.outcome.tolist(),
            batch.bytes.tolist(), batch.who.tolist(), strict=True,
        )  # fmt: skip
        for bucket, key, operation, outcome, size, who in rows:
            if not bucket or not key or outcome or not _within(bucket, key, places):
                continue
            if operation in (Operation.read, Operation.copy):
                sizes[bucket, key] = max(size, sizes.get((bucket, key), -1)) or -1
                read[bucket, prefix_of(key)][batch.principals[who].role_shown].add(key)
            elif operation == Operation.write:
                sizes.setdefault((bucket, key), -1)
    counts = {folder: {role: len(keys) for role, keys in roles.items()} for folder, roles in read.items()}
    return counts, [Neighbour(bucket, key, size) for (bucket, key), size in sizes.items()]


def _within(bucket: str, key: str, places: Iterable[tuple[str, str]]) -> bool:
    return any(bucket == name and key.startswith(prefix) for name, prefix in places)


def _seed(path: Path) -> bytes:
    from detector.errors import InputError

    if not path.exists():
        _write_secret(path, secrets.token_hex(32).encode() + b"\n")
    seed = path.read_bytes().strip()
    if len(seed) < 16:
        raise InputError("expected 16 bytes or more: short seeds are guessed", where=str(path), remedy="remove it")
    return seed


def _write_secret(path: Path, data: bytes) -> None:
    """Write a new file that only its owner reads. Raises UnreadablePathError."""
    from detector.errors import UnreadablePathError

    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise UnreadablePathError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _say_plan(made: Plan, out: Path) -> None:
    from detector.decoy.planning import chance
    from detector.response.plain import printable

    folders: dict[str, int] = defaultdict(int)
    for one in made.decoys:
        folders[one.bucket + "/" + one.key.rpartition("/")[0]] += 1
    for name, count in folders.items():
        met = ", ".join(f"{share:.0%}: {chance(count, share):.0%}" for share in SHARES)
        typer.echo(f"{printable(name)}: {count} decoys; who reads so much of it at random meets one: {met}")
    for passed in made.passed_over:
        typer.echo(f"{printable(passed.folder)}: none: {printable(passed.why)}")
    typer.echo(f"{len(made.decoys):,} decoys planned in {out}; it is secret: who has it knows what to leave alone")


def _tell(done: Iterable[Done], wanted: str, *, as_json: bool) -> None:
    """What came of each; exit status 3 if anything is not as it should be."""
    counts: dict[bool, int] = {True: 0, False: 0}
    every = []
    for one, told in done:
        every.append(_plain(one, told))
        if not as_json:
            typer.echo(_line(told, one.bucket, one.key, ""))
        counts[told.startswith((wanted, "there already", "gone already", "planned"))] += 1
    summed = f"{counts[True]:,} {wanted}" + (f", {counts[False]:,} not" if counts[False] else "")
    typer.echo(json.dumps(every, indent=1) if as_json else summed)
    if counts[False]:
        raise typer.Exit(3)


def _plain(one: Decoy, told: str) -> dict[str, str]:
    return {"bucket": one.bucket, "key": one.key, "state": told, "at": one.at}


def _line(told: str, bucket: str, key: str, at: str) -> str:
    from detector.response.plain import printable

    return f"{told:10} s3://{bucket}/{printable(key)} {at}".rstrip()
