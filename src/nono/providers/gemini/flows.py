"""The calls of Gemini's Batch API, as flows: what is asked, and what the answer means.

Nothing here knows a network, a clock or an event loop. `create` is the one call that must never be repeated by itself:
a second POST is a second job, and a second bill. Files have their own module, `uploads`.
https://ai.google.dev/api/batch-api
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nono import jsonl
from nono.download import download
from nono.errors import Conflict, IncompleteDownload, InputError, InvalidRequest, NotFound
from nono.exchange import Call, Flow, Pause, Reply, Work
from nono.facts import read_facts
from nono.jsonl import BadLine
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.harvest import answer_file, inline_answers
from nono.providers.gemini.requests import plain
from nono.providers.gemini.status import raise_for
from nono.providers.gemini.translate import EMBED, GENERATE
from nono.providers.gemini.wire import Job, JobPage, parse_job, parse_job_page

FACTS = read_facts("gemini")
_METHODS = {GENERATE: "batchGenerateContent", EMBED: "asyncBatchEmbedContent"}
# A job can be SUCCEEDED some seconds before its answers are named.
_OUTPUT_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
# A coding would make Content-Length and Range count coded bytes.
_PLAIN = {"accept-encoding": "identity"}


def create(
    model: str,
    *,
    file_name: str | None = None,
    requests: Sequence[Mapping[str, Any]] | None = None,
    display_name: str | None = None,
    endpoint: str = GENERATE,
    priority: int | None = None,
    webhook: Any = None,
) -> Flow[Job]:
    """Create a job from an uploaded file or from inline requests: exactly one POST. The model stands in its path.

    `priority` orders the account's own jobs, higher first; `webhook` is where the service tells the job's end.
    Raises AnswerLost when it is unknown whether there is a job now.
    https://ai.google.dev/api/batch-api#GenerateContentBatch · https://ai.google.dev/gemini-api/docs/webhooks
    """
    source = {"fileName": file_name} if file_name is not None else {"requests": {"requests": list(requests or ())}}
    batch: dict[str, Any] = {"inputConfig": source}
    if display_name is not None:
        batch["displayName"] = display_name
    if priority is not None:
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise InputError(
                f"priority is a whole number, not {priority!r}", hint="higher comes first; the rest have 0"
            )
        batch["priority"] = str(priority)  # an int64, which JSON carries as a text
    if webhook is not None:
        batch["webhookConfig"] = webhook_config(webhook)
    call = Call("POST", f"/{{version}}/{model_path(model)}:{_METHODS[endpoint]}", json={"batch": batch}, once=True)
    reply = yield call
    return parse_job(raise_for(reply, f"creating a batch with {model}").json())


def ask(model: str, endpoint: str, request: Mapping[str, Any]) -> Flow[Reply]:
    """One request at the synchronous endpoint: exactly one POST.

    https://ai.google.dev/api/generate-content#method:-models.generatecontent
    """
    call = Call("POST", f"/{{version}}/{model_path(model)}:{endpoint}", json=dict(request), once=True)
    return raise_for((yield call), f"asking {model}")


def webhook_config(given: Any) -> dict[str, Any]:
    """A job's own webhook: one address, several, or `{"uris": […], "user_metadata": {…}}`. Raises InputError."""
    value = plain(given)
    config: Any = {"uris": [value]} if isinstance(value, str) else {"uris": value} if isinstance(value, list) else value
    uris = config.get("uris") if isinstance(config, dict) else None
    told = set(config) - {"uris", "user_metadata", "userMetadata"} if isinstance(config, dict) else set()
    if told or not isinstance(uris, list) or not uris or not all(_is_address(uri) for uri in uris):
        raise InputError(
            "webhook_config is one address, a list of them, or a dict with uris and user_metadata",
            hint='for example {"uris": ["https://example.com/hook"], "user_metadata": {"run": "7"}}',
        )
    metadata = config.get("user_metadata", config.get("userMetadata"))
    return {"uris": uris} | ({"user_metadata": metadata} if metadata else {})  # spelled as the official SDK spells it


def _is_address(uri: Any) -> bool:
    return isinstance(uri, str) and bool(re.match(r"https?://[^/\s]", uri))


def get(name: str) -> Flow[Job]:
    path = job_path(name)
    return parse_job(raise_for((yield Call("GET", path)), f"getting {name}").json())


def get_with_output(name: str) -> Flow[Job]:
    """The job; one that has just succeeded is asked again, for half a minute, until it names its answers."""
    job = yield from get(name)
    for pause_s in _OUTPUT_PAUSES_S:
        if job.dest is not None or not (job.succeeded or job.partially_succeeded):
            break
        yield Pause(pause_s)
        job = yield from get(name)
    return job


