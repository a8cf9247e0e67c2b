"""The lines of OpenAI input files, built without a key and without a network; and the constants of both classes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nono.errors import InputError
from nono.providers.openai import bodies, media
from nono.providers.openai.check import InputFile, inspect

DEFAULT_MODEL = "gpt-4o-mini"


class OpenAIRequests:
    """The constants, and the builders of request lines. They need no key and no network."""

    STATE_VALIDATING = "validating"
    STATE_FAILED = "failed"
    STATE_IN_PROGRESS = "in_progress"
    STATE_FINALIZING = "finalizing"
    STATE_COMPLETED = "completed"
    STATE_EXPIRED = "expired"
    STATE_CANCELLING = "cancelling"
    STATE_CANCELLED = "cancelled"

    ENDPOINT_CHAT_COMPLETIONS = bodies.CHAT
    ENDPOINT_RESPONSES = bodies.RESPONSES
    ENDPOINT_EMBEDDINGS = bodies.EMBEDDINGS
    ENDPOINT_COMPLETIONS = bodies.COMPLETIONS
    ENDPOINT_MODERATIONS = bodies.MODERATIONS
    ENDPOINT_IMAGES = bodies.IMAGES
    ENDPOINT_IMAGE_EDITS = bodies.IMAGE_EDITS

    # Of the answers' bodies: pictures and sounds.
    save_media = staticmethod(media.save_media)
    media_of = staticmethod(media.media_of)

    @staticmethod
    def build_request(
        prompt: str | Sequence[Mapping[str, Any]],
        model: str = DEFAULT_MODEL,
        custom_id: str | None = None,
        system_prompt: str | None = None,
        endpoint: str = bodies.CHAT,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        response_format: Any = None,
        *,
        extra_body: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> dict[str, Any]:
        """One request line for a text endpoint: chat completions, responses, or legacy completions.

        `prompt` is a text, or a list of messages. Names are those of chat completions; each endpoint gets its own
        spelling (`max_output_tokens` and `text.format` for responses, `max_completion_tokens` for reasoning models).
        `response_format` is a pydantic model, a JSON Schema (both sent as strict), or OpenAI's own object. Further
        `parameters` (`seed`, `stop`, `reasoning_effort`, …) go into the body by name, `extra_body` as it stands.
        Without a `custom_id` the line gets one that no other has.

        Raises InputError for what the endpoint does not take, and for a schema that strict mode refuses.
        """
        family = bodies.family_of(endpoint)
        if family is not None and family.kind in ("embedding", "moderation"):
            raise InputError(
                f"{endpoint} takes no prompt", hint=f"build_{family.kind}_request() builds requests for it"
            )
        body = bodies.build_body(
            endpoint,
            prompt,
            model=model,
            system=system_prompt,
            parameters={
                "temperature": temperature,
                "max_tokens": max_tokens,
                "top_p": top_p,
                "frequency_penalty": frequency_penalty,
                "presence_penalty": presence_penalty,
                "response_format": response_format,
                **parameters,
            },
        )
        return _line("request", custom_id, endpoint, body | dict(extra_body or {}))

    @staticmethod
    def build_requests_from_prompts(
        prompts: Iterable[str | Sequence[Mapping[str, Any]]],
        model: str = DEFAULT_MODEL,
        system_prompt: str | None = None,
        endpoint: str = bodies.CHAT,
        temperature: float | None = None,
        max_tokens: int | None = None,
        custom_id_prefix: str = "request",
        **parameters: Any,
    ) -> list[dict[str, Any]]:
        """One request line per prompt, in order, named `{custom_id_prefix}-1`, `-2`, …

        Everything else applies to each of them and is what `build_request` takes.
        """
        if isinstance(prompts, str) or not isinstance(prompts, Iterable):
            raise InputError(
                f"prompts is {'one text' if isinstance(prompts, str) else type(prompts).__name__}, not a list of texts",
                hint="pass [text], or use build_request()",
            )
        requests = []
        for number, prompt in enumerate(prompts, start=1):
            try:
                request = OpenAIRequests.build_request(
                    prompt,
                    model=model,
                    custom_id=f"{custom_id_prefix}-{number}",
                    system_prompt=system_prompt,
                    endpoint=endpoint,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    **parameters,
                )
            except InputError as error:
                raise InputError(f"prompt {number}: {error.message}", hint=error.hint) from error
            requests.append(request)
        return requests

    @staticmethod
    def build_embedding_request(
        input_text: str | Sequence[Any],
        model: str = "text-embedding-3-small",
        custom_id: str | None = None,
        encoding_format: str | None = None,
        dimensions: int | None = None,
        *,
        extra_body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One request line for embeddings of a text, a list of texts, or tokens.

        A batch takes at most 50,000 inputs, summed over its lines.
        """
        body = bodies.build_body(
            bodies.EMBEDDINGS,
            input_text,
            model=model,
            parameters={"encoding_format": encoding_format, "dimensions": dimensions},
        )
        return _line("embedding", custom_id, bodies.EMBEDDINGS, body | dict(extra_body or {}))

    @staticmethod
    def build_moderation_request(
        input_content: str | Sequence[Any],
        model: str = "omni-moderation-latest",
        custom_id: str | None = None,
        *,
        extra_body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One request line that has a text moderated, a list of texts, or a list of text and image parts."""
        body = bodies.build_body(bodies.MODERATIONS, input_content, model=model)
        return _line("moderation", custom_id, bodies.MODERATIONS, body | dict(extra_body or {}))

    @staticmethod
    def check_file(file_path: str | os.PathLike[str], endpoint: str | None = None) -> InputFile:
        """What a local input file holds, and everything in it that the service would refuse: `.problems`.

        One pass in flat memory; nothing is sent, and nothing is raised for a bad line. `endpoint` is the batch's.
        """
        return inspect(Path(file_path), endpoint=endpoint)


def _line(kind: str, custom_id: str | None, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if custom_id is not None and (not isinstance(custom_id, str) or not custom_id):
        raise InputError(f"custom_id is {custom_id!r}", hint="a text that is not empty, or None for one of its own")
    return bodies.request_line(custom_id or bodies.new_id(kind), endpoint, body)
