"""OpenAI's batches, over the store and the queue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nono.facts import read_facts
from nono.server.clock import SECOND_NS
from nono.server.database import IllegalMove
from nono.server.dialect import Refused
from nono.server.intake import read_object
from nono.server.openai_endpoints import BATCH_ENDPOINTS, ENDPOINTS
from nono.server.openai_files import PROTOCOL, check_expiry
from nono.server.openai_wire import (
    STATUS,
    batch_object,
    new_id,
    page,
    query_number,
    reply,
    text_of,
    unknown_parameters,
    wrong_type,
    wrong_value,
)
from nono.server.records import Batch, State
from nono.server.store import new_token

if TYPE_CHECKING:
    from nono.server.app import Core

_FACTS = read_facts("openai")
WINDOW_S = _FACTS.number("service.window_s")
PAGE_LIMIT = _FACTS.number("limits.page_size")
METADATA_PAIRS = _FACTS.number("limits.metadata_pairs")
METADATA_KEY_CHARS = _FACTS.number("limits.metadata_key_chars")
METADATA_VALUE_CHARS = _FACTS.number("limits.metadata_value_chars")
_DEFAULT_PAGE = 20
_PARAMETERS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"})


class Batches:
    """The routes of `/v1/batches`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store

    def routes(self) -> list[Route]:
        return [
            Route("/v1/batches", self.create, methods=["POST"]),
            Route("/v1/batches", self.list, methods=["GET"]),
            Route("/v1/batches/{batch_id}", self.get, methods=["GET"]),
            Route("/v1/batches/{batch_id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        body = await read_object(request)
        batch = _new_batch(body, self._core.clock.now_ns())
        return reply(batch_object(await run_in_threadpool(self._add, batch)))

    def list(self, request: Request) -> Response:
        query = request.query_params
        limit = query_number("limit", query.get("limit"), _DEFAULT_PAGE, PAGE_LIMIT)
        after = query.get("after")
        seen = self._batch(after).seq if after else None
        batches = self._store.batches(PROTOCOL, after=seen, limit=limit + 1)
        shown = [batch_object(self._core.work.look(batch)) for batch in batches[:limit]]
        return page(shown, has_more=len(batches) > limit)

    def get(self, request: Request) -> Response:
        return reply(batch_object(self._core.work.look(self._batch(request.path_params["batch_id"]))))

    def cancel(self, request: Request) -> Response:
        batch = self._batch(request.path_params["batch_id"])
        if batch.state not in (State.CANCELLING, State.CANCELLED):
            try:
                batch = self._core.work.cancel(batch)
            except IllegalMove:
                batch = self._batch(batch.id)
                if batch.state not in (State.CANCELLING, State.CANCELLED):
                    raise _not_cancellable(batch) from None
        return reply(batch_object(self._core.work.look(batch)), compact=True)

    def _batch(self, batch_id: str) -> Batch:
        batch = self._store.batch(PROTOCOL, batch_id)
        if batch is None:
            raise Refused(404, f"No batch found with id '{batch_id}'.")
        return batch

    def _add(self, batch: Batch) -> Batch:
        assert batch.input_file_id is not None
        file = self._store.file(PROTOCOL, batch.input_file_id)
        try:
            # Without a file, or with one of another purpose, the batch is accepted and fails, as at the service.
            if file is not None and file.purpose == "batch":
                with suppress(FileNotFoundError):  # deleted at this moment
                    self._store.link_input(batch, file)
            batch = self._store.add_batch(batch)
        except BaseException:
            self._store.clear_work(batch)
            raise
        self._core.work.add(batch)
        return batch


def _new_batch(body: Mapping[str, Any], now_ns: int) -> Batch:
    """A batch as asked for. Raises Refused."""
    unknown_parameters(body, _PARAMETERS)
    input_file_id = text_of(body, "input_file_id")
    endpoint = text_of(body, "endpoint")
    if endpoint not in BATCH_ENDPOINTS:
        raise wrong_value("endpoint", endpoint, BATCH_ENDPOINTS)
    window = text_of(body, "completion_window")
    if window != "24h":
        raise wrong_value("completion_window", window, ("24h",), naming=True)
    if endpoint not in ENDPOINTS:
        raise Refused(
            400,
            f"This local server does not imitate batches of '{endpoint}'; it answers {', '.join(ENDPOINTS)}.",
            code="invalid_value",
            param="endpoint",
        )
    return Batch(
        id=new_id("batch_"),
        protocol=PROTOCOL,
        token=new_token(),
        endpoint=endpoint,
        model=None,
        input_file_id=input_file_id,
        created_ns=now_ns,
        expires_ns=now_ns + WINDOW_S * SECOND_NS,
        details={
            "metadata": _metadata(body.get("metadata")),
            "output_expires_after_s": check_expiry("output_expires_after", body.get("output_expires_after")),
        },
    )


def _metadata(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise wrong_type("metadata", "an object", given)
    if len(given) > METADATA_PAIRS:
        raise Refused(
            400,
            f"Invalid 'metadata': too many properties. Expected an object with at most {METADATA_PAIRS} properties, "
            f"but got an object with {len(given)} properties instead.",
            code="object_above_max_properties",
            param="metadata",
        )
    for key, value in given.items():
        if len(key) > METADATA_KEY_CHARS:
            raise _too_long("metadata", "property name", METADATA_KEY_CHARS, len(key))
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string", value)
        if len(value) > METADATA_VALUE_CHARS:
            raise _too_long(f"metadata.{key}", "string", METADATA_VALUE_CHARS, len(value))
    return given


def _too_long(name: str, what: str, limit: int, found: int) -> Refused:
    return Refused(
        400,
        f"Invalid '{name}': {what} too long. Expected a string with maximum length {limit}, "
        f"but got a string with length {found} instead.",
        code="string_above_max_length",
        param=name,
    )


def _not_cancellable(batch: Batch) -> Refused:
    # The SDK repeats a 409 by itself unless it is told not to.
    return Refused(
        409,
        f"Cannot cancel a batch with status '{STATUS[batch.state]}'.",
        headers={"x-should-retry": "false"},
    )
