"""The verbs that keep or free space: export, gc, purge."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nono.cli.choices import confirm, env_file_option, json_option, read_env_file, yes_option


@click.command()
@click.argument("run", required=False)
@click.option(
    "-o", "--output", required=True, help="A .jsonl, .csv, .parquet or .arrow file; - writes JSONL to stdout."
)
@click.option(
    "--format", "format_", type=click.Choice(["jsonl", "csv", "parquet", "arrow"]), help="If the name is silent."
)
def export(run: str | None, output: str, format_: str | None) -> None:
    """Write a run's results, in input order. Texts that a spreadsheet would run as formulas are guarded in CSV.

    \b
    Example:
      nono export nightly-tags -o results.csv
    """
    from nono.runs.starting import open_run

    found = open_run(run)
    written = found.export(output if output == "-" else Path(output), format=format_)
    click.echo(f"{written:,} rows", err=True)


@click.command()
@click.option("--orphans", is_flag=True, help="List batches at the provider with a nono tag that no run here owns.")
@click.option("-m", "--model", help="With --orphans: the provider to ask, as provider/model or provider.")
@yes_option
@json_option
@env_file_option
def gc(orphans: bool, model: str | None, yes: bool, as_json: bool, env_file: str | None) -> None:
    """Free disk space: requests and answer files of finished runs (results are kept), folders of no run.

    `nono run --reuse` finds no answers in what was deleted.

    With --orphans nothing is deleted here: it lists batches that carry a nono tag unknown to this workspace; with
    --yes those still at work are cancelled.

    \b
    Example:
      nono gc --yes
      nono gc --orphans -m openai
    """
    from nono.runs.collecting import cancel_orphans, collect, find_orphans
    from nono.runs.workspace import Workspace

    read_env_file(env_file)
    workspace = Workspace()
    if not orphans:
        confirm("delete requests and answers of finished runs (results are kept)?", yes=yes)
        freed = collect(workspace)
        click.echo(json.dumps({"freed_bytes": freed}) if as_json else f"{freed:,} bytes freed")
        return
    found = find_orphans(workspace, model or "openai")
    if as_json:
        click.echo(json.dumps([{"batch": batch.id, "tag": batch.tag, "state": batch.native_state} for batch in found]))
    else:
        for batch in found:
            click.echo(f"{batch.id}\t{batch.tag}\t{batch.native_state}")
    if yes:
        click.echo(f"{cancel_orphans(model or 'openai', found)} cancelled", err=True)


@click.command()
@click.argument("run")
@yes_option
def purge(run: str, yes: bool) -> None:
    """Forget a run: its ledger entries, requests, answers and results. Batches at the provider are not touched.

    \b
    Example:
      nono purge nightly-tags --yes
    """
    from nono.runs.collecting import purge as purge_run
    from nono.runs.workspace import Workspace

    workspace = Workspace()
    found = workspace.find(run)
    confirm(f"forget run {found.id} ({found.name or 'unnamed'}) and delete its results?", yes=yes)
    purge_run(workspace, found.id)
    click.echo(f"{found.id} is forgotten", err=True)
