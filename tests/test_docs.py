"""The documentation is true: what it shows runs, what exists is named in it, what it links to is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
from pydantic import BaseModel

from detector.blindness import SENSES
from detector.core.access import Operation
from detector.core.example import Event, Example, Expected
from detector.core.fields import Change
from detector.core.kinds.sequence import Step
from detector.core.rule import KINDS, Exemption, Level, Measure, Reader, Review, Severity, Where
from detector.core.rulefile import read_rules
from detector.core.suppression import Suppression
from detector.metrics import METRICS
from detector.rules import read_book
from detector.settings import Settings, read_settings
from tests.tables import MODELS as TABLES
from tests.tables import rewritten

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for name in ("deploy", "docs", "rules") for page in (ROOT / name).glob("*.md"))],
    key=lambda path: path.as_posix(),
)
README, OPERATOR, LANGUAGE, RESPONDER, ANALYST = (
    (ROOT / name).read_text("utf-8")
    for name in ("README.md", "docs/operator.md", "rules/README.md", "docs/responder.md", "docs/analyst.md")
)
FENCE = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: its language, what stands behind it (`runnable`, or a file's name), and its text."""

    language: str
    note: str
    text: str


OF_GROUP = {("respond",): RESPONDER, ("decoy",): (ROOT / "docs/decoys.md").read_text("utf-8"), ("review",): ANALYST}
"""Group of commands → the page that has its options; README has those of all others."""


def blocks(text: str) -> list[Block]:
    return [Block(*match) for match in FENCE.findall(text)]


def files_of(text: str) -> dict[str, str]:
    return {block.note: block.text for block in blocks(text) if block.language == "yaml" and block.note}


CONFIGS = {name: text for page in (README, OPERATOR) for name, text in files_of(page).items()}
COMMANDS = [block.text for page in (README, ANALYST) for block in blocks(page) if block.note == "runnable"]


# --- what is shown, works


def test_the_readme_has_something_to_run():
    assert COMMANDS
    assert CONFIGS


@pytest.fixture
def newcomer(tmp_path: Path) -> tuple[Path, Mapping[str, str]]:
    """A folder with rules, examples and the README's files, and an environment in which `bucketwatch` is found."""
    for name in ("rules", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name, text in files_of(README).items():
        (tmp_path / name).write_text(text, "utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BUCKETWATCH_", "AWS_"))}
    return tmp_path, kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_every_runnable_command_runs(newcomer):
    """In the order of the pages, in one folder: what one block makes, the next may use. An example is one of them."""
    folder, environment = newcomer
    for text in COMMANDS:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    for made in ("demo/report.html", "out/findings.jsonl", "out/summary.json", "out/report.html", "alerts.jsonl"):
        assert (folder / made).stat().st_size, made


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_shown_is_valid(name, tmp_path):
    path = tmp_path / name
    path.write_text(CONFIGS[name], "utf-8")
    read_settings(path, {})


def test_the_rules_shown_are_valid():
    shown = files_of(LANGUAGE)
    assert read_rules(shown)
    assert read_book(shown).suppressions


def test_the_exception_shown_is_valid():
    [shown] = [block.text for block in blocks(README) if block.language == "yaml" and "exceptions:" in block.text]
    rule = files_of(LANGUAGE)["rule.yaml"].split("    exceptions:")[0]
    assert read_rules({"readme.yaml": rule + "".join(f"    {line}\n" for line in shown.splitlines())})[0].exceptions


def test_every_policy_shown_is_json():
    policies = [json.loads(block.text) for block in blocks(OPERATOR) if block.language == "json"]
    assert len(policies) == 3
    assert {policy["Version"] for policy in policies} == {"2012-10-17"}


def test_every_example_is_run():
    """By a command that stands on a page."""
    shown = "\n".join(COMMANDS)
    assert [path.name for path in (ROOT / "examples").glob("*.py") if f"python examples/{path.name}" not in shown] == []


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"`?make ([a-z]+)(?:`|$)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {"demo", "test"} <= named <= targets


# --- what there is, is named


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


def _app() -> Any:
    import typer

    from detector.cli import app

    return typer.main.get_command(app)


EVERY = dict(_commands(_app()))


def test_the_walk_over_the_commands_reaches_all_levels():
    assert {("watch",), ("replay",), ("rules", "check"), ("journal", "verify")} <= set(EVERY)
    assert (("replay",), "--jobs") in OPTIONS


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_is_named(words):
    assert words == () or " ".join(words) in README


