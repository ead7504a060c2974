"""The command line. Thin: arguments in, a function of the library called, messages and exit codes out.

Every command imports what it needs inside its function, so that `bucketwatch --help` stays fast. Commands of the
package above this one are named in `ABOVE` and looked up at run time: `detector` never imports `replay`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no linear algebra here; its threads cost 0.1 s of CPU to start
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some takes 0.03 s, and would run them

from detector.cli import doctor, feedback, healthcheck, journal, respond, rules, watch
from detector.errors import BucketwatchError

ABOVE = {
    "replay": "replay.command",
    "review": "replay.review.command",
    "drill": "replay.drill.command",
    "demo": "replay.demo",
    "init": "replay.init",
    "investigate": "replay.investigate.command",
}
"""Command → module above this package that has a function of the same name."""
GROUPS_ABOVE = {"decoy": "replay.decoys"}
"""Group of commands → module above this package that has them as `app`."""
ABOVE_OF_RULES = {"tune": "replay.whatif.command", "diff": "replay.whatif.command"}
"""The same, of commands of `bucketwatch rules`."""

app = typer.Typer(
    name="bucketwatch",
    help="Catches bulk theft from S3 buckets in the access logs, alerts, and can revoke the one session.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(watch.watch)
app.command()(healthcheck.healthcheck)
app.command()(doctor.doctor)
app.command()(feedback.feedback)
app.add_typer(rules.app, name="rules")
app.add_typer(journal.app, name="journal")
app.add_typer(respond.app, name="respond")
for _name, _module in ABOVE.items():
    app.command(_name)(getattr(import_module(_module), _name))
for _name, _module in GROUPS_ABOVE.items():
    app.add_typer(import_module(_module).app, name=_name)
for _name, _module in ABOVE_OF_RULES.items():
    rules.app.command(_name)(getattr(import_module(_module), _name))


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"bucketwatch {version('bucketwatch')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None: ...


def main() -> None:
    """Entry point. Exit status: 0 done, 1 the program failed, 2 the input is wrong, 3 a check found something."""
    try:
        app()
    except BucketwatchError as error:
        from detector.response.plain import printable

        told = "\n".join(printable(line, 4000) for line in str(error).splitlines())
        typer.echo(f"bucketwatch: {told}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
