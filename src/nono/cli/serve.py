"""`nono serve`: the local batch server in the foreground. Addresses are data (stdout), the rest is talk (stderr)."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nono.cli.choices import json_option
from nono.errors import SettingsError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free port.")
@click.option(
    "--data",
    default=".nono-server",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of files and batches; a server started on it again goes on where it stopped.",
)
@click.option("--model", default="simulated", show_default=True, help="`simulated`, named weights, or a .gguf file.")
@click.option("--embedding-model", help="Who answers embeddings, if not the chat model; `simulated` or named weights.")
@click.option("--upstream", metavar="URL", help="Pass requests on to an OpenAI-compatible server (vLLM, Ollama, …).")
@click.option(
    "--api-key",
    envvar="NONO_SERVER_KEY",
    metavar="KEY",
    help="Refuse calls without this key. Better given as NONO_SERVER_KEY, or as @FILE: others can see a command line.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Serve under this Host name, too.")
@click.option(
    "--faults",
    metavar="FILE|JSON",
    help="Misbehave by these rules (docs/server.md), and open /_nono/ to steer it; `[]` only opens it.",
)
@click.option("--speed", type=click.FloatRange(0), metavar="N", help="Let the server's time run N times as fast.")
@json_option
def command(
    host: str,
    port: int,
    data: Path,
    model: str,
    embedding_model: str | None,
    upstream: str | None,
    api_key: str | None,
    hosts: tuple[str, ...],
    faults: str | None,
    speed: float | None,
    as_json: bool,
) -> None:
    """Run the local batch server: OpenAI's and Gemini's Batch APIs on this machine, no key, no bill.

    \b
    Example:
      nono serve --model simulated &
      export OPENAI_BASE_URL=http://127.0.0.1:8765/v1 OPENAI_API_KEY=local
      nono run reviews.csv -p "Sentiment of: {{ text }}" -m openai/gpt-4o-mini
    """
    from nono.secret import Secret
    from nono.server.app import Settings, check_exposure, clock_for, environment, serve

    if upstream is not None and model != "simulated":
        raise SettingsError(
            "--model and --upstream both name who answers", hint="give one: weights of this machine, or another server"
        )
    key = _read_key(api_key)
    settings = Settings(
        data=data,
        host=host,
        port=port,
        model=_url(upstream) if upstream is not None else model,
        embedding_model=embedding_model,
        key=Secret(key) if key else None,
        hosts=hosts,
        clock=clock_for(faults, speed),
        faults=faults,
    )

    def tell(url: str) -> None:
        # The key itself is never printed: whoever set it knows it.
        shown = environment(url, "local" if key is None else "<the key of this server>")
        if as_json:
            click.echo(json.dumps(shown | {"url": url}))
        else:
            click.echo(f"nono serves OpenAI at {url}/v1 and Gemini at {url}/gemini")
        for name, value in shown.items():
            click.echo(f"export {name}={value}" if " " not in value else f"export {name}='{value}'", err=True)
        if warning := check_exposure(settings):
            click.echo(f"warning: {warning}", err=True)

    serve(settings, on_ready=tell)


def _read_key(given: str | None) -> str | None:
    """The key itself, or the content of the file that `@FILE` names."""
    if given is None or not given.startswith("@"):
        return given or None
    path = Path(given[1:])
    try:
        key = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the key file {path} cannot be read: {error}") from error
    if not key:
        raise SettingsError(f"the key file {path} is empty")
    return key


def _url(upstream: str) -> str:
    if not upstream.startswith(("http://", "https://")):
        raise SettingsError(f"--upstream {upstream!r} is no URL", hint="for example http://127.0.0.1:11434/v1")
    return upstream
