"""Files at the service: the resumable upload, and what can be asked about a file.

An upload is a session: started once, fed in chunks, asked after a break how far it came. A name chosen by us makes it
repeatable as a whole: whoever lost the last answer asks for the file by that name.
https://ai.google.dev/api/files
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nono.errors import Conflict, Forbidden, InputError, NotFound, TransportError, UnreadableAnswer
from nono.exchange import Call, FileSlice, Flow, Pause, Reply, Work
from nono.facts import read_facts
from nono.providers.gemini.flows import file_path
from nono.providers.gemini.paging import all_items
from nono.providers.gemini.status import raise_for
from nono.providers.gemini.wire import File, parse_file
from nono.retry import TRANSIENT_STATUSES, RetryPolicy, pause_before_retry

FACTS = read_facts("gemini")
# The service takes any text here; this is what its documentation gives to request files.
MIME_TYPE = "jsonl"
# A connection that breaks without having brought a single byte, so often in a row, is given up.
_POLICY = RetryPolicy(tries=5)
# How a service may refuse a chunk that does not begin where it has got to.
_MISPLACED = frozenset({400, 412, 416})
_STILL_COMING_S = 2.0
_PROCESSING_PAUSES_S = (1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 10.0, 10.0, 30.0, 30.0)
Progress = Callable[[int, int], object]


def upload(
    path: Path,
    *,
    name: str | None = None,
    display_name: str | None = None,
    mime_type: str = MIME_TYPE,
    on_progress: Progress | None = None,
) -> Flow[File]:
    """Upload a file from disk; after a broken connection it goes on where the service has got to.

    `name` is the id that the file shall have (40 lower-case letters, digits and dashes at most); without it the service
    makes one. If a file of that name with the same content is there already, it is returned. `on_progress` is called
    with the bytes sent so far and the size.
    """
    size_bytes = path.stat().st_size
    about = {"name": f"files/{_legal_id(name)}"} if name is not None else {}
    if display_name is not None:
        about["display_name"] = display_name
    start = Call(
        "POST",
        "/upload/{version}/files",
        headers={
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(size_bytes),
            "x-goog-upload-header-content-type": mime_type,
            "x-goog-upload-file-name": _header_text(path.name),
        },
        json={"file": {**about, "mime_type": mime_type, "size_bytes": size_bytes}},
        final=frozenset({409}),  # a file of that name is there: no wait makes it go away
    )
    try:
        for _ in range(_POLICY.tries):
            reply = raise_for((yield start), f"uploading {path.name}")
            url = reply.headers.get("x-goog-upload-url")
            if not url:
                raise UnreadableAnswer("the service began an upload and named no address for it")
            final = yield from _feed(_Session(url, path, size_bytes, _granularity(reply)), on_progress)
            if final is None:  # the session is gone: begin anew
                continue
            if final.body.strip():
                return (yield from _until_active(parse_file(final.json())))
            if name is not None:
                return (yield from _until_active((yield from get_file(about["name"]))))
            # Finished, but the answer that named the file was lost for good: only a new upload brings a name.
    except Conflict:
        there = None if name is None else (yield from find_file(about["name"]))
        if there is None or not (yield Work(_same_content, (path, there))):
            raise
        return there
    raise UnreadableAnswer(f"uploading {path.name}: the service lost the upload {_POLICY.tries} times")


@dataclass(frozen=True, slots=True)
class _Session:
    url: str
    path: Path
    size_bytes: int
    chunk_bytes: int


def _feed(session: _Session, on_progress: Progress | None) -> Flow[Reply | None]:
    """Send the file chunk by chunk and return the last reply; None if the service has forgotten the session."""
    offset, furthest, idle_tries = 0, 0, 0
    refused_at = -1
    while True:
        if offset > furthest:
            furthest, idle_tries = offset, 0
        length = min(session.chunk_bytes, session.size_bytes - offset)
        last = offset + length == session.size_bytes
        call = Call(
            "POST",
            session.url,
            headers={
                "x-goog-upload-command": "upload, finalize" if last else "upload",
                "x-goog-upload-offset": str(offset),
            },
            content=(FileSlice(session.path, offset, length),),
            bare=True,
            once=True,  # what a broken chunk left behind is asked, not guessed
            on_sent=_told(on_progress, offset, session.size_bytes),
        )
        reply: Reply | None = None
        broken: TransportError | None = None
        try:
            reply = yield call
        except TransportError as error:
            broken = error
        status = reply.headers.get("x-goog-upload-status") if reply is not None and reply.ok else None
        if status == "final":
            return reply
        if status == "active" and not last:
            offset += length
            continue
        if reply is not None and reply.status in (404, 410):
            return None
        # A break, a passing refusal, or a 2xx without a status: ask how far the upload has come. So too when the place
        # was wrong: a chunk that was given up as lost may have arrived after the service was asked.
        misplaced = reply is not None and reply.status in _MISPLACED
        at_once = misplaced or (reply is not None and reply.ok)
        wait_s = 0.0 if at_once else pause_before_retry(call, reply, broken, idle_tries, _POLICY)
        if wait_s is None or idle_tries + 1 >= _POLICY.tries:
            _give_up(session, reply, broken)
        yield Pause(wait_s)
        answer = yield Call("POST", session.url, headers={"x-goog-upload-command": "query"}, content=(), bare=True)
        if answer.status in (404, 410):
            return None
        if misplaced and not answer.ok and answer.status not in TRANSIENT_STATUSES:
            _give_up(session, reply, broken)
        raise_for(answer, f"asking how far the upload of {session.path.name} has come")
        if answer.headers.get("x-goog-upload-status") == "final":
            return Reply(answer.status, answer.headers, answer.body)
        received = answer.headers.get("x-goog-upload-size-received", "")
        if not received.isdecimal() or int(received) > session.size_bytes:
            raise UnreadableAnswer(f"the service does not say how far the upload has come: {received!r}")
        if misplaced and int(received) == offset:
            if offset == refused_at:
                _give_up(session, reply, broken)  # the place was right: something else is wrong
            refused_at = offset
            yield Pause(_STILL_COMING_S)  # what is late may be coming at this moment
        offset, idle_tries = int(received), idle_tries + 1


def _give_up(session: _Session, reply: Reply | None, broken: TransportError | None) -> NoReturn:
    """Raise why an upload does not go on."""
    if broken is not None:
        raise broken
    assert reply is not None
    raise_for(reply, f"uploading {session.path.name}")
    raise UnreadableAnswer(f"uploading {session.path.name}: all was sent, but the upload is not final")


def get_file(name: str) -> Flow[File]:
    """Raises Forbidden for a file that is not there, as the service does."""
    return parse_file(raise_for((yield Call("GET", file_path(name))), f"getting {name}").json())


def find_file(name: str) -> Flow[File | None]:
    """The file of that name, or None."""
    try:
        return (yield from get_file(name))
    except NotFound:
        return None
    except Forbidden as error:
        if _may_not_exist(error):
            return None
        raise


def list_files() -> Flow[list[File]]:
    """Every uploaded file that is still kept."""
    call = Call("GET", "/{version}/files", params={"pageSize": FACTS.number("limits.page_size")})
    found = yield from all_items(call, "files", lambda reply: raise_for(reply, "listing files").json())
    return list(map(parse_file, found))


def delete_file(name: str) -> Flow[bool]:
    """Delete an uploaded file; False if it was gone already. Answer files are deleted with their job."""
    limit = FACTS.number("limits.file_id_chars")
    if len(name.removeprefix("files/")) > limit:
        raise InputError(
            f"{name} is an answer file: the service deletes ids of up to {limit} characters only",
            hint="it goes when its job is deleted",
        )
    try:
        raise_for((yield Call("DELETE", file_path(name))), f"deleting {name}")
    except NotFound:
        return False
    except Forbidden as error:
        if _may_not_exist(error):
            return False
        raise
    return True


def id_for(name: str) -> str:
    """A legal file id that stands for any name: itself if it is legal, else what is legal of it and a fingerprint."""
    limit = FACTS.number("limits.file_id_chars")
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name and 0 < len(name) <= limit:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{plain[: limit - 13].strip('-')}-{mark}".strip("-")


def _legal_id(name: str) -> str:
    bare = name.removeprefix("files/")
    limit = FACTS.number("limits.file_id_chars")
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", bare) or len(bare) > limit:
        raise InputError(
            f"not a legal file id: {name!r}",
            hint=f"at most {limit} lower-case letters, digits and dashes, no dash at the ends",
        )
    return bare


def _may_not_exist(error: Forbidden) -> bool:
    """The service answers 403 for a missing file: "You do not have permission … or it may not exist."."""
    return "may not exist" in error.message


def _until_active(file: File) -> Flow[File]:
    """Request files are active at once; others may be processed for a while."""
    for pause_s in _PROCESSING_PAUSES_S:
        if file.state != "PROCESSING":
            break
        yield Pause(pause_s)
        file = yield from get_file(file.name)
    if file.state == "FAILED":
        raise UnreadableAnswer(f"the service could not process {file.name}", hint="upload it again")
    return file


def _granularity(reply: Reply) -> int:
    """Our chunk size, rounded down to what the service wants chunks to be a multiple of."""
    chunk_bytes = FACTS.number("limits.upload_chunk_bytes")
    wish = reply.headers.get("x-goog-upload-chunk-granularity", "")
    grain = int(wish) if wish.isdecimal() and int(wish) else chunk_bytes
    return max(grain, chunk_bytes // grain * grain)


def _told(on_progress: Progress | None, offset: int, size_bytes: int) -> Callable[[int], object] | None:
    return None if on_progress is None else lambda sent: on_progress(offset + sent, size_bytes)


def _header_text(name: str) -> str:
    """A header carries ASCII only."""
    return re.sub(r"[^ -~]", "_", name)


def _same_content(path: Path, file: File) -> bool:
    """The service names the base64 of the hex digest."""
    if file.size_bytes is not None and file.size_bytes != path.stat().st_size:
        return False
    if file.sha256_hash is None:
        return file.size_bytes is not None
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    return file.sha256_hash in (
        base64.b64encode(digest.hexdigest().encode()).decode(),
        base64.b64encode(digest.digest()).decode(),
    )
