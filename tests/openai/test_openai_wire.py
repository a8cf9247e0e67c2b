"""OpenAI's wire is read as it is, and as compatible services bend it."""

from __future__ import annotations

import dataclasses

import pytest
from openai_double import batch, refusal

from nono.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    KeyRefused,
    NotFound,
    OutOfQuota,
    ProviderUnavailable,
    RateLimited,
    UnreadableAnswer,
)
from nono.exchange import Reply
from nono.model import Counts, Phase, Usage
from nono.providers.openai.refusals import raise_for
from nono.providers.openai.wire import (
    BatchIssue,
    RequestCounts,
    parse_batch,
    parse_file,
    parse_list,
    parse_page,
    remote_batch,
)


def test_every_documented_attribute_of_a_batch_is_read() -> None:
    seen = parse_batch(
        batch(
            status="completed",
            output_file_id="file-out",
            model="gpt-5-mini",
            completed_at=1736489783,
            request_counts={"total": 3, "completed": 2, "failed": 1},
            usage={
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 5},
                "total_tokens": 17,
            },
            metadata={"k": "v"},
        )
    )
    assert (seen.id, seen.status, seen.endpoint, seen.input_file_id) == (
        "batch_1",
        "completed",
        "/v1/chat/completions",
        "file-in",
    )
    assert (seen.output_file_id, seen.error_file_id, seen.model) == ("file-out", None, "gpt-5-mini")
    assert seen.request_counts == RequestCounts(3, 2, 1)
    assert (seen.created_at, seen.expires_at, seen.completed_at, seen.failed_at) == (
        1736489775,
        1736576175,
        1736489783,
        None,
    )
    assert seen.usage == Usage(10, 7, 4, 5)
    assert seen.usage is not None and seen.usage.total_tokens == 17
    assert seen.metadata == {"k": "v"}
    assert not seen.errors
    assert seen.raw["completion_window"] == "24h"


def test_a_batch_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse_batch(batch()).status = "failed"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("validating", Phase.PENDING),
        ("in_progress", Phase.RUNNING),
        ("finalizing", Phase.RUNNING),
        ("completed", Phase.SUCCEEDED),
        ("failed", Phase.FAILED),
        ("expired", Phase.EXPIRED),
        ("cancelling", Phase.CANCELLING),
        ("cancelled", Phase.CANCELLED),
        ("COMPLETED", Phase.SUCCEEDED),
        ("PROGRESS", Phase.RUNNING),
        ("in_queue", Phase.PENDING),
        ("brand_new_state", Phase.UNKNOWN),
        (None, Phase.UNKNOWN),
    ],
)
def test_a_state_is_known_in_any_case_and_an_unknown_one_has_not_ended(state: str | None, phase: Phase) -> None:
    assert parse_batch(batch(status=state)).phase is phase
    assert not Phase.UNKNOWN.ended


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (1736489775, 1736489775),
        (1736489775.9, 1736489775),
        ("1736489775", 1736489775),
        ("2025-01-10T06:16:15Z", 1736489775),
        ("2025-01-10T06:16:15", 1736489775),
        ("2025-01-10T07:16:15+01:00", 1736489775),
        (None, None),
        ("", None),
        ("soon", None),
        (0, None),
        (True, None),
        (float("inf"), None),
    ],
)
def test_a_time_is_unix_seconds_however_it_is_written(written: object, seconds: int | None) -> None:
    assert parse_batch(batch(created_at=written)).created_at == seconds


@pytest.mark.parametrize("counts", [None, {}, "many", {"total": None, "completed": None, "failed": None}])
def test_counters_are_never_none(counts: object) -> None:
    assert parse_batch(batch(request_counts=counts)).request_counts == RequestCounts(0, 0, 0)


@pytest.mark.parametrize(
    ("errors", "issues"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ("", []),
        ({"object": "list", "data": []}, []),
        ({"object": "list", "data": None}, []),
        ({"object": "list"}, []),
        ("file is broken", [BatchIssue(None, "file is broken")]),
        (["file is broken"], [BatchIssue(None, "file is broken")]),
        ({"code": "c", "message": "m"}, [BatchIssue("c", "m")]),
        (
            {"object": "list", "data": [{"code": "invalid_json_line", "message": "bad", "param": None, "line": 2}]},
            [BatchIssue("invalid_json_line", "bad", line=2)],
        ),
    ],
)
def test_validation_errors_are_read_in_every_shape(errors: object, issues: list[BatchIssue]) -> None:
    assert list(parse_batch(batch(errors=errors)).errors.data) == issues


def test_an_empty_file_id_is_no_file_id() -> None:
    seen = parse_batch(batch(output_file_id="", error_file_id=""))
    assert (seen.output_file_id, seen.error_file_id) == (None, None)


@pytest.mark.parametrize("body", [None, [], "<html>", {}, {"id": None}, {"job": {"id": "x"}}])
def test_what_is_no_batch_is_an_unreadable_answer(body: object) -> None:
    with pytest.raises(UnreadableAnswer, match="a batch with an id was expected"):
        parse_batch(body)


def test_a_file_without_a_size_has_none() -> None:
    assert parse_file({"id": "file-1"}).bytes is None


