"""A port for a server that has to come back at the same address, or whose address is written down before it starts."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port(chance: random.Random | None = None) -> int:
    """A port that nobody is given by chance while a server is not there: below those that systems give away."""
    while True:
        port = (chance or random.SystemRandom()).randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
