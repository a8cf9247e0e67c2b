"""Pictures, speech, calls of functions and sources, read out of answers."""

from __future__ import annotations

import base64
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.errors import InputError, UnreadableAnswer
from nono.model import Outcome, Result
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.media import FunctionCall

PNG = b"\x89PNG\r\n\x1a\n\xfb\xff"
save_media = GeminiBatchService.save_media


def drawn(*contents: bytes, mime_type: str = "image/png") -> dict[str, Any]:
    data = [{"inlineData": {"mimeType": mime_type, "data": base64.b64encode(one).decode()}} for one in contents]
    return {"candidates": [{"content": {"parts": [{"text": "here"}, *data]}}]}


def test_pictures_are_saved_under_the_keys_of_their_answers(tmp_path: Path) -> None:
    lines = [
        {"key": "cat", "response": drawn(PNG)},
        {"key": "dog", "response": drawn(PNG, b"2", mime_type="image/jpeg")},
    ]
    paths = save_media(lines, tmp_path / "pictures")
    assert [path.name for path in paths] == ["cat.png", "dog.jpg", "dog-2.jpg"]
    assert paths[0].read_bytes() == PNG


def test_every_shape_of_a_result_is_taken(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"key": "of-a-file", "response": drawn(PNG)}) + "\n")
    inline = InlineResult("here", drawn(PNG), metadata={"key": "inline"})
    of_a_run = Result("of-a-run", Outcome.SUCCEEDED, body=drawn(PNG))
    assert [path.name for path in save_media(answers, tmp_path)] == ["of-a-file.png"]
    assert [path.name for path in save_media(str(answers), tmp_path)] == ["of-a-file.png"]
    assert [path.name for path in save_media([inline, of_a_run, drawn(PNG)], tmp_path)] == [
        "inline.png",
        "of-a-run.png",
        "answer-3.png",
    ]
    assert [path.name for path in save_media(inline, tmp_path)] == ["inline.png"]


def test_answers_without_pictures_leave_no_files(tmp_path: Path) -> None:
    failed = InlineResult(error={"code": 13, "message": "x"}, metadata={"key": "a"})
    assert save_media([failed, {"key": "b", "error": {"message": "x"}}], tmp_path) == []


def test_raw_speech_becomes_a_sound_file(tmp_path: Path) -> None:
    answer = drawn(b"\x01\x00" * 2400, mime_type="audio/L16;codec=pcm;rate=24000")
    (path,) = save_media([{"key": "hello", "response": answer}], tmp_path)
    assert path.name == "hello.wav"
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels(), sound.getnframes()) == (
            24000,
            2,
            1,
            2400,
        )


def test_a_key_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "here"
    paths = save_media([{"key": key, "response": drawn(PNG)} for key in ("../../x", "/etc/x", "..", "a\0b")], folder)
    assert {path.parent for path in paths} == {folder}
    assert len({path.name for path in paths}) == 4


def test_two_keys_never_share_a_file(tmp_path: Path) -> None:
    paths = save_media([{"key": key, "response": drawn(PNG)} for key in ("a/b", "a:b", "A_B")], tmp_path)
    assert len({path.name.casefold() for path in paths}) == 3


def test_urlsafe_base64_without_padding_is_read() -> None:
    text = base64.urlsafe_b64encode(PNG).decode().rstrip("=")
    answer = {"candidates": [{"content": {"parts": [{"inline_data": {"mime_type": "image/png", "data": text}}]}}]}
    (media,) = GeminiBatchService.media_of(answer)
    assert (media.mime_type, media.content) == ("image/png", PNG)


def test_damaged_bytes_are_named(tmp_path: Path) -> None:
    answer = {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "%%%"}}]}}]}
    with pytest.raises(UnreadableAnswer, match="answer 'cat'"):
        save_media([{"key": "cat", "response": answer}], tmp_path)


def test_what_are_no_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="result 1 is no result, but int"):
        save_media([7], tmp_path)


def test_calls_of_functions_are_read() -> None:
    call = {"functionCall": {"name": "weather", "args": {"city": "Bern"}, "id": "c1"}}
    answer = {"candidates": [{"content": {"parts": [{"text": "let me see"}, call]}}]}
    assert GeminiBatchService.function_calls_of(answer) == [FunctionCall("weather", {"city": "Bern"}, "c1")]
    assert GeminiBatchService.function_calls_of({"candidates": []}) == []


def test_sources_of_a_search_are_read() -> None:
    told = {
        "webSearchQueries": ["euro 2024 winner"],
        "groundingChunks": [{"web": {"uri": "https://x", "title": "uefa.com"}}, {"retrievedContext": {}}],
    }
    grounding = GeminiBatchService.grounding_of({"candidates": [{"groundingMetadata": told}]})
    assert grounding is not None
    assert (grounding.queries, grounding.sources) == (("euro 2024 winner",), (("uefa.com", "https://x"),))
    assert GeminiBatchService.grounding_of(drawn(PNG)) is None


def test_vectors_come_by_their_keys_from_results_of_either_kind(tmp_path: Path) -> None:
    response = {"embedding": {"values": [0.5, 1.0]}}
    lines = [{"key": "a", "response": response}, {"key": "b", "error": {"code": 3, "message": "no"}}]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    inline = [InlineResult("", response, metadata={"key": "a"}), InlineResult("", None, {"code": 3})]
    for results in (lines, answers, inline):
        assert GeminiBatchService.vectors_of(results) == {"a": [0.5, 1.0]}
