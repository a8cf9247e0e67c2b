"""What a run was asked to do, as one value: it makes the fingerprint, and is kept beside the run for its resumption.

It holds prompts and schemas, so it lives in the run's private folder and never in the ledger. Keys are not part of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from nono.files import whole_file
from nono.providers import Provider, Task, provider_named
from nono.runs.bench import Settings
from nono.runs.folder import RunFolder
from nono.runs.ledger import LedgerError
from nono.runs.plan import Plan

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything about a run but its data: what to ask whom, and how rows become requests.

    `prompt` is a Jinja2 template; `id_column` names the column with the ids of requests; `images` the columns that hold
    pictures (URLs or files). `dedupe` None means the default: on for embeddings and at temperature 0.
    """

    provider: str
    task: Task
    prompt: str | None = None
    id_column: str | None = None
    images: tuple[str, ...] = ()
    base_url: str | None = None
    dedupe: bool | None = None
    # A batch made elsewhere: the run's only shard is not sent, its answers are that batch's.
    adopts: str | None = None
    # The provider's own options (`Provider.at`): where its batches and files are, besides the base URL.
    options: Mapping[str, str] | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def sends_once(self) -> bool:
        """Whether identical requests of the run share one answer."""
        if self.dedupe is not None:
            return self.dedupe
        temperature = (self.task.parameters or {}).get("temperature")
        return self.task.kind == "embedding" or temperature == 0

    def fingerprint(self, data_fingerprint: str) -> str:
        """The same for the same data, template, model and parameters: the same work."""
        # Whether requests are held against a table changes none of them; nor does a word that nobody has said.
        unsaid = msgspec.to_builtins(Task("", "")) | {"check": self.task.check}
        task = {name: value for name, value in msgspec.to_builtins(self.task).items() if value != unsaid[name]}
        asked = [self.provider, task, self.prompt, self.id_column, self.images, self.base_url]
        asked += [dict(self.options)] if self.options else []
        digest = hashlib.sha256(msgspec.json.encode(asked, order="deterministic"))
        digest.update(data_fingerprint.encode())
        return digest.hexdigest()[:32]

    def provider_there(self) -> Provider:
        """The provider at the run's address, with the run's options."""
        return provider_named(self.provider).at(self.base_url, self.options)

    def save(self, folder: RunFolder) -> None:
        with whole_file(folder.task_file, mode=0o600) as file:
            file.write(msgspec.json.format(msgspec.json.encode(self), indent=1))


def load_spec(folder: RunFolder) -> RunSpec:
    """The spec of a planned run. Raises LedgerError if its folder is gone or damaged."""
    return _load(folder.task_file, RunSpec)


def _load(path: Path, kind: type[K]) -> K:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise LedgerError(
            f"{path}: {error}", hint="the run's folder is damaged; `nono purge` forgets the run"
        ) from error


def save_plan(plan: Plan, folder: RunFolder) -> None:
    with whole_file(folder.plan_file, mode=0o600) as file:
        file.write(msgspec.json.encode(plan))


def load_plan(folder: RunFolder) -> Plan:
    """The plan of a run. Raises LedgerError if its folder is gone or damaged."""
    return _load(folder.plan_file, Plan)
