"""Files of a Hugging Face repository, through huggingface_hub: its settings (`HF_ENDPOINT`, `HF_TOKEN`, …) hold."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from nono.errors import MissingExtra
from nono.models.catalogue import Hub, WeightFile
from nono.models.package_index import NotFetched


def fetch_files(hub: Hub, files: Sequence[WeightFile], folder: Path) -> Path:
    """Fetch files at the pinned revision into `folder`, and return the folder that holds them under their names.

    Raises MissingExtra without huggingface_hub, NotFetched with what it said. Hashes are the caller's to compare.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtra("a Hugging Face source", "hub") from error
    fetched = folder / "fetched"
    for file in files:
        name = f"{hub.folder}/{file.name}" if hub.folder else file.name
        try:
            path = hf_hub_download(hub.repository, name, revision=hub.revision, local_dir=folder / "hub")
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise NotFetched(f"Hugging Face did not give {hub.repository}/{name}: {error}") from error
        target = fetched / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    return fetched
