"""`nono models`: the weights of the embedded models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from nono.cli.choices import json_option


@click.group()
def command() -> None:
    """The embedded models' weights: where they come from, and which are here.

    \b
    Example:
      nono models pull smollm2-135m-instruct
      nono serve --model smollm2-135m-instruct
    """


@command.command()
@json_option
def ls(as_json: bool) -> None:
    """List weights that have a name: which are here, how large, under which licence, where from."""
    from nono import models

    rows = [
        {
            "name": weights.name,
            "kind": weights.kind.value,
            "here": shelved is not None,
            "bytes": weights.bytes,
            "licence": weights.licence,
            "title": weights.title,
            "about": weights.about,
            "sources": [str(source) for source in weights.sources],
            "files": [
                {
                    "name": file.name,
                    "bytes": file.bytes,
                    "sha256": file.sha256,
                    "path": str(shelved.folder / file.name) if shelved else None,
                }
                for file in weights.files
            ],
        }
        for weights in models.known().values()
        for shelved in [models.find(weights.name)]
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        mark = "here" if row["here"] else "-"
        size = f"{row['bytes'] / 1e6:,.0f} MB"  # type: ignore[operator]
        fields = [row["name"], row["kind"], mark, size, row["licence"], row["title"]]
        if sys.stdout.isatty():
            click.echo(f"{fields[0]:<24} {fields[1]:<10} {fields[2]:<5} {size:>8}  {fields[4]:<12} {fields[5]}")
        else:
            click.echo("\t".join(str(field) for field in fields))
    click.echo(f"in {models.cache_folder()} (NONO_MODELS)", err=True)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@json_option
def pull(names: tuple[str, ...], as_json: bool) -> None:
    """Fetch weights into the cache folder and verify them; what is there and whole is not fetched again.

    \b
    Example:
      nono models pull smollm2-135m-instruct all-minilm-l6-v2
    """
    from nono import models

    for name in names:
        shelved = models.pull(name, tell=lambda sentence: click.echo(sentence, err=True))
        click.echo(f"{name}: {shelved.weights.bytes:,} bytes, verified, {shelved.weights.licence}", err=True)
        click.echo(json.dumps({"name": name, "folder": str(shelved.folder)}) if as_json else shelved.folder)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it; without it, the file's name.")
@json_option
def add(path: Path, name: str | None, as_json: bool) -> None:
    """Give weights of your own a name: a .gguf file, or a folder with an ONNX model and its tokenizer.json.

    \b
    Example:
      nono models add ~/Downloads/Qwen3-4B-Q4_K_M.gguf --name qwen3-4b
    """
    from nono import models

    shelved = models.add(path, name)
    click.echo(f"added as {shelved.weights.name} ({shelved.weights.kind})", err=True)
    click.echo(json.dumps({"name": shelved.weights.name, "folder": str(shelved.folder)}) if as_json else shelved.folder)
