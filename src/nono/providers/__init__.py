"""The seam between the engine and a provider, and the table of providers.

A provider knows its wire format and describes its HTTP calls (`nono.exchange`); it sees no network, no clock and no
ledger. Nothing outside `providers/<name>/` says `if provider == "<name>"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from nono.errors import InputError, ProviderError, SettingsError
from nono.exchange import Account, Flow
from nono.facts import Facts
from nono.media import Media
from nono.model import RemoteBatch, RemoteFile, Result


@dataclass(frozen=True, slots=True)
class Task:
    """What every request of a run has in common, in words that belong to no provider.

    `kind` is one of `chat`, `embedding`, `moderation`, `raw`. `schema` is a JSON Schema for the answer. `parameters`
    are sampling parameters under OpenAI's names (`temperature`, `top_p`, `max_tokens`, `stop`, `seed`, …), which
    providers translate; `extra_body` is merged into the body as it stands. Without `check`, requests and schema are not
    held against what is known of the provider's (a service may have learned since).
    """

    kind: str
    model: str
    endpoint: str | None = None
    system: str | None = None
    schema: Mapping[str, Any] | None = None
    schema_name: str = "answer"
    parameters: Mapping[str, Any] | None = None
    extra_body: Mapping[str, Any] | None = None
    check: bool = True


# The way out where a service has learned what nono does not know yet.
UNCHECKED = "if the service takes it nevertheless: check=False (--no-check) sends requests as they are"


class Provider(Protocol):
    """What the engine asks of a provider. All I/O is described by the flows; `raw` replies never leave them."""

    name: str
    # Whose prices hold, in the words of the package genai-prices.
    priced_as: str
    facts: Facts
    # The key that carries the id in the lines of requests and of answers, and what stands in front of an id there.
    id_key: str
    id_mark: str
    # Whether a batch that is cancelled half-way gives the answers that it had.
    keeps_cancelled: bool
    # What can be set for a run besides the base URL: a name, and a sentence about it.
    options: Mapping[str, str]

    def at(self, base_url: str | None = None, options: Mapping[str, str] | None = None) -> Provider:
        """The provider as it is at an address (another service has other limits) and with `options` of its own.

        What is not given comes from the environment; what is missing, `account` tells. Raises SettingsError for an
        option that the provider does not have, or one that makes no sense.
        """
        ...

    def account(self, *, api_key: str | None = None, base_url: str | None = None) -> Account:
        """Base URL and key from the arguments, then from the provider's environment variables.

        Raises MissingKey, and SettingsError where something else is missing.
        """
        ...

    def endpoint_for(self, task: Task) -> str:
        """The endpoint of the task, checked against those that the provider's batch takes. Raises InputError."""
        ...

    def request_body(self, task: Task, content: Any) -> dict[str, Any]:
        """The body of one request.

        `content` is a text, or a list of messages in OpenAI's shape (`chat`), or, for `raw`, the body itself.
        """
        ...

    def request_line(self, custom_id: str, task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
        """The line of an input file, before encoding; `custom_id` stands in it exactly once."""
        ...

    def reasked_line(self, line: Mapping[str, Any], *, answer: str, message: str) -> dict[str, Any]:
        """The line of a `chat` request with the model's answer and a further message of the user behind its own."""
        ...

    def lint_schema(self, schema: Mapping[str, Any]) -> list[str]:
        """What the service would refuse in a schema, one sentence with its place each; empty if nothing."""
        ...

    def decode(self, line: bytes) -> Result:
        """One line of an answer file. Raises BadLine if it is not one, and nothing else."""
        ...

    def media_of(self, body: Any) -> list[Media]:
        """The pictures and sounds of an answer's body. Raises UnreadableAnswer for damaged ones."""
        ...

    def upload(self, path: Path, *, name: str) -> Flow[RemoteFile]:
        """Put an input file at the provider under a name that tells it apart."""
        ...

    def create(self, *, file_id: str, task: Task, tag: str) -> Flow[RemoteBatch]:
        """Create a batch with our tag inside: exactly one request, never repeated."""
        ...

    def get(self, batch_id: str) -> Flow[RemoteBatch]: ...

    def list_page(self, cursor: str | None = None) -> Flow[tuple[list[RemoteBatch], str | None]]:
        """One page (as large as the provider allows) of the account's batches, and the cursor of the next or None."""
        ...

    def cancel(self, batch_id: str) -> Flow[None]:
        """Ask for cancellation; a batch that has already ended is not an error."""
        ...

    def fetch(self, batch: RemoteBatch, into: Path) -> Flow[list[Path]]:
        """Download every answer file of an ended batch, whole and checked, resuming what an earlier call left.

        Files land in `into`, successes first. An ended batch may have none.
        """
        ...

    def find_file(self, name: str) -> Flow[RemoteFile | None]:
        """The input file of an `upload` whose answer was lost, by the name given then."""
        ...

    def delete_file(self, file_id: str) -> Flow[None]:
        """Delete an input or answer file; one that is already gone is not an error."""
        ...

    def ask(self, line: Mapping[str, Any], task: Task) -> Flow[bytes]:
        """Ask one request of an input file at the synchronous endpoint: exactly one POST, never repeated.

        Returns the answer as a line of an answer file. A refusal is raised as what it is.
        """
        ...

    def refusal_line(self, line: Mapping[str, Any], error: ProviderError) -> bytes:
        """The line of an answer file for a request that was refused so: `decode` reads the reason from it."""
        ...

    def delete_batch(self, batch: RemoteBatch) -> Flow[None]:
        """Remove what a finished batch left at the provider (its files, and its record where that is possible)."""
        ...


_PROVIDERS = {
    "openai": "nono.providers.openai",
    "gemini": "nono.providers.gemini",
    "vertex": "nono.providers.vertex",
}


def provider_named(name: str) -> Provider:
    """The provider called `name`. Raises InputError for an unknown one."""
    try:
        module = import_module(_PROVIDERS[name])
    except KeyError:
        known = ", ".join(_PROVIDERS)
        raise InputError(
            f"unknown provider {name!r}", hint=f"a model is written provider/model; providers: {known}"
        ) from None
    provider: Provider = module.PROVIDER
    return provider


def check_options(provider: Provider, options: Mapping[str, str] | None) -> dict[str, str]:
    """The options, if the provider has them all and they are texts. Raises SettingsError."""
    for name, value in (options or {}).items():
        if name not in provider.options:
            known = "; ".join(f"{known} ({what})" for known, what in provider.options.items()) or "none"
            raise SettingsError(f"{provider.name} has no option {name!r}", hint=f"its options: {known}")
        if not isinstance(value, str) or not value.strip():
            raise SettingsError(f"option {name} is {value!r}", hint="a text")
    return {name: value.strip() for name, value in (options or {}).items()}
