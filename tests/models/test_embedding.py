"""The sentence-embedding model itself: real weights."""

from __future__ import annotations

import base64
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nono.server.models import EMBEDDINGS
from nono.server.models.embedding import EmbeddingModel

pytestmark = pytest.mark.model


def embed(model: EmbeddingModel, given: str | list[str], **fields: Any) -> list[list[float]]:
    status, answer = model.answer(EMBEDDINGS, {"model": "text-embedding-3-small", "input": given, **fields})
    assert status == 200, answer
    assert [row["index"] for row in answer["data"]] == list(range(len(answer["data"])))
    return [row["embedding"] for row in answer["data"]]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_what_means_the_same_is_near_and_what_does_not_is_far(embedder: EmbeddingModel) -> None:
    cat, kitten, invoice = embed(
        embedder, ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Please pay the invoice by Friday."]
    )
    assert dot(cat, kitten) > 0.6
    assert dot(cat, invoice) < 0.2


def test_vectors_have_384_numbers_and_length_one(embedder: EmbeddingModel) -> None:
    (vector,) = embed(embedder, "hello")
    assert len(vector) == 384
    assert dot(vector, vector) == pytest.approx(1, abs=1e-5)


def test_shorter_vectors_are_the_beginning_at_length_one(embedder: EmbeddingModel) -> None:
    (full,) = embed(embedder, "hello")
    (short,) = embed(embedder, "hello", dimensions=64)
    assert len(short) == 64
    assert dot(short, short) == pytest.approx(1, abs=1e-5)
    assert short[0] / short[1] == pytest.approx(full[0] / full[1], rel=1e-4)


def test_base64_holds_the_same_numbers(embedder: EmbeddingModel) -> None:
    (plain,) = embed(embedder, "hello")
    status, answer = embedder.answer(EMBEDDINGS, {"model": "m", "input": "hello", "encoding_format": "base64"})
    assert status == 200
    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert list(struct.unpack("<384f", packed)) == pytest.approx(plain, abs=1e-6)


def test_a_text_has_the_same_vector_in_any_company(embedder: EmbeddingModel) -> None:
    texts = [f"{'word ' * (n % 40)}number {n}" for n in range(70)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda _: embed(embedder, texts), range(2)))
    (alone,) = embed(embedder, texts[39])
    assert together[0][39] == pytest.approx(alone, abs=1e-5)
    assert together[1][39] == pytest.approx(alone, abs=1e-5)


def test_usage_counts_tokens_and_the_weights_are_named(embedder: EmbeddingModel) -> None:
    _, answer = embedder.answer(EMBEDDINGS, {"model": "text-embedding-3-small", "input": ["hello", "hello world"]})
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["model"] == "text-embedding-3-small"
    assert answer["system_fingerprint"] == "all-minilm-l6-v2-60c758432aa5"


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({"input": "word " * 600}, "context_length_exceeded", "maximum context length is 256 tokens"),
        ({"input": ""}, "invalid_value", "input cannot be an empty string"),
        ({"input": []}, "invalid_value", "expected an array of 1 to 2048 texts, but got 0"),
        ({"input": [1, 2]}, "invalid_value", "this model takes texts; its tokens are not OpenAI's"),
        ({"input": "half \ud83d"}, "invalid_value", "Invalid 'input': not valid Unicode."),
        ({"input": None}, "missing_required_parameter", "Missing required parameter: 'input'."),
        ({"input": {"a": 1}}, "invalid_type", "expected a string or an array of strings, but got an object"),
        ({"input": "x", "dimensions": 3072}, "integer_above_max_value", "Expected a value <= 384, but got 3072"),
        ({"input": "x", "encoding_format": "hex"}, "invalid_value", "Supported values are: 'float' and 'base64'."),
        ({"input": "x", "pooling": "cls"}, None, "Unrecognized request argument supplied: pooling"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    embedder: EmbeddingModel, fields: dict[str, Any], code: str | None, message: str
) -> None:
    status, answer = embedder.answer(EMBEDDINGS, {"model": "m", **fields})
    assert status == 400
    assert answer["error"]["code"] == code
    assert message in answer["error"]["message"]
