"""The other end of `engine.py`: a process that holds llama.cpp's server and nothing else of ours.

First line in: the settings. First line out: `{"ready": …}` or `{"failed": why}`. Then lines `[number, body]` in and
`[number, answer]` out, until the input ends. What a body may hold is checked at our end, not here.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

# llama.cpp keeps prompts of idle slots in memory, 8 GB of them by default; the slots' own memory is enough.
CACHE_RAM_MIB = 0
PARENT_CHECK_S = 1.0


def main() -> None:
    # Ctrl-C in a terminal reaches the whole group; when to end is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _take_stdout()
    settings = json.loads(sys.stdin.buffer.readline() or b"null")
    if settings is None:
        return
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        server = _load(settings)
    except Exception as error:  # whatever the native side raises is why it cannot be used
        _write(answers, {"failed": str(error).strip() or type(error).__name__})
        return
    _write(answers, {"ready": True})
    _serve(server, settings["slots"], answers)
    # Not through the interpreter's and llama.cpp's tidying up: it would wait for answers that nobody wants any longer.
    os._exit(0)


def _load(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    params.fit_params = False  # the context is ours to choose
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.cache_ram_mib = CACHE_RAM_MIB
    # It opens a port on the loopback interface that answers any web page: nobody is told this key.
    params.api_keys = [secrets.token_hex(32)]
    params.endpoint_slots = False
    params.ui = False
    params.warmup = False
    params.prefill_assistant = (
        False  # a last message of the assistant is said, as at OpenAI; not a beginning to go on with
    )
    params.verbosity = 0
    return xllamacpp.Server(params)


def _serve(server: Any, slots: int, answers: BinaryIO) -> None:
    lock = threading.Lock()

    def answer(number: int, body: dict[str, Any]) -> None:
        try:
            said = server.handle_chat_completions(body)
        except Exception as error:  # llama.cpp raises for a body that it does not like
            said = {"error": {"code": 400, "message": str(error), "type": type(error).__name__}}
        with lock:
            _write(answers, [number, said])

    # More threads than slots, so that llama.cpp has the next request when a slot is free.
    threads = ThreadPoolExecutor(2 * slots)
    for line in sys.stdin.buffer:
        number, body = json.loads(line)
        threads.submit(answer, number, body)


def _write(answers: BinaryIO, message: Any) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


def _take_stdout() -> BinaryIO:
    """Standard output for our answers alone: what native code prints goes to standard error."""
    own = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(own, "wb")


def _end_with(parent: int) -> None:
    """End when the parent has ended, even if somebody else holds our input open (a fork of the parent, say)."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    os._exit(0)


if __name__ == "__main__":
    main()
