"""The embedded chat model itself: real weights, a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from process_tools import runs, soon

from nono.errors import InputError, SettingsError
from nono.server.models import CHAT, EMBEDDINGS
from nono.server.models.embedded import EmbeddedModel
from patience import PATIENT_S

pytestmark = pytest.mark.model

LABELS = ["positive", "negative"]
SCHEMA = {
    "type": "object",
    "properties": {"sentiment": {"type": "string", "enum": LABELS}},
    "required": ["sentiment"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "review", "strict": True, "schema": SCHEMA}}


def ask(model: EmbeddedModel, text: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    status, answer = model.answer(CHAT, {"model": "gpt-4o-mini", "messages": messages, "temperature": 0, **fields})
    assert status == 200, answer
    return answer


def test_an_answer_names_the_asked_model_and_the_weights(chat: EmbeddedModel) -> None:
    answer = ask(chat, "Say hello.", max_tokens=4)
    assert answer["model"] == "gpt-4o-mini"
    assert answer["system_fingerprint"] == "smollm2-135m-instruct-b179c9523d0e"
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 4


def test_answers_bound_to_a_schema_hold_it_whoever_asks_at_the_same_time(chat: EmbeddedModel) -> None:
    def sentiment(number: int) -> str:
        answer = ask(chat, f"Say what you like, {number}.", response_format=FORM, temperature=2, seed=number)
        said: dict[str, str] = json.loads(answer["choices"][0]["message"]["content"])
        assert list(said) == ["sentiment"]
        return said["sentiment"]

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(sentiment, range(6))) <= set(LABELS)


def test_log_probabilities_are_those_of_the_text(chat: EmbeddedModel) -> None:
    choice = ask(chat, "Say hello.", max_tokens=3, logprobs=True, top_logprobs=2)["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    for token in tokens:
        assert bytes(token["bytes"]).decode() == token["token"]
        assert token["logprob"] == token["top_logprobs"][0]["logprob"] < 0
        assert len(token["top_logprobs"]) == 2


def test_choices_differ_and_their_tokens_are_counted(chat: EmbeddedModel) -> None:
    answer = ask(chat, "Tell me a story.", n=2, seed=1, temperature=1.5, max_tokens=8)
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert texts[0] != texts[1]
    assert answer["usage"]["completion_tokens"] == 16


def test_an_answer_ends_before_its_stop(chat: EmbeddedModel) -> None:
    choice = ask(chat, "Count: one, two, three, four", max_tokens=60, stop=["."])["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "." not in choice["message"]["content"]


def test_a_prompt_that_does_not_fit_is_refused_as_at_openai(chat: EmbeddedModel) -> None:
    status, answer = chat.answer(CHAT, {"messages": [{"role": "user", "content": "word " * 2000}]})
    assert status == 400
    assert answer["error"]["code"] == "context_length_exceeded"
    assert "maximum context length is 1024 tokens" in answer["error"]["message"]


def test_another_endpoint_is_not_answered(chat: EmbeddedModel) -> None:
    assert chat.answer(EMBEDDINGS, {"input": "x"})[0] == 404


def test_a_crash_costs_the_request_in_flight_and_nothing_else(chat: EmbeddedModel) -> None:
    pid = chat.pid
    assert pid is not None
    with ThreadPoolExecutor(1) as threads:
        body = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": 900}
        asked = threads.submit(chat.answer, CHAT, body)
        assert soon(lambda: chat.busy)
        os.kill(pid, signal.SIGSEGV)
        status, answer = asked.result(timeout=PATIENT_S)
    assert status == 500
    assert answer["error"]["message"] == (
        "the embedded model's process ended: signal SIGSEGV; it is started again for the next request"
    )
    assert ask(chat, "Say hello.", max_tokens=2)["choices"]
    assert chat.pid not in (pid, None)


@pytest.mark.parametrize("end", ["model.close()", "os.kill(os.getpid(), 9)", "raise SystemExit"])
def test_the_process_ends_with_its_host_however_that_ends(chat: EmbeddedModel, end: str) -> None:
    code = f"""
import os
from nono.server.models.embedded import EmbeddedModel
model = EmbeddedModel("smollm2-135m-instruct", threads=1, slots=1, context=256)
print(model.pid, flush=True)
{end}
"""
    host = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENT_S)
    pid = int(host.stdout)
    assert soon(lambda: not runs(pid))


def test_a_closed_model_says_so(chat: EmbeddedModel) -> None:
    model = EmbeddedModel("smollm2-135m-instruct", threads=1, slots=1, context=256)
    pid = model.pid
    model.close()
    assert pid is not None and not runs(pid)
    status, answer = model.answer(CHAT, {"messages": [{"role": "user", "content": "hello"}]})
    assert (status, answer["error"]["message"]) == (503, "the embedded model was closed")


def test_a_file_that_cannot_be_loaded_is_an_error_with_its_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(SettingsError, match=r"broken\.gguf could not be loaded"):
        EmbeddedModel(str(broken))
    with pytest.raises(InputError, match=r"nothing\.gguf: no such file"):
        EmbeddedModel(str(tmp_path / "nothing.gguf"))
