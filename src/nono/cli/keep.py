"""The verbs that keep or free space: export, gc, purge."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nono.cli.asking import BASE_URL, PROVIDER_OPTION, provider_options
from nono.cli.choices import (
    confirm,
    env_file_option,
    json_option,
    named_run_argument,
    read_env_file,
    run_argument,
    yes_option,
)
from nono.errors import InputError, SettingsError


@click.command()
@run_argument
@click.option(
    "-o",
    "--output",
    default="-",
    show_default=True,
    help="A .jsonl, .csv, .tsv, .parquet or .arrow file (.gz after the first three packs it); - writes to stdout.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "csv", "tsv", "parquet", "arrow"]),
    help="Where the name does not tell; stdout is JSONL otherwise.",
)
@json_option
def export(run: str | None, output: str, format_: str | None, as_json: bool) -> None:
    """Write a run's results, in input order; without RUN, those of the newest.

    Texts that a spreadsheet would run as formulas are guarded in CSV.

    \b
    Example:
      nono export nightly-tags -o results.csv
      nono export nightly-tags | head
    """
    from nono.cli.live import counted
    from nono.cli.steer import opened

    found = opened(run, to="read")
    if as_json and output == "-":
        raise SettingsError("--json and the results would both go to stdout", hint="name a file: -o results.jsonl")
    status = found.status
    if status.rows and not found.results().parts:
        raise InputError(
            f"run {found.id} is {status.state}: none of its {counted(status.rows, 'row')} has its outcome yet",
            hint=f"`nono watch {found.id}` brings the answers",
        )
    written = found.export(output if output == "-" else Path(output), format=format_)
    if written < status.rows:
        click.echo(f"warning: the run is {status.state}: {written:,} of {status.rows:,} rows are settled", err=True)
    if as_json:
        click.echo(json.dumps({"run": found.id, "rows": written, "output": output}))
    else:
        click.echo(f"{counted(written, 'row')} of run {found.id}", err=True)


@click.command()
@click.option("--orphans", is_flag=True, help="List batches at the provider with a nono tag that no run here owns.")
@click.option("-m", "--model", help="With --orphans: the provider to ask, as provider/model or provider.")
@BASE_URL
@PROVIDER_OPTION
@yes_option
@json_option
@env_file_option
def gc(
    orphans: bool,
    model: str | None,
    base_url: str | None,
    options: tuple[str, ...],
    yes: bool,
    as_json: bool,
    env_file: str | None,
) -> None:
    """Free disk space: requests and answer files of finished runs (results are kept), folders of no run.

    `nono run --reuse` finds no answers in what was deleted.

    With --orphans nothing is deleted here: it lists batches that carry a nono tag unknown to this workspace; with
    --yes those still at work are cancelled. Batches of other workspaces of the account are among them: look at the
    list first.

    \b
    Example:
      nono gc --yes
      nono gc --orphans -m openai
    """
    from nono.runs.collecting import account_at, cancel_orphans, collect, find_orphans
    from nono.runs.workspace import Workspace

    read_env_file(env_file)
    workspace = Workspace()
    if not orphans:
        confirm("delete requests and answers of finished runs (results are kept)?", yes=yes)
        freed = collect(workspace)
        click.echo(json.dumps({"freed_bytes": freed}) if as_json else f"{freed:,} bytes freed")
        return
    there = account_at(model or "openai", base_url, provider_options(options))
    found = find_orphans(workspace, there)
    if as_json:
        click.echo(json.dumps([{"batch": batch.id, "tag": batch.tag, "state": batch.native_state} for batch in found]))
    else:
        for batch in found:
            click.echo(f"{batch.id}\t{batch.tag}\t{batch.native_state}")
    if yes:
        click.echo(f"{cancel_orphans(there, found)} cancelled", err=True)


@click.command()
@named_run_argument
@yes_option
@json_option
def purge(run: str, yes: bool, as_json: bool) -> None:
    """Forget a run: its ledger entries, requests, answers and results. Batches at the provider are not touched.

    \b
    Example:
      nono purge nightly-tags --yes
    """
    from nono.runs.collecting import purge as purge_run
    from nono.runs.workspace import Workspace

    workspace = Workspace()
    found = workspace.find(run, to="delete")
    confirm(f"forget run {found.id} ({found.name or 'unnamed'}) and delete its results?", yes=yes)
    purge_run(workspace, found.id)
    if as_json:
        click.echo(json.dumps({"purged": found.id}))
    else:
        click.echo(f"{found.id} is forgotten", err=True)
