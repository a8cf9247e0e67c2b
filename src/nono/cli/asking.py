"""The options that say what to ask about a data set; shared by check, plan and run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from nono.errors import InputError, SettingsError

F = TypeVar("F", bound=Callable[..., Any])

BASE_URL = click.option("--base-url", help="Where the API is, if not at the provider's address.")
PROVIDER_OPTION = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the provider: bucket=gs://… (vertex), completion_window=7d (openai), priority=5 (gemini), …",
)
_OPTIONS = (
    click.argument("source"),
    click.option("-m", "--model", required=True, help="provider/model, for example openai/gpt-4o-mini."),
    click.option(
        "-p", "--prompt", help='A Jinja2 template, "Classify: {{ text }}", or a file: prompt.j2, @prompt.txt.'
    ),
    click.option("-s", "--system", help="The system prompt, or @file."),
    click.option("--schema", help="A JSON Schema file, or module:Model of a pydantic model."),
    click.option("--id", "id_column", help="The column with unique ids; without it they are generated."),
    click.option("--images", multiple=True, help="A column with pictures: URLs or files. May be repeated."),
    click.option(
        "--task",
        type=click.Choice(["chat", "embedding", "moderation", "raw"]),
        default="chat",
        show_default=True,
        help="What is asked for; raw: each row brings its whole body.",
    ),
    click.option("--endpoint", help="The endpoint, where the task leaves a choice: /v1/responses, …"),
    click.option("--temperature", type=float, help="0: the likeliest words; higher: freer ones."),
    click.option("--max-tokens", type=int, help="At most so many tokens an answer."),
    click.option("--top-p", type=float, help="Draw from the likeliest words that make up this share."),
    click.option("--seed", type=int, help="The same draws again, where the model can."),
    click.option(
        "--param", "params", multiple=True, metavar="NAME=JSON", help="Any further field of the request body."
    ),
    BASE_URL,
    PROVIDER_OPTION,
    click.option(
        "--format", "format_", help="The input's format, where its name does not tell: csv, jsonl, parquet, …"
    ),
    click.option(
        "--dedupe/--no-dedupe",
        default=None,
        help="Send identical requests once. Default: for embeddings and at temperature 0.",
    ),
    click.option(
        "--check/--no-check",
        "check",
        default=True,
        help="Whether requests are held against what is known of the provider's fields. Default: they are.",
    ),
    click.option(
        "--rows-per-batch",
        type=click.IntRange(min=1),
        default=50_000,
        show_default=True,
        help="At most so many rows a batch.",
    ),
)


def asking_options(function: F) -> F:
    """Add the source argument and all options that say what to ask."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def reuse_options(function: F) -> F:
    """Add the options that say which earlier runs may answer."""
    all_runs = click.option(
        "--reuse", is_flag=True, help="Rows that an earlier run has answered get that answer, and are not sent."
    )
    some_runs = click.option(
        "--reuse-from", multiple=True, metavar="RUN", help="The same, from this run only. May be repeated."
    )
    return all_runs(some_runs(function))


def finish_sync_options(function: F) -> F:
    """Add the options that say whether the last rows are asked without a batch, and when."""
    wish = click.option(
        "--finish-sync",
        is_flag=True,
        help="When a batch's time is nearly over, ask the last rows without one, at the full price.",
    )
    rows = click.option(
        "--finish-sync-rows", type=click.IntRange(min=1), default=1_000, show_default=True, help="At most so many rows."
    )
    before = click.option(
        "--finish-sync-hours",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        help="So long before the batch's time is over.",
    )
    return wish(rows(before(function)))


def _finish_sync(given: dict[str, Any]) -> Any:
    from nono.runs.bench import FinishSync

    wanted = given.pop("finish_sync", False)
    rows, hours = given.pop("finish_sync_rows", 0), given.pop("finish_sync_hours", 0.0)
    return FinishSync(before_s=hours * 3600, most_rows=rows) if wanted else False


def words(given: dict[str, Any]) -> dict[str, Any]:
    """The options as the words of `nono.run` and `nono.plan`; texts in files are read here."""
    extra = dict(_param(text) for text in given.pop("params"))
    options = provider_options(given.pop("options"))
    schema = given.pop("schema")
    system = given.pop("system")
    all_runs, some_runs = given.pop("reuse", False), given.pop("reuse_from", ())
    if "finish_sync" in given:
        given["finish_sync"] = _finish_sync(given)
    named = {
        "id": given.pop("id_column"),
        "format": given.pop("format_"),
        "rows_per_part": given.pop("rows_per_batch"),
        "schema": _schema(schema) if schema else None,
        "system": _text(system) if system else None,
        "extra_body": extra or None,
        "options": options,
        "reuse": list(some_runs) or all_runs,
    }
    return given | named


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"--param {text!r} is not NAME=JSON", hint="for example --param reasoning_effort='\"low\"'")
    try:
        return name, json.loads(value)
    except ValueError as error:
        if value.lstrip()[:1] in ("[", "{", '"'):
            raise SettingsError(
                f"--param {name}: {value!r} is not JSON: {error}", hint="or leave the brackets out"
            ) from error
        return name, value


def provider_options(texts: Sequence[str]) -> dict[str, str] | None:
    """The values of `--option`; None if there are none."""
    for text in texts:
        if "=" not in text:
            raise SettingsError(f"--option {text!r} is not NAME=VALUE", hint="for example --option bucket=gs://b/in")
    return {name: value for name, _, value in (text.partition("=") for text in texts)} or None


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8")
    except OSError as error:
        raise InputError(f"{given[1:]}: {error.strerror}", hint=f"a relative path counts from {Path.cwd()}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{given[1:]}: is not UTF-8", hint="convert the file to UTF-8") from error


def _schema(given: str) -> Any:
    """A JSON Schema from a file, or a pydantic model from `module:Name`."""
    if ":" in given and not Path(given).exists():
        from importlib import import_module

        module, _, name = given.partition(":")
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: where a person's own module stands
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise SettingsError(f"--schema {given}: {error}", hint="module:Model, importable from here") from error
    text = _text(f"@{given.removeprefix('@')}")
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise InputError(f"{given}: not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise InputError(f"{given}: a JSON Schema is an object")
    return schema
