"""Embeddings, moderations and images of the simulated model; how fast it is."""

from __future__ import annotations

import base64
import math
import struct
import time
from typing import Any

import pytest

from nono.server.models import CHAT, EMBEDDINGS, IMAGE_EDITS, IMAGES, MODERATIONS
from nono.server.models.simulated import SimulatedModel
from nono.server.models.simulated_moderation import CATEGORIES

MODEL = SimulatedModel()


def answer(endpoint: str, **body: Any) -> dict[str, Any]:
    status, given = MODEL.answer(endpoint, body)
    assert status == 200, given
    return given


def refusal(endpoint: str, **body: Any) -> str:
    status, given = MODEL.answer(endpoint, body)
    assert status == 400
    return str(given["error"]["message"])


# --- embeddings ---


def vectors(**body: Any) -> list[Any]:
    return [entry["embedding"] for entry in answer(EMBEDDINGS, **body)["data"]]


@pytest.mark.parametrize(
    ("model", "dimensions"),
    [
        ("text-embedding-3-small", 1536),
        ("text-embedding-3-large", 3072),
        ("text-embedding-ada-002", 1536),
        ("gemini-embedding-001", 3072),
        ("text-embedding-004", 768),
        ("simulated", 768),
    ],
)
def test_every_known_model_has_its_own_dimension(model: str, dimensions: int) -> None:
    assert len(vectors(model=model, input="x")[0]) == dimensions


def test_a_vector_has_length_one_and_the_asked_dimension() -> None:
    (vector,) = vectors(model="text-embedding-3-small", input="x", dimensions=8)
    assert len(vector) == 8
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-6)


def test_equal_texts_have_equal_vectors_and_others_do_not() -> None:
    one, other, again = vectors(model="m", input=["a", "b", "a"])
    assert one == again
    assert abs(sum(x * y for x, y in zip(one, other, strict=True))) < 0.2


def test_packed_vectors_are_the_same_numbers() -> None:
    (packed,) = vectors(model="m", input="x", dimensions=4, encoding_format="base64")
    (plain,) = vectors(model="m", input="x", dimensions=4)
    assert list(struct.unpack("<4f", base64.b64decode(packed))) == plain


def test_tokens_are_taken_alone_and_in_lists() -> None:
    assert len(vectors(model="m", input=[1, 2, 3])) == 1
    assert len(vectors(model="m", input=[[1, 2], [3]])) == 2
    assert answer(EMBEDDINGS, model="m", input=[[1, 2], [3]])["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing required parameter: 'input'."),
        ({"input": ""}, ("'$.input' is invalid. Please check the API reference: "
                        "https://platform.openai.com/docs/api-reference.")),
        ({"input": ["a", 1]}, ("'$.input' is invalid. Please check the API reference: "
                              "https://platform.openai.com/docs/api-reference.")),
        ({"input": ["a"] * 2049}, ("Invalid 'input': array too long. Expected an array with maximum length 2048, but "
                                  "got an array with length 2049 instead.")),
        ({"input": "x" * 40_000}, ("This model's maximum context length is 8192 tokens, however you requested 10000 "
                                  "tokens (10000 in your prompt; 0 for the completion). Please reduce your prompt; or "
                                  "completion length.")),
        ({"input": "x", "dimensions": 1537}, ("Invalid value for 'dimensions' = 1537. Must be less than or equal to "
                                             "1536.")),
        ({"input": "x", "dimensions": 0}, ("Invalid 'dimensions': integer below minimum value. Expected a value >= 1, "
                                          "but got 0 instead.")),
        ({"input": "x", "encoding_format": "hex"}, "Invalid value: 'hex'. Supported values are: 'float' and 'base64'."),
    ],
)  # fmt: skip
def test_a_bad_embeddings_body_is_refused(body: Any, message: str) -> None:
    assert refusal(EMBEDDINGS, model="text-embedding-3-small", **body) == message


def test_a_model_of_one_dimension_takes_no_other() -> None:
    said = refusal(EMBEDDINGS, model="text-embedding-ada-002", input="x", dimensions=8)
    assert said == "This model does not support specifying dimensions."


# --- moderations ---


def test_a_verdict_has_all_thirteen_categories_everywhere() -> None:
    (verdict,) = answer(MODERATIONS, input="hello")["results"]
    for field in ("categories", "category_scores", "category_applied_input_types"):
        assert list(verdict[field]) == list(CATEGORIES)
    assert len(CATEGORIES) == 13


