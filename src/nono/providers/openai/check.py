"""Everything that can be known about an input file before it is sent, in one pass over its bytes.

The service checks a file only after the batch is created, minutes later, and one bad line fails all 50,000. So the same
rules, with the same codes, are applied here first. Memory stays flat: of every line only 16 bytes are kept.
https://platform.openai.com/docs/guides/batch#1-prepare-your-batch-file
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from nono import jsonl
from nono.errors import InputError
from nono.facts import Fact, Facts, read_facts
from nono.files import source_path
from nono.providers.openai.bodies import Family, family_of
from nono.providers.openai.lint import lint

FACTS = read_facts("openai")
_BOM = b"\xef\xbb\xbf"
_KEPT_PROBLEMS = 100
_NONE = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the service would refuse. `code` is its word for it; `line` is None where the file is meant."""

    code: str
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """What a pass over an input file found. Of the problems the first hundred are kept; `problem_count` counts all."""

    path: Path
    size_bytes: int
    requests: int
    endpoint: str | None
    model: str | None
    embedding_inputs: int
    problems: tuple[Problem, ...]
    problem_count: int


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    stream: bool | None = None
    messages: msgspec.Raw = _NONE
    input: msgspec.Raw = _NONE
    prompt: msgspec.Raw = _NONE
    response_format: msgspec.Raw = _NONE
    text: msgspec.Raw = _NONE


