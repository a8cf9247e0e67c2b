"""The ways into a run: plan one, start one, find one again, adopt a batch that was made elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from nono.datasets import Source, open_source
from nono.datasets.copies import endpoint_of
from nono.errors import InputError
from nono.exchange import Account
from nono.providers import Provider, Task
from nono.runs import cost
from nono.runs.bench import FinishSync, Settings, tag
from nono.runs.clock import SystemClock
from nono.runs.folder import RunFolder
from nono.runs.ledger import RunRow
from nono.runs.plan import ROWS_PER_PART, Plan
from nono.runs.plan import plan as cut
from nono.runs.render import read_template
from nono.runs.run import Run
from nono.runs.spec import RunSpec, json_schema, provider_and_model, save_plan
from nono.runs.workspace import Workspace, new_run_id

if TYPE_CHECKING:
    from nono.runs.earlier import EarlierAnswers

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LOCAL_POLL_CAP_S = 2.0
KINDS = ("chat", "embedding", "moderation", "raw")


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a run would do and cost; nothing was sent and nothing was kept."""

    plan: Plan
    spec: RunSpec
    estimate: cost.Estimate
    # What the last rows may cost more, if all of them that may be are asked without a batch.
    finish_sync: cost.LastRows | None = None

    def to_dict(self) -> dict[str, Any]:
        plan, estimate = self.plan, self.estimate
        return {
            "model": f"{self.spec.provider}/{self.spec.task.model}",
            "rows": plan.rows,
            "requests": plan.requests,
            "borrowed": plan.borrowed,
            "reused": plan.reused,
            "batches": sum(1 for part in plan.parts if part.requests),
            "bytes": plan.file_bytes,
            "warnings": list(plan.warnings),
            **estimate.to_dict(),
            **({"finish_sync": self.finish_sync.to_dict()} if self.finish_sync else {}),
        }


def make_spec(
    *,
    model: str,
    prompt: str | None = None,
    system: str | None = None,
    schema: Any = None,
    schema_name: str = "answer",
    id: str | None = None,
    images: str | Sequence[str] = (),
    task: str = "chat",
    endpoint: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] | None = None,
    seed: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    extra_body: Mapping[str, Any] | None = None,
    base_url: str | None = None,
    options: Mapping[str, str] | None = None,
    dedupe: bool | None = None,
    check: bool = True,
    settings: Settings | None = None,
) -> tuple[RunSpec, Provider]:
    """A run's spec from the words of `nono.run`. Raises InputError."""
    provider, model_name = provider_and_model(model)
    provider = provider.at(base_url, options)
    if task not in KINDS:
        raise InputError(f"unknown task {task!r}", hint=f"one of {', '.join(KINDS)}")
    named = {"temperature": temperature, "max_tokens": max_tokens, "top_p": top_p, "stop": stop, "seed": seed}
    given = {name: value for name, value in named.items() if value is not None} | dict(parameters or {})
    asked = Task(
        kind=task,
        model=model_name,
        endpoint=endpoint,
        system=system,
        schema=json_schema(schema),
        schema_name=schema_name,
        parameters=given or None,
        extra_body=extra_body,
        check=check,
    )
    asked = replace(asked, endpoint=provider.endpoint_for(asked))
    spec = RunSpec(
        provider=provider.name,
        task=asked,
        # The template itself: a file may say something else tomorrow, and that is other work then.
        prompt=read_template(prompt) if prompt is not None else None,
        id_column=id,
        images=(images,) if isinstance(images, str) else tuple(images),
        base_url=base_url,
        options=dict(options) if options else None,
        dedupe=dedupe,
        settings=settings or Settings(),
    )
    return spec, provider


