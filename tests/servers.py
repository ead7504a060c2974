"""Stand-ins for AWS that the tests start themselves: real processes on loopback, ended by their process id."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

READY_SECONDS = 60


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The address of a moto server of this test session."""
    with serving() as url:
        yield url


@contextmanager
def serving() -> Iterator[str]:
    """A moto server of our own: its address."""
    with served() as (url, _):
        yield url


@contextmanager
def served() -> Iterator[tuple[str, int]]:
    """The same with its process id."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Aws:
    """One test's AWS: clients of the server, and names nobody else uses."""

    url: str

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1")

    def name(self, kind: str) -> str:
        return f"{kind}-{uuid.uuid4().hex[:12]}"

    def bucket(self, kind: str = "state") -> str:
        name = self.name(kind)
        self.client("s3").create_bucket(Bucket=name)
        return name


@pytest.fixture
def aws(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """AWS as a process finds it by its environment, pointing at the moto server; nothing of this machine's own."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in environment(moto_server).items():
        monkeypatch.setenv(name, value)
    return Aws(moto_server)


def environment(url: str) -> dict[str, str]:
    """What a process needs to know of a stand-in."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"moto ended with status {process.returncode}")
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("moto was not ready in time")