def list_page(page_size: int | None = None, page_token: str | None = None, filter: str | None = None) -> Flow[JobPage]:
    """One page of the account's jobs; an empty page may have a successor."""
    if page_size is not None and (not isinstance(page_size, int) or page_size < 1):
        raise InputError(f"a page of {page_size!r} jobs", hint="page_size is a whole number from 1")
    wishes = {"pageSize": page_size, "pageToken": page_token or None, "filter": filter}
    params = {name: value for name, value in wishes.items() if value is not None}
    return parse_job_page(raise_for((yield Call("GET", "/{version}/batches", params=params)), "listing jobs").json())


def cancel(name: str) -> Flow[Job]:
    """Ask for cancellation, and return the job as it is afterwards. One that has ended stays as it ended.

    The service answers at once and stops as well as it can; a job may still end otherwise.
    """
    try:
        raise_for(
            (yield Call("POST", f"{job_path(name)}:cancel", content=(), final=frozenset({409}))), f"cancelling {name}"
        )
    except (InvalidRequest, Conflict):
        job = yield from get(name)
        if not job.complete:
            raise
        return job
    return (yield from get(name))


def delete(name: str) -> Flow[None]:
    """Delete a job's record; its answers vanish with it. One that still runs may go on: cancel it first."""
    raise_for((yield Call("DELETE", job_path(name))), f"deleting {name}")


def inline_results(name: str) -> Flow[list[InlineResult]]:
    """The answers of an ended inline job. Raises as `harvest.inline_answers`."""
    return inline_answers((yield from get_with_output(name)))


def save_answers(name: str, path: Path) -> Flow[Path]:
    """Stream the answer file of an ended job to `path`. Raises as `harvest.answer_file`, and as `download_file`."""
    job = yield from get_with_output(name)
    return (yield from download_file(answer_file(job), path))


def answer_of(line: Any) -> Any:
    """An answer as the service wrote it, which is what its readers are promised."""
    return line


def download_file(name: str, path: Path) -> Flow[Path]:
    """Download a generated file to `path`: whole or not at all, resumed where it broke.

    Its size is what the answer names: asking for the file itself is refused for ids as long as those of answer files
    (https://github.com/googleapis/python-genai/issues/1759). An answer that names none must end with a whole line.
    """
    call = Call("GET", f"{file_path(name)}:download", params={"alt": "media"}, headers=_PLAIN)
    mark = re.sub(r"[^A-Za-z0-9-]", "", name.removeprefix("files/"))
    reply = raise_for((yield from download(call, path, mark=mark)), f"downloading {name}")
    named = "content-length" in reply.headers or "content-range" in reply.headers
    if not named and not (yield Work(_ends_whole, (path,))):
        path.unlink()
        raise IncompleteDownload(
            f"{name}: what came ends inside a line, and the service named no size", hint="download it again"
        )
    return path


def model_path(model: str) -> str:
    """`models/x` for a bare name; `models/x` and `tunedModels/x` as they are. Raises InputError for anything else."""
    collection, slash, name = model.strip().partition("/") if isinstance(model, str) else ("", "", "")
    if not slash:
        collection, name = "models", collection
    if collection not in ("models", "tunedModels") or not re.fullmatch(r"[A-Za-z0-9._@-]+", name):
        raise InputError(f"not the name of a model: {model!r}", hint='for example "gemini-3-flash-preview"')
    return f"{collection}/{name}"


def job_name(name: str) -> str:
    """`batches/x`, given so or as the bare id. Raises InputError for anything else."""
    bare = name.removeprefix("batches/") if isinstance(name, str) else ""
    if not re.fullmatch(r"[^/\s?#]+", bare) or bare in (".", ".."):
        raise InputError(f"not the name of a job: {name!r}", hint='a name is "batches/…", as in job.name')
    return f"batches/{bare}"


def job_path(name: str) -> str:
    return f"/{{version}}/batches/{quote(job_name(name).removeprefix('batches/'), safe='')}"


def file_name(name: str) -> str:
    """`files/x`, given so, as the bare id or as the file's URI. Raises InputError for anything else."""
    text = name if isinstance(name, str) else ""
    if "://" in text:
        text = text.partition("/files/")[2].split(":")[0].split("?")[0]
    bare = text.removeprefix("files/")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", bare):
        raise InputError(f"not the name of a file: {name!r}", hint='a name is "files/…", as in file.name')
    return f"files/{bare}"


def file_path(name: str) -> str:
    return f"/{{version}}/{file_name(name)}"


def _ends_whole(path: Path) -> bool:
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        return True
    with path.open("rb") as file:
        file.seek(size_bytes - 1)
        if file.read(1) == b"\n":
            return True
    last = b""
    for _, line in jsonl.read_lines(path):
        last = line
    try:
        jsonl.decode(last)
    except BadLine:
        return False
    return True


def delete_quietly(name: str) -> Flow[None]:
    """`delete`, where a job that is gone already is as good."""
    try:
        yield from delete(name)
    except NotFound:
        return
