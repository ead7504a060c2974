"""What is installed is what was meant: the wheel's content, a cheap start, and the public names."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import detector

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = ["AccessBatch", "BatchBuilder", "Engine", "Finding", "load_rules", "read"]
HEAVY = {
    "boto3", "botocore", "jinja2", "msgspec", "numpy", "pandas", "prometheus_client", "pyarrow", "pydantic", "river",
    "ruamel", "scipy", "sklearn", "yaml",
}  # fmt: skip
FOR_AWS, FOR_MODEL = {"boto3", "botocore"}, {"river", "scipy", "sklearn"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the working tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("detector", "replay", "rules"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"], cwd=folder, check=True)
    [built] = (folder / "dist").glob("*.whl")
    return built


def _sources(*folders: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".c", ".h", ".pyi"}
    }


def test_the_wheel_holds_the_program_its_templates_and_its_rules_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    rules = {name.replace("rules/", "detector/_rules/", 1) for name in _sources("rules")}
    assert held == _sources("detector", "replay") | rules
    assert {f"replay/templates/{name}" for name in ("page.html", "page.css", "report.html", "report.js")} <= held
    assert "detector/_rules/bulk-read.yaml" in held


def test_the_wheel_carries_the_licence_and_the_command(wheel):
    archive = zipfile.ZipFile(wheel)
    text = {name.split(".dist-info/")[1]: name for name in archive.namelist() if ".dist-info/" in name}
    assert b"Apache License" in archive.read(text["licenses/LICENSE"])
    assert b"bucketwatch = detector.cli:main" in archive.read(text["entry_points.txt"])


def test_an_installed_program_finds_its_shipped_rules(wheel, tmp_path):
    """Out of the wheel, with no checkout beside it."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import detector, detector.rules as r; print(detector.__file__); print(len(r.load_rules(r.shipped())))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    where, count = done.stdout.split()
    assert Path(where).is_relative_to(tmp_path)
    assert int(count) > 0


def _loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after this code has run in a fresh process."""
    tail = "\nimport json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


HELP = """
import contextlib, sys
from detector.cli import main
sys.argv = ["bucketwatch", "--help"]
with contextlib.suppress(SystemExit):
    main()
"""


def test_help_imports_nothing_heavy():
    """`bucketwatch --help` answers at once."""
    loaded = _loaded_by(HELP)
    assert "typer" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("module", ["detector", "replay"])
def test_importing_the_packages_imports_nothing_heavy(module):
    assert not _loaded_by(f"import {module}") & HEAVY


def test_a_rule_file_without_a_baseline_loads_no_model_and_no_aws():
    code = "from detector.core.engine import Engine; from detector.watches import watches; Engine([], watches())"
    assert not _loaded_by(code) & (FOR_AWS | FOR_MODEL)


def test_the_public_names_are_these():
    """Whoever adds or takes one changes this list, and CHANGELOG.md."""
    assert detector.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(detector))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name):
    assert callable(getattr(detector, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = detector.no_such_name  # type: ignore[attr-defined]
