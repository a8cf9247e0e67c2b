"""A download lands whole or not at all, whatever the connection does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from nono.download import download
from nono.errors import IncompleteDownload
from nono.exchange import Account, Call, adrive, drive
from nono.retry import RetryPolicy
from nono.transport import AsyncSender, Sender

CONTENT = b"".join(hashlib.sha256(bytes([n % 256, n // 256])).digest() for n in range(2000))  # 64,000 bytes
QUICK = RetryPolicy(tries=3, first_s=0.0)


class World:
    """A file server that breaks off as it is told: `cuts` are bytes after which the next answers end."""

    def __init__(self) -> None:
        self.cuts: list[int] = []
        self.length = True
        self.ranges = True
        self.says_where = True
        self.asked: list[str | None] = []
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                world.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        # One for all: a new one reads the certificates of the whole world.
        self.send = Sender(Account(self.url, None, "authorization"))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            handler.send_response(416)
            handler.send_header("content-range", f"bytes */{len(CONTENT)}")
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        body = CONTENT[start:]
        handler.send_response(206 if start else 200)
        if start and self.says_where:
            handler.send_header("content-range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if self.length:
            handler.send_header("content-length", str(len(body)))
        else:
            handler.send_header("connection", "close")
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else len(body)
        handler.wfile.write(body[:cut])
        handler.close_connection = True

    def stop(self) -> None:
        self.send.close()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def world() -> Iterator[World]:
    running = World()
    yield running
    running.stop()


def blocking(world: World, path: Path, **options: Any) -> None:
    drive(download(Call("GET", "/file"), path, policy=QUICK, **options), world.send, sleep=lambda _: None)


def on_a_loop(world: World, path: Path, **options: Any) -> None:
    async def run() -> None:
        sender = AsyncSender(Account(world.url, None, "authorization"))
        await adrive(download(Call("GET", "/file"), path, policy=QUICK, **options), sender, sleep=_no_sleep)
        await sender.close()

    asyncio.run(run())


async def _no_sleep(_: float) -> None:
    return None


WAYS: list[Callable[..., None]] = [blocking, on_a_loop]
# 200 points over the file, its first and last bytes among them.
GRID = sorted({0, 1, 2, len(CONTENT) - 1, *range(0, len(CONTENT), len(CONTENT) // 196)})


@pytest.mark.parametrize("way", WAYS)
def test_a_file_lands_whole(world: World, tmp_path: Path, way: Callable[..., None]) -> None:
    way(world, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_connection_that_breaks_at_any_byte_is_gone_on_from_there(world: World, tmp_path: Path) -> None:
    for cut in GRID:
        world.cuts = [cut]
        path = tmp_path / f"out{cut}"
        blocking(world, path)
        assert path.read_bytes() == CONTENT
    assert sum(asked is not None for asked in world.asked) >= len(GRID) - 1


def test_without_a_length_a_short_file_is_told_by_the_size_that_the_provider_names(
    world: World, tmp_path: Path
) -> None:
    world.length = False
    for cut in GRID:
        world.cuts = [cut]
        path = tmp_path / f"out{cut}"
        blocking(world, path, size_bytes=len(CONTENT))
        assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_ignores_ranges_is_read_from_the_beginning(
    world: World, tmp_path: Path, way: Callable[..., None]
) -> None:
    world.ranges, world.cuts = False, [1000]
    way(world, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_connection_that_never_gets_further_is_given_up_and_what_came_is_kept(world: World, tmp_path: Path) -> None:
    world.cuts = [5000, 0, 0, 0, 0, 0]
    with pytest.raises(IncompleteDownload, match="without progress, at 5,000 bytes"):
        blocking(world, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    world.cuts = []
    blocking(world, tmp_path / "out")
    assert world.asked[-1] == "bytes=5000-"
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_whole_file_that_only_lacks_its_name_is_not_asked_for_again(world: World, tmp_path: Path) -> None:
    (tmp_path / "out.part").write_bytes(CONTENT)
    blocking(world, tmp_path / "out", size_bytes=len(CONTENT))
    assert world.asked == []
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_remains_that_are_longer_than_the_file_are_another_files(world: World, tmp_path: Path) -> None:
    (tmp_path / "out.part").write_bytes(CONTENT + b"more")
    blocking(world, tmp_path / "out", size_bytes=len(CONTENT))
    assert (tmp_path / "out").read_bytes() == CONTENT


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_file_of_unknown_size_lands_although_nothing_lies_beyond_it(
    world: World, tmp_path: Path, way: Callable[..., None]
) -> None:
    (tmp_path / "out.part").write_bytes(CONTENT)
    way(world, tmp_path / "out")
    assert world.asked == [f"bytes={len(CONTENT)}-"]
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_what_lands_is_told_as_a_success(world: World, tmp_path: Path) -> None:
    (tmp_path / "out.part").write_bytes(CONTENT)
    flow = download(Call("GET", "/file"), tmp_path / "out", policy=QUICK)
    assert drive(flow, world.send, sleep=lambda _: None).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_part_that_does_not_say_where_it_belongs_is_not_put_anywhere(
    world: World, tmp_path: Path, way: Callable[..., None]
) -> None:
    world.says_where, world.cuts = False, [1000]
    way(world, tmp_path / "out")
    assert world.asked == [None, "bytes=1000-", None]
    assert (tmp_path / "out").read_bytes() == CONTENT


def test_a_server_that_never_gets_to_the_end_by_parts_is_given_up(world: World, tmp_path: Path) -> None:
    world.says_where, world.cuts = False, [1000] * 100
    with pytest.raises(IncompleteDownload, match="without progress"):
        blocking(world, tmp_path / "out")
    assert len(world.asked) < 10
