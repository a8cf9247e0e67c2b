"""What an answer holds besides text: pictures, speech, vectors, calls of functions, and the sources of a search.

https://ai.google.dev/api/caching#Part · https://ai.google.dev/gemini-api/docs/google-search
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nono import jsonl
from nono.errors import InputError
from nono.media import Media, media, save
from nono.providers.gemini.answers import vector_of


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call that the model wants made; a batch cannot answer it, a next request can."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Grounding:
    """What an answer rests on: the searches that were made, and (title, address) of what they found."""

    queries: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()
    raw: Mapping[str, Any] | None = None


def media_of(response: Any) -> list[Media]:
    """Pictures and sounds of all candidates, in their order. Raises UnreadableAnswer for what is not base64."""
    found = []
    for part in _parts(response):
        data = part.get("inlineData") or part.get("inline_data")
        if isinstance(data, Mapping) and data.get("data") and not part.get("thought"):
            kind = str(data.get("mimeType") or data.get("mime_type") or "application/octet-stream")
            found.append(media(kind, str(data["data"])))
    return found


def function_calls_of(response: Any) -> list[FunctionCall]:
    """The calls of functions that an answer asks for."""
    calls = [part.get("functionCall") or part.get("function_call") for part in _parts(response)]
    return [
        FunctionCall(str(call.get("name")), call.get("args") or {}, call.get("id"))
        for call in calls
        if isinstance(call, Mapping)
    ]


def grounding_of(response: Any) -> Grounding | None:
    """What Google Search gave to an answer; None if it was not asked."""
    for candidate in _candidates(response):
        told = candidate.get("groundingMetadata") or candidate.get("grounding_metadata")
        if isinstance(told, Mapping):
            chunks = told.get("groundingChunks") or []
            pages = [chunk["web"] for chunk in chunks if isinstance(chunk, Mapping) and "web" in chunk]
            sources = tuple((str(page.get("title") or ""), str(page.get("uri") or "")) for page in pages)
            return Grounding(tuple(told.get("webSearchQueries") or ()), sources, told)
    return None


def vectors_of(results: Any) -> dict[str, list[float]]:
    """The vectors of an embeddings job by their keys, in the order of the answers; an answer with an error has none.

    `results` are those of `save_media`. Raises InputError for what are no results.
    """
    found = ((key, vector_of(body)) for key, body in _answers(results) if isinstance(body, Mapping))
    return {key: vector for key, vector in found if vector is not None}


def save_media(results: Any, folder: str | Path) -> list[Path]:
    """Write every picture and sound of the results into `folder`, and return the files, in the order of the answers.

    `results` are inline results, the dicts of a file's results, results of a run, or the path of an answer file. A file
    is called by its answer's key (`cat.png`, `cat-2.png`, …; without a key `answer-1.png`); signs that no file name may
    have become `_`. Files are whole or not there; those of an earlier call are replaced.

    Raises InputError for what are no results, UnreadableAnswer naming the answer whose bytes are damaged.
    """
    return save(_answers(results), folder, media_of)


def _answers(results: Any) -> Iterator[tuple[str, Any]]:
    """Key and answer of each result, whatever their shape."""
    if isinstance(results, (str, Path)) and not hasattr(results, "response"):
        results = jsonl.read_values(Path(results))
    if isinstance(results, Mapping) or hasattr(results, "response") or not isinstance(results, Iterable):
        results = [results]
    return (_taken_apart(result, number) for number, result in enumerate(results, start=1))


def _taken_apart(result: Any, number: int) -> tuple[str, Any]:
    """Key and answer of a result in any of its shapes."""
    if isinstance(result, Mapping):
        metadata = result.get("metadata")
        key = result.get("key") or (metadata.get("key") if isinstance(metadata, Mapping) else None)
        return str(key or f"answer-{number}"), result.get("response", result)
    if hasattr(result, "response"):
        return result.key or f"answer-{number}", result.response
    if hasattr(result, "custom_id") and hasattr(result, "body"):
        return result.custom_id, result.body
    raise InputError(
        f"result {number} is no result, but {type(result).__name__}",
        hint="pass what get_inline_results() or get_file_results() returned",
    )


def _candidates(response: Any) -> Iterator[Mapping[str, Any]]:
    candidates = response.get("candidates") if isinstance(response, Mapping) else None
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, Mapping):
            yield candidate


def _parts(response: Any) -> Iterator[Mapping[str, Any]]:
    for candidate in _candidates(response):
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, Mapping) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, Mapping):
                yield part
