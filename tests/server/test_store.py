"""Files and batches on disk: what was said stays true, and nothing else stays."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nono.errors import SettingsError
from nono.model import Usage
from nono.server.clock import SECOND_NS, HandClock, rfc3339, unix_s
from nono.server.database import DiskRefused, IllegalMove, StoreError, Taken
from nono.server.dialect import Answer, Kind
from nono.server.journal import Journal
from nono.server.records import MOVES, Batch, Counts, File, Part, State, Upload
from nono.server.store import Store, new_token

NOW = 1_763_800_000 * SECOND_NS


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the same folder again and again; the store before is closed first."""
    held: list[Store] = []

    def opened() -> Store:
        while held:
            held.pop().close()
        held.append(Store(tmp_path / "data", HandClock(NOW)))
        return held[-1]

    yield opened
    for store in held:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


def kept(store: Store, file_id: str = "file-1", content: bytes = b"{}\n", **more: Any) -> File:
    token = new_token()
    store.incoming(token).write_bytes(content)
    store.keep(token)
    digest = hashlib.sha256(content).hexdigest()
    file = File(file_id, "openai", token, "in.jsonl", "batch", "text/plain", len(content), digest, NOW, **more)
    return store.add_file(file)


def batch_of(store: Store, batch_id: str = "batch_1", **more: Any) -> Batch:
    made = Batch(batch_id, "openai", new_token(), "/v1/chat/completions", None, "file-1", NOW, NOW + SECOND_NS, **more)
    store.work_folder(made).mkdir()
    return store.add_batch(made)


def test_everything_is_there_after_opening_again(open_store: Callable[[], Store]) -> None:
    store = open_store()
    file = kept(store, details={"k": "v"})
    batch = batch_of(store, details={"metadata": {"a": "é"}}, priority=-3)
    batch = store.move(batch, State.QUEUED, counts=Counts(9, 2, 1), model="m", usage=Usage(1, 2, 3, 4))
    again = open_store()
    assert again.file("openai", "file-1") == file
    assert again.blob(file.token).read_bytes() == b"{}\n"
    assert again.batch("openai", "batch_1") == batch
    assert again.unfinished() == [batch]


def test_bytes_that_no_record_mentions_are_swept_at_the_next_start(open_store: Callable[[], Store]) -> None:
    store = open_store()
    file = kept(store)
    stray = store.incoming(new_token())
    stray.write_bytes(b"half")
    lost = store.blob(new_token())
    lost.write_bytes(b"x")
    (store.folder / "work" / new_token()).mkdir()
    again = open_store()
    assert not stray.exists()
    assert not lost.exists()
    assert list((again.folder / "work").iterdir()) == []
    assert again.blob(file.token).exists()


def test_a_folder_that_had_a_work_of_its_own_keeps_it(tmp_path: Path, open_store: Callable[[], Store]) -> None:
    thesis = tmp_path / "data" / "work" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("ten years")
    open_store()
    open_store()
    assert thesis.read_text() == "ten years"


def test_the_records_are_readable_by_their_owner_alone(store: Store) -> None:
    assert {path.name: path.stat().st_mode & 0o077 for path in store.folder.glob("records.sqlite*")} == {
        "records.sqlite": 0,
        "records.sqlite-shm": 0,
        "records.sqlite-wal": 0,
    }


def test_bytes_of_an_upload_in_progress_survive_a_restart(open_store: Callable[[], Store]) -> None:
    store = open_store()
    token, part_token = new_token(), new_token()
    upload = Upload("upload_1", "openai", token, "x", "batch", "m", 4, NOW, NOW + SECOND_NS)
    store.add_upload(upload)
    store.incoming(token).write_bytes(b"grown")
    store.add_part(Part("part_1", "upload_1", part_token, 4, NOW))
    store.incoming(part_token).write_bytes(b"part")
    again = open_store()
    assert again.upload("upload_1") == upload
    assert again.incoming(token).read_bytes() == b"grown"
    assert again.join_parts(again.parts("upload_1"))[1:] == (
        4,
        {"sha256": hashlib.sha256(b"part").hexdigest(), "md5": hashlib.md5(b"part").hexdigest()},
    )


def test_a_folder_has_one_server(store: Store) -> None:
    with pytest.raises(SettingsError, match="is in use by another server"):
        Store(store.folder, HandClock())


