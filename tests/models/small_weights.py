"""Weights of some bytes, in a wheel made by hand."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from datetime import date
from pathlib import Path

from nono.models import Kind, WeightFile, Weights, Wheel

SMALL = b"GGUF and some weights"


def make_wheel(index: Path, content: bytes) -> Weights:
    """Put a wheel that holds `content` into the index; the weights as they would stand in the catalogue."""
    path = index / "tiny_weights-1.0-py3-none-any.whl"
    inside = {
        "tiny_weights/tiny.gguf": content,
        "tiny_weights-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        b"Requires-Dist: a-package-that-does-not-exist\n",
        "tiny_weights-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for name, data in inside.items()
    )
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in inside.items():
            wheel.writestr(name, data)
        wheel.writestr("tiny_weights-1.0.dist-info/RECORD", record + "tiny_weights-1.0.dist-info/RECORD,,\n")
    return Weights(
        name="tiny",
        kind=Kind.CHAT,
        title="a few bytes",
        licence="none",
        about="made by a test",
        checked=date(2026, 11, 22),
        files=(WeightFile("tiny.gguf", len(content), hashlib.sha256(content).hexdigest()),),
        sources=(
            Wheel(
                package="tiny-weights",
                version="1.0",
                bytes=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                folder="tiny_weights",
            ),
        ),
    )
