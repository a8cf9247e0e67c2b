"""`nono doctor`: what works here, what is missing, and how to get it. Prints no key."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import click

from nono.cli.choices import json_option
from nono.secret import without_secrets

EXTRAS = {
    "server": ("starlette", "uvicorn", "python_multipart"),
    "local": ("xllamacpp", "onnxruntime", "tokenizers"),
    "parquet": ("pyarrow",),
    "zstd": ("zstandard",),
    "prices": ("genai_prices",),
    "pydantic": ("pydantic",),
    "vertex": ("google.auth", "requests"),
    "bigquery": ("google.cloud.bigquery",),
    "webhooks": ("jwt", "cryptography"),
}
KEYS = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY"),
    *("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
    *("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "NONO_VERTEX_BUCKET", "GOOGLE_VERTEX_BASE_URL"),
)
# What is no secret and is shown: addresses and places.
_SHOWN = ("_URL", "_PROJECT", "_LOCATION", "_BUCKET")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` None: neither good nor bad."""

    what: str
    ok: bool | None
    detail: str


def examine() -> Iterator[Finding]:
    """Python, extras, keys (whether they are set, never what they are), and the workspace."""
    yield Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if not _is_there(name)]
        detail = f"pip install 'nono-batch[{extra}]' (missing: {', '.join(missing)})" if missing else "installed"
        yield Finding(f"extra [{extra}]", None if missing else True, detail)
    for name in KEYS:
        value = os.environ.get(name)
        shown = without_secrets(value) if value and name.endswith(_SHOWN) else "set"
        yield Finding(name, True if value else None, shown if value else "not set")
    if os.environ.get("GOOGLE_API_KEY") and os.environ.get("GEMINI_API_KEY"):
        yield Finding("gemini key", None, "both are set: GOOGLE_API_KEY is used")
    yield _workspace()


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package that it would be in is not there
        return False


def _workspace() -> Finding:
    from nono.errors import NonoError
    from nono.runs.workspace import Workspace

    try:
        workspace = Workspace()
        runs = len(workspace.runs())
        there = next(path for path in (workspace.home, *workspace.home.parents) if path.exists())
        if not os.access(there, os.W_OK):
            return Finding("workspace", False, f"{workspace.home}: may not be written (NONO_HOME chooses another)")
    except (NonoError, OSError) as error:
        return Finding("workspace", False, str(error))
    return Finding("workspace", True, f"{workspace.home}, {runs} runs")


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Check this installation, keys and the workspace; no network.

    \b
    Example:
      nono doctor
    """
    findings = list(examine())
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        marks = {True: "ok", None: "--", False: "!!"}
        for finding in findings:
            click.echo(f"{marks[finding.ok]}  {finding.what:<24} {finding.detail}")
    sys.exit(10 if any(finding.ok is False for finding in findings) else 0)
