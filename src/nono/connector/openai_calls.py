"""What the methods of `OpenAIBatchService` and of its twin mean, as flows: one place for what both do.

Everything is looked at before anything is sent, and the creating call is sent exactly once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nono import jsonl
from nono.errors import AnswerLost, InputError, NonoError, ProviderUnavailable, UnreadableAnswer
from nono.exchange import Account, Flow, Work
from nono.facts import Facts
from nono.files import source_path, target_path
from nono.model import Request
from nono.providers.openai import bodies, flows, harvest
from nono.providers.openai.account import account_from_client, account_from_settings, client_timeout_s
from nono.providers.openai.check import check
from nono.providers.openai.compatible import check_window
from nono.providers.openai.wire import Batch, File
from nono.waiting import wait_until_ended

StrPath = str | os.PathLike[str]
Seconds = int | Mapping[str, Any]


def account_of(api_key: str | None, base_url: str | None, client: Any) -> Account:
    if client is not None:
        return account_from_client(client, api_key=api_key, base_url=base_url)
    return account_from_settings(api_key=api_key, base_url=base_url)


def timeout_of(timeout_s: float | None, client: Any) -> float | None:
    return client_timeout_s(client) if timeout_s is None else timeout_s


def page_size() -> int:
    return flows.FACTS.number("limits.page_size")


def write_requests(requests: Iterable[Mapping[str, Any] | Request], output_path: StrPath) -> None:
    jsonl.write_values(target_path(output_path), _lines(requests))


def _lines(requests: Iterable[Mapping[str, Any] | Request]) -> Iterator[Mapping[str, Any]]:
    if isinstance(requests, str | Mapping) or not isinstance(requests, Iterable):
        raise InputError(
            f"requests is a list of requests, not one {type(requests).__name__}", hint="put it into a list"
        )
    number = 0
    for number, request in enumerate(requests, start=1):
        if isinstance(request, Request):
            yield bodies.request_line(request.custom_id, request.endpoint, request.body)
        elif isinstance(request, Mapping) and {"custom_id", "url", "body"} <= request.keys():
            yield request if "method" in request else {**request, "method": "POST"}
        else:
            raise InputError(
                f"request {number} is not a request line: {str(request)[:80]}",
                hint="build_request() makes one: custom_id, method, url and body",
            )
    if not number:
        raise InputError("there are no requests to write", hint="a batch needs at least one")


def upload(file_path: StrPath, facts: Facts, *, expires_after: Seconds | None, check_first: bool) -> Flow[File]:
    path = source_path(file_path)
    if expires_after is not None:
        flows.expiry_of(expires_after, facts)
    if check_first:
        yield Work(_check_for, (path, None, facts))
    return (yield from flows.upload(path, expires_after=expires_after))


def create(
    file_path: StrPath | None,
    input_file_id: str | File | None,
    endpoint: str,
    facts: Facts,
    *,
    check_first: bool,
    **settings: Any,
) -> Flow[Batch]:
    if (file_path is None) == (input_file_id is None):
        raise InputError(
            "a batch is made from one input file: file_path or input_file_id",
            hint="give exactly one; a path is checked and uploaded first",
        )
    # Every setting is looked at before the upload: it would be in vain.
    metadata, expiry = settings["metadata"], settings["output_expires_after"]
    flows.check_metadata(metadata or {})
    if check_first:
        check_window(settings["completion_window"], facts)
    if expiry is not None:
        flows.expiry_of(expiry, facts)
    if input_file_id is not None:
        file_id = input_file_id.id if isinstance(input_file_id, File) else input_file_id
        if not isinstance(file_id, str) or not file_id.strip():
            raise InputError(f"not the id of a file: {file_id!r}", hint="upload_file() returns a file; pass its id")
        return (yield from _create_from(file_id, endpoint, **settings))
    path = source_path(file_path or "")
    if check_first:
        yield Work(_check_for, (path, endpoint, facts))
    file = yield from flows.upload(path)
    return (yield from _create_from(file.id, endpoint, **settings))


def _create_from(file_id: str, endpoint: str, **settings: Any) -> Flow[Batch]:
    try:
        return (yield from flows.create_batch(file_id, endpoint, **settings))
    except (AnswerLost, UnreadableAnswer, ProviderUnavailable) as error:
        error.hint = f"the batch may exist: look in list_batches() for input_file_id {file_id!r} before another try"
        raise
    except NonoError as error:
        uploaded = f"there is no batch; create_batch(input_file_id={file_id!r}) tries again without an upload"
        error.hint = f"{error.hint}; {uploaded}" if error.hint else uploaded
        raise


def _check_for(path: Path, endpoint: str | None, facts: Facts) -> None:
    check(path, endpoint=endpoint, facts=facts)


def wait(
    batch_id: str, poll_interval: float, timeout: float | None, callback: Callable[[Batch, float], Any] | None
) -> Flow[Batch]:
    return wait_until_ended(
        lambda: flows.get_batch(batch_id),
        ended=lambda batch: batch.ended,
        describe=lambda batch: batch.status,
        poll_interval_s=poll_interval,
        timeout_s=timeout,
        callback=callback,
    )


def results(batch_id: str, output_path: StrPath | None) -> Flow[Any]:
    return harvest.results(batch_id) if output_path is None else harvest.save_results(batch_id, output_path)


def errors(batch_id: str, output_path: StrPath | None) -> Flow[Any]:
    return harvest.errors(batch_id) if output_path is None else harvest.save_errors(batch_id, output_path)
