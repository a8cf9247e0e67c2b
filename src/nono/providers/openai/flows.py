"""The calls of OpenAI's Files and Batch APIs, as flows: what is asked, and what the answer means.

Nothing here knows a network, a clock or an event loop. `create_batch` is the one call that must never be repeated by
itself: a second POST is a second batch, and a second bill.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nono.download import download
from nono.errors import Conflict, InputError, InvalidRequest, NotFound
from nono.exchange import Call, FileSlice, Flow, Reply, Work
from nono.facts import Facts, read_facts
from nono.files import whole_file
from nono.providers.openai.refusals import raise_for
from nono.providers.openai.wire import (
    Batch,
    File,
    Page,
    parse_batch,
    parse_file,
    parse_list,
    parse_page,
)

FACTS = read_facts("openai")
DEFAULT_PAGE = 20  # the service's own default: https://platform.openai.com/docs/api-reference/batch/list
# One page of the search for a lost upload; the service allows 10,000, compatible ones less.
_FILES_PAGE = 1000
_JSON = {"content-type": "application/json"}


# ── Files ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def upload(
    path: Path,
    *,
    name: str | None = None,
    purpose: str = "batch",
    expires_after: int | Mapping[str, Any] | None = None,
    once: bool = False,
) -> Flow[File]:
    """Upload a file from disk, in pieces. The name given to it ends in `.jsonl`, or the service refuses it.

    `expires_after` is in seconds from the upload. https://platform.openai.com/docs/api-reference/files/create
    """
    size_bytes = path.stat().st_size
    fields = {"purpose": purpose}
    if expires_after is not None:
        expiry = expiry_of(expires_after)
        fields |= {"expires_after[anchor]": expiry["anchor"], "expires_after[seconds]": str(expiry["seconds"])}
    boundary = secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    )
    # The file comes last: a server can judge the fields before it takes the bytes.
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_file_name(name or path.name)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    reply = yield Call(
        "POST",
        "/files",
        headers={"content-type": f"multipart/form-data; boundary={boundary}"},
        content=(head.encode(), FileSlice(path, 0, size_bytes), f"\r\n--{boundary}--\r\n".encode()),
        once=once,
    )
    return parse_file(raise_for(reply).json())


def get_file(file_id: str) -> Flow[File]:
    return parse_file(raise_for((yield Call("GET", f"/files/{_part(file_id, 'file')}"))).json())


def delete_file(file_id: str) -> Flow[bool]:
    """Delete a file; False if it was gone already."""
    reply = yield Call("DELETE", f"/files/{_part(file_id, 'file')}", headers=_JSON)
    if reply.status == 404:
        return False
    raise_for(reply)
    return True


def find_file(name: str, *, purpose: str = "batch") -> Flow[File | None]:
    """The newest file of that name, or None; all pages are read."""
    wanted, after = _file_name(name), None
    while True:
        params: dict[str, str | int] = {"limit": _FILES_PAGE, "order": "desc", "purpose": purpose}
        reply = yield Call("GET", "/files", params=params | ({"after": after} if after else {}))
        data, after = parse_list(raise_for(reply).json(), after)
        for raw in data:
            if isinstance(raw, dict) and raw.get("filename") == wanted:
                return parse_file(raw)
        if after is None:
            return None


def download_file(file_id: str, path: Path, *, mark: bool = True) -> Flow[Path]:
    """Download a file's content to `path`: whole or not at all, as long as the file object says, resumed with Range.

    With `mark` the partial bytes beside `path` are named after the file, so that those of another are never continued.
    """
    try:
        size_bytes = (yield from get_file(file_id)).bytes
    except NotFound:
        size_bytes = None  # some compatible services serve content without a file object; a real 404 comes again below
    call = Call(
        "GET",
        f"/files/{_part(file_id, 'file')}/content",
        # A Range counts the coded bytes, so there must be no coding.
        headers={"accept": "application/binary", "accept-encoding": "identity"},
    )
    remains = sha256(file_id.encode()).hexdigest()[:12] if mark else ""
    raise_for((yield from download(call, path, size_bytes=size_bytes or None, mark=remains)))
    return path


# ── Single requests ──────────────────────────────────────────────────────────────────────────────────────────────


def ask(endpoint: str, body: Mapping[str, Any]) -> Flow[Reply]:
    """One request at its own endpoint: exactly one POST. The version that `endpoint` begins with ends the base URL."""
    return raise_for((yield Call("POST", re.sub(r"^/v\d+\w*(?=/)", "", endpoint), json=dict(body), once=True)))


# ── Batches ────────────────────────────────────────────────────────────────────────────────────────────────────────


def create_batch(
    input_file_id: str,
    endpoint: str,
    *,
    completion_window: str = "24h",
    metadata: Mapping[str, str] | None = None,
    output_expires_after: int | Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
) -> Flow[Batch]:
    """Create a batch: exactly one POST, whatever becomes of it.

    After AnswerLost or UnreadableAnswer the batch may exist; only the list of batches can tell.
    https://platform.openai.com/docs/api-reference/batch/create
    """
    body: dict[str, Any] = {
        "completion_window": completion_window,
        "endpoint": endpoint,
        "input_file_id": input_file_id,
    }
    if metadata:
        body["metadata"] = check_metadata(metadata)
    if output_expires_after is not None:
        body["output_expires_after"] = expiry_of(output_expires_after)
    reply = yield Call("POST", "/batches", json=body | dict(extra_body or {}), once=True)
    return parse_batch(raise_for(reply).json())


def get_batch(batch_id: str) -> Flow[Batch]:
    return parse_batch(raise_for((yield Call("GET", f"/batches/{_part(batch_id, 'batch')}"))).json())


def list_page(limit: int = DEFAULT_PAGE, after: str | None = None) -> Flow[Page]:
    """One page of batches, newest first."""
    params: dict[str, str | int] = {"limit": limit}
    reply = yield Call("GET", "/batches", params=params | ({"after": after} if after else {}))
    return parse_page(raise_for(reply).json(), after)


def list_batches(limit: int = DEFAULT_PAGE, after: str | None = None) -> Flow[Page]:
    """The `limit` newest batches after a cursor: one call, or as many as full pages of the service are needed.

    A service may give fewer than it was asked for and still have more: the result's `after` tells.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit is {limit!r}", hint="a whole number from 1; iter_batches() gives all batches")
    most = FACTS.number("limits.page_size")
    found: list[Batch] = []
    for asked in range(0, limit, most):
        page = yield from list_page(min(most, limit - asked), after)
        found += page
        if page.after is None:
            return Page(found)
        after = page.after
    return Page(found, after=after)


