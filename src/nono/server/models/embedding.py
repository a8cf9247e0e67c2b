"""A real sentence-embedding model on this machine: MiniLM as ONNX, with its tokenizer, without torch.

Speaks OpenAI's embedding bodies. Vectors have length 1; shorter ones (`dimensions`) are cut and brought to length 1
again, as OpenAI's are. The model was not trained to be cut: `docs/models.md` tells what that costs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nono.errors import MissingExtra
from nono.models import Kind, need
from nono.server.models import EMBEDDINGS
from nono.server.models.refusals import Refused, check_number, invalid_type, invalid_value, missing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: longer texts are cut there; here they are refused
MOST_TOKENS = 256
# Texts of similar length are computed together; more at a time only takes memory.
_TOGETHER = 32
# https://platform.openai.com/docs/api-reference/embeddings/create (`input`)
MOST_INPUTS = 2048

_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


class EmbeddingModel:
    """Answers embeddings with weights of `nono models`, by name. `threads` are onnxruntime's, by default its choice.

    Raises SettingsError: weights unknown or not here; MissingExtra without `[local]`.
    """

    endpoints = frozenset({EMBEDDINGS})
    # One call computes on all threads.
    slots = 1

    def __init__(self, name: str, *, threads: int | None = None) -> None:
        shelved = need(name, Kind.EMBEDDING)
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra(f"the embedding model {name}", "local") from error
        self.name = shelved.weights.name
        self.fingerprint = shelved.weights.fingerprint
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # Waiting threads sleep: the cores belong to others, too.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = str(shelved.path(".onnx"))
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._takes = {given.name for given in self._session.get_inputs()}
        self.dimensions = int(self._session.get_outputs()[0].shape[-1])
        self._tokenizer = Tokenizer.from_file(str(shelved.path("tokenizer.json")))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            if endpoint != EMBEDDINGS:
                raise Refused(f"{self.name} answers {EMBEDDINGS}, not {endpoint}", status=404)
            return 200, self._embeddings(body)
        except Refused as refused:
            return refused.answer

    def close(self) -> None:
        """Nothing runs between two calls."""

    def _embeddings(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(body) - _KNOWN):
            raise Refused(f"Unrecognized request argument supplied: {unknown[0]}")
        packing = body.get("encoding_format") or "float"
        if packing not in ("float", "base64"):
            raise invalid_value(
                "encoding_format", f"Invalid value: {packing!r}. Supported values are: 'float' and 'base64'."
            )
        check_number(body, "dimensions", 1, self.dimensions, whole=True)
        tokens = self._tokens(_texts(body.get("input")))
        vectors = _shorten(self._vectors(tokens), body.get("dimensions"))
        total = sum(map(len, tokens))
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _pack(vector, packing)}
                for index, vector in enumerate(vectors)
            ],
            "model": body.get("model"),
            "usage": {"prompt_tokens": total, "total_tokens": total},
            "system_fingerprint": self.fingerprint,
        }

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        try:
            tokens = [coded.ids for coded in self._tokenizer.encode_batch(texts)]
        except (UnicodeEncodeError, TypeError) as error:  # a lone surrogate, in the words of either version
            raise invalid_value("input", "Invalid 'input': not valid Unicode.") from error
        for number, ids in enumerate(tokens):
            if len(ids) > MOST_TOKENS:
                raise Refused(
                    f"This model's maximum context length is {MOST_TOKENS} tokens, however input[{number}] has "
                    f"{len(ids)} tokens. Please reduce the length of the input.",
                    param="input",
                    code="context_length_exceeded",
                )
        return tokens

    def _vectors(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        """One vector of length 1 for each text, in order."""
        import numpy as np

        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        rows: list[Any] = [None] * len(tokens)
        for start in range(0, len(order), _TOGETHER):
            chosen = order[start : start + _TOGETHER]
            for index, row in zip(chosen, self._pooled([tokens[index] for index in chosen]), strict=True):
                rows[index] = row
        return np.stack(rows)

    def _pooled(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        """The mean of the token vectors, without padding: how the model was trained to be read."""
        import numpy as np

        width = max(map(len, tokens))
        ids = np.zeros((len(tokens), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {name: given[name] for name in self._takes})[0]
        weight = mask[:, :, None].astype(np.float32)
        return _unit((hidden * weight).sum(axis=1) / weight.sum(axis=1))


def _texts(given: Any) -> list[str]:
    if given is None:
        raise missing("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list):
        raise invalid_type("input", "a string or an array of strings", given)
    if not 1 <= len(texts) <= MOST_INPUTS:
        raise invalid_value(
            "input", f"Invalid 'input': expected an array of 1 to {MOST_INPUTS} texts, but got {len(texts)}."
        )
    for number, text in enumerate(texts):
        if isinstance(text, int | list):
            raise invalid_value("input", "Invalid 'input': this model takes texts; its tokens are not OpenAI's.")
        if not isinstance(text, str):
            raise invalid_type(f"input[{number}]", "a string", text)
        if not text:
            raise invalid_value("input", f"Invalid 'input[{number}]': input cannot be an empty string.")
    return texts


def _shorten(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    return _unit(vectors[:, :dimensions])


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _pack(vector: NDArray[np.float32], packing: str) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if packing == "base64" else vector.tolist()
