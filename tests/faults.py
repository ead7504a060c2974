"""A proxy before a server of AWS that loses requests and replies, answers with errors, or is slow, as a test says."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What goes wrong with requests of this method whose path has this in it, so many times (-1: always).

    before: not even carried out. after: carried out, and then the reply is lost. answer: (status, code) instead of
    carrying it out. cut: bytes of the reply's body that come. slow: seconds before anything. then: called first.
    """

    method: str
    path: str
    times: int = 1
    before: bool = False
    after: bool = False
    answer: tuple[int, str] | None = None
    cut: int | None = None
    slow: float = 0.0
    then: Callable[[], None] | None = None

    def meets(self, method: str, path: str) -> bool:
        if not self.times or method != self.method or self.path not in path:
            return False
        self.times -= 1
        return True


@dataclass
class Faults:
    """The proxy's rules and what passed it: (method, path)."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)

    def add(self, method: str, path: str, **how: Any) -> Fault:
        self.faults.append(fault := Fault(method, path, **how))
        return fault

    def count(self, method: str, path: str) -> int:
        return sum(1 for m, p in self.passed if m == method and path in p)


class Proxy(BaseHTTPRequestHandler):
    """One request of a client, passed on unless a rule says otherwise."""

    protocol_version = "HTTP/1.1"
    faults: Faults
    target: str

    def _pass_on(self) -> None:
        path = self.path
        self.faults.passed.append((self.command, path))
        fault = next((f for f in self.faults.faults if f.meets(self.command, path)), Fault("", ""))
        if fault.then:
            fault.then()
        time.sleep(fault.slow)
        body = self._body()
        if fault.before:
            return self._break_off()
        if fault.answer:
            status, code = fault.answer
            return self._reply(status, [("Content-Type", "application/xml")], _error(code))
        status, headers, content = self._asked(body)
        if fault.after:
            return self._break_off()
        self._reply(status, headers, content, fault.cut)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815  named by http.server

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _asked(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        there = http.client.HTTPConnection(self.target, timeout=30)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in {"expect", "transfer-encoding"}}
            headers["Content-Length"] = str(len(body))
            there.request(self.command, self.path, body, headers)
            answer = there.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            there.close()

    def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self._break_off()

    def _break_off(self) -> None:
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>the test says so</Message></Error>'.encode()


class FaultyServer:
    """The proxy as a context: `with FaultyServer(url) as faults`."""

    def __init__(self, url: str) -> None:
        self.faults = Faults()
        handler = type("Handler", (Proxy,), {"faults": self.faults, "target": urlsplit(url).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.faults.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Faults:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self.faults

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
