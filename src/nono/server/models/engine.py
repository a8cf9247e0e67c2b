"""The process that holds the embedded model: started here, asked through a pipe, started again when it has died.

Native code can crash, and a crash takes its process along: that process must not be the server. What goes over the pipe
is a line of JSON each way (`engine_process.py` is the other end); answers come in any order, each under its number.
The process ends with us, however we end: its input closes.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from nono.errors import NonoError, SettingsError

# Reading weights of some gigabytes from a slow disk takes its time.
START_TIMEOUT_S = 300.0
_ENDING_S = 5.0
_LAST_WORDS_BYTES = 2_000


class EngineDied(NonoError):
    """The model's process ended while it worked; the next request starts it again."""

    transient = True


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How to load a model. `context` is in tokens, for each slot; 0 takes what the model was trained with."""

    path: str
    slots: int
    threads: int
    context: int


class Engine:
    """One model in one process. Threads share it; it starts at the first question, or by `start`."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._running: _Process | None = None
        self._closed = False

    def start(self) -> None:
        """Load the model now. Raises SettingsError if it cannot be loaded."""
        with self._lock:
            self._process()

    @property
    def pid(self) -> int | None:
        """The process that holds the model now, if there is one."""
        running = self._running
        return running.pid if running is not None and running.alive else None

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        running = self._running
        return running is not None and running.busy

    def submit(self, body: Mapping[str, Any]) -> Future[dict[str, Any]]:
        """Ask for one chat; the future holds what llama.cpp's server answers, or `{"error": {…}}`.

        The future raises EngineDied if the process ends before it has answered. Raises SettingsError if it cannot be
        started (again).
        """
        with self._lock:
            if self._closed:
                raise SettingsError("the embedded model was closed")
            return self._process().send(next(self._numbers), body)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        if running is not None:
            running.end()

    def _process(self) -> _Process:
        if self._running is None or not self._running.alive:
            self._running = _Process(self.settings)
        return self._running


class _Process:
    """One life of the process."""

    def __init__(self, settings: EngineSettings) -> None:
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._guard = threading.Lock()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, lives as long as the process
        self._child = subprocess.Popen(
            # -P: what lies in the current folder is not imported.
            [sys.executable, "-P", "-m", "nono.server.models.engine_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=_environment(),
        )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._input, self._output = self._child.stdin, self._child.stdout
        self.alive = True
        self._await_loading(settings)
        threading.Thread(target=self._listen, name=f"engine-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def send(self, number: int, body: Mapping[str, Any]) -> Future[dict[str, Any]]:
        answer: Future[dict[str, Any]] = Future()
        line = msgspec.json.encode([number, body]) + b"\n"
        with self._guard:
            self._waiting[number] = answer
        try:
            self._input.write(line)
            self._input.flush()
        except OSError:
            self._bury()
        if not self.alive:
            self._fail(answer, number)
        return answer

    def end(self) -> None:
        """End the process and wait for it; what it was asked and has not answered fails."""
        with suppress(OSError):  # it was dead already
            self._input.close()
        try:
            self._child.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._bury()

    def _await_loading(self, settings: EngineSettings) -> None:
        with suppress(OSError):  # died at once: the missing first line says so
            self._input.write(msgspec.json.encode(asdict(settings)) + b"\n")
            self._input.flush()
        impatience = threading.Timer(START_TIMEOUT_S, self._child.kill)
        impatience.start()
        try:
            first = self._output.readline()
        finally:
            impatience.cancel()
        report = msgspec.json.decode(first) if first.endswith(b"\n") else {"failed": self._death()}
        if "failed" in report:
            self._child.kill()
            self._child.wait()
            self._input.close()
            self._output.close()
            raise SettingsError(
                f"{Path(settings.path).name} could not be loaded: {report['failed']}",
                hint="is it a GGUF file that this llama.cpp knows, and is there memory for it?",
            )

    def _listen(self) -> None:
        for line in self._output:
            number, answer = msgspec.json.decode(line)
            with self._guard:
                asked = self._waiting.pop(number, None)
            if asked is not None:
                asked.set_result(answer)
        self._bury()

    def _bury(self) -> None:
        """The process is dead or dying: nobody waits for it any longer."""
        self.alive = False
        with self._guard:
            orphans, self._waiting = self._waiting, {}
        for number, asked in orphans.items():
            self._fail(asked, number)

    def _fail(self, asked: Future[dict[str, Any]], number: int) -> None:
        with self._guard:
            self._waiting.pop(number, None)
        with suppress(InvalidStateError):  # the sender and the listener both saw the death
            asked.set_exception(EngineDied(f"the embedded model's process ended: {self._death()}"))

    def _death(self) -> str:
        """How it ended, and the last that it said."""
        try:
            code = self._child.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            return "it does not answer"
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = self._said.fileno()
        start = max(0, os.fstat(said).st_size - _LAST_WORDS_BYTES)
        last = os.pread(said, _LAST_WORDS_BYTES, start).decode("utf-8", "replace").strip().splitlines()
        return f"{how} ({last[-1]})" if last else how


def _environment() -> dict[str, str]:
    """Ours, with what the engine needs before it is imported."""
    here = str(Path(__file__).parents[3])
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        # Threads that wait by spinning take the processor away from everybody else: 0.3 answers a second, not 3.
        "OMP_WAIT_POLICY": "passive",
        # The same nono there as here, however it came onto our path.
        "PYTHONPATH": f"{here}{os.pathsep}{path}" if path else here,
    }
