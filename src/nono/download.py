"""Fetch a remote file into a local one: whole or not at all, checked against its size, resumed where it broke."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nono.errors import IncompleteDownload, TransportError
from nono.exchange import Call, Flow, Pause, Reply, Work
from nono.files import put_in_place
from nono.retry import RetryPolicy, pause_before_retry

# A connection that breaks without having brought a single byte, so often in a row, is given up.
_POLICY = RetryPolicy(tries=5)


def download(
    call: Call, path: Path, *, size_bytes: int | None = None, mark: str = "", policy: RetryPolicy = _POLICY
) -> Flow[Reply]:
    """Perform a GET into `path` and return the last reply; a reply that is not a 2xx is returned without a file.

    The bytes gather in `<path>.part`, which survives a crash; the next call goes on from its end with a Range. Where
    `path` does not tell remote files apart (a user chose it), `mark` must: the bytes then gather in
    `<path>.<mark>.part`, so that one file is never continued with another's bytes. The file takes its name when it is
    as long as `size_bytes`, or, where the provider names no size, as the answer's own Content-Length or Content-Range
    says.

    Raises IncompleteDownload when tries that bring nothing more are used up, or the file is longer than it should be.
    """
    part = path.with_name(f"{path.name}.{mark}.part" if mark else f"{path.name}.part")
    idle_tries = 0
    furthest = part.stat().st_size if part.exists() else 0
    while True:
        start = part.stat().st_size if part.exists() else 0
        if size_bytes is not None and start == size_bytes and size_bytes > 0:
            yield Work(put_in_place, (part, path))
            return Reply(200)
        if size_bytes is not None and start > size_bytes:
            part.unlink()
            start = 0
        ranged = {"range": f"bytes={start}-"} if start else {}
        reply: Reply | None = None
        error: TransportError | None = None
        try:
            reply = yield replace(call, headers={**call.headers, **ranged}, save_to=part, once=True)
        except TransportError as raised:
            error = raised
        if reply is not None and reply.status == 416:
            # Nothing lies beyond what is here: complete if the size agrees, otherwise another file's remains.
            total = _total(reply, start)
            if total == start and size_bytes in (None, start):
                yield Work(put_in_place, (part, path))
                return Reply(200, reply.headers)
            part.unlink(missing_ok=True)
        elif reply is not None and reply.ok:
            length = part.stat().st_size
            expected = size_bytes if size_bytes is not None else _total(reply, start)
            if expected is None or length == expected:
                yield Work(put_in_place, (part, path))
                return reply
            if length > expected:
                part.unlink()
                raise IncompleteDownload(f"{path.name}: {length:,} bytes came where {expected:,} were named")
            error = IncompleteBody(f"{path.name}: {length:,} of {expected:,} bytes came")
        here = part.stat().st_size if part.exists() else 0
        idle_tries = 0 if here > furthest else idle_tries + 1
        furthest = max(furthest, here)
        failed_reply = reply if reply is not None and not reply.ok else None
        wait_s = pause_before_retry(call, failed_reply, error if failed_reply is None else None, idle_tries, policy)
        if failed_reply is not None and failed_reply.status == 416:
            wait_s = 0.0
        if idle_tries >= policy.tries or wait_s is None:
            if failed_reply is not None:
                return failed_reply
            raise IncompleteDownload(
                f"{path.name}: the connection broke {idle_tries} times without progress, at {here:,} bytes",
                hint="what came is kept; the same call goes on from there",
            ) from error
        yield Pause(wait_s)


class IncompleteBody(TransportError):
    """A 2xx answer ended early; inside `download` it counts as a broken connection."""


def _total(reply: Reply, start: int) -> int | None:
    """The whole file's length, from an answer to a request for its bytes from `start` on."""
    content_range = reply.headers.get("content-range", "")
    total = content_range.rpartition("/")[2]
    if total.isdigit():
        return int(total)
    # A content coding makes the length that of the coded bytes, which says nothing about the file.
    length = reply.headers.get("content-length", "")
    if length.isdigit() and "content-encoding" not in reply.headers:
        return int(length) + (start if reply.status == 206 else 0)
    return None
