"""The lines of OpenAI's batch files: checking the input's, writing the output's and the error file's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nono.facts import read_facts
from nono.model import Usage
from nono.server.answer_files import LINE_BYTES, is_cut, numbered_lines
from nono.server.dialect import Answer, Ask, Checked, Why
from nono.server.intake import decode_json
from nono.server.openai_endpoints import BATCH_ENDPOINTS, ENDPOINTS
from nono.server.openai_wire import kind_of
from nono.server.records import Batch
from nono.server.roster import Roster

_LIMITS = read_facts("openai")
REQUESTS = _LIMITS.number("limits.requests_per_file")
EMBEDDING_INPUTS = _LIMITS.number("limits.embedding_inputs_per_file")
# A file that is wrong in every line is reported up to here; the list travels in every reply about the batch.
REPORTED_ERRORS = 1_000
# What no answer has; sums of it over a batch still fit everywhere.
_MOST_TOKENS = 10**12

_NEVER_RAN = {
    Why.CANCELLED: ("batch_cancelled", "This request was not executed because the batch was cancelled."),
    Why.EXPIRED: (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}
_SERVER_ERROR = {
    "error": {
        "message": "An error occurred while processing your request.",
        "type": "server_error",
        "param": None,
        "code": "server_error",
    }
}


class Fault(Exception):
    """One entry of a failed batch's `errors.data`."""

    def __init__(self, code: str, message: str, param: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.entry = {"code": code, "message": message, "param": param, "line": line}


def check_lines(batch: Batch, lines: Path, roster: Roster) -> Checked:
    """Validate a batch's input: every bad line gives one error, in line order."""
    check = _Check(batch.endpoint, roster)
    errors = []
    try:
        with lines.open("rb", buffering=1 << 20) as file:
            for error in check.faults(numbered_lines(file)):
                errors.append(error.entry)
                if len(errors) == REPORTED_ERRORS:
                    break
    except FileNotFoundError:
        errors.append(_missing_file(batch).entry)
    return Checked(check.total, check.model, errors or None)


def _missing_file(batch: Batch) -> Fault:
    return Fault(
        "invalid_request",
        f"Cannot find file {batch.input_file_id}, or organization org-local does not have access to it.",
        "file_id",
    )


class _Check:
    """The rules that hold over all lines: one model, unique ids, limits."""

    def __init__(self, endpoint: str, roster: Roster) -> None:
        self._url = endpoint
        self._endpoint = ENDPOINTS[endpoint]
        self._roster = roster
        self._ids: set[str] = set()
        self._known_models: set[str] = set()
        self._inputs = 0
        self.total = 0
        self.model: str | None = None

    def faults(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Fault]:
        for number, line in lines:
            if self.total == REQUESTS:
                yield Fault(
                    "too_many_tasks",
                    f"The batch input file contains more than {REQUESTS} requests, the maximum for a batch.",
                )
                return
            self.total += 1
            try:
                self._check(line)
            except Fault as fault:
                fault.entry["line"] = number
                yield fault
        if self.total == 0:
            yield Fault(
                "empty_file", "The input file is empty. Please ensure that the batch contains at least one request."
            )
        if self._inputs > EMBEDDING_INPUTS:
            yield Fault(
                "too_many_tasks",
                f"The batch input file contains {self._inputs} embedding inputs, "
                f"more than the maximum of {EMBEDDING_INPUTS} for a batch.",
            )

    def _check(self, line: bytes) -> None:
        if is_cut(line):
            raise Fault("invalid_request", f"This line is longer than the {LINE_BYTES} bytes that a request may have.")
        try:
            request = decode_json(line)
        except ValueError:
            raise Fault("invalid_json_line", "This line is not parseable as valid JSON.") from None
        if not isinstance(request, dict):
            raise Fault("invalid_json_line", f"This line is {kind_of(request)}; expected a JSON object.")
        for name in ("custom_id", "method", "url", "body"):
            if request.get(name) is None:
                raise Fault("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
        self._check_envelope(request)
        self._check_body(request["body"])

    def _check_envelope(self, request: Mapping[str, Any]) -> None:
        for name in ("custom_id", "method", "url"):
            _expect(str, "a string", name, request[name])
        custom_id, url = request["custom_id"], request["url"]
        if custom_id in self._ids:
            raise Fault(
                "duplicate_custom_id",
                f"The custom_id '{custom_id}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch.",
                "custom_id",
            )
        self._ids.add(custom_id)
        if request["method"] != "POST":
            raise Fault(
                "invalid_method",
                f"Invalid method '{request['method']}'. The only supported method is 'POST'.",
                "method",
            )
        if url not in BATCH_ENDPOINTS:
            raise Fault("url_not_found", f"The provided url '{url}' is not supported by the Batch API.", "url")
        if url != self._url:
            raise Fault("invalid_url", "The URL provided for this request does not match the batch endpoint.", "url")

    def _check_body(self, body: Any) -> None:
        _expect(dict, "an object", "body", body)
        if body.get("stream"):
            raise Fault(
                "streaming_unsupported",
                f"{self._endpoint.title}: Streaming is not supported in the Batch API.",
                "body.stream",
            )
        self._check_model(body.get("model"))
        required = self._endpoint.required
        if required is not None and body.get(required) is None:
            raise Fault("invalid_request", f"{required.title()} parameter is required.", f"body.{required}")
        if self._endpoint.counts_inputs:
            given = body.get("input")
            # A list of numbers is one input: tokens.
            self._inputs += len(given) if isinstance(given, list) and given and not isinstance(given[0], int) else 1

    def _check_model(self, model: Any) -> None:
        if model is None:
            if self._endpoint.default_model is None:
                raise Fault("invalid_request", "Model parameter is required.", "body.model")
            model = self._endpoint.default_model
        _expect(str, "a string", "body.model", model)
        if model not in self._known_models:
            if not self._roster.knows(model):
                raise Fault(
                    "model_not_found",
                    f"The provided model '{model}' is not supported by the Batch API.",
                    "body.model",
                )
            self._known_models.add(model)
        self.model = self.model or model
        if model != self.model:
            raise Fault(
                "mismatched_model",
                f"The model '{model}' for this request does not match the rest of the batch. "
                "Each batch must contain requests for a single model.",
                "body.model",
            )


def _expect(kind: type, words: str, name: str, value: Any) -> None:
    if not isinstance(value, kind):
        message = f"Invalid type for '{name}': expected {words}, but got {kind_of(value)} instead."
        raise Fault("invalid_type", message, name)


def answer_line(batch: Batch, line: bytes, ask: Ask) -> Answer:
    """Ask for one request's answer and write its line."""
    request = decode_json(line)
    status, body = ENDPOINTS[batch.endpoint].answer(request["body"], ask)
    ok = status < 400
    return Answer(ok, _with_response(request["custom_id"], status, body), _usage(body) if ok else Usage())


def unanswered_line(line: bytes, why: Why) -> bytes:
    """The error file's line of a request that never ran."""
    custom_id = decode_json(line)["custom_id"]
    if why is Why.BROKEN:
        return _with_response(custom_id, 500, _SERVER_ERROR)
    code, message = _NEVER_RAN[why]
    error = json.dumps({"code": code, "message": message})
    text = f'{{"id": "batch_req_{os.urandom(16).hex()}", "custom_id": {json.dumps(custom_id)}, "response": null, '
    return f'{text}"error": {error}}}\n'.encode()


def _with_response(custom_id: str, status: int, body: Mapping[str, Any]) -> bytes:
    ids = os.urandom(32).hex()
    return (
        f'{{"id": "batch_req_{ids[:32]}", "custom_id": {json.dumps(custom_id)}, '
        f'"response": {{"status_code": {status}, "request_id": "{ids[32:]}", "body": {json.dumps(body)}}}, '
        '"error": null}\n'
    ).encode()


def _usage(body: Mapping[str, Any]) -> Usage:
    """An answer's tokens: chat and embeddings say `prompt_tokens`, Responses and images say `input_tokens`."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        _tokens(usage, "prompt_tokens") or _tokens(usage, "input_tokens"),
        _tokens(usage, "completion_tokens") or _tokens(usage, "output_tokens"),
        _tokens(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"), "cached_tokens"),
        _tokens(usage.get("completion_tokens_details") or usage.get("output_tokens_details"), "reasoning_tokens"),
    )


def _tokens(counts: Any, name: str) -> int:
    """A number of tokens, as far as the model has written one: other servers put all sorts of things here."""
    found = counts.get(name) if isinstance(counts, dict) else None
    return found if type(found) is int and 0 <= found < _MOST_TOKENS else 0
