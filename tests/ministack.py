"""ministack, an emulator that enforces IAM and knows CloudFormation: a process of its own, from its own environment.

It serves HTTPS, since policies here deny what does not come by TLS, and it evaluates policies (`AUTH=true`): the key
`test` is the account's root, every other key has the rights of its role. It listens on loopback alone: on a free port,
and on 443 too if that is free and allowed. `make test` sets its environment up.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts import need
from tests.servers import Aws

HOME = Path(__file__).resolve().parents[1] / ".ministack/.venv"
ACCOUNT = "123456789012"
"""The same as moto's, so that one test can run against both."""
READY_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """Where it answers, and the certificate by which it is known."""

    url: str
    certificate: Path

    def environment(self) -> dict[str, str]:
        """What a process needs to find it and to be the account's root; nothing of this machine's own."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CA_BUNDLE": str(self.certificate),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }


@pytest.fixture(scope="session")
def ministack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ministack of this test session, ended by its process id."""
    program = HOME / "bin/ministack"
    need(program.exists(), "the emulator's environment .ministack/.venv (make .ministack/.venv/.synced)")
    folder = tmp_path_factory.mktemp("ministack")
    certificate, key = _certificate(folder)
    port = _free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "AUTH": "true",
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(certificate),
        "MINISTACK_SSL_KEY": str(key),
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    server = Server(f"https://127.0.0.1:{port}", certificate)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([program], cwd=folder, env=environment, stdout=out, stderr=out)
    try:
        _wait_until_ready(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(2)  # it has nothing to save
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def ministack(ministack_server: Server, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """AWS as a process finds it by its environment, pointing at ministack, as the account's root."""
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it would keep the keys of an earlier test
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ministack_server.environment().items():
        monkeypatch.setenv(name, value)
    return Aws(ministack_server.url)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    trust = ssl.create_default_context(cafile=server.certificate)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"ministack ended with status {process.returncode}:\n{log.read_text()}")
        try:
            opener.open(f"{server.url}/_ministack/health", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"ministack was not ready in time:\n{log.read_text()}")


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine's loopback, for a day, trusted by nobody else."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(*how))
    return certificate, secret
