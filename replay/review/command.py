"""`bucketwatch review`: for the analyst. Only arguments and messages; the work is in `replay.review.run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replay.arguments import (
    Cache,
    Jobs,
    Logs,
    Owner,
    Prefer,
    Quiet,
    Since,
    Tmp,
    Until,
    admission,
    begin,
    owners_of,
    redaction,
)

if TYPE_CHECKING:
    from detector.core.kinds.scope import Scope
    from replay.review.scope import Scopes


def review(
    paths: Logs,
    out: Annotated[
        Path, typer.Option(help="Folder for access.csv, access.parquet, review.json, review.html and policies/.")
    ] = Path("review"),
    roles: Annotated[
        list[Path] | None,
        typer.Option(help="What `aws iam list-roles` wrote: the roles there are, so that unused ones can be named."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What a session may touch: 'session_name=contractor-{id} key={id}/**'; role and bucket too."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Rules of kind scope in this file or folder hold too.", show_default="none")
    ] = None,
    owner: Owner = None,
    depth: Annotated[int, typer.Option(min=0, max=20, help="How many folders of a key are told apart.")] = 2,
    since: Since = "",
    until: Until = "",
    prefer: Prefer = None,
    jobs: Jobs = 1,
    cache: Cache = None,
    tmp: Tmp = None,
    redact_keys: Annotated[str, typer.Option(help="Folders in the output: none, prefix or hash.")] = "none",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print review.json.")] = False,
    quiet: Quiet = False,
) -> None:
    """Who used which bucket and folder, how much, from where, when last; what nobody used; what could be tightened.

    Everybody who assumes a role gets a policy that allows what was seen and no more, ready to be passed.

    Example: bucketwatch review ./AWSLogs --cache cache --roles roles.json --out review
    """
    from replay.cache.kept import kept
    from replay.lean import lean
    from replay.options import Options
    from replay.review.existing import existing
    from replay.review.run import Asked, text, write
    from replay.review.run import review as reviewed
    from replay.terminal import complain, progress_bar

    lean()
    scopes = _scopes(scope or [], rules, owner)
    asked = Asked(depth, scopes, existing(roles or []), redaction(redact_keys))
    admitted = admission(since, until, prefer)
    begin(out)
    silent = quiet or as_json
    with progress_bar(quiet=silent) as progress:
        options = Options(admission=admitted, jobs=jobs, progress=progress, tmp=tmp)
        with kept(paths, cache, options, lambda told: None if silent else typer.echo(told, err=True)) as records:
            done = reviewed(records, asked)
            reads = records.reads
    write(done, out)
    if as_json:
        typer.echo(text(done.told), nl=False)
    elif not quiet:
        _say(done.told, out)
    complain(reads)


def _scopes(options: list[str], rules: Path | None, owner: list[str] | None) -> Scopes:
    from detector.errors import InputError
    from replay.review.scope import Scopes, scope_of, scopes_in

    of_rules: tuple[Scope, ...] = ()
    if rules is not None:
        from detector.rules import load_rules

        of_rules = tuple(scopes_in(load_rules(rules)))
        if not of_rules:
            raise InputError("no rule of kind scope in here", where=str(rules), remedy="say it with --scope")
    return Scopes((*map(scope_of, options), *of_rules), owners_of(owner))


def _say(told: dict[str, Any], out: Path) -> None:
    from replay.review.shown import show

    show(told, out)
