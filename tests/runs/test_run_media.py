"""Pictures in runs: made, edited, drawn beside a text; each ends as a file that is called by its row's id."""

from __future__ import annotations

import base64
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nono
from nono.connector.genai_batch_processing import OpenAIBatchService
from nono.errors import InputError, UnreadableAnswer
from nono.providers import provider_named
from nono.runs.bench import Settings
from nono.runs.run import Run
from nono.server.app import LocalServer
from patience import PATIENT_S

QUICK = Settings(poll_first_s=0.01, poll_cap_s=0.05)
PNG = b"\x89PNG"
DOT = {"image_url": "data:image/png;base64,iVBORw0KGgo="}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(data=tmp_path_factory.mktemp("server")) as running:
        yield running


def done(server: LocalServer, home: Path, rows: list[Any], model: str, **words: Any) -> Run:
    address = {"openai": server.openai_base_url, "gemini": server.gemini_base_url, "vertex": server.url}
    base_url = address[model.partition("/")[0]]
    run = nono.run(rows, model=model, home=home, api_key="local", base_url=base_url, settings=QUICK, **words)
    status = run.wait(timeout_s=PATIENT_S)
    assert (status.state, status.failed) == ("finished", 0)
    return run


def names(paths: list[Path]) -> list[str]:
    assert all(path.read_bytes().startswith(PNG) for path in paths)
    return [path.name for path in paths]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/images/generations", {"prompt": "a cat", "n": 2, "size": "256x256"}),
        ("/v1/images/edits", {"prompt": "a hat on it", "images": [DOT], "n": 2, "size": "256x256"}),
    ],
)
def test_pictures_that_are_made_and_edited_are_saved_by_their_ids(
    server: LocalServer, tmp_path: Path, endpoint: str, body: dict[str, Any]
) -> None:
    rows = [{"custom_id": name, "body": body} for name in ("cat/1", "cat 2")]
    run = done(server, tmp_path, rows, "openai/gpt-image-1", task="raw", endpoint=endpoint)
    assert names(run.save_media(tmp_path / "pictures")) == ["cat_1.png", "cat_1-2.png", "cat 2.png", "cat 2-2.png"]


@pytest.mark.parametrize("model", ["gemini/gemini-2.5-flash-image", "vertex/gemini-2.5-flash-image"])
def test_pictures_beside_a_text_are_saved_and_the_text_is_the_answer(
    server: LocalServer, tmp_path: Path, model: str
) -> None:
    run = done(
        server, tmp_path, ["a red square"], model, parameters={"modalities": ["TEXT", "IMAGE"]}
    )  # fmt: skip
    (row,) = run.results()
    assert row["answer"]
    assert names(run.save_media(tmp_path / "pictures")) == [f"{row['custom_id']}.png"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gemini/gemini-2.5-flash-preview-tts", {"parameters": {"modalities": ["AUDIO"]}}),
        (
            "openai/gpt-4o-audio-preview",
            {"parameters": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}},
        ),
    ],
)
def test_speech_is_saved_as_a_sound_that_can_be_played(
    server: LocalServer, tmp_path: Path, model: str, words: dict[str, Any]
) -> None:
    run = done(server, tmp_path, [{"custom_id": "hello", "text": "Say hello"}], model, **words)
    (path,) = run.save_media(tmp_path / "sounds")
    with wave.open(str(path)) as sound:
        assert (path.name, sound.getframerate(), sound.getnframes()) == ("hello.wav", 24_000, 1_200)


def test_what_was_said_is_the_answers_text(server: LocalServer, tmp_path: Path) -> None:
    parameters = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    run = done(server, tmp_path, ["[[nono:say hello]]"], "openai/gpt-4o-audio-preview", parameters=parameters)
    assert [row["answer"] for row in run.results()] == ["hello"]


def test_answers_without_pictures_save_nothing(server: LocalServer, tmp_path: Path) -> None:
    run = done(server, tmp_path, ["only words"], "openai/gpt-4o-mini")
    assert run.save_media(tmp_path / "pictures") == []


def test_the_service_class_saves_the_pictures_of_its_results(server: LocalServer, tmp_path: Path) -> None:
    body = {"model": "gpt-image-1", "prompt": "a cat", "size": "256x256"}
    line = {"custom_id": "cat", "url": OpenAIBatchService.ENDPOINT_IMAGES, "body": body}
    with OpenAIBatchService("local", base_url=server.openai_base_url) as service:
        path = service.create_jsonl_file([line], tmp_path / "in.jsonl")
        batch = service.create_batch(path, endpoint=OpenAIBatchService.ENDPOINT_IMAGES)
        service.wait_for_completion(batch.id, poll_interval=0.02)
        results = service.get_results(batch.id)
        saved = service.get_results(batch.id, output_path=tmp_path / "out.jsonl")
    assert names(OpenAIBatchService.save_media(results, tmp_path / "a")) == ["cat.png"]
    assert names(OpenAIBatchService.save_media(saved, tmp_path / "b")) == ["cat.png"]


MP3 = base64.b64encode(b"ID3rest").decode()
WAV = base64.b64encode(b"RIFFrest").decode()


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({"data": [{"b64_json": WAV}, {"url": "https://x"}], "output_format": "webp"}, ["image/webp"]),
        ({"output": [{"type": "image_generation_call", "result": WAV}, {"type": "message"}]}, ["image/png"]),
        ({"choices": [{"message": {"audio": {"data": WAV}}}]}, ["audio/wav"]),
        ({"choices": [{"message": {"audio": {"data": MP3}}}]}, ["audio/mpeg"]),
        (
            {"choices": [{"message": {"images": [{"image_url": {"url": f"data:image/gif;base64,{WAV}"}}]}}]},
            ["image/gif"],
        ),
        ({"data": "x", "output": 3, "choices": [None, {"message": None}]}, []),
        (None, []),
    ],
)
def test_openais_pictures_and_sounds_are_known_wherever_they_are(body: Any, kinds: list[str]) -> None:
    assert [media.mime_type for media in provider_named("openai").media_of(body)] == kinds


def test_damaged_pictures_are_told_with_their_answer(tmp_path: Path) -> None:
    with pytest.raises(UnreadableAnswer, match="answer 'cat': its picture or sound is not base64"):
        OpenAIBatchService.save_media(
            [{"custom_id": "cat", "response": {"body": {"data": [{"b64_json": "!"}]}}}], tmp_path
        )


def test_what_are_no_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="result 1 is no result, but int"):
        OpenAIBatchService.save_media([3], tmp_path)
