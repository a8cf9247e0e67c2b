"""All that can be known about a job's requests before any of them is sent: form, keys, sizes.

The service checks a whole file when the job is created and refuses it for one bad line; here the same is said sooner,
with the line and the right place. Files are read once, line by line, in flat memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nono import jsonl
from nono.errors import InputError
from nono.facts import read_facts
from nono.files import source_path, whole_file
from nono.jsonl import BadLine
from nono.providers.gemini.defaults import with_defaults
from nono.providers.gemini.fields import find_misplaced
from nono.providers.gemini.harvest import own_key
from nono.providers.gemini.requests import Item, check_key, item_of
from nono.providers.gemini.translate import EMBED, GENERATE

FACTS = read_facts("gemini")
_SHOWN = 3
_BUCKETS = 256
_NO_KEY = object()
_CONTENT_FIELD = {GENERATE: "contents", EMBED: "content"}


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at a file found."""

    requests: int
    size_bytes: int


def check_file(path: Path, *, endpoint: str = GENERATE, called: Path | None = None) -> Checked:
    """Look at every line of an input file; `called` is its name in messages, where `path` is a copy.

    Raises InputError naming file, lines and the way out: not JSON, no `key` or no `request`, a key twice, a field in
    the wrong place; LimitError for a file that is too large.
    """
    shown = called or path
    size_bytes = source_path(path).stat().st_size
    limit = FACTS["limits.file_bytes"]
    if size_bytes > limit.value:
        raise limit.broken(
            f"{shown}: {size_bytes:,} bytes; Gemini takes {limit.value:,} bytes a file",
            size_bytes,
            hint="split it into several files, each its own job",
        )
    keys = Keys()
    problems: list[str] = []
    requests = 0
    for number, line in jsonl.read_lines(path):
        requests += 1
        try:
            keys.add(_check_line(line, endpoint))
        except InputError as error:
            problems.append(f"line {number}: {error.message}" + (f" ({error.hint})" if error.hint else ""))
            if len(problems) > _SHOWN:
                break
    if problems:
        more = f"; and more after line {number}" if len(problems) > _SHOWN else ""
        raise InputError(f"{shown}: {'; '.join(problems[:_SHOWN])}{more}", hint=_LINE_HINT)
    if not requests:
        raise InputError(f"{shown}: no requests in it", hint=_LINE_HINT)
    if repeated := keys.repeated():
        _refuse_shared(str(shown), "lines", _keys_in_file(path), repeated)
    return Checked(requests, size_bytes)


_LINE_HINT = 'a line is {"key": "…", "request": {"contents": […]}}; create_jsonl_file() writes them; nothing was sent'


def _check_line(line: bytes, endpoint: str) -> str:
    value = jsonl.decode(line)
    if not isinstance(value, dict):
        raise BadLine(f"a JSON {type(value).__name__}, not an object")
    if "request" not in value:
        if _CONTENT_FIELD[endpoint] in value:
            raise InputError("a bare request, whose answer would carry no key")
        raise InputError("no `request`")
    if "key" not in value:
        raise InputError("no `key`")
    key = check_key(value["key"])
    check_request(value["request"], endpoint)
    return key


def check_request(request: Any, endpoint: str = GENERATE, *, hint: str | None = None) -> None:
    """Refuse a request that the service would refuse for its form. Raises InputError naming the place; `hint` is the
    way out for a field that is not known."""
    if not isinstance(request, Mapping):
        raise InputError(f"`request` is an object, not {type(request).__name__}")
    wanted = _CONTENT_FIELD[endpoint]
    if not request.get(wanted):
        other = next((field for field in _CONTENT_FIELD.values() if field != wanted and field in request), None)
        raise InputError(f"no `{wanted}` in the request" + (f", but `{other}`: another endpoint's" if other else ""))
    if misplaced := find_misplaced(request, endpoint):
        raise InputError(misplaced, hint=hint)


