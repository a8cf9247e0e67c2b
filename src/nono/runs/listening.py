"""A small loopback server for webhooks: a verified message makes the run look at the provider at once.

Nothing that a message says is believed; it only wakes the poll. Put a tunnel or a proxy with TLS in front of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nono.errors import MissingKey
from nono.runs.run import Run
from nono.secret import Secret
from nono.webhooks import InvalidSignature, verify

# The variable of the provider's own SDK first; ours serves every provider.
SECRET_VARIABLES = ("OPENAI_WEBHOOK_SECRET", "NONO_WEBHOOK_SECRET")
LONGEST_BODY_BYTES = 1 << 20


@contextmanager
def listen(run: Run, port: int) -> Iterator[int]:
    """Listen on 127.0.0.1 while the block runs; yields the port. Raises MissingKey without a secret."""
    text = next((os.environ[name] for name in SECRET_VARIABLES if os.environ.get(name)), None)
    if text is None:
        raise MissingKey("webhooks need their signing secret", hint=f"set {' or '.join(SECRET_VARIABLES)}")
    secret = Secret(text)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > LONGEST_BODY_BYTES:
                self._answer(413)
                return
            try:
                verify(self.rfile.read(int(length)), dict(self.headers), secret)
            except InvalidSignature:
                self._answer(400)
                return
            run.wake()
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent: headers hold signatures."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="nono-webhooks", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
