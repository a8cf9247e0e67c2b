"""What is found in a file or a list before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gemini_double import GeminiDouble

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.errors import InputError, LimitError
from nono.providers.gemini import check
from nono.providers.gemini.check import Checked, Keys, check_file, check_inline
from nono.providers.gemini.translate import EMBED

GOOD = {"key": "a", "request": {"contents": [{"parts": [{"text": "x"}]}]}}


def written(path: Path, *lines: Any) -> Path:
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def test_a_good_file_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", GOOD, b"", GOOD | {"key": "b", "custom_id": "kept"})
    assert check_file(path) == Checked(requests=2, size_bytes=path.stat().st_size)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{nonsense", "line 2: not one JSON value"),
        ([1], "line 2: a JSON list, not an object"),
        (GOOD["request"], "line 2: a bare request, whose answer would carry no key"),
        ({"key": "b"}, "line 2: no `request`"),
        ({"request": GOOD["request"]}, "line 2: no `key`"),
        ({**GOOD, "key": 7}, "line 2: a key is a text that is not empty, not 7"),
        ({**GOOD, "key": ""}, "line 2: a key is a text that is not empty"),
        ({"key": "b", "request": []}, "line 2: `request` is an object, not list"),
        ({"key": "b", "request": {}}, "line 2: no `contents` in the request"),
        (
            {"key": "b", "request": {**GOOD["request"], "temperature": 0.5}},  # type: ignore[dict-item]
            "line 2: no such field: 'temperature' in the request; it belongs into generation_config",
        ),
        (
            {"key": "b", "request": {**GOOD["request"], "systemInstruction": [{"text": "x"}]}},  # type: ignore[dict-item]
            "line 2: systemInstruction is an object, not a list",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, words: str) -> None:
    path = written(tmp_path / "in.jsonl", GOOD, line)
    with pytest.raises(InputError) as caught:
        check_file(path)
    assert f"{path}: {words}" in caught.value.message
    assert "nothing was sent" in (caught.value.hint or "")


def test_keys_that_come_twice_are_named_by_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", *({**GOOD, "key": key} for key in ("a", "b", "a", "c", "a", "b")))
    with pytest.raises(InputError) as caught:
        check_file(path)
    assert caught.value.message == (
        f"{path}: lines 1, 3 and 5 share key 'a'; lines 2 and 6 share key 'b'; their answers could not be told apart"
    )


def test_many_bad_lines_are_not_all_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: .*; line 2: .*; line 3: .*; and more after line 4"):
        check_file(written(tmp_path / "in.jsonl", *[b"{"] * 50))


def test_an_empty_file_has_no_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no requests in it"):
        check_file(written(tmp_path / "in.jsonl", b""))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.jsonl: no such file"):
        check_file(tmp_path / "nowhere.jsonl")


def test_a_file_beyond_two_gibibytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(2_147_483_649)  # sparse: no byte of it is on the disk
    with pytest.raises(LimitError) as caught:
        check_file(path)
    assert (caught.value.limit, caught.value.found) == (2_147_483_648, 2_147_483_649)
    assert caught.value.source == "https://ai.google.dev/gemini-api/docs/batch-api"
    assert caught.value.hint == "split it into several files, each its own job"


def test_a_file_of_embeddings_has_other_requests(tmp_path: Path) -> None:
    path = written(tmp_path / "in.jsonl", {"key": "a", "request": {"content": {"parts": [{"text": "x"}]}}})
    assert check_file(path, endpoint=EMBED).requests == 1
    with pytest.raises(InputError, match="no `contents` in the request, but `content`: another endpoint's"):
        check_file(path)


def test_inline_requests_beyond_twenty_mebibytes_are_refused_with_the_way_out() -> None:
    with pytest.raises(LimitError) as caught:
        check_inline(["x" * 7_000_000] * 3)
    assert caught.value.limit == 20_971_520
    assert caught.value.found > 21_000_000
    assert "create_file_batch()" in (caught.value.hint or "")


def test_the_size_counts_encoded_bytes() -> None:
    """Seven million letters of three bytes each are too much, seven million of one are not."""
    assert len(check_inline(["x" * 7_000_000])) == 1
    with pytest.raises(LimitError):
        check_inline(["€" * 7_000_000])


def test_nothing_is_sent_when_something_is_wrong(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    path = written(tmp_path / "in.jsonl", GOOD, GOOD)
    with pytest.raises(InputError):
        service.create_file_batch(path)
    with pytest.raises(InputError):
        service.create_inline_batch([])
    with pytest.raises(InputError):
        service.create_inline_batch(["hi"], model_name="not a model")
    assert gemini.seen == []


def test_one_request_is_not_a_list_of_them() -> None:
    with pytest.raises(InputError, match="requests is a list of requests, not one dict"):
        check_inline({"contents": "x"})  # type: ignore[arg-type]


def test_two_requests_never_share_a_key() -> None:
    with pytest.raises(InputError, match="requests 1 and 2 share key 'a'"):
        check_inline([GOOD, GOOD])
    with pytest.raises(InputError, match="requests 1 and 2 share key 'request-2'"):
        check_inline([{**GOOD, "key": "request-2"}, "x"])


def test_a_jsonl_file_numbers_its_requests(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    assert GeminiBatchService.create_jsonl_file(["a", "b"], path) == path
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["request-1", "request-2"]


def test_a_jsonl_file_takes_its_keys(tmp_path: Path) -> None:
    target = str(tmp_path / "in.jsonl")
    assert GeminiBatchService.create_jsonl_file(requests=["a", "b"], output_path=target, keys=["k", "l"]) == target
    assert json.loads(Path(target).read_text().splitlines()[1]) == {
        "key": "l",
        "request": {"contents": [{"parts": [{"text": "b"}], "role": "user"}]},
    }


def test_keys_that_come_with_the_requests_stay(tmp_path: Path) -> None:
    GeminiBatchService.create_jsonl_file([GOOD, "b"], tmp_path / "in.jsonl")
    lines = (tmp_path / "in.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["a", "request-2"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["k"], r"fewer keys \(1\) than requests"),
        (["k", "l", "m"], "1 keys too many: there are 2 requests"),
        (["k", "k"], "requests 1 and 2 share key 'k'"),
        (["k", 5], "request 2: a key is a text"),
        ("kl", "keys is one text"),
    ],
)
def test_keys_that_do_not_fit_leave_no_file(tmp_path: Path, keys: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        GeminiBatchService.create_jsonl_file(["a", "b"], tmp_path / "in.jsonl", keys=keys)
    assert list(tmp_path.iterdir()) == []


def test_no_requests_make_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no requests"):
        GeminiBatchService.create_jsonl_file([], tmp_path / "in.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_written_file_passes_its_own_check(tmp_path: Path) -> None:
    requests = GeminiBatchService.build_requests_from_prompts(["a\u2028b", "c\nd"], "s", temperature=0.3)
    path = GeminiBatchService.create_jsonl_file(requests, tmp_path / "in.jsonl")
    assert check_file(path).requests == 2


def test_a_file_of_embedding_requests_is_written_as_well(tmp_path: Path) -> None:
    request = GeminiBatchService.build_embedding_request("x")
    path = GeminiBatchService.create_jsonl_file([request], tmp_path / "in.jsonl")
    assert check_file(path, endpoint=EMBED).requests == 1


def test_a_field_that_only_the_service_knows_passes_without_the_check(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    newer = {"contents": "x", "brandNew": 1}
    path = service.create_jsonl_file([newer], tmp_path / "in.jsonl", check=False)
    service.create_file_batch(path, check=False)
    service.create_inline_batch([newer], check=False)
    assert len(gemini.jobs) == 2


def test_two_keys_with_one_hash_are_two_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hashes only point at suspects; the keys themselves decide."""
    monkeypatch.setattr(Keys, "add", lambda self, key: self._buckets[0].append(7))
    monkeypatch.setattr(check, "hash", lambda key: 7, raising=False)
    path = written(tmp_path / "in.jsonl", GOOD, {**GOOD, "key": "b"})
    assert check_file(path).requests == 2
