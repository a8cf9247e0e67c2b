"""The resumable upload: a broken one goes on where it broke, a lost one is found by its name."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from gemini_double import Drop, GeminiDouble, Says, Script, refusal, reply

from nono.connector.genai_batch_processing import AsyncGeminiBatchService, GeminiBatchService
from nono.errors import (
    AnswerLost,
    Forbidden,
    InputError,
    InvalidRequest,
    KeyRefused,
    ProviderUnavailable,
    UnreadableAnswer,
)
from nono.exchange import Reply
from nono.providers.gemini import uploads
from nono.providers.gemini.uploads import id_for, upload

MIB = 1 << 20


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Twenty megabytes: two whole chunks and a rest."""
    path = tmp_path / "big.jsonl"
    path.write_bytes(b"0123456789abcdef" * (20 * MIB // 16) + b"rest")
    return path


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_POLICY", uploads.RetryPolicy(tries=5, first_s=0.001, cap_s=0.001))


def chunks(gemini: GeminiDouble) -> list[tuple[str, str, int]]:
    return [
        (seen.command, seen.headers.get("x-goog-upload-offset", ""), seen.length)
        for seen in gemini.calls("POST", "/upload/")
        if "upload_id" in seen.query
    ]


def sha(gemini: GeminiDouble, name: str) -> str:
    return str(gemini.files[name]["sha256Hash"])


def same(file: Any, path: Path, gemini: GeminiDouble) -> bool:
    return base64.b64decode(sha(gemini, file.name)).decode() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_goes_in_chunks_of_eight_mebibytes(gemini: GeminiDouble, service: GeminiBatchService, big: Path) -> None:
    file = service.upload_file(big)
    assert chunks(gemini) == [
        ("upload", "0", 8 * MIB),
        ("upload", str(8 * MIB), 8 * MIB),
        ("upload, finalize", str(16 * MIB), 4 * MIB + 4),
    ]
    assert file.size_bytes == 20 * MIB + 4
    assert same(file, big, gemini)


def test_an_interrupted_upload_goes_on_where_it_broke(
    gemini: GeminiDouble, service: GeminiBatchService, big: Path
) -> None:
    gemini.once("POST", r"/files upload$", Drop(kept=3 * MIB))
    file = service.upload_file(big)
    assert chunks(gemini) == [
        ("upload", "0", 8 * MIB),
        ("query", "", 0),
        ("upload", str(3 * MIB), 8 * MIB),
        ("upload", str(11 * MIB), 8 * MIB),
        ("upload, finalize", str(19 * MIB), MIB + 4),
    ]
    assert same(file, big, gemini)


async def go_async(gemini: GeminiDouble, path: Path) -> Any:
    async with AsyncGeminiBatchService(api_key="k", base_url=gemini.base_url) as service:
        return await service.upload_file(path)


def test_an_interrupted_upload_goes_on_where_it_broke_on_an_event_loop_too(gemini: GeminiDouble, big: Path) -> None:
    gemini.once("POST", r"/files upload$", Drop(kept=3 * MIB))
    file = asyncio.run(go_async(gemini, big))
    assert same(file, big, gemini)
    assert ("upload", str(3 * MIB), 8 * MIB) in chunks(gemini)


def test_the_upload_address_gets_no_key(gemini: GeminiDouble, service: GeminiBatchService, big: Path) -> None:
    service.upload_file(big)
    start, *rest = gemini.calls("POST", "/upload/")
    assert start.headers["x-goog-api-key"] == "k"
    assert not any("x-goog-api-key" in seen.headers for seen in rest)


def test_progress_counts_bytes(service: GeminiBatchService, big: Path) -> None:
    told: list[tuple[int, int]] = []
    service.upload_file(big, on_progress=lambda sent, total: told.append((sent, total)))
    assert told == sorted(told)
    assert told[-1] == (20 * MIB + 4, 20 * MIB + 4)


def test_a_chunk_without_a_status_is_asked_about(gemini: GeminiDouble, service: GeminiBatchService, big: Path) -> None:
    gemini.once("POST", r"/files upload$", Says(200))
    assert same(service.upload_file(big), big, gemini)
    assert chunks(gemini)[1] == ("query", "", 0)


def test_a_forgotten_session_begins_anew(gemini: GeminiDouble, service: GeminiBatchService, big: Path) -> None:
    gemini.once("POST", r"/files upload$", refusal(404, "NOT_FOUND", "no such upload"))
    assert same(service.upload_file(big), big, gemini)
    assert len(gemini.uploads) == 2


def test_a_service_in_trouble_is_asked_again(gemini: GeminiDouble, service: GeminiBatchService, big: Path) -> None:
    gemini.once("POST", r"/files upload, finalize$", refusal(503, "UNAVAILABLE", "busy"))
    assert same(service.upload_file(big), big, gemini)


def test_a_service_that_stays_in_trouble_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    started = reply(200, b"", x_goog_upload_url="http://up/1")
    asked = reply(200, b"", x_goog_upload_status="active", x_goog_upload_size_received="0")
    script = Script(started, *[reply(503), asked] * 4, reply(503))
    with pytest.raises(ProviderUnavailable):
        script.run(upload(path))
    assert len(script.pauses) == 4


def test_a_key_refused_in_the_middle_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    script = Script(reply(200, b"", x_goog_upload_url="http://up/1"), reply(401, b"{}"))
    with pytest.raises(KeyRefused):
        script.run(upload(path))


STARTED = reply(200, b"", x_goog_upload_url="http://up/1")
FINAL = reply(200, {"file": {"name": "files/a", "state": "ACTIVE"}}, x_goog_upload_status="final")


def has_come_to(size: int) -> Reply:
    return reply(200, b"", x_goog_upload_status="active", x_goog_upload_size_received=str(size))


@pytest.mark.parametrize("status", [400, 412, 416])
def test_a_chunk_that_arrived_after_it_was_asked_for_is_not_sent_again(status: int, big: Path) -> None:
    """Given up as lost, not there when asked about, and there when it is sent once more."""
    script = Script(STARTED, AnswerLost("late"), has_come_to(0), reply(status), has_come_to(8 * MIB), FINAL)
    assert script.run(upload(big)).name == "files/a"
    assert [call.headers.get("x-goog-upload-offset") for call in script.calls[1:]] == [
        "0",
        None,
        "0",
        None,
        str(8 * MIB),
    ]


def test_a_last_chunk_that_arrived_after_it_was_asked_for_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    script = Script(STARTED, AnswerLost("late"), has_come_to(0), reply(400), FINAL)
    assert script.run(upload(path)).name == "files/a"


def test_a_chunk_refused_in_its_right_place_is_told_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    script = Script(STARTED, *[reply(400, {"error": {"message": "not like this"}}), has_come_to(0)] * 2)
    with pytest.raises(InvalidRequest, match="not like this"):
        script.run(upload(path))


def test_a_chunk_that_is_still_arriving_when_it_is_sent_again_is_waited_for(big: Path) -> None:
    arriving = [AnswerLost("late"), has_come_to(0), reply(400), has_come_to(0)]
    script = Script(STARTED, *arriving, reply(400), has_come_to(8 * MIB), FINAL)
    assert script.run(upload(big)).name == "files/a"
    assert max(script.pauses) >= 1


def test_a_service_that_is_busy_when_it_is_asked_for_the_place_has_not_refused_the_file(big: Path) -> None:
    script = Script(STARTED, AnswerLost("late"), has_come_to(0), reply(400), reply(503))
    with pytest.raises(ProviderUnavailable):
        script.run(upload(big))


def test_a_service_that_names_another_place_every_time_is_given_up(big: Path) -> None:
    back_and_forth = [reply(400), has_come_to(4), reply(400), has_come_to(0)] * 10
    with pytest.raises(InvalidRequest):
        Script(STARTED, *back_and_forth).run(upload(big))
    taken = reply(200, b"", x_goog_upload_status="active")
    with pytest.raises(InvalidRequest):
        Script(STARTED, *[taken, reply(400), has_come_to(0)] * 10).run(upload(big))


def test_all_sent_but_not_final_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    started = reply(200, b"", x_goog_upload_url="http://up/1")
    active = reply(200, b"", x_goog_upload_status="active", x_goog_upload_size_received="1")
    with pytest.raises(UnreadableAnswer, match="not final"):
        Script(started, *[active] * 20).run(upload(path))


def test_a_lost_last_answer_is_found_by_the_name(gemini: GeminiDouble, service: GeminiBatchService, big: Path) -> None:
    """The file arrived; only the answer that said so did not."""
    gemini.once("POST", r"/files upload, finalize$", Drop())
    gemini.once("POST", r"/files query$", Says(200, headers={"x-goog-upload-status": "final"}))
    service_file = {"name": "files/mine", "sizeBytes": str(20 * MIB + 4), "state": "ACTIVE"}
    gemini.files["files/mine"] = service_file
    assert service.upload_file(big, name="mine").name == "files/mine"
    assert len(gemini.uploads) == 1


def test_a_lost_last_answer_without_a_name_means_another_upload(
    gemini: GeminiDouble, service: GeminiBatchService, big: Path
) -> None:
    gemini.once("POST", r"/files upload, finalize$", Drop())
    gemini.once("POST", r"/files query$", Says(200, headers={"x-goog-upload-status": "final"}))
    assert same(service.upload_file(big), big, gemini)
    assert len(gemini.uploads) == 2


def test_a_repeated_upload_of_the_same_content_is_the_same_file(
    gemini: GeminiDouble, service: GeminiBatchService, big: Path
) -> None:
    first = service.upload_file(big, name="mine")
    gemini.once("POST", "start$", refusal(409, "ALREADY_EXISTS", "there is one"))
    assert service.upload_file(big, name="mine") == first


def test_another_file_of_that_name_is_not_taken_for_ours(
    gemini: GeminiDouble, service: GeminiBatchService, big: Path, tmp_path: Path
) -> None:
    service.upload_file(big, name="mine")
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"1" + big.read_bytes()[1:])
    gemini.once("POST", "start$", refusal(409, "ALREADY_EXISTS", "there is one"))
    with pytest.raises(Exception, match="there is one"):
        service.upload_file(other, name="mine")


@pytest.mark.parametrize("name", ["Mine", "a_b", "-a", "a-", "x" * 41, ""])
def test_an_illegal_name_is_refused_before_anything_is_sent(
    gemini: GeminiDouble, service: GeminiBatchService, big: Path, name: str
) -> None:
    with pytest.raises(InputError, match="not a legal file id"):
        service.upload_file(big, name=name)
    assert gemini.seen == []


def test_any_name_stands_for_one_legal_id() -> None:
    assert id_for("run-7-shard-3") == "run-7-shard-3"
    assert id_for("Run 7/Shard 3") == "run-7-shard-3-8f7f5cc9ba70"
    assert len(id_for("x" * 200)) == 40
    assert id_for("Run 7") != id_for("run 7")


def test_a_missing_file_is_not_there(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    assert Script(reply(403, {"error": {"message": "… or it may not exist."}})).run(uploads.find_file("x")) is None
    assert Script(reply(404, {})).run(uploads.find_file("x")) is None
    service.delete_file("files/gone")  # 403 here means the same


def test_a_real_prohibition_is_told() -> None:
    with pytest.raises(Forbidden):
        Script(reply(403, {"error": {"message": "project suspended"}})).run(uploads.delete_file("x"))


def test_an_answer_file_cannot_be_deleted_by_itself(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    with pytest.raises(InputError, match="goes when its job is deleted"):
        service.delete_file("files/batch-" + "x" * 36)
    assert gemini.seen == []


def test_a_file_that_is_still_processed_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    final = reply(200, {"file": {"name": "files/a", "state": "PROCESSING"}}, x_goog_upload_status="final")
    script = Script(
        reply(200, b"", x_goog_upload_url="http://up/1"),
        final,
        {"name": "files/a", "state": "PROCESSING"},
        {"name": "files/a", "state": "ACTIVE"},
    )
    assert script.run(upload(path)).state == "ACTIVE"
    assert script.pauses == [1.0, 1.0]


def test_a_lost_query_is_told_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("x")
    script = Script(reply(200, b"", x_goog_upload_url="http://up/1"), AnswerLost("cut"), AnswerLost("cut again"))
    with pytest.raises(AnswerLost, match="cut again"):
        script.run(upload(path))


def test_all_files_of_all_pages_are_listed() -> None:
    script = Script(
        {"files": [{"name": "files/a"}], "nextPageToken": "t"}, {"nextPageToken": "u"}, {"files": [{"name": "files/b"}]}
    )
    assert [file.name for file in script.run(uploads.list_files())] == ["files/a", "files/b"]
    assert [call.params.get("pageToken") for call in script.calls] == [None, "t", "u"]
