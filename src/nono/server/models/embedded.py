"""A real chat model on this machine: any GGUF file, run by llama.cpp in a process of its own.

    EmbeddedModel("smollm2-135m-instruct")      named weights, see `nono models ls`
    EmbeddedModel("some/where/model.gguf")

Answers that are bound to a schema cannot leave it. Greedy answers may still differ between runs when several requests
are worked on together: sums are taken in another order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nono.errors import InputError, MissingExtra, NonoError
from nono.models import Kind, need
from nono.server.models import CHAT
from nono.server.models.chat_body import from_engine, refusal, to_engine
from nono.server.models.engine import Engine, EngineDied, EngineSettings
from nono.server.models.refusals import Refused

# Requests in work at a time: they share every pass over the weights, which is what takes the time.
SLOTS = 4
# Tokens of prompt and answer together. Each slot's memory is set aside at the start: 23 kB a token for SmolLM2.
CONTEXT_TOKENS = 4096
MOST_THREADS = 8
_SKETCH_BYTES = 1 << 20


class EmbeddedModel:
    """Answers chats. `spec` names weights that are here, or is the path of a .gguf file.

    Raises SettingsError, with what to do, for weights that are not here or cannot be loaded; MissingExtra without
    the extra [local]. `threads` (default: one for each processor, at most eight) share the work of all slots.
    """

    endpoints = frozenset({CHAT})

    def __init__(
        self, spec: str, *, threads: int | None = None, slots: int = SLOTS, context: int = CONTEXT_TOKENS
    ) -> None:
        if any(find_spec(needed) is None for needed in ("xllamacpp", "llguidance")):
            raise MissingExtra("the embedded model", "local")
        self.name, path, self.fingerprint = _weights(spec)
        self.slots = slots
        self._engine = Engine(EngineSettings(str(path), slots, threads or default_threads(), context))
        self._engine.start()

    @property
    def pid(self) -> int | None:
        """The process that holds the model now."""
        return self._engine.pid

    @property
    def busy(self) -> bool:
        """Whether an answer is being worked on."""
        return self._engine.busy

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            if endpoint != CHAT:
                raise Refused(f"{self.name} answers {CHAT}, not {endpoint}", status=404)
            asked = [self._engine.submit(one) for one in to_engine(body)]
            answers = [future.result() for future in asked]
            for answer in answers:
                if "error" in answer:
                    raise refusal(answer["error"])
            return 200, from_engine(body, answers, self.fingerprint)
        except Refused as refused:
            return refused.answer
        except EngineDied as error:
            return Refused(f"{error.message}; it is started again for the next request", status=500).answer
        except NonoError as error:
            return Refused(error.message, status=503).answer
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            return Refused(f"Invalid request: {type(error).__name__}: {error}").answer

    def close(self) -> None:
        self._engine.close()


def default_threads() -> int:
    """One for each processor that we may use, up to where small models stop gaining.

    Threads that wait sleep (`OMP_WAIT_POLICY`), so beside other busy processes, too, more are never slower than fewer:
    benchmarks/models.md.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MOST_THREADS)


def _weights(spec: str) -> tuple[str, Path, str]:
    """Name, file and fingerprint of the weights that `spec` means."""
    if spec.endswith(".gguf") or os.sep in spec:
        path = Path(spec)
        if not path.is_file():
            raise InputError(f"{spec}: no such file", hint="`nono models ls` lists weights that have a name")
        return path.stem, path, f"{path.stem}-{_sketch(path)}"
    shelved = need(spec, Kind.CHAT)
    return spec, shelved.path(".gguf"), shelved.weights.fingerprint


def _sketch(path: Path) -> str:
    """Tells files apart by size and both ends; reading all of some gigabytes would hold every start up."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_SKETCH_BYTES))
        file.seek(max(0, size - _SKETCH_BYTES))
        digest.update(file.read())
    return digest.hexdigest()[:12]
