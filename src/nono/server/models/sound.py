"""A short real sound, made by hand: a tone of 24 kHz, 16 bit, one channel, which is what speech models answer in."""

from __future__ import annotations

import io
import math
import struct
import wave
from functools import lru_cache

RATE = 24_000
_SAMPLES = 1_200
_LOUDNESS = 8_000


@lru_cache(maxsize=32)
def pcm(pitch_hz: int) -> bytes:
    """A twentieth of a second of raw samples."""
    step = 2 * math.pi * pitch_hz / RATE
    return struct.pack(f"<{_SAMPLES}h", *(round(_LOUDNESS * math.sin(step * at)) for at in range(_SAMPLES)))


def wav(samples: bytes) -> bytes:
    """The same as a WAV file."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)
    return sound.getvalue()
