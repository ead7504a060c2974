"""What the commands of `bucketwatch respond` share: an alert by its id, one plan for several, how one is shown."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from detector.settings import Settings

INCIDENT = "i-"
"""How an incident's id begins."""


def settings_of(config: Path) -> Settings:
    from detector.settings import read_settings

    return read_settings(config, os.environ)


def planned(
    settings: Settings,
    alerts: Sequence[str],
    from_: Path | None,
    logs: Sequence[Path] | None,
    *,
    unbounded: bool,
    presigned: str,
    person: bool,
) -> dict[str, Any]:
    """One plan for all of these alerts, with the finding it is for."""
    from detector.cli.joined import policy
    from detector.errors import InputError
    from detector.response.incident import together
    from detector.response.plan import plan as plan_of

    if unbounded + bool(presigned) + person > 1:
        raise InputError("these go one at a time", where="--unbounded, --presigned, --person", remedy="choose one")
    now, allowed = int(time.time()), policy(settings)
    every = list(
        dict.fromkeys(one for alert in alerts for one in members(lambda: journal_lines(settings, from_), alert))
    )
    found = findings_in(journal_lines(settings, from_), every, str(from_ or "the journal"), "--from")
    findings = [_sound(finding, alert) for finding, alert in zip(found, every, strict=True)]
    more = [chained for finding in findings for chained in _chained(finding, logs or ())]
    how: dict[str, Any] = {"unbounded": unbounded, "person": person}
    if presigned:
        how |= {"presigned_after": _age(presigned), "signers": _signers(findings, logs or ())}
    plans = [plan_of(finding, planned_at=now, settings=allowed, **how) for finding in [*findings, *more]]
    if len(plans) > 1 and not any(one.actions for one in plans):
        raise InputError("none of these can be revoked by a policy", remedy="plan them one by one to see their steps")
    return together(plans).to_json() | {"finding": findings[0]}


def _sound(finding: dict[str, Any], alert: str) -> dict[str, Any]:
    """A finding whose parts are what they should be: a file may say anything."""
    from detector.errors import InputError

    who, evidence = finding.get("principal"), finding.get("evidence")
    lists = [value for part in (who, evidence) if isinstance(part, dict) for value in part.values()]
    plain = all(
        isinstance(v, str | int | float | None) or (isinstance(v, list) and all(isinstance(x, str) for x in v))
        for v in lists
    )
    if not (isinstance(who, dict | None) and isinstance(evidence, dict | None) and plain):
        raise InputError(
            "this is no finding of bucketwatch", where=alert, remedy="take it from alerts or findings.jsonl"
        )
    return finding


def members(lines: Callable[[], Iterable[bytes]], wanted: str) -> list[str]:
    """The alerts or findings of an incident, by lines of alerts, journal or incidents.jsonl; any other id is itself."""
    if not wanted.startswith(INCIDENT):
        return [wanted]
    found: dict[str, None] = {}
    for line in lines():
        if wanted.encode() in line and (told := _parsed(line)).get("incident_id") == wanted:
            incident = told.get("incident")
            named = _list(incident.get("alert_ids")) if isinstance(incident, dict) else _list(told.get("findings"))
            mine = [told.get("alert_id")] if told.get("alert_id") != wanted else []
            found |= dict.fromkeys(str(one) for one in (*mine, *named) if one)
    return list(found) or [wanted]


def finding_of(settings: Settings, wanted: str, from_: Path | None) -> dict[str, Any]:
    """The latest word on an alert or finding."""
    return finding_in(journal_lines(settings, from_), wanted, str(from_ or "the journal"), "--from")


def finding_in(lines: Iterable[bytes], wanted: str, where: str, option: str) -> dict[str, Any]:
    """The latest word on an alert or finding in lines of findings, alerts, or a journal. option: names such a file."""
    return findings_in(lines, [wanted], where, option)[0]


def findings_in(lines: Iterable[bytes], wanted: Sequence[str], where: str, option: str) -> list[dict[str, Any]]:
    """As `finding_in`, of several: the lines, which may come from far, are read once."""
    from detector.errors import InputError

    last = there_in(lines, wanted)
    if lost := [one for one in wanted if one not in last]:
        raise InputError(
            "no alert or finding has this id",
            where=f"{lost[0]} in {where}",
            remedy=f"take alert_id from an alert, or finding_id from findings.jsonl and name that file with {option}",
        )
    return [last[one] for one in wanted]