def test_a_folder_of_a_newer_version_is_refused(open_store: Callable[[], Store]) -> None:
    store = open_store()
    store.close()
    with sqlite3.connect(store.folder / "records.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="newer version of nono"):
        Store(store.folder, HandClock())


def test_two_files_cannot_have_one_id(store: Store) -> None:
    kept(store)
    with pytest.raises(Taken):
        kept(store)


def test_a_file_that_has_expired_is_not_there(store: Store) -> None:
    kept(store, expires_ns=NOW)
    assert store.file("openai", "file-1") is None
    assert store.files("openai", limit=10) == []


def test_the_two_protocols_do_not_see_each_others_files(store: Store) -> None:
    kept(store)
    assert store.file("gemini", "file-1") is None
    assert store.files("gemini", limit=10) == []


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("target", list(State))
def test_only_the_moves_of_the_table_are_made(store: Store, state: State, target: State) -> None:
    batch = batch_of(store, state=state)
    if target in MOVES.get(state, ()):
        moved = store.move(batch, target)
        assert (moved.state, moved.moved_ns[target]) == (target, NOW)
    else:
        with pytest.raises(IllegalMove):
            store.move(batch, target)
        assert store.batch("openai", "batch_1") == batch


def test_a_move_from_a_state_that_was_left_meanwhile_is_refused(store: Store) -> None:
    seen = batch_of(store)
    store.move(seen, State.CANCELLING)
    with pytest.raises(IllegalMove, match="is not validating any more"):
        store.move(seen, State.QUEUED)


def test_an_end_and_its_files_are_written_together_or_not_at_all(store: Store) -> None:
    kept(store, "file-taken")
    batch = store.move(batch_of(store), State.CANCELLING)
    file = replace(kept(store, "file-2"), id="file-taken")
    with pytest.raises(Taken):
        store.move(batch, State.CANCELLED, files=[file], outputs={"output": "file-taken"})
    assert store.batch("openai", "batch_1") == batch


def test_a_full_disk_is_an_os_error_and_changes_nothing(store: Store) -> None:
    batch = batch_of(store)
    store._db._db.execute("PRAGMA max_page_count=1")
    with pytest.raises(DiskRefused):
        for number in range(1000):
            batch_of(store, f"batch_{number + 2}", details={"filler": "x" * 4000})
    assert store.move(batch, State.CANCELLING).state is State.CANCELLING


def test_instants_are_written_as_each_provider_writes_them() -> None:
    assert unix_s(1_767_697_751_943_530_657) == 1_767_697_751
    assert rfc3339(1_767_697_751_943_530_657) == "2026-01-06T11:09:11.943530657Z"
    assert rfc3339(1_767_697_751_000_000_007) == "2026-01-06T11:09:11.000000007Z"


# the journal of a running batch


def answer(text: str, ok: bool = True) -> Answer:
    return Answer(ok, f'{{"a": "{text}"}}\n'.encode(), Usage(3, 4, 1, 2))


def test_a_journal_remembers_answers_in_any_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", 4)
    journal.append(2, answer("two"))
    journal.append(0, answer("zero", ok=False))
    journal.close()
    again = Journal(tmp_path / "journal", 4)
    assert [again.has(ordinal) for ordinal in range(4)] == [True, False, True, False]
    assert again.counts == Counts(4, 1, 1)
    assert again.usage == Usage(6, 8, 2, 4)
    reader = again.reader()
    assert reader.line(0) == (Kind.FAILED, b'{"a": "zero"}\n')
    assert reader.line(1) is None
    assert reader.line(2) == (Kind.OK, b'{"a": "two"}\n')
    reader.close()
    again.close()


def test_a_second_answer_to_the_same_request_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", 1)
    journal.append(0, answer("first"))
    journal.append(0, answer("second"))
    assert journal.counts == Counts(1, 1, 0)
    assert journal.complete
    journal.close()
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 1


def test_whatever_a_crash_leaves_torn_is_cut_off_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, 3)
    for ordinal in range(3):
        journal.append(ordinal, answer(str(ordinal)))
    journal.close()
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 0x0A]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        journal = Journal(path, 3)
        survivors = sum(end <= cut for end in ends)
        assert journal.counts.ok == survivors
        journal.append(2, answer("again"))
        journal.close()
        assert Journal(path, 3).has(2)


def test_a_record_that_was_damaged_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, 2)
    journal.append(0, answer("zero"))
    journal.append(1, answer("one"))
    journal.close()
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    again = Journal(path, 2)
    assert (again.has(0), again.has(1)) == (True, False)
    again.close()