def plan(
    source: Any,
    *,
    format: str | None = None,
    home: str | os.PathLike[str] | None = None,
    rows_per_part: int = ROWS_PER_PART,
    reuse: bool | str | Sequence[str] = False,
    finish_sync: bool | FinishSync = False,
    **words: Any,
) -> PlanReport:
    """What `run(source, **words)` would do: rows, batches, tokens, a range of cost. Reads the data; sends nothing.

    Raises PlanRefused with everything that is wrong with data, template or schema.
    """
    source, words = _asked_by(source, words)
    spec, provider = make_spec(**words)
    # No key is asked for: it is the address that tells whose answers earlier runs have.
    there = replace(spec, base_url=provider.account(api_key="none", base_url=spec.base_url).base_url) if reuse else spec
    with _earlier(home, there, provider, reuse) as earlier:
        planned = _cut(open_source(source, format=format), spec, provider, None, rows_per_part, earlier)
    wish = _finish_sync(finish_sync, Settings().max_attempts)
    last = cost.estimate_last(planned, spec.task, provider, wish.most_rows) if wish else None
    return PlanReport(planned, spec, cost.estimate(planned, spec.task, provider), last)


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
    max_attempts: int = 3,
    max_batches: int = 50,
    provider_files: str = "delete",
    reask: int = 0,
    finish_sync: bool | FinishSync = False,
    **words: Any,
) -> Run:
    """Plan a run over a data set; `wait` on it sends it and brings the answers.

    `source`: a path (CSV, TSV, JSONL, JSON, Parquet, Arrow; `.gz`, `.zst`), `-`, a data frame, or an iterable of dicts,
    texts or `Request`s. `prompt`: a Jinja2 template over the columns, or a file with one (`prompt.j2`, `@prompt.txt`).
    `model`: `provider/model`. Further words: `system`, `schema` (pydantic model or JSON Schema), `id` (the column with
    ids), `images` (columns with pictures), `task` (`chat`, `embedding`, `moderation`, `raw`), `endpoint`,
    `temperature`, `max_tokens`, `top_p`, `stop`, `seed`, `parameters`, `extra_body`, `base_url`, `options` (the
    provider's own: a project, a bucket, a window), `dedupe`, `check` (False: requests and schema are not held against
    what is known of the provider's), `settings`. `Request`s are sent as they are, to their endpoint.

    The same words over the same data find the same run again, finished or not, unless `new` is set: what was answered
    is not sent again; budget, attempts and the like are those of the last call. `max_cost` is a budget in US dollars.
    `reask`: how often an answer that does not fit `schema` is sent back with what is wrong with it. `finish_sync`: ask
    the last rows without a batch, at the full price, when their batch's time is nearly over (`FinishSync` says when).
    With `reuse`, a row whose request an earlier run of the workspace has an answer to gets that answer, for nothing;
    the name of a run, or several, limits it to these.
    Raises PlanRefused for what is wrong with data, template or schema, before anything is sent; MissingKey.
    """
    if provider_files not in ("delete", "keep"):
        raise InputError(f"provider_files is {provider_files!r}", hint="delete or keep")
    settings = replace(
        words.pop("settings", None) or Settings(),
        max_cost_usd=max_cost,
        max_attempts=max_attempts,
        max_batches=max_batches,
        provider_files=provider_files,
        reask=_reask(reask, words.get("schema")),
        finish_sync=_finish_sync(finish_sync, max_attempts),
    )
    source, words = _asked_by(source, words)
    spec, provider = make_spec(model=model, prompt=prompt, settings=settings, **words)
    account = provider.account(api_key=api_key, base_url=spec.base_url)
    # The address is part of what the run is: a resumption must find the same batches.
    spec = replace(_there(spec, account), settings=_for_address(spec.settings, account.base_url))
    workspace = Workspace(home)
    data = open_source(source, format=format)
    fingerprint = spec.fingerprint(data.fingerprint())
    known = None if new else workspace.ledger.latest_run_with(fingerprint)
    if known is not None:
        return Run(workspace, known.id, api_key=api_key, settings=settings)
    run_id = new_run_id()
    folder = workspace.folder(run_id)
    try:
        with _earlier(home, spec, provider, reuse) as earlier:
            planned = _cut(data, spec, provider, folder, rows_per_part, earlier)
        spec.save(folder)
        save_plan(planned, folder)
        known = _enter(workspace, run_id, name, fingerprint, account.fingerprint(), planned, spec, provider, new=new)
    except BaseException:
        folder.remove()
        raise
    if known is not None:
        folder.remove()
        return Run(workspace, known.id, api_key=api_key, settings=settings)
    return Run(workspace, run_id, api_key=api_key)


