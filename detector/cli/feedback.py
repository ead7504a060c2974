"""`bucketwatch feedback`: for whoever looked into an alert. Says what it was; the daemon's baselines take it up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer


def feedback(
    finding: Annotated[str, typer.Argument(metavar="FINDING", help="finding_id or alert_id.")],
    verdict: Annotated[str, typer.Argument(metavar="true|benign", help="A theft, or what this role does anyway.")],
    reason: Annotated[str, typer.Option(help="Why; it goes into the journal.")],
    config: Annotated[Path, typer.Option(help="The daemon's configuration file (YAML).")],
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Look in this file (alerts.jsonl, findings.jsonl) and not in the journal."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a finding was: it is journalled, and rules that learn take it up within a minute.

    Example: bucketwatch feedback a-0123456789abcdef benign --reason 'new corpus' --config bucketwatch.yaml
    """
    from detector.cli.joined import verdicts
    from detector.cli.planned import finding_of, me, settings_of
    from detector.core.principal import fingerprint
    from detector.core.times import iso
    from detector.core.verdict import encode, verdict_on
    from detector.errors import InputError

    if verdict not in ("true", "benign"):
        raise InputError(f"expected true or benign, got '{verdict}'", where="verdict")
    if not reason.strip():
        raise InputError("expected a reason", where="--reason", remedy="say in a few words how you know")
    settings, now = settings_of(config), int(time.time())
    told = finding_of(settings, finding, from_)
    made = verdict_on(told, "true" if verdict == "true" else "benign", reason, me(), now)
    if made is None:
        raise InputError(
            "this is no finding of bucketwatch", where=finding, remedy="take it from alerts or findings.jsonl"
        )
    data = encode(made)
    stamp = iso(now).replace("-", "").replace(":", "")
    where = verdicts(settings).put(f"{stamp}-{fingerprint((data,)):016x}.json", data)
    if as_json:
        typer.echo(json.dumps({"verdict": verdict, "rule_id": made.rule_id, "group": made.group, "kept_in": where}))
        return
    typer.echo(f"{verdict}: {made.rule_id}, {', '.join(made.group.values())}")
    typer.echo(f"kept in {where}; the daemon journals it and says there what it did with it (`verdict`)")
