"""Every command helps: an example that could be run, a line for every option, completion, a word for every mistake."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from detector.cli import app
from detector.errors import InputError

BUCKETWATCH = Path(sys.executable).with_name("bucketwatch")
HEAVY = ("numpy", "pandas", "pyarrow", "boto3", "botocore", "river", "sklearn", "jinja2", "detector.core.rule")
"""Not pydantic: Typer itself asks it what a default looks like."""
Words = tuple[str, ...]


def _leaves(command: Any, words: Words = ()) -> Iterator[tuple[Words, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
    for name, one in (inner or {}).items():
        yield from _leaves(one, (*words, name))


COMMANDS = dict(_leaves(typer.main.get_command(app)))


def examples(command: Any) -> list[list[str]]:
    """The lines of its help that begin an example, as words."""
    lines = [line.strip() for line in (command.help or "").splitlines()]
    found = [line.removeprefix("Example: ") for line in lines if line.startswith("Example: ")]
    return [shlex.split(one.partition(" > ")[0].partition(", and ")[0]) for one in found]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_it_would_take(words: Words):
    """Of itself, with options that exist and all that it cannot do without."""
    command = COMMANDS[words]
    assert examples(command)
    for example in examples(command):
        assert example[: len(words) + 1] == ["bucketwatch", *words]
        with command.make_context(words[-1], example[len(words) + 1 :]) as context:
            assert not context.args


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does(words: Words):
    silent = [one.name for one in COMMANDS[words].params if not (getattr(one, "help", None) or one.hidden)]
    assert not silent


def test_help_of_every_command_is_quick():
    """What takes long to import is not imported for it; all in one process, which would show."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom detector.cli import app\n"
        f"for words in {[*COMMANDS]!r}:\n"
        "    done = CliRunner().invoke(app, [*words, '--help'])\n"
        "    assert done.exit_code == 0 and 'Example: ' in done.output, (words, done.output)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_the_shell_completes():
    """The script is shown, and what it asks for is answered: commands and options."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETWATCH_")}

    def run(*arguments: str, **more: str) -> str:
        command = [str(BUCKETWATCH), *arguments]
        return subprocess.run(command, env=plain | more, capture_output=True, text=True, check=True, timeout=60).stdout

    shown = run("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "complete -o default -F _bucketwatch_completion bucketwatch" in shown
    asked = {"_BUCKETWATCH_COMPLETE": "complete_bash"}
    assert run(COMP_WORDS="bucketwatch rev", COMP_CWORD="1", **asked).split() == ["review"]
    assert "--redact-keys" in run(COMP_WORDS="bucketwatch review --red", COMP_CWORD="2", **asked).split()


BAD_YAML = "rules: [\n  - {\x00"
MISTAKES: dict[Words, list[str]] = {
    ("watch",): ["--config NOWHERE", "--config BAD", "--config FOLDER", "--config EMPTY"],
    ("healthcheck",): ["--config NOWHERE", "--config BAD", "--timeout x"],
    ("doctor",): ["--config NOWHERE", "--config BAD", "--config FOLDER"],
    ("feedback",): ["a true --reason r --config NOWHERE", "a maybe --reason r --config BAD", "a true --config BAD"],
    ("replay",): ["NOWHERE", "EMPTYDIR", "LOG --rules NOWHERE", "LOG --rules BAD", "LOG --since soon", "LOG --jobs x",
                  "LOG --memory lots", "LOG --redact-keys some", "LOG --engine steam", "BAD --quiet", "LOG --out BAD",
                  "LOG --prefer x=y", "LOG --limit x=1", "LOG --since 2026-02-01 --until 2026-01-01",
                  "LOG --engine spark --cache OUT"],
    ("review",): ["NOWHERE", "EMPTYDIR", "BAD --quiet", "LOG --out BAD", "LOG --roles BAD", "LOG --scope x",
                  "LOG --depth -1"],
    ("investigate",): ["198.51.100.7 NOWHERE", "198.51.100.7 EMPTYDIR", "198.51.100.7 LOG --owner plain/**",
                       "198.51.100.7 LOG --since soon", "198.51.100.7 LOG --out BAD"],
    ("drill",): ["NOWHERE", "--kind none", "--seed x", "--rules NOWHERE", "--live", "--live --config NOWHERE"],
    ("demo",): ["--seed x"],
    ("init",): ["NOWHERE --out OUT", "EMPTYDIR --out OUT", "--days x"],
    ("rules", "promote"): ["r --config NOWHERE", "r --config BAD"],
    ("rules", "check"): ["NOWHERE", "BAD", "FOLDER"],
    ("rules", "schema"): ["more"],
    ("rules", "list"): ["NOWHERE", "BAD", "FOLDER"],
    ("rules", "test"): ["NOWHERE", "BAD", "FOLDER"],
    ("rules", "tune"): ["none LOG", "bulk-object-read-session NOWHERE", "bulk-object-read-session LOG --window soon"],
    ("rules", "diff"): ["NOWHERE NOWHERE LOG", "BAD BAD LOG"],
    ("journal", "verify"): ["NOWHERE", "FOLDER", "BAD --head x"],
    ("respond", "plan"): ["a --config NOWHERE", "a --config BAD"],
    ("respond", "apply"): ["a --config NOWHERE", "a --config BAD"],
    ("respond", "undo"): ["a --config NOWHERE", "a --config BAD"],
    ("respond", "list"): ["--config NOWHERE", "--config BAD"],
    ("respond", "serve"): ["--config NOWHERE", "--config BAD"],
    ("decoy", "plan"): ["plain --out OUT", "s3://b --out OUT --no-listing", "s3://b --out BAD --root FOLDER"],
    ("decoy", "plant"): ["NOWHERE --registry REG --yes", "BAD --registry REG --yes", "FOLDER --registry REG --yes"],
    ("decoy", "list"): ["", "--registry"],
    ("decoy", "remove"): ["", "--registry"],
}  # fmt: skip
"""What people get wrong, command by command; upper case stands for a file (`mistaken`)."""


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory) -> dict[str, str]:
    """Paths by the names they have in `MISTAKES`."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "bad").write_text(BAD_YAML)
    (folder / "empty.yaml").write_text("")
    (folder / "log.json").write_text('{"Records": []}')
    (folder / "folder/inner").mkdir(parents=True)
    (folder / "emptydir").mkdir()
    names = {"NOWHERE": "nowhere/at/all", "BAD": "bad", "EMPTY": "empty.yaml", "FOLDER": "folder", "LOG": "log.json",
             "EMPTYDIR": "emptydir", "OUT": "out", "REG": "reg"}  # fmt: skip
    return {name: str(folder / path) for name, path in names.items()}


def test_every_command_is_tried():
    assert set(MISTAKES) == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "given"), [(words, one) for words, some in MISTAKES.items() for one in (*some, "--no-such-option")],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)  # fmt: skip
def test_a_mistake_is_told_as_one(monkeypatch, tmp_path, mistaken, words: Words, given: str):
    """Exit status 2 and a message; whatever else is raised would be a stack trace."""
    for name in [name for name in os.environ if name.startswith("BUCKETWATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, *(mistaken.get(word, word) for word in given.split())])
    if isinstance(done.exception, SystemExit):
        assert done.exit_code == 2
        assert "Error: " in done.output
    else:
        assert isinstance(done.exception, InputError), repr(done.exception)
        assert done.exception.exit_code == 2
        assert str(done.exception)


def test_an_interrupted_command_says_nothing_and_ends_with_130(tmp_path):
    """While it reads: a log that is a pipe, of which nothing comes."""
    pipe = tmp_path / "log.json"
    os.mkfifo(pipe)
    command = [str(BUCKETWATCH), "replay", str(pipe), "--out", str(tmp_path / "out")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        pipe.open("w"),  # opens once it is opened for reading
    ):
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
