"""`bucketwatch healthcheck`: for containers, which have no curl. Asks the daemon beside it, loads nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

HTTP = "BUCKETWATCH_HTTP"
DEFAULTS = {"host": "127.0.0.1", "port": 9464}
"""As in `settings.Http`, which is not asked: it takes a second to import, every 30 seconds."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  nothing is bound here
"""What a daemon listens on that listens on all addresses → where it is asked."""


def healthcheck(
    config: Annotated[
        Path | None, typer.Option(help="The daemon's configuration file. Default: the environment alone.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which no answer is a bad answer.", min=0.1)] = 5.0,
) -> None:
    """Ask the daemon of this configuration whether it is alive: exit status 0, or 1 and why not.

    Example: bucketwatch healthcheck --config bucketwatch.yaml
    """
    from detector.errors import BucketwatchError

    host, port = address(config, os.environ)
    problem = ask(host, port, timeout)
    if problem:
        raise BucketwatchError(
            problem,
            where=f"http://{f'[{host}]' if ':' in host else host}:{port}/healthz",
            remedy="see the daemon's log; with another http.host or http.port, name the daemon's config with --config",
        )


def ask(host: str, port: int, timeout: float) -> str:
    """What is wrong with the daemon that listens there; empty if nothing is. No proxy is asked."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"not alive: expected status 200, got {status}"


def address(config: Path | None, environment: Mapping[str, str]) -> tuple[str, int]:
    """Where the daemon of this configuration can be asked. Raises InputError."""
    from detector.errors import InputError

    http: Any = _of_file(config) if config else DEFAULTS
    http = _overlaid(http, environment)
    if not isinstance(http, dict):
        where = str(config) if config else HTTP
        raise InputError("there is no `http` in this config", where=where, remedy="add http: {port: 9464}")
    host, port = str(http.get("host", DEFAULTS["host"])), http.get("port", DEFAULTS["port"])
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= 65_535:
        raise InputError(
            f"expected a fixed port from 1 to 65535, got {port!r}", where="http.port", remedy="0 cannot be asked"
        )
    return EVERYWHERE.get(host, host), port


def _of_file(path: Path) -> Any:
    from detector.errors import UnreadablePathError

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadablePathError.of_config(path, error) from error
    document = _value(str(path), text)
    return document.get("http") if isinstance(document, dict) else None


def _overlaid(http: Any, environment: Mapping[str, str]) -> Any:
    """The environment's values over the file's, as `settings` does it."""
    if HTTP in environment:
        http = _value(HTTP, environment[HTTP])
    for key in DEFAULTS:
        name = f"{HTTP}__{key.upper()}"
        if name in environment:
            http = (http if isinstance(http, dict) else {}) | {key: _value(name, environment[name])}
    return http


def _value(name: str, text: str) -> Any:
    from detector.core.document import load_yaml, plain
    from detector.errors import Problem, SettingsError

    problems: list[Problem] = []
    value = plain(load_yaml(name, text, problems))
    if problems:
        raise SettingsError(problems)
    return value
