"""A server in a process of its own, whose model writes down every request before it answers; made to be killed.

PYTHONPATH=tests/server:tests python counting_server.py DATA EXECUTIONS [SLOTS]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server_tools import chat_answer

from nono.server.app import Settings, serve
from nono.server.models import CHAT


class Counting:
    name = "counting"
    endpoints = frozenset({CHAT})

    def __init__(self, executions: Path, slots: int) -> None:
        self.slots = slots
        self._file = os.open(executions, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = body["messages"][0]["content"]
        os.write(self._file, f"{prompt}\n".encode())
        time.sleep(0.0005)
        return 200, chat_answer(body, prompt)

    def close(self) -> None:
        os.close(self._file)


if __name__ == "__main__":
    data, executions, slots = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    serve(
        Settings(data=data, port=0, model=Counting(executions, slots)),
        on_ready=lambda url: print(url, flush=True),
    )
