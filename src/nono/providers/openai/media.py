"""Pictures and sounds in OpenAI's answers: of the image endpoints, of Responses, and the speech of a chat.

Pictures that an answer only names by URL are not fetched: the URL is in the answer, and is gone after an hour.
https://platform.openai.com/docs/api-reference/images/object
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nono import jsonl
from nono.errors import InputError
from nono.media import Media, media, save

# An answer says the format of pictures, and nothing of speech: the first bytes tell, as `file` does it.
_SOUNDS = {b"RIFF": "audio/wav", b"OggS": "audio/ogg", b"fLaC": "audio/flac"}


def media_of(body: Any) -> list[Media]:
    """Pictures and sounds of an answer's body, in their order. Raises UnreadableAnswer for what is not base64."""
    if not isinstance(body, Mapping):
        return []
    return [*_pictures(body), *_drawn(body), *_spoken(body)]


def save_media(results: Any, folder: str | Path) -> list[Path]:
    """Write every picture and sound of the results into `folder`, each called by its `custom_id`; returns the files.

    `results` are the dicts of a batch's results, results of a run, or the path of an output file. Raises InputError for
    what are no results, UnreadableAnswer naming the answer whose bytes are damaged.
    """
    if isinstance(results, (str, Path)):
        results = jsonl.read_values(Path(results))
    if isinstance(results, Mapping) or not isinstance(results, Iterable):
        results = [results]
    return save((_taken_apart(result, number) for number, result in enumerate(results, start=1)), folder, media_of)


def _taken_apart(result: Any, number: int) -> tuple[str, Any]:
    """Id and body of a result line, or of a `Result`."""
    if isinstance(result, Mapping):
        response = result.get("response")
        body = response.get("body") if isinstance(response, Mapping) else None
        return str(result.get("custom_id") or f"answer-{number}"), body if response is not None else result
    if hasattr(result, "custom_id") and hasattr(result, "body"):
        return result.custom_id, result.body
    raise InputError(
        f"result {number} is no result, but {type(result).__name__}", hint="pass what get_results() returned"
    )


def _pictures(body: Mapping[str, Any]) -> Iterator[Media]:
    """`/v1/images/generations` and `/v1/images/edits`."""
    kind = f"image/{body.get('output_format') or 'png'}"
    for item in _objects(body.get("data")):
        if isinstance(item.get("b64_json"), str):
            yield media(kind, item["b64_json"])


def _drawn(body: Mapping[str, Any]) -> Iterator[Media]:
    """The image tool of `/v1/responses`."""
    for item in _objects(body.get("output")):
        if item.get("type") == "image_generation_call" and isinstance(item.get("result"), str):
            yield media(f"image/{item.get('output_format') or 'png'}", item["result"])


def _spoken(body: Mapping[str, Any]) -> Iterator[Media]:
    """`message.audio` of a chat, and the pictures that some services put beside its text."""
    for choice in _objects(body.get("choices")):
        message = choice.get("message")
        if not isinstance(message, Mapping):
            continue
        audio = message.get("audio")
        if isinstance(audio, Mapping) and isinstance(audio.get("data"), str):
            found = media("audio/mpeg", audio["data"])
            yield Media(_SOUNDS.get(found.content[:4], "audio/mpeg"), found.content)
        for image in _objects(message.get("images")):
            url = image["image_url"].get("url") if isinstance(image.get("image_url"), Mapping) else None
            if isinstance(url, str) and url.startswith("data:") and ";base64," in url:
                head, _, data = url.removeprefix("data:").partition(";base64,")
                yield media(head, data)


def _objects(items: Any) -> Iterator[Mapping[str, Any]]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping):
            yield item
