"""The image: there is no Docker here, so its build stage is carried out step by step in folders of this machine."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from packaging.requirements import Requirement

from tests.parts import need

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
UV = ROOT / ".tools/bin/uv"
ELSEWHERE = ("apt-get", "pip install")
"""How commands of the build stage begin that are about the image's own system: done on this machine already."""
CHEAP = {"UV_COMPILE_BYTECODE": "0", "UV_LINK_MODE": "hardlink"}
"""What makes an image start faster and stand alone, and here would only cost the test half a minute."""
SECONDS = 300


class Step(NamedTuple):
    """One instruction: its word and the rest, on one line."""

    word: str
    rest: str


def steps(text: str) -> list[Step]:
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [Step(*line.split(None, 1)) for line in lines]


def stages(text: str) -> list[list[Step]]:
    found: list[list[Step]] = []
    for step in steps(text):
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


BUILD, FINAL = stages(TEXT)


def rest_of(stage: list[Step], word: str) -> list[str]:
    return [step.rest for step in stage if step.word == word]


def listed(text: str) -> list[str]:
    return msgspec.json.decode(text[text.index("[") :], type=list[str])


# --- what the file says


def test_hadolint_has_nothing_to_say():
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_both_stages_have_the_same_pinned_python():
    """The environment moves between them; a tag that names a patch, of a Python the program supports."""
    assert [stage[0].rest.split()[0] for stage in (BUILD, FINAL)] == ["${PYTHON}"] * 2
    [base] = [step.rest for step in steps(TEXT) if step.word == "ARG"]
    assert re.fullmatch(r"PYTHON=python:3\.(11|12|13)\.\d+-slim-\w+", base)


