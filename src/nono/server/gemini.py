"""Gemini's half of the server: its routes, its envelope, and its batches for the queue.

What it does not imitate (streaming, caches, tuning, Live, …) it refuses in words that say so.
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

from nono.providers.gemini.fields import find_misplaced
from nono.providers.gemini.translate import EMBED, GENERATE
from nono.server.callers import Callers
from nono.server.clock import SECOND_NS
from nono.server.dialect import Answer, Ask, Checked, Kind, Refused, Why
from nono.server.gemini_batches import METHODS, Batches
from nono.server.gemini_files import Files
from nono.server.gemini_lines import KINDS, answer_line, answer_request, unanswered_line
from nono.server.gemini_uploads import FILE_BYTES, Uploads
from nono.server.gemini_wire import BASE, FACTS, PROTOCOL, error_body, is_gemini, is_upload, next_page, page_of, reply
from nono.server.intake import read_object
from nono.server.lane import ask
from nono.server.models import Model
from nono.server.records import Batch, File, State

if TYPE_CHECKING:
    from nono.server.app import Core

_CALL_BYTES = FACTS.number("limits.inline_bytes")
OUTPUT_KEPT_S = FACTS.number("service.output_kept_s")
_DEFAULT_MODELS = 50
_EMBED_MANY = "batchEmbedContents"
_SERVED = (*METHODS, GENERATE, EMBED, _EMBED_MANY)
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
    "form of API consumer identity to call this API."
)
_BAD_KEY = "API key not valid. Please pass a valid API key."
_KEY_INVALID = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}


class Gemini:
    """The Dialect of Gemini's Developer API."""

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
        return is_gemini(path, headers, query)

    def routes(self) -> Sequence[BaseRoute]:
        one = f"{BASE}{{collection:gemini_models}}/{{model:gemini_word}}"
        return [
            *self._uploads.routes(),
            *self._files.routes(),
            *self._batches.routes(),
            Route(f"{BASE}models", self._list_models, methods=["GET"]),
            Route(one, self._get_model, methods=["GET"]),
            Route(f"{one}:{{method:gemini_word}}", self._call, methods=["POST"]),
        ]

    def refuse(self, refused: Refused, method: str, path: str) -> Response:
        status, message = refused.status, refused.message
        if refused.code == "missing_api_key":
            return reply(error_body(403, _NO_KEY), 403)
        if refused.code == "invalid_api_key":
            return reply(error_body(400, _BAD_KEY, [_KEY_INVALID]), 400)
        if status in (404, 405) and message in ("Not Found", "Method Not Allowed"):
            calls = ", ".join(f":{name}" for name in _SERVED)
            message = (
                f"This local server has no call {method} {path[:200]}. It imitates batches, files, their upload and "
                f"download, models, and {calls}."
            )
            status = 404
        if status == 413:
            message = f"Request payload size exceeds the limit: {self.body_limit(method, path)} bytes."
            status = 400
        return reply(error_body(status, message), status, refused.headers)

    def key_of(self, headers: Headers, query: QueryParams) -> str | None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        return headers.get("x-goog-api-key") or query.get("key") or (bearer if scheme.lower() == "bearer" else None)

    def keyless(self, path: str, query: QueryParams) -> bool:
        return is_upload(path) and "upload_id" in query

    def body_limit(self, method: str, path: str) -> int:
        return FILE_BYTES if is_upload(path) else _CALL_BYTES

    def reply_headers(self, elapsed_s: float) -> Mapping[str, str]:
        return {"server-timing": f"gfet4t7; dur={int(elapsed_s * 1000)}"}

    def _list_models(self, request: Request) -> Response:
        size, seen = page_of(request, _DEFAULT_MODELS)
        names = list(self._roster.names(PROTOCOL))
        end = (seen or 0) + size
        more = {"nextPageToken": next_page(end)} if end < len(names) else {}
        return reply({"models": [_model_object(name) for name in names[seen or 0 : end]], **more})

    def _get_model(self, request: Request) -> Response:
        resource = self._known_model(request, "GetModel")
        return reply(_model_object(resource.partition("/")[2]))

    async def _call(self, request: Request) -> Response:
        method = request.path_params["method"]
        if method.startswith("stream"):
            raise Refused(501, f"This local server does not stream: use :{GENERATE} instead of :{method}.")
        if method not in _SERVED:
            raise Refused(501, f"This local server does not imitate :{method}; it answers :{', :'.join(_SERVED)}.")
        resource = self._known_model(request, method)
        if method in METHODS:
            return await self._batches.create(request, resource, METHODS[method])
        body = await read_object(request)
        work = self._embed_many if method == _EMBED_MANY else partial(self._answer, method)
        return await self._callers.run(work, body, resource.partition("/")[2])

    def _known_model(self, request: Request, method: str) -> str:
        """The full name of the model in a call's path. Raises Refused if nobody here answers to it."""
        collection, name = request.path_params["collection"], request.path_params["model"]
        if not self._roster.knows(name):
            version = request.path_params["version"].rstrip("/") or "v1beta"
            raise Refused(
                404,
                f"{collection}/{name[:200]} is not found for API version {version}, or is not supported for {method}. "
                "Call ListModels to see the list of available models and their supported methods.",
            )
        return f"{collection}/{name}"

    def _answer(self, endpoint: str, body: Mapping[str, Any], name: str) -> Response:
        return reply(self._answered(endpoint, body, name))

    def _embed_many(self, body: Mapping[str, Any], name: str) -> Response:
        requests = body.get("requests")
        if not isinstance(requests, list) or not all(isinstance(one, Mapping) for one in requests):
            raise Refused(400, "Invalid value at 'requests': expected a list of objects.")
        return reply({"embeddings": [self._answered(EMBED, one, name)["embedding"] for one in requests]})

    def _answered(self, endpoint: str, body: Mapping[str, Any], name: str) -> dict[str, Any]:
        found = find_misplaced(body, endpoint)
        if found:
            raise Refused(400, f"Invalid JSON payload received. {found}")
        model = self._roster.pick(name, KINDS[endpoint].asks)
        status, answer = answer_request(endpoint, body, name, partial(ask, model), self._core.store)
        if status != 200:
            raise Refused(status, answer["message"])
        return answer

    # in batches

    def check(self, batch: Batch, lines: Path) -> Checked:
        """The input was checked when the batch was created."""
        return Checked(batch.counts.total, batch.model)

    def model(self, batch: Batch) -> Model:
        return self._roster.pick(batch.model, KINDS[batch.endpoint].asks)

    def answer(self, batch: Batch, line: bytes, ask: Ask) -> Answer:
        return answer_line(batch, line, ask, self._core.store)

    def unanswered(self, batch: Batch, line: bytes, why: Why) -> bytes:
        return unanswered_line(line, why)

    def roles(self, batch: Batch, end: State) -> Mapping[Kind, str]:
        """One file for everything; a cancelled or expired batch has none."""
        return dict.fromkeys(Kind, "output") if end is State.COMPLETED else {}

    def output(self, batch: Batch, role: str, token: str, size: int, sha256: str) -> File:
        now = self._core.clock.now_ns()
        return File(
            id=f"batch-{batch.id}",
            protocol=PROTOCOL,
            token=token,
            name=f"batch-{batch.id}",
            purpose="batch_output",
            mime="jsonl",
            bytes=size,
            sha256=sha256,
            created_ns=now,
            expires_ns=now + OUTPUT_KEPT_S * SECOND_NS,
            source="generated",
        )


def _model_object(name: str) -> dict[str, Any]:
    embeds = "embed" in name
    return {
        "name": f"models/{name}",
        "version": "local",
        "displayName": name,
        "description": "Answered by this local server.",
        "supportedGenerationMethods": [EMBED, "asyncBatchEmbedContent"]
        if embeds
        else [GENERATE, "batchGenerateContent"],
    }
