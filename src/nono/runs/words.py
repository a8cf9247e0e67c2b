"""The words of `nono.run` as values: looked at, completed, refused where they make no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, TypedDict
from urllib.parse import urlsplit

from nono.datasets.copies import endpoint_of
from nono.errors import InputError
from nono.exchange import Account
from nono.providers import UNCHECKED, Provider, Task, provider_named
from nono.runs.bench import FinishSync, Settings
from nono.runs.render import read_template
from nono.runs.spec import RunSpec

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
LOCAL_POLL_CAP_S = 2.0
KINDS = ("chat", "embedding", "moderation", "raw")


class Words(TypedDict, total=False):
    """What `nono.run` and `nono.plan` understand besides `model` and `prompt`: how rows become requests."""

    system: str | None
    # A pydantic model or a JSON Schema, and what the provider is told it is called.
    schema: Any
    schema_name: str
    # The column with the requests' ids, and the columns with pictures (URLs or files).
    id: str | None
    images: str | Sequence[str]
    # One of KINDS.
    task: str
    endpoint: str | None
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    stop: Sequence[str] | None
    seed: int | None
    # Further sampling parameters under OpenAI's names, and fields for the body as they stand.
    parameters: Mapping[str, Any] | None
    extra_body: Mapping[str, Any] | None
    base_url: str | None
    # The provider's own: a project, a bucket, a window.
    options: Mapping[str, str] | None
    # Whether equal requests are sent once; by default for embeddings and at temperature 0.
    dedupe: bool | None
    # Whether requests and schema are held against what is known of the provider's.
    check: bool
    settings: Settings | None


# Both providers': https://platform.openai.com/docs/api-reference/chat/create and
# https://ai.google.dev/api/generate-content#generationconfig
RANGES = {"temperature": (0.0, 2.0), "top_p": (0.0, 1.0), "max_tokens": (1, float("inf"))}


def _check_ranges(given: Mapping[str, Any]) -> None:
    """Raise InputError for a number that every request would be refused for."""
    for name, (least, most) in RANGES.items():
        value = given.get(name)
        if isinstance(value, int | float) and not least <= value <= most:
            span = f"from {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
            raise InputError(f"{name} is {value!r}", hint=f"a number {span}; {UNCHECKED}")


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
    if check:
        _check_ranges(given)
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


def provider_and_model(model: str) -> tuple[Provider, str]:
    """`openai/gpt-4o-mini` as a provider and the model's name there. Raises InputError."""
    name, slash, rest = model.partition("/") if isinstance(model, str) else ("", "", "")
    if not slash or not rest:
        raise InputError(
            f"model {model!r} names no provider", hint="write provider/model, for example openai/gpt-4o-mini"
        )
    return provider_named(name), rest


def json_schema(schema: Any) -> Mapping[str, Any] | None:
    """A JSON Schema from a pydantic model, a mapping, or None. Raises InputError for anything else."""
    if schema is None or isinstance(schema, Mapping):
        return schema
    if hasattr(schema, "model_json_schema"):
        made: Mapping[str, Any] = schema.model_json_schema()
        return made
    raise InputError(f"a schema is a pydantic model or a mapping, not {type(schema).__name__}")


def asked_by(source: Any, words: Words) -> tuple[Any, dict[str, Any]]:
    """The source and what is asked of it: `Request`s say themselves where they go (whole bodies, one endpoint).

    Raises InputError for a word that does not exist.
    """
    for name in words.keys() - Words.__annotations__.keys():
        near = get_close_matches(name, Words.__annotations__, n=1)
        raise InputError(
            f"{name!r} is not a word of nono.run",
            hint=f"did you mean {near[0]}?" if near else f"it knows {', '.join(Words.__annotations__)}",
        )
    source, endpoint = endpoint_of(source)
    return source, {"task": "raw", "endpoint": endpoint, **words} if endpoint else dict(words)


def settings_of(
    given: Settings | None, schema: Any, *, reask: int | None, finish_sync: bool | FinishSync | None, **wished: Any
) -> Settings:
    """The settings of a run: those that are given, and in their place what is wished for by name.

    Raises InputError for what makes no sense.
    """
    settings = replace(given or Settings(), **{name: value for name, value in wished.items() if value is not None})
    if settings.provider_files not in ("delete", "keep"):
        raise InputError(f"provider_files is {settings.provider_files!r}", hint="delete or keep")
    return replace(
        settings,
        reask=_reask(settings.reask if reask is None else reask, schema),
        finish_sync=finish_sync_of(settings.finish_sync if finish_sync is None else finish_sync, settings.max_attempts),
    )


def _reask(times: int, schema: Any) -> int:
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        raise InputError(f"reask is {times!r}", hint="how often an answer is sent back: a whole number from 0")
    if times and schema is None:
        raise InputError("reask without a schema: no answer would ever be wrong", hint="give a schema, or leave it out")
    return times


def finish_sync_of(given: bool | FinishSync | None, max_attempts: int) -> FinishSync | None:
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


def found_at(spec: RunSpec, account: Account) -> RunSpec:
    """The spec with everything that finds the account's batches again."""
    return replace(spec, base_url=account.base_url, options=account.options or spec.options)


def paced_for(settings: Settings, base_url: str) -> Settings:
    """Polling a server on this machine costs nobody anything, and a person may be watching."""
    if urlsplit(base_url).hostname not in LOOPBACK:
        return settings
    return replace(settings, poll_cap_s=min(settings.poll_cap_s, LOCAL_POLL_CAP_S))
