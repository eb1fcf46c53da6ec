"""An endpoint for judges' tests: says "Yes" to everything, or misbehaves as it is told."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Response:
    """Status, body (JSON or bytes), headers, seconds before it is sent and between its bytes; `hang_up` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drip: float = 0.0
    hang_up: bool = False


def yes(body: dict, *texts: str | None, usage: dict | None = None) -> Response:
    """A proper reply: `texts`, or for each of n the last message said back."""
    texts = texts or tuple(f"echo {body['messages'][-1]['content']} #{i}" for i in range(body.get("n", 1)))
    choices = [
        {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10} if usage is None else usage
    return Response(200, {"id": "x", "model": "served-model", "choices": choices, "usage": usage})


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of connections that come at once; the default of 5 loses some on a busy machine


class Server:
    """What came in, in order: bodies, headers, times, paths."""

    def __init__(self, behave: Callable[[dict, int], Response]) -> None:
        self.behave, self.url = behave, ""
        self.bodies: list[dict] = []
        self.headers: list[Any] = []
        self.times: list[float] = []
        self.paths: list[str] = []
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    @property
    def asked(self) -> list[str]:
        """The last message of each request."""
        return [b["messages"][-1]["content"] for b in self.bodies]

    def take(self, body: dict, headers: Any, path: str) -> Response:
        with self.lock:
            times = sum(b["messages"] == body["messages"] for b in self.bodies)
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.paths.append(path)
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        response = self.behave(body, times)
        time.sleep(response.delay)
        with self.lock:
            self.busy -= 1
        return response


@contextmanager
def serve(behave: Callable[[dict, int], Response] = lambda body, _: yes(body)):
    """Serve until the block ends. `behave` gets a request and how often the same messages had come before."""
    server = Server(behave)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            response = server.take(body, self.headers, self.path)
            if response.hang_up:
                self.close_connection = True
                return
            data = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
            try:
                self.send_response(response.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **response.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                step = 1 if response.drip else len(data)
                for i in range(0, len(data), step):
                    self.wfile.write(data[i : i + step])
                    time.sleep(response.drip)
            except OSError:  # whoever asked has gone
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    http = _Http(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
