"""`bucketwatch healthcheck`: what a container runtime asks every half minute."""

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from detector.cli.healthcheck import DEFAULTS, address
from detector.errors import InputError
from detector.metrics import Health, Page
from detector.settings import Http
from tests.e2e.test_daemon_directory import CONFIG, PROGRAM, RULES, running

SECONDS = 30


def checked(*options, **environment):
    """The command, run to its end, as a container runtime runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETWATCH_")}
    command = [str(PROGRAM), "healthcheck", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=kept | environment)


@contextmanager
def served(alive):
    page = Page("127.0.0.1", 0, dict, lambda: Health(alive, alive))
    try:
        yield page.port
    finally:
        page.close()


@contextmanager
def silent():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def test_a_daemon_that_is_alive_is_healthy_without_a_word(tmp_path):
    """Asked by its config: status 0, nothing printed. A proxy in the environment is not asked."""
    with served(True) as port:
        config = tmp_path / "c.yaml"
        config.write_text(f"http: {{host: 127.0.0.1, port: {port}}}\n")
        done = checked("--config", config, http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_daemon_that_says_no_is_not_healthy():
    """503: status 1, and what it answered."""
    with served(False) as port:
        done = checked(BUCKETWATCH_HTTP__PORT=str(port))
    assert done.returncode == 1
    assert f"http://127.0.0.1:{port}/healthz: not alive: expected status 200, got 503" in done.stderr


def test_no_daemon_is_not_healthy():
    done = checked(BUCKETWATCH_HTTP__PORT=str(free_port()))
    assert done.returncode == 1
    assert "no answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_daemon_that_never_answers_is_not_healthy():
    """Within --timeout: the runtime would else kill the check and know less."""
    with silent() as port:
        done = checked("--timeout", "0.2", BUCKETWATCH_HTTP__PORT=str(port))
    assert done.returncode == 1
    assert "timed out" in done.stderr


def test_something_else_on_the_port_is_not_healthy():
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.wfile.write(b"SSH-2.0-other\r\n")

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = checked(BUCKETWATCH_HTTP__PORT=str(server.server_address[1]))
    assert done.returncode == 1
    assert "no answer" in done.stderr


def test_a_real_daemon_is_healthy_by_its_own_config(tmp_path):
    """The config that the daemon runs with is the one the check is given."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "rules.yaml").write_text(RULES)
    config = tmp_path / "bucketwatch.yaml"
    config.write_text(CONFIG.format(folder=tmp_path).replace("port: 0", f"port: {free_port()}"))
    with running(tmp_path) as daemon:
        daemon.wait_for("listening")
        done = checked("--config", config)
    assert done.returncode == 0, done.stderr


def test_the_defaults_are_the_daemons():
    """They stand here a second time, since the daemon's settings take a second to import."""
    assert Http().model_dump() == DEFAULTS


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        (None, {}, ("127.0.0.1", 9464)),
        (None, {"BUCKETWATCH_HTTP__PORT": "9000"}, ("127.0.0.1", 9000)),
        (None, {"BUCKETWATCH_HTTP": "{host: 10.0.0.1, port: 9000}"}, ("10.0.0.1", 9000)),
        (None, {"BUCKETWATCH_HTTP": "{port: 9000}", "BUCKETWATCH_HTTP__HOST": '"::"'}, ("::1", 9000)),
        ("http: {host: 0.0.0.0}", {}, ("127.0.0.1", 9464)),
        ("http: {port: 9000}", {"BUCKETWATCH_HTTP__PORT": "9001"}, ("127.0.0.1", 9001)),
        ("state: {}", {"BUCKETWATCH_HTTP__PORT": "9001"}, ("127.0.0.1", 9001)),
    ],
)
def test_it_asks_where_the_daemon_listens(tmp_path, text, environment, expected):
    """The file's values, the environment's over them, the defaults beneath; all addresses means this machine."""
    config = tmp_path / "c.yaml" if text else None
    if config:
        config.write_text(text)
    assert address(config, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment", "told"),
    [
        ("state: {}", {}, "there is no `http`"),
        ("http:", {}, "there is no `http`"),
        ("- 1", {}, "there is no `http`"),
        (None, {"BUCKETWATCH_HTTP": "null"}, "there is no `http`"),
        ("http: {port: 0}", {}, "expected a fixed port"),
        ("http: {port: many}", {}, "expected a fixed port"),
        ("http: {port: true}", {}, "expected a fixed port"),
        ("http: {port: 70000}", {}, "expected a fixed port"),
        ("http: {", {}, "c.yaml:1:8"),
        (None, {"BUCKETWATCH_HTTP__PORT": "["}, "BUCKETWATCH_HTTP__PORT"),
    ],
)
def test_bad_input_is_told(tmp_path, text, environment, told):
    config = tmp_path / "c.yaml" if text else None
    if config:
        config.write_text(text)
    with pytest.raises(InputError) as caught:
        address(config, environment)
    assert told in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_config_that_is_not_there_is_bad_input(tmp_path):
    done = checked("--config", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert str(tmp_path / "none.yaml") in done.stderr


def test_it_loads_nothing_heavy():
    """Every half minute, on a quarter of a core: without a config not even the YAML reader."""
    code = """
import json, sys
from detector.cli import healthcheck
healthcheck.healthcheck(timeout=5.0, config=None)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    with served(True) as port:
        # the port by a default of ours: a variable would have to be read as YAML
        command = [sys.executable, "-c", code.replace("healthcheck.healthcheck(", moved(port))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    loaded = set(json.loads(done.stdout))
    assert "http" in loaded
    assert not loaded & {"boto3", "numpy", "pydantic", "pyarrow", "ruamel", "prometheus_client", "msgspec"}


def moved(port):
    return f"healthcheck.DEFAULTS['port'] = {port}\nhealthcheck.healthcheck("
