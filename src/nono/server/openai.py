"""OpenAI's half of the server: its routes, its envelope, and its batches for the queue.

What it does not imitate (fine-tuning, assistants, audio, streaming, …) it refuses in words that say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from nono.facts import read_facts
from nono.server.callers import Callers
from nono.server.clock import SECOND_NS, unix_s
from nono.server.dialect import Answer, Ask, Checked, Kind, Refused, Why
from nono.server.intake import read_object
from nono.server.lane import ask
from nono.server.models import Model
from nono.server.openai_batches import Batches
from nono.server.openai_endpoints import ENDPOINTS, Endpoint
from nono.server.openai_files import FILE_BYTES, PROTOCOL, Files
from nono.server.openai_lines import answer_line, check_lines, unanswered_line
from nono.server.openai_uploads import PART_BYTES, Uploads
from nono.server.openai_wire import error_body, new_file_id, new_id, reply
from nono.server.records import Batch, File, State

if TYPE_CHECKING:
    from nono.server.app import Core

_MULTIPART_BYTES = 1 << 20  # what the form around a file may take
_CALL_BYTES = 20 * 1024 * 1024
_JSON_BYTES = 1024 * 1024
OUTPUT_KEPT_S = read_facts("openai").number("service.output_kept_s")
_METHOD_HINT = "(HINT: Perhaps you meant to use a different HTTP method?)"


class OpenAI:
    """The Dialect of OpenAI."""

    name = PROTOCOL

    def __init__(self, core: Core) -> None:
        self._core = core
        self._roster = core.roster
        self._files = Files(core)
        self._uploads = Uploads(core)
        self._batches = Batches(core)
        self._callers = Callers()

    # over HTTP

    def claims(self, path: str, headers: Headers, query: QueryParams) -> bool:
        return path.startswith("/v1/")

    def routes(self) -> Sequence[BaseRoute]:
        return [
            *self._files.routes(),
            *self._uploads.routes(),
            *self._batches.routes(),
            Route("/v1/models", self._list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", self._get_model, methods=["GET"]),
            *(
                Route(path, partial(self._call, endpoint=endpoint), methods=["POST"])
                for path, endpoint in ENDPOINTS.items()
            ),
        ]

    def refuse(self, refused: Refused, method: str, path: str) -> Response:
        if refused.status == 404 and refused.message == "Not Found":
            refused = Refused(404, f"Invalid URL ({method} {path}). {_served(path)}")
        if refused.status == 405:
            message = f"Not allowed to {method} on {path}. {_METHOD_HINT}"
            refused = Refused(405, message, code="method_not_supported", headers=refused.headers)
        return reply(error_body(refused), refused.status, headers=refused.headers)

    def key_of(self, headers: Headers, query: QueryParams) -> str | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else headers.get("api-key")

    def keyless(self, path: str, query: QueryParams) -> bool:
        return False

    def body_limit(self, method: str, path: str) -> int:
        if path == "/v1/files":
            return FILE_BYTES + _MULTIPART_BYTES
        if path.startswith("/v1/uploads/") and path.endswith("/parts"):
            return PART_BYTES + _MULTIPART_BYTES
        return _CALL_BYTES if path in ENDPOINTS else _JSON_BYTES

    def reply_headers(self, elapsed_s: float) -> Mapping[str, str]:
        return {
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(int(elapsed_s * 1000)),
            "x-request-id": new_id("req_"),
        }

    def _list_models(self, request: Request) -> Response:
        return reply({"object": "list", "data": [self._model_object(name) for name in self._roster.names(PROTOCOL)]})

    def _get_model(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self._roster.knows(name):
            raise _no_such_model(name)
        return reply(self._model_object(name))

    def _model_object(self, name: str) -> dict[str, Any]:
        # The service names its own creation dates; what answers here was made when the server started.
        return {"id": name, "object": "model", "created": unix_s(self._core.clock.now_ns()), "owned_by": "nono"}

    async def _call(self, request: Request, *, endpoint: Endpoint) -> Response:
        body = await read_object(request)
        name = body.get("model") or endpoint.default_model
        if not isinstance(name, str):
            raise Refused(400, "you must provide a model parameter")
        if not self._roster.knows(name):
            raise _no_such_model(name)
        if body.get("stream"):
            raise Refused(400, "This local server does not stream. Leave 'stream' out.", param="stream")
        model = self._roster.pick(name, endpoint.asks)
        status, answer = await self._callers.run(endpoint.answer, body, partial(ask, model))
        return reply(answer, status)

    # in batches

    def check(self, batch: Batch, lines: Path) -> Checked:
        return check_lines(batch, lines, self._roster)

    def model(self, batch: Batch) -> Model:
        return self._roster.pick(batch.model, ENDPOINTS[batch.endpoint].asks)

    def answer(self, batch: Batch, line: bytes, ask: Ask) -> Answer:
        return answer_line(batch, line, ask)

    def unanswered(self, batch: Batch, line: bytes, why: Why) -> bytes:
        return unanswered_line(line, why)

    def roles(self, batch: Batch, end: State) -> Mapping[Kind, str]:
        return {Kind.OK: "output", Kind.FAILED: "error", Kind.UNRUN: "error"}

    def output(self, batch: Batch, role: str, token: str, size: int, sha256: str) -> File:
        now = self._core.clock.now_ns()
        kept_s = batch.details.get("output_expires_after_s") or OUTPUT_KEPT_S
        return File(
            id=new_file_id(),
            protocol=PROTOCOL,
            token=token,
            name=f"{batch.id}_{role}.jsonl",
            purpose="batch_output",
            mime="application/jsonl",
            bytes=size,
            sha256=sha256,
            created_ns=now,
            expires_ns=now + kept_s * SECOND_NS,
            source="generated",
        )


def _no_such_model(name: str) -> Refused:
    message = f"The model `{name[:200]}` does not exist or you do not have access to it."
    return Refused(404, message, code="model_not_found")


def _served(path: str) -> str:
    if not path.startswith("/v1/"):
        return "This local server's OpenAI base URL ends with /v1."
    return f"This local server imitates files, uploads, batches, models, and {', '.join(ENDPOINTS)}."
