"""A tracking server that is slow or hangs, for benchmarks: a proxy on loopback."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@contextmanager
def serve(target: int | None, delay_s: float) -> Iterator[int]:
    """Serve until the block ends.

    Args:
        target: port of the real server; None: requests are accepted and never answered.
        delay_s: seconds before each answer.

    Yields:
        The port.
    """
    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(target, delay_s, over))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def _handler(target: int | None, delay_s: float, over: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if target is None:
                over.wait()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(delay_s)
            connection = http.client.HTTPConnection("127.0.0.1", target, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            with suppress(BrokenPipeError):  # the sweep has ended and no longer waits
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    return Handler
