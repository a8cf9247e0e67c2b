"""Pictures and sounds of answers as values, and as files named after their answers.

Which parts of an answer they are, each provider knows (`media_of`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import mimetypes
import re
import wave
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nono.errors import UnreadableAnswer
from nono.files import whole_file

# Where Python's own table has none, or an unusual one.
_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "audio/wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
}
# https://ai.google.dev/gemini-api/docs/speech-generation: 24 kHz, 16 bit, one channel, unless the type says otherwise
_PCM_RATE, _PCM_BYTES = 24_000, 2
_NAME_CHARS = 120


@dataclass(frozen=True, slots=True)
class Media:
    """One picture or sound of an answer."""

    mime_type: str
    content: bytes

    @property
    def suffix(self) -> str:
        return _SUFFIXES.get(self.mime_type) or mimetypes.guess_extension(self.mime_type) or ".bin"


def media(mime_type: str, data: str) -> Media:
    """A picture or sound from its base64; raw speech (`audio/L16`) gets the header that makes it a WAV file.

    Raises UnreadableAnswer for what is not base64.
    """
    return _playable(mime_type, _decoded(data))


def save(answers: Iterable[tuple[str, Any]], folder: str | Path, media_of: Callable[[Any], list[Media]]) -> list[Path]:
    """Write every picture and sound of the answers (key, body) into `folder`; returns the files, in their order.

    A file is called by its answer's key (`cat.png`, `cat-2.png`, …); signs that no file name may have become `_`.
    Files are whole or not there; those of an earlier call are replaced. Raises UnreadableAnswer naming the answer whose
    bytes are damaged.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    named: dict[str, str] = {}
    for key, body in answers:
        try:
            found = media_of(body)
        except UnreadableAnswer as error:
            raise UnreadableAnswer(f"answer {key!r}: {error.message}") from error
        for count, one in enumerate(found, start=1):
            stem = _file_stem(key, named)
            path = target / f"{stem}{f'-{count}' if count > 1 else ''}{one.suffix}"
            with whole_file(path) as file:
                file.write(one.content)
            saved.append(path)
    return saved


def _file_stem(key: str, named: dict[str, str]) -> str:
    """A name for the files of a key; two keys never share one, on a disk that ignores case neither."""
    stem = re.sub(r"[^\w.() -]", "_", key)[:_NAME_CHARS].strip(". ") or "answer"
    if named.setdefault(stem.casefold(), key) == key:
        return stem
    return f"{stem}~{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _playable(mime_type: str, content: bytes) -> Media:
    kind, _, parameters = mime_type.partition(";")
    kind = kind.strip().lower()
    if kind not in ("audio/l16", "audio/pcm"):
        return Media(kind, content)
    rate = re.search(r"rate=(\d{3,6})", parameters)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(_PCM_BYTES)
        file.setframerate(int(rate.group(1)) if rate else _PCM_RATE)
        file.writeframes(content)
    return Media("audio/wav", sound.getvalue())


def _decoded(data: str) -> bytes:
    """Base64 in either alphabet, padded or not."""
    text = data.strip().rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableAnswer("its picture or sound is not base64") from error
