"""A model that answers nonsense spoils its own answer and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest
from server_tools import Told, chat_answer, chat_lines, counts, done

from nono.server.app import LocalServer
from openai import InternalServerError, OpenAI

Serving = Callable[..., tuple[LocalServer, OpenAI]]

# What a model may answer to "odd" → how many of three requests fail then.
NONSENSE: dict[str, tuple[Callable[[Mapping[str, Any]], Any], int]] = {
    "nothing": (lambda body: None, 1),
    "a status that is a text": (lambda body: ("200", chat_answer(body)), 1),
    "a redirection": (lambda body: (302, {}), 1),
    "a list": (lambda body: (200, [1]), 1),
    "not a number": (lambda body: (200, chat_answer(body) | {"score": float("nan")}), 1),
    "half a surrogate pair": (lambda body: (200, chat_answer(body, "\ud800")), 1),
    "bytes": (lambda body: (200, chat_answer(body) | {"raw": b"x"}), 1),
    "tokens as a text": (lambda body: (200, chat_answer(body) | {"usage": {"prompt_tokens": "5"}}), 0),
    "tokens by the dozen digits": (lambda body: (200, chat_answer(body) | {"usage": {"prompt_tokens": 10**30}}), 0),
    "details as a list": (lambda body: (200, chat_answer(body) | {"usage": {"prompt_tokens_details": [1]}}), 0),
}


class Odd(Told):
    def __init__(self, answer: Callable[[Mapping[str, Any]], Any]) -> None:
        super().__init__()
        self._odd = answer

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        odd: tuple[int, dict[str, Any]] = self._odd(body)
        return odd if body["messages"][0]["content"] == "odd" else super().answer(endpoint, body)


@pytest.mark.parametrize("name", NONSENSE)
def test_an_answer_that_is_nonsense_fails_its_request_only(serving: Serving, name: str) -> None:
    answer, failed = NONSENSE[name]
    _, sdk = serving(Odd(answer))
    batch = done(sdk, chat_lines(["a", "odd", "b"]))
    assert (batch.status, counts(batch)) == ("completed", (3, 3 - failed, failed))
    files = [file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id is not None]
    lines = b"".join(sdk.files.content(file_id).content for file_id in files).splitlines()
    assert {msgspec.json.decode(line)["custom_id"] for line in lines} == {"r0", "r1", "r2"}


def test_a_model_that_ends_the_process_does_not_end_the_server(serving: Serving) -> None:
    class Leaving(Told):
        def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
            raise SystemExit(3)

    _, sdk = serving(Leaving())
    with pytest.raises(InternalServerError, match="SystemExit"):
        sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])
    assert counts(done(sdk, chat_lines(["a", "b"]))) == (2, 0, 2)
