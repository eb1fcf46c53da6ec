"""A small OpenAI-compatible endpoint on localhost, in a thread, that can misbehave."""

import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, object]
"""HTTP status, and a JSON value or raw bytes."""


def answer(body: dict, text: str | None = None, finish_reason: str = "stop") -> Reply:
    """A proper reply: by default it tells what was asked."""
    content = body["messages"][-1]["content"] if text is None else text
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


class Endpoint:
    """What was received, and how many requests were under way at once."""

    def __init__(self, behave: Callable[[dict, int], Reply], delay: float) -> None:
        self.behave, self.delay = behave, delay
        self.bodies: list[dict] = []
        self.keys: list[str] = []
        self.busy = self.busiest = 0
        self.url = ""
        self.lock = threading.Lock()

    def reply(self, body: dict, key: str) -> Reply:
        with self.lock:
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            number = sum(b["messages"] == body["messages"] for b in self.bodies)
            self.bodies.append(body)
            self.keys.append(key)
        time.sleep(self.delay)
        with self.lock:
            self.busy -= 1
        return self.behave(body, number)


@contextmanager
def serve(behave: Callable[[dict, int], Reply] = lambda body, _: answer(body), delay: float = 0.0):
    """Serve until the block ends. `behave` gets the request and how often the same messages had come before."""
    endpoint = Endpoint(behave, delay)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply = endpoint.reply(body, self.headers["Authorization"])
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "5")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
