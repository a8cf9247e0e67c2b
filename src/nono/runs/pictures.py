"""Pictures of rows: addresses, files or bytes; as URLs in a message, and as a part of what a run is."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nono.datasets.compression import digest
from nono.datasets.sources import Source
from nono.runs.render import UnrenderedRow

# https://platform.openai.com/docs/guides/images: pictures travel inside the message, as URLs
_REMOTE = ("http://", "https://", "data:", "gs://")
_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def pictures_of(row: Mapping[str, Any], column: str) -> list[Any]:
    """None, one or several pictures. Raises UnrenderedRow if there is no such column."""
    if column not in row:
        raise UnrenderedRow(f"there is no {column!r}")
    value = row[column]
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def image_url(picture: Any, folder: Path) -> str:
    """A picture as a URL: URLs as they are; files and bytes as data URLs. Raises UnrenderedRow if it is none."""
    picture = _bare(picture)
    if isinstance(picture, str) and picture.startswith(_REMOTE):
        return picture
    if isinstance(picture, bytes):
        content, kind = picture, None
    elif isinstance(picture, str) and picture:
        path = _file(picture, folder)
        if path is None:
            raise UnrenderedRow(f"there is no picture {picture!r}")
        content, kind = path.read_bytes(), mimetypes.guess_type(path.name)[0]
    else:
        raise UnrenderedRow(f"a {type(picture).__name__} is not a picture: URL, path or bytes")
    kind = kind or next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), "image/png")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def fingerprint_with_pictures(data: Source, columns: Sequence[str]) -> str:
    """The data's fingerprint, and in it the content of the files that they name: with other pictures it is other work.

    A file that is not there is left to planning, which tells its row.
    """
    found = data.fingerprint()
    if not columns:
        return found
    contents = hashlib.sha256()
    files = 0
    for row in data.rows():
        for picture in (_bare(one) for column in columns if column in row for one in pictures_of(row, column)):
            named = isinstance(picture, str) and picture and not picture.startswith(_REMOTE)
            path = _file(picture, data.path.parent) if named else None
            if path is not None:
                contents.update(digest(path, str(path)).encode())
                files += 1
    return f"{found} {contents.hexdigest()}" if files else found


def _bare(picture: Any) -> Any:
    if isinstance(picture, dict):  # Hugging Face data sets: {"bytes": …, "path": …}
        return picture.get("bytes") or picture.get("url") or picture.get("path")
    return picture


def _file(picture: str, folder: Path) -> Path | None:
    """As the shell would find it, then beside the data set."""
    return next((path for path in (Path(picture), folder / picture) if path.is_file()), None)
