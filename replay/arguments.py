"""What commands that read logs are given alike: each argument once, with its help, and what is made of it.

Imports what takes long inside functions: `bucketwatch --help` reads this file.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.core.admit import Admission
    from detector.core.owner import Owners
    from detector.core.redaction import Redaction

Logs = Annotated[
    list[str], typer.Argument(help="Log files, folders, globs or s3://bucket/prefix. Kinds are told apart by content.")
]
Rules = Annotated[Path | None, typer.Option(help="A rule file or a folder of them.", show_default="the shipped rules")]
Since = Annotated[str, typer.Option(help="Only records from this time on (ISO 8601, UTC).")]
Until = Annotated[str, typer.Option(help="Only records before this time (ISO 8601, UTC).")]
Prefer = Annotated[
    list[str] | None, typer.Option(help="GLOB=cloudtrail or GLOB=server_access: the log that counts for a bucket.")
]
Owner = Annotated[
    list[str] | None,
    typer.Option(
        help="Whose an object is, as its key says: a pattern such as '{contractor}/**'. May be repeated; the first "
        "that fits counts.",
        show_default="nobody's",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="Processes that read and parse.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder in which parsed records are kept as Parquet: the next question to these logs reads them there, "
        "and a reading that was interrupted goes on where it stopped.",
        show_default="none: an interrupted reading begins anew",
    ),
]
Tmp = Annotated[
    Path | None,
    typer.Option(
        help="Folder for what memory has no room for, and for records that evidence may ask for again (1 GB at most).",
        show_default="the system's temporary folder",
    ),
]
Decoys = Annotated[
    str, typer.Option(help="The registry of decoys: a folder or s3://bucket/prefix.", show_default="none")
]
RedactKeys = Annotated[str, typer.Option(help="Object keys in the output: none, prefix or hash.")]
Model = Annotated[bool, typer.Option("--model/--no-model", help="Judge baseline rules (the online model).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def admission(since: str = "", until: str = "", prefer: Sequence[str] | None = None) -> Admission:
    """What counts at all. Raises InputError."""
    from detector.core.admit import Admission
    from detector.errors import InputError

    preferred = {}
    for text in prefer or ():
        bucket, _, log = text.rpartition("=")
        if not bucket or log not in ("cloudtrail", "server_access"):
            raise InputError(f"--prefer: expected GLOB=cloudtrail or GLOB=server_access, got '{text}'")
        preferred[bucket] = log
    first, end = _time("--since", since), _time("--until", until)
    if first is not None and end is not None and first >= end:
        raise InputError(f"--since {since} is not before --until {until}: no record could count")
    return Admission.of(first, end, preferred)


def _time(option: str, text: str) -> int | None:
    from detector.core.times import epoch
    from detector.errors import InputError

    if not text:
        return None
    second = epoch(text)
    if second is None:
        raise InputError(f"{option}: expected a time such as 2026-05-01T09:00:00Z or 2026-05-01, got '{text}'")
    return second


def owners_of(patterns: Sequence[str] | None) -> Owners | None:
    """Owners by these patterns; None if there is none. Raises InputError."""
    if not patterns:
        return None
    from detector.core.owner import owners
    from detector.errors import InputError

    try:
        return owners(patterns)
    except ValueError as error:
        raise InputError(str(error), where="--owner", remedy="write a pattern such as '{contractor}/**'") from error


def redaction(text: str) -> Redaction:
    """How keys are shown. Raises InputError."""
    from detector.core.redaction import Redaction
    from detector.errors import InputError

    found: Redaction | None = next((one for one in get_args(Redaction) if one == text), None)
    if found is None:
        raise InputError(f"expected none, prefix or hash, got '{text}'", where="--redact-keys")
    return found


def begin(out: Path) -> None:
    """Before much is read: see that the output folder can be written to. Raises UnreadablePathError."""
    from detector.cli import collector
    from replay import output

    output.prepare(out)
    collector.rarely()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what lies in --tmp is removed