OPTIONS = sorted(
    {
        (words, option)
        for words, command in EVERY.items()
        for p in command.params
        for option in (*p.opts, *p.secondary_opts)
        if option.startswith("-")
    }
)


@pytest.mark.parametrize(
    ("words", "option"), OPTIONS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_every_option_is_named(words, option):
    if option == "-h":
        return
    page = OF_GROUP.get(words[:1], README)
    assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", page), f"{' '.join(words)} {option}"


def _fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Dotted names of all settings that hold a value of their own."""
    for name, field in model.model_fields.items():
        inner = sorted(_models(field.annotation), key=lambda m: m.__name__)
        if not inner or name in ("alerts", "accounts"):
            yield path + name
        for one in inner:
            yield from _fields(one, f"{path}{name}.")


def _models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set() if get_origin(annotation) is Literal else {m for arg in get_args(annotation) for m in _models(arg)}


KEYS = sorted(set(_fields(Settings)))


def test_the_walk_over_the_settings_reaches_all_levels():
    assert {"rules", "source.queue_url", "alerts.topic_arn", "response.accounts.role_arn", "http.port"} <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_has_its_row(key):
    assert f"| `{key}` |" in OPERATOR


@pytest.mark.parametrize("key", re.findall(r"^\| `([a-z_.]+)` \|", OPERATOR.split("## Metrics")[0], re.MULTILINE))
def test_every_row_is_a_setting(key):
    assert key in KEYS


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_its_row(name):
    metric = METRICS[name]
    full = f"bucketwatch_{name}" + ("_total" if metric.kind == "counter" else "")
    assert f"| `{full}` | {metric.kind} | {metric.meaning} | {metric.remedy} |" in OPERATOR


def test_every_metric_described_exists():
    described = re.findall(r"^\| `bucketwatch_(\w+?)(?:_total)?` \|", OPERATOR, re.MULTILINE)
    assert set(described) == set(METRICS)


@pytest.mark.parametrize("sense", SENSES.values(), ids=lambda sense: sense.id)
def test_every_kind_of_blindness_has_its_row(sense):
    assert f"| `{sense.id}` | {sense.severity} | {sense.title} |" in OPERATOR


MODELS = (*KINDS.values(), Step, Where, Exemption, Reader, Review, Example, Event, Expected, Suppression)
WORDS = (
    *((model.__name__, field.alias or name) for model in MODELS for name, field in model.model_fields.items()),
    *(("class", operation.name) for operation in Operation),
    *(("measure", name) for name in get_args(Measure)),
    *(("level", name) for name in get_args(Level)),
    *(("severity", name) for name in get_args(Severity)),
    *(("kind", name) for name in KINDS),
    *(("change", name) for name in get_args(Change)),
)


@pytest.mark.parametrize(("what", "word"), WORDS)
def test_every_word_of_the_rule_language_is_in_a_table(what, word):
    """As the first cell of a row, or one of several in it; values of a field stand in the field's own row."""
    rows = [line for line in LANGUAGE.splitlines() if line.startswith("|")]
    cells = [row if what in ("severity", "kind") else row.split("|")[1] for row in rows]
    assert any(f"`{word}`" in cell or f"`steps.{word}`" in cell for cell in cells)


def test_the_tables_are_as_the_models_say():
    """`make tables` has nothing to change; every model of the language has its table."""
    assert rewritten(LANGUAGE) == LANGUAGE
    assert set(re.findall(r"<!-- table ([\w-]+) -->", LANGUAGE)) == set(TABLES)


def test_the_language_names_no_field_that_is_not():
    known = {field.alias or name for model in MODELS for name, field in model.model_fields.items()}
    kinds = [f"## `{kind}`" for kind in KINDS if kind != "match"]
    for heading in ("## Every rule", *kinds, "## `where`", "## Exceptions"):
        section = LANGUAGE.split(heading)[1].split("\n## ")[0]
        first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert first
        assert {name for cell in first for name in re.findall(r"`(?:steps\.)?(\w+)`", cell)} <= known


# --- what is linked to, is there


LINKS = [(page.relative_to(ROOT).as_posix(), link) for page in PAGES for link in LINK.findall(page.read_text("utf-8"))]


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_relative_link_leads_somewhere(page, link):
    if "://" in link:
        return
    name, _, anchor = link.partition("#")
    target = (ROOT / page).parent / name if name else ROOT / page
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_tests_named_in_the_guarantees_exist():
    named = set(re.findall(r"`(tests/[\w/.]+)`", README))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