def open_run(name: str | None = None, *, home: str | os.PathLike[str] | None = None, api_key: str | None = None) -> Run:
    """A run of the workspace by its name, its id or the id's beginning; without one, the newest that is not over.

    Raises InputError if there is none.
    """
    workspace = Workspace(home)
    return Run(workspace, workspace.find(name).id, api_key=api_key)


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
    spec = replace(_there(spec, account), adopts=batch_id)
    workspace = Workspace(home)
    for run_id, _, known_id in workspace.ledger.tags().values():
        if known_id == batch_id:
            raise InputError(f"batch {batch_id} belongs to run {run_id}", hint=f"`nono watch {run_id}` fetches it")
    run_id = new_run_id()
    folder = workspace.folder(run_id)
    try:
        planned = _cut(open_source(rows), spec, provider, folder, rows_per_part=10_000_000)
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


def _reask(times: int, schema: Any) -> int:
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        raise InputError(f"reask is {times!r}", hint="how often an answer is sent back: a whole number from 0")
    if times and schema is None:
        raise InputError("reask without a schema: no answer would ever be wrong", hint="give a schema, or leave it out")
    return times


def _finish_sync(given: bool | FinishSync, max_attempts: int) -> FinishSync | None:
    wish = FinishSync() if given is True else given or None
    if wish is None:
        return None
    if (
        not isinstance(wish, FinishSync)
        or wish.most_rows < 1
        or wish.calls < 1
        or not 0 <= wish.before_s < float("inf")
    ):
        raise InputError(f"finish_sync is {given!r}", hint="True, or FinishSync with at least one row and one call")
    if max_attempts < 2:
        raise InputError("finish_sync with one attempt a row: the batch is it", hint="max_attempts is at least 2")
    return wish


def _asked_by(source: Any, words: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """`Request`s say themselves where they go: whole bodies, one endpoint."""
    source, endpoint = endpoint_of(source)
    return source, {"task": "raw", "endpoint": endpoint, **words} if endpoint else dict(words)


def _there(spec: RunSpec, account: Account) -> RunSpec:
    """The spec with everything that finds the account's batches again."""
    return replace(spec, base_url=account.base_url, options=account.options or spec.options)


def _for_address(settings: Settings, base_url: str) -> Settings:
    """Polling a server on this machine costs nobody anything, and a person may be watching."""
    if urlsplit(base_url).hostname not in LOOPBACK:
        return settings
    return replace(settings, poll_cap_s=min(settings.poll_cap_s, LOCAL_POLL_CAP_S))


def _earlier(
    home: str | os.PathLike[str] | None, spec: RunSpec, provider: Provider, reuse: bool | str | Sequence[str]
) -> AbstractContextManager[EarlierAnswers | None]:
    """The answers of earlier runs that may be reused: of none, of all, or of those that are named."""
    if not reuse:
        return nullcontext()
    from nono.runs.earlier import earlier_answers

    names = () if reuse is True else (reuse,) if isinstance(reuse, str) else tuple(reuse)
    return earlier_answers(Workspace(home), spec, provider, names)


def _cut(
    source: Source,
    spec: RunSpec,
    provider: Provider,
    folder: RunFolder | None,
    rows_per_part: int,
    earlier: EarlierAnswers | None = None,
) -> Plan:
    planned = cut(
        source,
        spec.task,
        provider,
        prompt=spec.prompt,
        id_column=spec.id_column,
        images=spec.images,
        dedupe=spec.sends_once,
        earlier=earlier.find if earlier is not None else None,
        shards_into=folder.shards if folder else None,
        rows_into=folder.rows if folder else None,
        rows_per_part=rows_per_part,
        tokens_per_part=spec.settings.max_enqueued_tokens,
    )
    notes = earlier.notes if earlier is not None else ()
    return msgspec.structs.replace(planned, warnings=(*planned.warnings, *notes)) if notes else planned


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