def test_the_same_uv_as_everywhere():
    [wanted] = re.findall(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert f"uv=={wanted}" in TEXT


def test_the_program_runs_as_nobody_in_particular_and_is_process_1():
    """A number, which a runtime can check; exec form, so that SIGTERM reaches Python; one folder is its own."""
    assert rest_of(FINAL, "USER") == ["10001:10001"]
    assert listed(*rest_of(FINAL, "ENTRYPOINT")) == ["bucketwatch"]
    assert listed(*rest_of(FINAL, "CMD")) == ["watch", "--config", "/etc/bucketwatch/bucketwatch.yaml"]
    assert listed(*rest_of(FINAL, "VOLUME")) == ["/var/lib/bucketwatch"]
    assert rest_of(FINAL, "WORKDIR") == ["/var/lib/bucketwatch"]
    last = [step.word for step in FINAL]
    assert last.index("USER") > max(n for n, word in enumerate(last) if word in ("RUN", "COPY"))


def test_health_is_asked_by_the_program_itself():
    """With the config the daemon runs with; a slim image has no curl."""
    [health] = rest_of(FINAL, "HEALTHCHECK")
    assert listed(health) == ["bucketwatch", "healthcheck", *listed(*rest_of(FINAL, "CMD"))[1:]]
    assert "curl" not in TEXT


def test_no_compiler_is_left_in_the_image():
    assert not [step for step in FINAL if step.word == "RUN" and "apt" in step.rest]
    assert "gcc" in " ".join(rest_of(BUILD, "RUN"))


def ignored(name: str) -> bool:
    """Whether .dockerignore leaves a path out; the last line that fits counts, folders stand for what is in them."""
    out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = Path(name).parts
        heads = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        tails = parts if pattern.startswith("**/") else ()
        if any(fnmatch.fnmatch(head, pattern) for head in heads) or any(
            fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in tails
        ):
            out = not line.startswith("!")
    return out


def test_the_context_is_what_is_copied_and_nothing_else():
    """No caches, no built kernels of another platform, no environment, no history, no secrets."""
    for name in ("detector/aws/queue.py", "rules/bulk-read.yaml", "uv.lock", "deploy/bucketwatch.yaml", "LICENSE"):
        assert not ignored(name), name
    for name in (
        ".git/config", ".venv/bin/python", ".env", "tests/conftest.py", "deploy/existing-trail.yaml", "state.db",
        "detector/__pycache__/a.pyc", "detector/logs/_members.abi3.so", "replay/templates/__pycache__/b.pyc",
    ):  # fmt: skip
        assert ignored(name), name
    for rest in [*rest_of(BUILD, "COPY"), *(r for r in rest_of(FINAL, "COPY") if "--from" not in r)]:
        for name in rest.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert not ignored(name), name


# --- what it builds


class Built(NamedTuple):
    """Where the image's /opt/bucketwatch lies here, and the environment the program has in the image."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "bin/bucketwatch"), *words]
        environment = {**self.environment, **more}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env=environment, timeout=SECONDS
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    """The build stage carried out: its COPY and RUN with /src, /dist and /opt/bucketwatch in a folder of ours."""
    need(UV.exists(), "the uv tool in .tools (make sets it up)")
    need(shutil.which("cc"), "a C compiler")
    root = tmp_path_factory.mktemp("image")
    environment = {name: os.environ[name] for name in os.environ if not name.startswith(("BUCKETWATCH_", "UV_P"))}
    environment |= {"PATH": f"{UV.parent}{os.pathsep}{os.environ['PATH']}"}
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    for step in BUILD:
        carry_out(step, root, environment)
    kept = {"PATH": f"{root}/opt/bucketwatch/bin:/usr/bin:/bin", "HOME": str(root / "home")}
    return Built(root / "opt/bucketwatch", kept)


def carry_out(step: Step, root: Path, environment: dict[str, str]) -> None:
    if step.word == "ENV":
        environment |= dict(word.split("=", 1) for word in shlex.split(inside(step.rest, root))) | CHEAP
    if step.word == "WORKDIR":
        Path(inside(step.rest, root)).mkdir(parents=True)
    if step.word == "COPY":
        *names, to = step.rest.split()
        for name in names:
            copy(name, root / "src" / to)
    if step.word == "RUN" and not step.rest.startswith(ELSEWHERE):
        # this machine's Python that runs the tests, for the image's: of another version, as its wheels may be
        command = inside(step.rest, root).replace("--python python3", f"--python {shlex.quote(sys.executable)}")
        done = subprocess.run(
            ["/bin/sh", "-euc", command], cwd=root / "src", env=environment, capture_output=True, text=True,
            check=False, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def inside(text: str, root: Path) -> str:
    return re.sub(r"(?<![\w/])/(src|dist|opt/bucketwatch)\b", lambda found: f"{root}{found[0]}", text)


def copy(name: str, to: Path) -> None:
    source = ROOT / name
    if source.is_file():
        shutil.copy(source, to)
        return
    for path in source.rglob("*"):
        inner = path.relative_to(ROOT).as_posix()
        if path.is_file() and not ignored(inner):
            target = to / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def test_the_program_runs_out_of_the_image(built):
    """Installed, not linked to a checkout: it knows its version, its commands and its shipped rules."""
    said = built.run("--version")
    assert re.fullmatch(r"bucketwatch \d+\.\d+\.\d+\n", said.stdout), said.stderr
    assert "healthcheck" in built.run("--help").stdout
    assert "bulk-object-read-session" in built.run("rules", "list").stdout
    where = subprocess.run(
        [built.folder / "bin/python", "-c", "import detector; print(detector.__file__)"], capture_output=True,
        text=True, check=True, cwd="/", env=dict(built.environment),
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(built.folder)


def test_the_kernel_is_in_the_image(built):
    """Compiled while it was built, and loaded by what runs."""
    python = str(built.folder / "bin/python")
    code = "from detector.logs import kernel; print(kernel.BUILT)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "True\n"
    assert len(list(built.folder.rglob("_members.abi3.so"))) == 1


def test_no_tool_of_the_tests_is_in_the_image(built):
    """What runs has the locked dependencies only."""
    installed = {path.name.split("-")[0].lower() for path in built.folder.rglob("*.dist-info")}
    group = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["dependency-groups"]["dev"]
    tools = {Requirement(line).name.replace("-", "_").lower() for line in group}
    assert "bucketwatch" in installed
    assert "boto3" in installed
    assert not installed & tools


def test_the_entry_is_a_python_script(built):
    """So python is process 1: no shell that would swallow SIGTERM. (Only for a long path a shell would exec it.)"""
    script = (built.folder / "bin/bucketwatch").read_text("utf-8")
    assert "from detector.cli import main" in script


def test_the_images_config_with_the_environments_is_enough_for_a_daemon(built, tmp_path):
    """The file of the image over a directory and SQLite: the daemon runs, and nothing else has to be configured."""
    (tmp_path / "logs").mkdir()
    ended = built.run(
        "watch", "--config", str(ROOT / "deploy/bucketwatch.yaml"), "--until-idle", "0",
        BUCKETWATCH_SOURCE=f"{{kind: directory, path: {tmp_path}/logs}}",
        BUCKETWATCH_STATE=f"{{kind: sqlite, path: {tmp_path}/state.db}}",
        BUCKETWATCH_JOURNAL__PATH=str(tmp_path / "journal.jsonl"),
        BUCKETWATCH_HTTP__PORT="0",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert '"event": "heartbeat"' in ended.stderr


def test_without_an_environment_the_daemon_says_what_is_missing(built):
    ended = built.run("watch", "--config", str(ROOT / "deploy/bucketwatch.yaml"))
    assert ended.returncode == 2
    for key in ("source", "state", "journal"):
        assert key in ended.stderr