def check_inline(
    given: Iterable[Any],
    *,
    endpoint: str = GENERATE,
    fields: bool = True,
    defaults: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Inline requests as they go onto the wire, each with a key in its metadata (`request-1`, … where none was given).

    What a request does not say itself is taken from `defaults`. Without `fields` their fields are not held against the
    table. Raises InputError naming the request's number (from
    1), LimitError if the whole is too large to go inline.
    """
    limit = FACTS["limits.inline_bytes"]
    items: list[dict[str, Any]] = []
    size_bytes = len(b'{"batch":{"inputConfig":{"requests":{"requests":[]}}}}')
    for number, item in enumerate(_items(given, endpoint, fields, defaults), start=1):
        key = item.key if item.key is not None else own_key(number)
        items.append({"request": item.request, "metadata": {"key": key, **(item.metadata or {})}})
        try:
            size_bytes += len(jsonl.encode(items[-1])) + 1
        except InputError as error:
            raise InputError(f"request {number}: {error.message}") from error
    if not items:
        raise InputError("no requests", hint="an empty job has nothing to answer; nothing was sent")
    if size_bytes > limit.value:
        raise limit.broken(
            f"request size exceeds limit: {size_bytes:,} bytes inline; Gemini takes {limit.value:,}",
            size_bytes,
            hint="use create_jsonl_file() and create_file_batch(), or split the requests into several jobs",
        )
    keys = [item["metadata"]["key"] for item in items]
    if len(set(keys)) < len(keys):
        repeated = {hash(key) for key, times in Counter(keys).items() if times > 1}
        _refuse_shared("the job", "requests", enumerate(keys, start=1), repeated)
    return items


def write_file(path: Path, given: Iterable[Any], keys: Iterable[Any] | None, *, fields: bool = True) -> int:
    """Write requests as an input file, whole or not at all, and return how many they are.

    `keys` wins over keys that come with the requests; without either, the n-th request is `request-n`. Raises
    InputError naming the request's number.
    """
    if isinstance(keys, str):
        raise InputError("keys is one text", hint="pass a list of texts, one for each request")
    given_keys = iter(keys) if keys is not None else None
    used = Keys()
    count = 0
    with whole_file(path) as file:
        for count, item in enumerate(_items(given, None, fields), start=1):
            key: Any = item.key
            if given_keys is not None:
                key = next(given_keys, _NO_KEY)
                if key is _NO_KEY:
                    raise InputError(f"fewer keys ({count - 1}) than requests", hint="one key for each request")
            try:
                key = check_key(own_key(count) if key is None and given_keys is None else key)
                file.write(jsonl.encode({"key": key, "request": item.request}) + b"\n")
            except InputError as error:
                raise InputError(f"request {count}: {error.message}", hint=error.hint) from error
            used.add(key)
        if not count:
            raise InputError("no requests", hint="an empty file has nothing to answer")
        if given_keys is not None and (left := sum(1 for _ in islice(given_keys, 1000))):
            more = "more than a thousand" if left == 1000 else left
            raise InputError(f"{more} keys too many: there are {count} requests", hint="one key for each request")
        if repeated := used.repeated():
            file.flush()
            _refuse_shared("the job", "requests", _keys_in_file(Path(file.name)), repeated)
    return count


def _items(
    given: Iterable[Any], endpoint: str | None, fields: bool, defaults: Mapping[str, Any] | None = None
) -> Iterator[Item]:
    """The requests, looked at one by one; without an endpoint each may belong to any."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise InputError(f"requests is a list of requests, not one {type(given).__name__}", hint="put it into a list")
    for number, one in enumerate(given, start=1):
        try:
            item = item_of(one)
            if defaults:
                item = replace(item, request=with_defaults(item.request, defaults))
            if endpoint == EMBED and "contents" in item.request and "content" not in item.request:
                item = _as_embedding(item)
            if fields:
                check_request(item.request, endpoint or (EMBED if "content" in item.request else GENERATE))
        except InputError as error:
            raise InputError(f"request {number}: {error.message}", hint=error.hint) from error
        yield item


def _as_embedding(item: Item) -> Item:
    """A text that was given for an embedding has become `contents`; here it is one content."""
    request = dict(item.request)
    contents = request.pop("contents")
    if len(contents) != 1:
        raise InputError("an embedding is made of one content", hint="make a request for each")
    return Item({"content": {"parts": contents[0]["parts"]}} | request, item.key, item.metadata)


class Keys:
    """Which keys come twice, in 8 bytes a key: hashes in buckets, each small enough to be looked through at once."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(_BUCKETS)]

    def add(self, key: str) -> None:
        number = hash(key)
        self._buckets[number % _BUCKETS].append(number)

    def repeated(self) -> set[int]:
        """Hashes that came more than once; two keys may share one by chance, so look at the keys themselves."""
        twice: set[int] = set()
        for bucket in self._buckets:
            if len(set(bucket)) < len(bucket):
                seen: set[int] = set()
                for number in bucket:
                    (twice if number in seen else seen).add(number)
        return twice


def _keys_in_file(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in jsonl.read_lines(path):
        yield number, jsonl.decode(line)["key"]


def _refuse_shared(where: str, places: str, keys: Iterable[tuple[int, str]], hashes: set[int]) -> None:
    """Raise InputError naming who shares a key, looking only at keys with these hashes."""
    found: dict[str, list[int]] = {}
    for number, key in keys:
        if hash(key) in hashes:
            found.setdefault(key, []).append(number)
    shared = {key: numbers for key, numbers in found.items() if len(numbers) > 1}
    if not shared:
        return
    told = [f"{places} {_and(numbers)} share key {key!r}" for key, numbers in islice(shared.items(), _SHOWN)]
    more = f"; and {len(shared) - _SHOWN:,} more keys" if len(shared) > _SHOWN else ""
    raise InputError(
        f"{where}: {'; '.join(told)}{more}; their answers could not be told apart",
        hint="give every request its own key; nothing was sent",
    )


def _and(numbers: Sequence[int]) -> str:
    if len(numbers) > 4:
        return f"{', '.join(map(str, numbers[:4]))} and {len(numbers) - 4:,} more"
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
