"""The ways into a run: start one, find one again, adopt a batch that was made elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from nono.datasets import open_source
from nono.errors import InputError
from nono.providers import Provider, Task
from nono.runs import cost
from nono.runs.bench import FinishSync, Settings, tag
from nono.runs.clock import SystemClock
from nono.runs.ledger import RunRow, RunState
from nono.runs.pictures import fingerprint_with_pictures
from nono.runs.plan import ROWS_PER_PART, Plan
from nono.runs.preview import cut_up, earlier_of
from nono.runs.run import Run
from nono.runs.spec import RunSpec, save_plan
from nono.runs.words import Words, asked_by, found_at, make_spec, paced_for, provider_and_model, settings_of
from nono.runs.workspace import Workspace, check_name, new_run_id


def run(
    source: Any,
    *,
    model: str,
    prompt: str | None = None,
    name: str | None = None,
    format: str | None = None,
    home: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    new: bool = False,
    reuse: bool | str | Sequence[str] = False,
    rows_per_part: int = ROWS_PER_PART,
    max_cost: float | None = None,
    max_attempts: int | None = None,
    max_batches: int | None = None,
    provider_files: str | None = None,
    reask: int | None = None,
    finish_sync: bool | FinishSync | None = None,
    **words: Unpack[Words],
) -> Run:
    """Plan a run over a data set; `wait` on it sends it and brings the answers.

    `source`: a path (CSV, TSV, JSONL, JSON, Parquet, Arrow; `.gz`, `.zst`), `-`, a data frame, or an iterable of dicts,
    texts or `Request`s. `prompt`: a Jinja2 template over the columns, or a file with one (`prompt.j2`, `@prompt.txt`).
    `model`: `provider/model`. Further words: `system`, `schema` (pydantic model or JSON Schema), `id` (the column with
    ids), `images` (columns with pictures), `task` (`chat`, `embedding`, `moderation`, `raw`), `endpoint`,
    `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `parameters`, `extra_body`, `base_url`, `options` (the
    provider's own: a project, a bucket, a window), `dedupe`, `check` (False: requests and schema are not held against
    what is known of the provider's), `settings`: what is given by a name of its own (`max_cost`, `max_attempts`, …)
    takes the place of what they say. `Request`s are sent as they are, to their endpoint.

    The same words over the same data find the same run again, finished or not, unless `new` is set: what was answered
    is not sent again; name, budget, attempts and the like are those of the last call. `max_cost` is a budget in US
    dollars. `reask`: how often an answer that does not fit `schema` is sent back with what is wrong with it.
    `finish_sync`: ask the last rows without a batch, at the full price, when their batch's time is nearly over
    (`FinishSync` says when).
    A run that was cancelled is not found again: another one begins, with the answers that it had.
    With `reuse`, a row whose request an earlier run of the workspace has an answer to gets that answer, for nothing;
    the name of a run, or several, limits it to these.
    Raises PlanRefused for what is wrong with data, template or schema, before anything is sent; MissingKey.
    """
    check_name(name)
    settings = settings_of(
        words.pop("settings", None),
        words.get("schema"),
        reask=reask,
        finish_sync=finish_sync,
        max_cost_usd=max_cost,
        max_attempts=max_attempts,
        max_batches=max_batches,
        provider_files=provider_files,
    )
    source, asked = asked_by(source, words)
    spec, provider = make_spec(model=model, prompt=prompt, settings=settings, **asked)
    cost.check_budget(spec.settings.max_cost_usd, provider, spec.task.model)
    account = provider.account(api_key=api_key, base_url=spec.base_url)
    # The address is part of what the run is: a resumption must find the same batches.
    spec = replace(found_at(spec, account), settings=paced_for(spec.settings, account.base_url))
    workspace = Workspace(home)
    data = open_source(source, format=format)
    fingerprint = spec.fingerprint(fingerprint_with_pictures(data, spec.images))
    known = None if new else workspace.ledger.latest_run_with(fingerprint)
    if known is not None:
        return _found_again(workspace, known, name, api_key, spec)
    if not new and not reuse:
        # What a cancelled run has answered is paid for; where its folder is gone, there is nothing to have.
        cancelled = [
            one for one in workspace.runs() if one.fingerprint == fingerprint and one.state is RunState.CANCELLED
        ]
        reuse = [one.id for one in cancelled if workspace.folder(one.id).task_file.exists()]
    run_id = new_run_id()
    folder = workspace.folder(run_id)
    try:
        with earlier_of(home, spec, provider, reuse) as earlier:
            planned = cut_up(data, spec, provider, folder, rows_per_part, earlier)
        spec.save(folder)
        save_plan(planned, folder)
        known = _enter(workspace, run_id, name, fingerprint, account.fingerprint(), planned, spec, provider, new=new)
    except BaseException:
        folder.remove()
        raise
    if known is not None:
        folder.remove()
        return _found_again(workspace, known, name, api_key, spec)
    return Run(workspace, run_id, api_key=api_key)


def _found_again(workspace: Workspace, known: RunRow, name: str | None, api_key: str | None, spec: RunSpec) -> Run:
    """A run that is there already, with the settings and the name of the last call."""
    if name is not None and name != known.name:
        with workspace.ledger.transaction() as work:
            work.set_name(known.id, name)
    return Run(workspace, known.id, api_key=api_key, settings=spec.settings)


def open_run(name: str | None = None, *, home: str | os.PathLike[str] | None = None, api_key: str | None = None) -> Run:
    """A run of the workspace by its name, its id or the id's beginning; without one, the newest that is not over.

    Raises InputError if there is none.
    """
    workspace = Workspace(home)
    return Run(workspace, workspace.find(name, to="steer" if name is None else "read").id, api_key=api_key)


def adopt(
    batch_id: str,
    *,
    model: str,
    input_path: Path,
    name: str | None = None,
    home: str | os.PathLike[str] | None = None,
    api_key: str | None = None,
    endpoint: str | None = None,
    base_url: str | None = None,
    options: Mapping[str, str] | None = None,
) -> Run:
    """Take over a batch that was made elsewhere, by hand or by another tool, with the input file it was made from.

    The result is a run like any other whose only batch exists already: `wait` on it fetches and settles. Files at the
    provider are kept: they are not ours. Raises InputError if the input file is not one of the provider's or the batch
    belongs to a run of this workspace, NotFound if there is no such batch.
    """
    from nono.runs.adopting import requests_of

    check_name(name)
    provider, model_name = provider_and_model(model)
    provider = provider.at(base_url, options)
    probe = Task(kind="raw", model=model_name, endpoint=endpoint)
    rows, found_endpoint = requests_of(input_path, provider, probe)
    settings = Settings(provider_files="keep", max_attempts=1)
    spec, provider = make_spec(
        model=model,
        task="raw",
        endpoint=found_endpoint,
        base_url=base_url,
        options=options,
        settings=settings,
        id="custom_id",
    )
    account = provider.account(api_key=api_key, base_url=base_url)
    spec = replace(found_at(spec, account), adopts=batch_id)
    workspace = Workspace(home)
    for run_id, _, known_id in workspace.ledger.tags().values():
        if known_id == batch_id:
            raise InputError(f"batch {batch_id} belongs to run {run_id}", hint=f"`nono watch {run_id}` fetches it")
    run_id = new_run_id()
    folder = workspace.folder(run_id)
    try:
        planned = cut_up(open_source(rows), spec, provider, folder, rows_per_part=10_000_000)
        if len(planned.parts) != 1:
            raise InputError(f"{input_path}: is more than one batch can hold")
        spec.save(folder)
        save_plan(planned, folder)
        _enter(workspace, run_id, name, f"adopted {batch_id}", account.fingerprint(), planned, spec, provider, new=True)
    except BaseException:
        folder.remove()
        raise
    adopted = Run(workspace, run_id, api_key=api_key)
    try:
        adopted.take_over()
    except BaseException:
        with workspace.ledger.transaction() as work:
            work.delete_run(run_id)
        folder.remove()
        raise
    return adopted


def _enter(
    workspace: Workspace,
    run_id: str,
    name: str | None,
    fingerprint: str,
    account: str,
    planned: Plan,
    spec: RunSpec,
    provider: Provider,
    *,
    new: bool,
) -> RunRow | None:
    """Write a planned run into the ledger, in one transaction: it is there whole, or not at all.

    Without `new`, not if the same work has come to be there while this one was planned: that run is returned then.
    """
    now = SystemClock().now_ms()
    price, _ = cost.price_of(provider, spec.task.model)
    with workspace.ledger.transaction() as work:
        known = None if new else workspace.ledger.latest_run_with(fingerprint)
        if known is not None:
            return known
        work.insert_run(
            id=run_id,
            name=name,
            fingerprint=fingerprint,
            provider=spec.provider,
            model=spec.task.model,
            endpoint=spec.task.endpoint,
            account=account,
            created_at=now,
            max_cost_usd=spec.settings.max_cost_usd,
            max_attempts=spec.settings.max_attempts,
            reused=planned.reused,
        )
        for part in planned.parts:
            work.insert_part(run_id, part.no, part.first_row, part.row_count)
            if not part.requests:
                continue
            # What a budget is held against is the high guess: it must never be passed.
            usd = cost.cost_usd(part.requests, part.tokens, spec.task, price, 1) if price else None
            shard_id = work.insert_shard(
                run_id,
                no=part.no,
                round=1,
                requests=part.requests,
                file_bytes=part.file_bytes,
                tokens=part.tokens,
                cost_usd=usd,
                parts=[part.no],
            )
            work.insert_attempt(run_id, shard_id, no=1, tag=tag(run_id, part.no, 1, 0), due_at=now)
    return None