def test_the_cursor_of_a_page_is_its_last_element_whatever_last_id_says() -> None:
    page = parse_page({"data": [batch("batch_1"), batch("batch_2")], "last_id": "elsewhere", "has_more": True})
    assert (page.after, page.has_more, [each.id for each in page]) == ("batch_2", True, ["batch_1", "batch_2"])


def test_a_list_without_has_more_goes_on_until_a_page_is_empty() -> None:
    assert parse_list({"data": [{"id": "a"}]}) == ([{"id": "a"}], "a")
    assert parse_list({"data": []}) == ([], None)


def test_a_page_that_ends_where_it_was_asked_to_begin_is_the_last() -> None:
    assert parse_list({"data": [{"id": "a"}], "has_more": True}, "a") == ([{"id": "a"}], None)
    assert parse_page({"data": [batch("a")], "has_more": True}, "a").has_more is False


def test_the_common_batch_carries_tag_files_counts_and_times() -> None:
    remote = remote_batch(
        parse_batch(
            batch(
                status="expired",
                output_file_id="file-out",
                error_file_id="file-err",
                expired_at=1736576180,
                metadata={"nono_tag": "t-1"},
                request_counts={"total": 5, "completed": 3, "failed": 1},
            )
        )
    )
    assert (remote.tag, remote.answer_files, remote.phase) == ("t-1", ("file-out", "file-err"), Phase.EXPIRED)
    assert remote.counts == Counts(5, 3, 1)
    assert remote.ended_at is not None and remote.ended_at.isoformat() == "2025-01-11T06:16:20+00:00"


def test_counters_that_the_service_does_not_send_are_not_made_up() -> None:
    assert remote_batch(parse_batch(batch(request_counts=None))).counts is None


@pytest.mark.parametrize(
    ("code", "message", "limit"),
    [
        (
            "token_limit_exceeded",
            (
                "Enqueued token limit reached for gpt-4.1 in organization org-123. Limit: 900,000 enqueued tokens. "
                "Please try again once some in_progress batches have been completed."
            ),
            900_000,
        ),
        (
            None,
            (
                "Enqueued request limit reached for text-embedding-3-small in organization org-X. Limit: 1,000,000 "
                "enqueued requests. Please try again once some in_progress batches have been completed."
            ),
            None,
        ),
        (
            "token_limit_exceeded",
            (
                "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment "
                "'gpt-4.1-batch'. Please either increase the limit or try again once the current jobs have finished."
            ),
            30_000,
        ),
        ("token_limit_exceeded", "too much", None),
    ],
)
def test_a_full_queue_is_backpressure_and_teaches_the_limit(code: str | None, message: str, limit: int | None) -> None:
    errors = {"object": "list", "data": [{"code": code, "message": message, "param": None, "line": None}]}
    remote = remote_batch(parse_batch(batch(status="failed", errors=errors)))
    assert (remote.backpressure, remote.backpressure_limit_tokens) == (True, limit)


def test_a_bad_line_is_no_backpressure() -> None:
    errors = {
        "data": [{"code": "invalid_json_line", "message": "This line is not parseable as valid JSON.", "line": 2}]
    }
    remote = remote_batch(parse_batch(batch(status="failed", errors=errors)))
    assert not remote.backpressure
    assert remote.errors[0].message == "line 2: This line is not parseable as valid JSON. (invalid_json_line)"


@pytest.mark.parametrize(
    ("status", "code", "kind", "transient"),
    [
        (400, None, InvalidRequest, False),
        (401, "invalid_api_key", KeyRefused, False),
        (403, None, Forbidden, False),
        (404, None, NotFound, False),
        (408, None, ProviderUnavailable, True),
        (409, None, Conflict, False),
        (413, None, InvalidRequest, False),
        (422, None, InvalidRequest, False),
        (429, "rate_limit_exceeded", RateLimited, True),
        (429, "insufficient_quota", OutOfQuota, False),
        (400, "billing_hard_limit_reached", OutOfQuota, False),
        (500, "server_error", ProviderUnavailable, True),
        (503, None, ProviderUnavailable, True),
    ],
)
def test_a_refusal_is_the_narrowest_error(
    status: int, code: str | None, kind: type[Exception], transient: bool
) -> None:
    with pytest.raises(kind) as caught:
        raise_for(refusal(status, "because", code))
    assert type(caught.value) is kind
    assert caught.value.transient is transient  # type: ignore[attr-defined]


def test_a_refusal_says_what_came_back_and_what_to_do() -> None:
    with pytest.raises(RateLimited) as caught:
        raise_for(refusal(429, "slow down", "rate_limit_exceeded", retry_after="7", x_request_id="req_1"))
    error = caught.value
    assert str(error) == "openai: HTTP 429: slow down\nhint: try again in 7 s; fewer calls at a time help"
    assert (error.status, error.code, error.retry_after_s, error.request_id) == (
        429,
        "rate_limit_exceeded",
        7.0,
        "req_1",
    )


def test_a_refused_key_is_not_repeated() -> None:
    with pytest.raises(KeyRefused) as caught:
        raise_for(refusal(401, "Incorrect API key provided: sk-canary-4711.", "invalid_api_key"))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>bad gateway</html>", b'"text"', b'{"error":"text"}', b"[]", b"\xff"])
def test_a_refusal_with_any_body_is_a_refusal(body: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="openai: HTTP 502"):
        raise_for(Reply(502, {}, body))
