"""The cache folder: what it holds, what is added by hand, and the rows of the catalogue."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nono import models
from nono.cli.models import command
from nono.errors import InputError, SettingsError
from nono.models import Kind, catalogue

SOURCE = Path(models.__file__).parent


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NONO_MODELS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "My Model.Q4_0.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("weights", catalogue().values(), ids=lambda weights: weights.name)
def test_every_row_is_pinned_sized_licensed_and_has_a_source(weights: models.Weights) -> None:
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.bytes > 0 for file in weights.files)
    assert weights.licence and weights.about.startswith("https://") and weights.sources


def test_no_package_index_is_named_in_the_code() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"https?://(?!huggingface\.co|specifications\.)", path.read_text("utf-8")), path


def test_the_folder_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert models.cache_folder() == tmp_path / "shelf"
    monkeypatch.delenv("NONO_MODELS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert models.cache_folder() == Path("/var/cache/me/nono/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert models.cache_folder() == Path("~/.cache/nono/models").expanduser()


def test_an_added_file_has_a_name_and_a_hash(gguf: Path) -> None:
    shelved = models.add(gguf)
    assert shelved.weights.name == "my-model.q4_0"
    assert models.need("my-model.q4_0", Kind.CHAT).path(".gguf").read_bytes() == gguf.read_bytes()
    assert models.find("my-model.q4_0") == shelved
    models.verify(shelved)


def test_adding_the_same_again_changes_nothing(gguf: Path) -> None:
    assert models.add(gguf, "mine") == models.add(gguf, "mine")


def test_a_name_is_never_taken_away(gguf: Path, tmp_path: Path) -> None:
    models.add(gguf, "mine")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF!")
    for name in ("mine", "smollm2-135m-instruct"):
        with pytest.raises(InputError, match=f"the name {name} belongs to other weights"):
            models.add(other, name)


def test_a_folder_with_a_tokenizer_is_an_embedder(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    (folder / "onnx").mkdir(parents=True)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "onnx" / "model.onnx").write_bytes(b"model")
    shelved = models.add(folder)
    assert shelved.weights.kind is Kind.EMBEDDING
    assert shelved.path(".onnx").read_bytes() == b"model"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"\x00\x00", "not a GGUF file"),
        ("nothing", None, "no such file"),
    ],
)
def test_what_are_no_weights_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        models.add(path)


def test_weights_that_are_not_here_are_named_with_the_command_that_brings_them() -> None:
    with pytest.raises(SettingsError) as raised:
        models.need("smollm2-135m-instruct", Kind.CHAT)
    assert raised.value.hint == "nono models pull smollm2-135m-instruct"


def test_weights_for_something_else_are_refused(gguf: Path) -> None:
    models.add(gguf, "mine")
    with pytest.raises(SettingsError, match="mine holds weights for chat, not for embedding"):
        models.need("mine", Kind.EMBEDDING)


def test_a_broken_record_hides_nobody_else(gguf: Path, shelf: Path) -> None:
    models.add(gguf, "mine")
    (shelf / "broken").mkdir()
    (shelf / "broken" / "nono-weights.json").write_text("{")
    assert set(models.known()) == {"mine", *catalogue()}


def test_the_listing_tells_what_is_here_and_where(gguf: Path, shelf: Path) -> None:
    run("add", str(gguf), "--name", "mine")
    rows = {row["name"]: row for row in json.loads(run("ls", "--json"))}
    assert rows["mine"]["here"] is True
    assert rows["mine"]["files"][0]["path"] == str(shelf / "mine" / gguf.name)
    assert rows["smollm2-135m-instruct"]["here"] is False
    assert rows["smollm2-135m-instruct"]["bytes"] == 98_362_432
    assert rows["smollm2-135m-instruct"]["licence"] == "Apache-2.0"
    assert "mine\tchat\there\t" in run("ls")