def there_in(lines: Iterable[bytes], wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of these alerts and findings those that are there, each with the latest word on it."""
    last: dict[str, dict[str, Any]] = {}
    named = re.compile(b"|".join(re.escape(one.encode("utf-8", "surrogatepass")) for one in wanted))
    for line in lines:
        if named.search(line) and (told := _parsed(line)).get("rule_id"):
            ids = (told.get("alert_id"), told.get("finding_id"), *_list(told.get("alert_ids")))
            last |= {one: told for one in wanted if one in ids}
    return last


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _parsed(line: bytes) -> dict[str, Any]:
    """An alert of a file, or the one in a journal's entry."""
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    if "hash" in told:  # an entry of the journal: only those that the daemon made of a finding
        told = told.get("body") if told.get("kind") == "finding" else {}
    return told if isinstance(told, dict) else {}


def journal_lines(settings: Settings, from_: Path | None) -> Iterator[bytes]:
    place = settings.journal
    if from_ is None and place.bucket is not None:
        from detector.aws.journal import lines

        yield from lines(place.bucket, place.prefix)
        return
    yield from lines_of(from_ or Path(place.path or ""), "--from")


def lines_of(path: Path, option: str) -> Iterator[bytes]:
    """Lines of a file that an option names."""
    from detector.errors import UnreadablePathError

    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise UnreadablePathError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            remedy=f"name a file of alerts or findings with {option}",
        ) from error


def _chained(finding: dict[str, Any], paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Findings about the sessions that this one's began."""
    from detector.logs.assumed import as_principal, assumed, chained

    who = finding.get("principal") or {}
    events, unread = [], 0
    for file in _files(paths):
        found = assumed(file.read_bytes())
        events += found or []
        unread += found is None
    if unread:
        typer.echo(f"note: {unread} files could not be read for AssumeRole", err=True)
    sessions = chained(str(who.get("principal_id") or ""), who.get("access_key_ids") or (), events)
    return [
        finding
        | {"principal": as_principal(one), "alert_id": f"{finding.get('alert_id', '')} {one.user_id}", "evidence": {}}
        for one in sessions
    ]


def _age(text: str) -> int:
    """Seconds of a duration as rule files write it."""
    from pydantic import TypeAdapter, ValidationError

    from detector.core.rule import Duration
    from detector.errors import InputError

    try:
        return 0 if text in ("0", "0s") else int(TypeAdapter(Duration).validate_python(text))
    except ValidationError as error:
        raise InputError(
            "not a duration", where=f"--presigned {text}", remedy="write 10m, 2h, or 0s for all"
        ) from error


def _signers(findings: Sequence[dict[str, Any]], paths: Sequence[Path]) -> list[str]:
    """Who signed URLs of these buckets, by the logs."""
    from detector.core.builder import BatchBuilder
    from detector.logs.read import read

    buckets = {bucket for finding in findings for bucket in (finding.get("evidence") or {}).get("buckets") or ()}
    builder = BatchBuilder(frozenset({"bucket", "auth"}))
    for file in _files(paths):
        read(file.read_bytes(), str(file), builder)
    batch = builder.build()
    signed = batch.text["auth"].are("query")
    named = [row for row in range(len(batch)) if signed[row] and batch.text["bucket"].text(row) in buckets]
    return sorted({batch.principals[batch.who[row]].session_shown for row in named if batch.who[row] >= 0})


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    from detector.errors import UnreadablePathError

    for path in paths:
        if not path.exists():
            raise UnreadablePathError("no such file", where=str(path), remedy="name files or folders of logs")
        yield from (one for one in (sorted(path.rglob("*")) if path.is_dir() else [path]) if one.is_file())


def cases_of(book: Any) -> dict[str, dict[str, Any]]:
    from detector.response.register import cases

    return cases(book.all())


def show(made: dict[str, Any]) -> None:
    """A plan for a person."""
    from detector.response.plain import printable

    rows = [
        ("case", made["case_id"]),
        ("whom", made["session"] or made["principal_id"]),
        ("kind", f"{made['kind']}: {made['means']}"),
        ("why", made["why"]),
        *(
            ("seen", f"{name.replace('_', ' ')} {', '.join(values)}")
            for name, values in made["at_once"].items()
            if values
        ),
        *(("lost", f"{value:,} {name}") for name, value in made["loss"].items() if isinstance(value, int)),
        *(("writes", f"{a['writes']} {a['name']} on {a['boundary'] or a['target']}") for a in made["actions"]),
        ("also hits", made["also_hits"]),
        *(("misses", text) for text in made["cannot_stop"]),
        *(("step", text) for text in made["steps"]),
        ("until", f"{made['may_be_lifted_at']} at least"),
        *(("not alone", text) for text in made["refusals"]),
    ]
    for name, text in rows:
        if text:
            typer.echo(f"{name:10} {printable(text, 2000)}")
    for action in made["actions"]:
        if action["document"]:
            typer.echo(json.dumps(action["document"], indent=1))
    for number, command in enumerate(made["commands"]):
        typer.echo(f"{'run' if number < len(made['actions']) else 'undo':10} {printable(command, 30_000)}")


def line(text: object) -> str:
    from detector.response.plain import printable

    return printable(text, 500)


def me() -> str:
    """Who runs this, as far as the machine knows; AWS's own log knows better."""
    import getpass
    import socket

    try:
        return f"person {getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return "person"