def test_both_verdicts_can_be_had() -> None:
    harmless, harmful = answer(MODERATIONS, input=["have a nice day", "I want to kill them"])["results"]
    assert harmless["flagged"] is False
    assert max(harmless["category_scores"].values()) < 0.01
    assert harmful["flagged"] is True
    assert harmful["categories"]["violence"] is True
    assert harmful["category_scores"]["violence"] == 0.9


def test_text_and_picture_of_one_message_have_one_verdict() -> None:
    parts = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    (verdict,) = answer(MODERATIONS, model="omni-moderation-latest", input=parts)["results"]
    assert verdict["category_applied_input_types"]["violence"] == ["text", "image"]
    assert verdict["category_applied_input_types"]["hate"] == ["text"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Missing required parameter: 'input'."),
        (
            3,
            (
                "Invalid type for 'input': expected a string, an array of strings or an array of objects, "
                "but got an integer instead."
            ),
        ),
        (
            [{"type": "video"}],
            "Invalid value: 'video'. Supported values are: 'text' and 'image_url'.",
        ),
        ([{"type": "image_url"}], "Missing required parameter: 'input[0].image_url'."),
    ],
)
def test_a_bad_moderation_body_is_refused(given: Any, message: str) -> None:
    assert refusal(MODERATIONS, input=given) == message


# --- images ---


def test_pictures_have_the_asked_number_and_size() -> None:
    drawn = answer(IMAGES, model="gpt-image-1", prompt="a cat", n=2, size="1536x1024")["data"]
    sizes = [struct.unpack(">II", base64.b64decode(one["b64_json"])[16:24]) for one in drawn]
    assert sizes == [(1536, 1024), (1536, 1024)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing required parameter: 'prompt'."),
        ({"prompt": "x", "n": 11}, ("Invalid 'n': integer above maximum value. Expected a value <= 10, but got 11 "
                                   "instead.")),
        ({"prompt": "x", "size": "1x1"}, ("Invalid value: '1x1'. Supported values are: '256x256', '512x512', "
                                         "'1024x1024', '1536x1024', '1024x1536', '1792x1024', '1024x1792', 'auto'.")),
        ({"prompt": "x", "response_format": "url"}, ("Unsupported value: 'response_format' is 'b64_json' with the "
                                                    "simulated model.")),
        ({"prompt": "[[nono:error 400]]"}, "[simulated] asked to fail with 400"),
    ],
)  # fmt: skip
def test_a_bad_image_body_is_refused(body: Any, message: str) -> None:
    assert refusal(IMAGES, **body) == message


DOT = {"image_url": "data:image/png;base64,iVBORw0KGgo="}


def test_a_picture_is_made_of_others_and_their_tokens_are_counted() -> None:
    edited = answer(IMAGE_EDITS, prompt="a hat on it", images=[DOT, DOT], mask=DOT, size="256x256")
    assert base64.b64decode(edited["data"][0]["b64_json"]).startswith(b"\x89PNG")
    assert edited["usage"]["input_tokens_details"]["image_tokens"] == 170


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": "x"}, "Missing required parameter: 'images'."),
        ({"prompt": "x", "images": []}, "Invalid 'images': expected 1 to 16 pictures, but got 0."),
        ({"prompt": "x", "images": [{}]}, "Missing required parameter: 'images[0].image_url'."),
        ({"images": [DOT]}, "Missing required parameter: 'prompt'."),
        (
            {"prompt": "x", "images": [{"image_url": "cat.png"}]},
            "Invalid 'images[0].image_url': expected a URL or a data URL of a picture.",
        ),
        (
            {"prompt": "x", "images": [DOT], "mask": {"file_id": "file-1"}},
            "Invalid value: 'mask.file_id': pictures by file are not imitated here.",
        ),
    ],
)
def test_a_bad_edit_is_refused(body: Any, message: str) -> None:
    assert refusal(IMAGE_EDITS, **body) == message


# --- speed ---


def test_twenty_thousand_chats_take_no_more_than_a_second_of_work() -> None:
    bodies = [
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Classify row {row}"}], "max_tokens": 50}
        for row in range(20_000)
    ]
    began = time.process_time()
    for body in bodies:
        MODEL.answer(CHAT, body)
    # CPU seconds of this process; some 0.3 s on an idle core.
    assert time.process_time() - began < 1
