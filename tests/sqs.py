"""One SQS queue as a process on loopback, for floods: other stand-ins take minutes where this takes seconds.

`python -m tests.sqs BODIES --visibility 30`: a line of BODIES is a message's body, as JSON text. It prints its address.
It speaks the JSON protocol to any AWS client, and answers GET with what is left of each kind of message.

Source: SQS API reference: ReceiveMessage, DeleteMessageBatch, ChangeMessageVisibilityBatch, GetQueueAttributes.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BATCH = 10


class Queue:
    """Messages that wait and messages that are hidden. visibility: seconds for which a received one is hidden."""

    def __init__(self, bodies: Iterable[str], visibility: float) -> None:
        self._lock = threading.Lock()
        self._visibility = visibility
        self._bodies = dict(enumerate(bodies))
        self._waiting = deque(self._bodies)
        self._until: dict[int, float] = {}
        self._alarms: list[tuple[float, int]] = []
        self._received: dict[int, int] = {}
        self._sent = str(int(time.time() * 1000))

    def counts(self) -> dict[str, int]:
        """How many wait, and how many are in somebody's hands."""
        with self._lock:
            self._wake()
            return {"waiting": len(self._waiting), "hidden": len(self._until), "left": len(self._bodies)}

    def get_queue_attributes(self, _: Any) -> dict[str, Any]:
        return {"Attributes": {"VisibilityTimeout": str(int(self._visibility))}}

    def receive_message(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Up to ten; waits as long as the reader asks."""
        end = time.monotonic() + float(asked.get("WaitTimeSeconds", 0))
        while not (found := self._take(int(asked.get("MaxNumberOfMessages", 1)))) and time.monotonic() < end:
            time.sleep(0.02)
        return {"Messages": found} if found else {}

    def delete_message_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            for entry in asked["Entries"]:
                number = int(entry["ReceiptHandle"])
                self._bodies.pop(number, None)
                self._until.pop(number, None)
        return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}

    def change_message_visibility_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            for entry in asked["Entries"]:
                number = int(entry["ReceiptHandle"])
                if number in self._until:
                    self._hide(number, float(entry["VisibilityTimeout"]))
        return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}

    def _take(self, most: int) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        with self._lock:
            self._wake()
            while self._waiting and len(out) < min(most, BATCH):
                number = self._waiting.popleft()
                if number not in self._bodies:
                    continue
                self._hide(number, self._visibility)
                self._received[number] = self._received.get(number, 0) + 1
                out.append(self._shown(number))
        return out

    def _shown(self, number: int) -> dict[str, Any]:
        body = self._bodies[number]
        times = str(self._received[number])
        return {
            "MessageId": f"m{number}",
            "ReceiptHandle": str(number),
            "Body": body,
            "MD5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
            "Attributes": {"SentTimestamp": self._sent, "ApproximateReceiveCount": times},
        }

    def _hide(self, number: int, seconds: float) -> None:
        self._until[number] = time.monotonic() + seconds
        heapq.heappush(self._alarms, (self._until[number], number))

    def _wake(self) -> None:
        while self._alarms and self._alarms[0][0] <= time.monotonic():
            at, number = heapq.heappop(self._alarms)
            if self._until.get(number) == at:
                del self._until[number]
                self._waiting.append(number)


class Handler(BaseHTTPRequestHandler):
    """AWS's JSON protocol, as far as `Queue` goes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: else each waits for the reader's acknowledgement of its head
    queue: Queue

    def do_GET(self) -> None:
        self._answer(self.queue.counts())

    def do_POST(self) -> None:
        body = self.rfile.read(length := int(self.headers["Content-Length"]))
        if len(body) < length:  # who asked was killed over it
            self.close_connection = True
            return
        asked = json.loads(body)
        name = self.headers["X-Amz-Target"].partition(".")[2]
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
        self._answer(getattr(self.queue, snake)(asked))

    def _answer(self, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # who asked may be gone
            self.wfile.write(body)
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Requests are not logged."""


class Server(ThreadingHTTPServer):
    """Serves until ended; a reader that is killed in the middle is nothing to speak of."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def counts(url: str) -> dict[str, int]:
    """What is left in the queue at this address."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, int] = json.load(answer)
    return found


def main() -> None:
    """Serve until ended."""
    options = argparse.ArgumentParser()
    options.add_argument("bodies", type=Path)
    options.add_argument("--visibility", type=float, default=30)
    chosen = options.parse_args()
    lines = chosen.bodies.read_text("utf-8").splitlines()
    Handler.queue = Queue(map(json.loads, lines), chosen.visibility)
    server = Server(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