class _Line(msgspec.Struct, gc=False):
    custom_id: str | None = None
    method: str | None = None
    url: str | None = None
    body: _Body | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def check(path: Path, *, endpoint: str | None = None, facts: Facts = FACTS) -> InputFile:
    """The file's figures, if the service takes it as it is; `endpoint` is the batch's, where it is known.

    `facts` are the limits of the service that it goes to, where that is another than OpenAI.

    Raises LimitError or InputError, naming file, lines, what was found, and the way out. Nothing has been sent then.
    """
    _under_limit(facts["limits.file_bytes"], source_path(path).stat().st_size, path, "make smaller files")
    found = inspect(path, endpoint=endpoint, facts=facts)
    for fact, count in (
        ("limits.requests_per_file", found.requests),
        ("limits.embedding_inputs_per_file", found.embedding_inputs),
    ):
        parts = -(-count // facts.number(fact))
        _under_limit(
            facts[fact], count, path, f"split it into {parts} files, one batch each, or let `nono run` do that"
        )
    if found.problems:
        first, *others = found.problems
        place = f"{path}:{first.line}" if first.line is not None else str(path)
        elsewhere = sorted({other.line for other in others if other.line is not None} - {first.line})
        lines = ", ".join(map(str, elsewhere[:5]))
        more = found.problem_count - 1
        rest = f" (and {more:,} more{f', lines {lines}' if lines else ''}{', …' if more > 5 else ''})" if more else ""
        forgotten = endpoint is not None and first.code == "invalid_url"
        raise InputError(
            f"{place}: {first.message}{rest}",
            hint=("give create_batch() the endpoint= of the lines; " if forgotten else "")
            + "nothing was sent; OpenAIBatchService.check_file(path).problems lists all, check=False sends anyway",
        )
    return found


def inspect(path: Path, *, endpoint: str | None = None, facts: Facts = FACTS) -> InputFile:
    """One pass over the file: its figures and its problems. Raises MissingFile, or what reading the file raises."""
    source_path(path)
    survey = _Survey(endpoint, facts)
    for number, line in jsonl.read_lines(path):
        survey.look_at(number, line)
    if not survey.requests:
        survey.note("empty_file", "the file is empty; a batch needs at least one request")
    survey.name_twins(path)
    return InputFile(
        path=path,
        size_bytes=path.stat().st_size,
        requests=survey.requests,
        endpoint=survey.endpoint,
        model=survey.model,
        embedding_inputs=survey.embedding_inputs,
        problems=tuple(sorted(survey.problems, key=lambda problem: problem.line or 0)),
        problem_count=survey.problem_count,
    )


class _Survey:
    """What is remembered while the lines go by."""

    def __init__(self, endpoint: str | None, facts: Facts) -> None:
        self.given_endpoint = endpoint is not None
        self.endpoint = endpoint
        self.model: str | None = None
        self.requests = 0
        self.embedding_inputs = 0
        self.problems: list[Problem] = []
        self.problem_count = 0
        self._family: Family | None = family_of(endpoint) if endpoint else None
        self._seen: set[bytes] = set()
        self._twins: dict[str, int] = {}
        self._most = facts.number("limits.requests_per_file")
        self._linted: bytes = b""

    def note(self, code: str, message: str, line: int | None = None) -> None:
        self.problem_count += 1
        if len(self.problems) < _KEPT_PROBLEMS:
            self.problems.append(Problem(code, message, line))

    def look_at(self, number: int, line: bytes) -> None:
        self.requests += 1
        for code, message in self._faults(number, line):
            self.note(code, message, number)

    def name_twins(self, path: Path) -> None:
        """Say with whom the doubled ids are shared: the digests have forgotten the lines."""
        if not self._twins:
            return
        for number, line in jsonl.read_lines(path):
            try:
                custom_id = _decode_line(line).custom_id or ""
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
                continue
            twin = self._twins.pop(custom_id, None)
            if twin is not None:
                self.problems.append(
                    Problem(
                        "duplicate_custom_id",
                        f"lines {number} and {twin} share custom_id {custom_id!r}; "
                        "their answers could not be told apart",
                        twin,
                    )
                )

    def _faults(self, number: int, line: bytes) -> Iterator[tuple[str, str]]:
        if number == 1 and line.startswith(_BOM):
            yield "invalid_json_line", "a byte order mark stands before the first line; save the file as plain UTF-8"
            line = line.removeprefix(_BOM)
        try:
            if not line.isascii():
                line.decode()
            request = _decode_line(line)
        except UnicodeDecodeError as error:
            yield "invalid_json_line", f"not UTF-8 text: byte {error.start + 1} of the line cannot be read"
            return
        except msgspec.ValidationError as error:
            yield "invalid_type", _in_words(str(error))
            return
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            yield "invalid_json_line", f"not one JSON object: {error}"
            return
        yield from self._id_faults(number, request.custom_id)
        if request.method != "POST":
            yield (
                _missing("method")
                if request.method is None
                else (
                    "invalid_method",
                    f"method is {request.method!r}; only POST is taken",
                )
            )
        yield from self._url_faults(request.url)
        if request.body is None:
            yield _missing("body")
        else:
            yield from self._body_faults(request.body)

    def _id_faults(self, number: int, custom_id: str | None) -> Iterator[tuple[str, str]]:
        if not custom_id:
            yield _missing("custom_id")
        elif self.requests <= self._most:
            digest = blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest in self._seen:
                self.problem_count += 1
                if len(self._twins) < _KEPT_PROBLEMS:
                    self._twins.setdefault(custom_id, number)
            self._seen.add(digest)

    def _url_faults(self, url: str | None) -> Iterator[tuple[str, str]]:
        if not url:
            yield _missing("url")
        elif self.endpoint is None:
            self.endpoint, self._family = url, family_of(url)
        elif url != self.endpoint:
            other = "the batch's endpoint is" if self.given_endpoint else "lines before it have"
            yield "invalid_url", f"url is {url!r}, and {other} {self.endpoint!r}"

    def _body_faults(self, body: _Body) -> Iterator[tuple[str, str]]:
        if self._family is not None:
            for names in self._family.required:
                choice = (names,) if isinstance(names, str) else names
                if not any(_is_filled(getattr(body, name)) for name in choice):
                    yield "missing_required_parameter", f"body.{' or body.'.join(choice)} is missing"
            if self._family.kind == "embedding":
                self.embedding_inputs += _count_inputs(body.input)
        if body.stream:
            yield "streaming_unsupported", "body.stream is true; a batch cannot stream"
        if body.model and self.model is None:
            self.model = body.model
        elif body.model and body.model != self.model:
            yield "mismatched_model", f"body.model is {body.model!r}, and lines before it have {self.model!r}"
        yield from self._schema_faults(body)

    def _schema_faults(self, body: _Body) -> Iterator[tuple[str, str]]:
        written = bytes(body.response_format) or bytes(body.text)
        # Nearly always all lines carry the same schema: it is linted once.
        if not written or written == self._linted:
            return
        self._linted = written
        wanted: Any = msgspec.json.decode(written)
        if body.text and isinstance(wanted, dict):
            wanted = wanted.get("format")
        inner = wanted.get("json_schema", wanted) if isinstance(wanted, dict) else None
        if isinstance(inner, dict) and wanted.get("type") == "json_schema" and inner.get("strict") is True:
            for sentence in lint(inner.get("schema")):
                yield "invalid_schema", f"the answer's schema: {sentence}"


def _missing(field: str) -> tuple[str, str]:
    return "missing_required_parameter", f"{field} is missing"


def _is_filled(value: str | msgspec.Raw | None) -> bool:
    if isinstance(value, msgspec.Raw):
        return bytes(value).strip() not in (b"", b"null", b'""', b"[]")
    return bool(value)


def _count_inputs(written: msgspec.Raw) -> int:
    """Inputs of one embeddings request: a text or a list of tokens is one, a list of those as many as it has."""
    if not bytes(written).lstrip().startswith(b"["):
        return 1
    elements = [bytes(element).lstrip()[:1] for element in _decode_list(written)]
    return sum(first in (b'"', b"[") for first in elements) or 1


def _in_words(error: str) -> str:
    """msgspec's "Expected `str | null`, got `int` - at `$.custom_id`" as a sentence that begins with the place."""
    said, _, place = error.partition(" - at `$")
    said = said.replace(" | null", "").replace("`", "")
    return f"{place.rstrip('`').lstrip('.') or 'the line'}: {said[:1].lower()}{said[1:]}"


def _under_limit(limit: Fact, found: int, path: Path, way_out: str) -> None:
    if found > limit.value:
        raise limit.broken(
            f"{path}: {found:,} {limit.unit}, and a batch takes at most {limit.value:,}",
            found,
            hint=f"{way_out}; nothing was sent",
        )
