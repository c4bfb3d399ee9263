"""A real HTTP gateway in front of a tracking server: slow, hanging, away, or with a login, as a test needs it."""

from __future__ import annotations

import base64
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "127.0.0.1"


class Gateway:
    """Passes requests on to a server."""

    def __init__(self, target: str = "") -> None:
        """Start it on a free port.

        Args:
            target: address of the server; without one, only `/health` is answered.
        """
        self.target = target
        self.delay_s = 0.0
        self.login: str | None = None
        """`user:password` that requests have to send."""
        self.is_hanging = False
        """Whether requests other than `/health` are never answered."""
        self.calls = 0
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        server = ThreadingHTTPServer((HOST, self._port), type("Handler", (_Handler,), {"gateway": self}))
        server.daemon_threads = True
        self._server, self._port = server, server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def address(self, login: str = "") -> str:
        """Its URI, with a login if there is one."""
        return f"http://{login}{'@' if login else ''}{HOST}:{self._port}"


class _Handler(BaseHTTPRequestHandler):
    gateway: Gateway

    def _pass_on(self) -> None:
        gateway = self.gateway
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if gateway.login is not None:
            login = base64.b64encode(gateway.login.encode()).decode()
            if self.headers.get("Authorization") != f"Basic {login}":
                self._answer(401, b"You are not authenticated.", "text/plain")
                return
        if self.path == "/health":
            self._answer(200, b"OK", "text/plain")
            return
        gateway.calls += 1
        time.sleep(gateway.delay_s)
        while gateway.is_hanging or not gateway.target:
            time.sleep(0.1)
        headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "accept")}
        request = urllib.request.Request(f"{gateway.target}{self.path}", body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._answer(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read(), error.headers.get("Content-Type", ""))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        with suppress(OSError):  # the client has gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