def cancel_batch(batch_id: str) -> Flow[Batch]:
    """Ask for cancellation and return the batch as it is then; one that has ended already stays as it ended.

    Up to ten minutes of `cancelling` follow, in which requests under way finish.
    """
    call = Call("POST", f"/batches/{_part(batch_id, 'batch')}/cancel", headers=_JSON, final=frozenset({409}))
    reply = yield call
    try:
        return parse_batch(raise_for(reply).json())
    except (Conflict, InvalidRequest):  # 409; Moonshot says 400
        batch = yield from get_batch(batch_id)
        if not batch.ended:
            raise
        return batch


# ── What they need ─────────────────────────────────────────────────────────────────────────────────────────────────


def check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata, if the service takes it: 16 pairs, keys up to 64 and values up to 512 characters, all text.

    Raises InputError or LimitError.
    """
    if not isinstance(metadata, Mapping):
        raise InputError(
            f"metadata is a dict, not {type(metadata).__name__}", hint='for example {"project": "reviews"}'
        )
    _under("limits.metadata_pairs", len(metadata), "metadata", "pairs")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(
                f"metadata {key!r}: {value!r} is not text", hint="write numbers and lists as text: str(...), json.dumps"
            )
        _under("limits.metadata_key_chars", len(key), f"metadata key {key[:20]!r}", "characters")
        _under("limits.metadata_value_chars", len(value), f"metadata {key!r}", "characters")
    return dict(metadata)


def expiry_of(after: int | Mapping[str, Any], facts: Facts = FACTS) -> dict[str, Any]:
    """`{"anchor": "created_at", "seconds": N}` from seconds, or from such a mapping.

    Raises LimitError outside of what the service keeps (OpenAI: one hour to 30 days).
    """
    given = dict(after) if isinstance(after, Mapping) else {"seconds": after}
    seconds = given.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise InputError(f"an expiry of {after!r}", hint='seconds, or {"anchor": "created_at", "seconds": 86400}')
    least, most = (facts[f"limits.output_expires_after_{end}_s"] for end in ("min", "max"))
    if not least.value <= seconds <= most.value:
        raise (most if seconds > most.value else least).broken(
            f"an expiry of {seconds:,} s is outside of {least.value:,} to {most.value:,} s",
            seconds,
            hint=f"at least {least.value // 3600:,} hours, at most {most.value // 86_400} days",
        )
    return {"anchor": "created_at", **given}


def empty_file(path: Path) -> Flow[Path]:
    """An empty file where there is nothing to download."""

    def write() -> None:
        with whole_file(path):
            pass

    yield Work(write)
    return path


def _under(fact: str, found: int, what: str, unit: str) -> None:
    limit = FACTS[fact]
    if found > limit.value:
        raise limit.broken(
            f"{what}: {found:,} {unit}, and at most {limit.value:,} are taken",
            found,
            hint="shorten it; long texts belong into a file of your own, keyed by the batch id",
        )


def _part(id: str, what: str) -> str:
    """An id as one segment of a path."""
    if not isinstance(id, str) or id.strip() in ("", ".", ".."):
        shown = f"{type(id).__name__} object" if hasattr(id, "id") else repr(id)
        raise InputError(f"not the id of a {what}: {shown}", hint=f"pass its id, a text like {what}_abc123")
    return quote(id, safe="")


def _file_name(name: str) -> str:
    """A name fit for a quoted header value, ending in `.jsonl`.

    The escapes are those of browsers: https://html.spec.whatwg.org/multipage/form-control-infrastructure.html
    """
    name = re.sub(r'[\r\n"]', lambda found: f"%{ord(found[0]):02X}", name)
    return name if name.endswith(".jsonl") else f"{name.removesuffix('.json')}.jsonl"
