"""`bucketwatch drill`: plants thefts and says what caught them. Only arguments and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from replay.arguments import AsJson, Decoys, Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detector.core.rule import Rule
    from replay.drill.run import Stage


def drill(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Log files, folders or globs to plant thefts in (a copy). None: a generated organisation."),
    ] = None,
    rules: Rules = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds of theft.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(help="Other thefts, and another organisation, for every number.")] = 1,
    roles: Annotated[int, typer.Option(min=12, max=2_000, help="Size of the generated organisation.")] = 40,
    days: Annotated[int, typer.Option(min=2, max=60, help="Days of the generated organisation.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Folder for drill.json and drill.md.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write log files with the thefts and their labels here, and run nothing.")
    ] = None,
    decoys: Decoys = "",
    config: Annotated[Path | None, typer.Option(help="With --live: the daemon's configuration file.")] = None,
    wait: Annotated[int, typer.Option(min=1, max=7_200, help="With --live: seconds to wait for the alert.")] = 900,
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Send a marked drill through the daemon's own queue or directory.")
    ] = False,
    scorecard: Annotated[bool, typer.Option("--scorecard", help="Which rule caught which kind, and when.")] = False,
    as_json: AsJson = False,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds of theft.")] = False,
) -> None:
    """Plant labelled thefts and see what catches them, how fast, and what is lost until then.

    Your logs are only read: the thefts are put between their records in memory, with real buckets, roles and networks.
    Example: bucketwatch drill ./AWSLogs --scorecard
    """
    from detector.cli.joined import place
    from detector.rules import load_rules, shipped
    from replay.drill.thefts import KINDS

    if list_kinds:
        for name, one in KINDS.items():
            typer.echo(f"{name:20} {one.title}")
        return
    if live:
        from replay.drill.live import go

        go(config, wait, as_json=as_json)
        return
    chosen = tuple(kind or KINDS)
    stage = _stage(paths or [], seed, roles, days)
    if write is not None:
        from replay.drill.sample import write_sample

        typer.echo(write_sample(stage, chosen, seed, write))
        return
    known = load_rules(rules or shipped(), place(decoys) if decoys else None)
    _run(stage, known, chosen, seed, out, scorecard=scorecard, as_json=as_json)


def _stage(paths: Sequence[str], seed: int, roles: int, days: int) -> Stage:
    from replay.drill.organisation import Shape
    from replay.drill.run import Generated

    if not paths:
        return Generated(seed, Shape(roles, days))
    from replay.drill.own import OwnLogs

    return OwnLogs(paths)


def _run(
    stage: Stage,
    rules: Sequence[Rule],
    kinds: Sequence[str],
    seed: int,
    out: Path | None,
    *,
    scorecard: bool,
    as_json: bool,
) -> None:
    from replay.drill import run

    done = run.as_json(run.drill(stage, rules, kinds, seed), rules)
    text = _table(done) + ("\n\n" + _scorecard(done) if scorecard else "")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "drill.json").write_text(json.dumps(done, indent=1) + "\n")
        (out / "drill.md").write_text(text + "\n")
    typer.echo(json.dumps(done, indent=1) if as_json else text)


def _table(done: dict[str, Any]) -> str:
    """What came of each theft; objects lost as logs are delivered to S3 first."""
    head = ("kind", "caught by", "alert after", "lost: S3", "EventBridge", "at once", "of", "pages")
    rows = [
        (
            one["kind"],
            one["caught_by"] or "nothing",
            _after(one["seconds_to_alert"]),
            *(f"{one['objects_lost'][way]:,}" for way in ("S3", "EventBridge", "at once")),
            f"{one['objects']:,}",
            str(one["pages"]),
        )
        for one in done["thefts"]
    ]
    caught = sum(one["caught_by"] is not None for one in done["thefts"])
    calm = len(done["pages_without_a_theft"])
    told = (
        f"{caught} of {len(rows)} thefts caught. {done['pages']} pages were sent, {calm} of them about no theft.\n"
        "lost: objects that had left when the alert came, by how logs come: files in S3 (1 to 7 min late),\n"
        "EventBridge or CloudWatch Logs (a minute at most), at once."
    )
    return f"{_aligned((head, *rows))}\n\n{told}"


def _scorecard(done: dict[str, Any]) -> str:
    """A row a kind, a column a rule that pages: after how long it alerted."""
    paging = [rule["rule_id"] for rule in done["rules"] if rule["pages"]]
    hit = [rule for rule in paging if any(rule in one["rules"] for one in done["thefts"])]
    rows = [(one["kind"], *(_after(one["rules"].get(rule)) for rule in hit)) for one in done["thefts"]]
    silent = [rule for rule in paging if rule not in hit]
    told = f"\n\nThese rules caught nothing here: {', '.join(silent)}." if silent else ""
    return _aligned((("kind", *hit), *rows)) + told


def _after(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    return (
        f"{seconds} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.1f} h"
    )


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        padded[:2] = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        lines.append("  ".join(padded))
    return "\n".join(line.rstrip() for line in lines)
