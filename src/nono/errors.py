"""What can go wrong, as one tree; every leaf says whether trying again helps, and what a person can do.

```
NonoError                       .hint, .transient
├── InputError (ValueError)     what was given cannot be used; nothing was sent
│   ├── LimitError              it breaks a provider's limit: .limit, .found, .source
│   └── MissingFile (FileNotFoundError)   there is no such file here
├── SettingsError               a key, an extra or an option is missing or contradictory
│   ├── MissingKey
│   └── MissingExtra (ImportError)
├── TransportError              there is no HTTP answer
│   ├── NotSent                 the request did not leave: nothing happened at the provider   (transient)
│   └── AnswerLost              it may have arrived: what happened is unknown                 (transient)
├── ProviderError               the provider answered no: .status, .code, .retry_after_s, .body
│   ├── InvalidRequest          400, 422
│   ├── KeyRefused              401, and Gemini's 400 API_KEY_INVALID
│   ├── Forbidden               403
│   ├── NotFound                404
│   ├── Conflict                409
│   ├── RateLimited             429                                                           (transient)
│   ├── OutOfQuota              the account cannot pay: trying again will not help
│   └── ProviderUnavailable     5xx, 408                                                      (transient)
├── UnreadableAnswer            a 2xx whose body is not what the protocol says
├── IncompleteDownload          fewer bytes came than the provider names                      (transient)
├── BatchError                  the batch, not the call, is the problem: .batch_id, .state
│   ├── NotComplete             it has not ended yet                                          (transient)
│   ├── JobFailed               it ended without answers
│   ├── NoDestination           it ended and names no place for its answers
│   └── AnswersElsewhere        its answers are not inline: .place
│       ├── FileOutput          in a file of the provider
│       ├── GcsOutput           in Cloud Storage
│       └── BigQueryOutput      in a table of BigQuery
└── WaitTimeout (TimeoutError)  the wait was given up; the batch goes on: .last
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class NonoError(Exception):
    """The root. `str()` is one line; `hint` says what a person can do; `transient` whether trying again helps."""

    transient = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class InputError(NonoError, ValueError):
    """What was given cannot be used; nothing was sent."""


class LimitError(InputError):
    """A provider's limit would be broken; `limit` and `found` are in its unit, `source` is where it is written."""

    def __init__(self, message: str, *, limit: float, found: float, source: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.limit = limit
        self.found = found
        self.source = source


class MissingFile(InputError, FileNotFoundError):
    """There is no such file on this machine."""


class SettingsError(NonoError):
    """A key, an extra or an option is missing or contradicts another."""


class MissingKey(SettingsError):
    """No API key was given and none is in the environment."""


class MissingExtra(SettingsError, ImportError):
    """An optional part is not installed; the hint is the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra [{extra}]", hint=f"pip install 'nono-batch[{extra}]'")
        self.extra = extra


class TransportError(NonoError):
    """There is no HTTP answer."""

    transient = True


class NotSent(TransportError):
    """The request did not leave this machine: nothing happened at the provider."""


class AnswerLost(TransportError):
    """The request may have arrived; whether it took effect is unknown until the provider is asked."""


class ProviderError(NonoError):
    """The provider answered no.

    `status` is the HTTP status; `code` the provider's own word (OpenAI `error.code` or `.type`, Gemini
    `error.status`); `retry_after_s` what it asked for, in seconds; `body` the decoded answer, or its text.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        status: int,
        code: str | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        body: Any = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.provider = provider
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.body = body


class InvalidRequest(ProviderError):
    """400 or 422: the request is wrong as it stands."""


class KeyRefused(ProviderError):
    """The key is wrong, revoked or of another account."""


class Forbidden(ProviderError):
    """403: not allowed, or (Gemini files) not there."""


class NotFound(ProviderError):
    """404: no such batch, file or model."""


class Conflict(ProviderError):
    """409: not possible in the present state."""


class RateLimited(ProviderError):
    """429: too much at once; `retry_after_s` says when, if the provider did."""

    transient = True


class OutOfQuota(ProviderError):
    """The account's money or hard limit is used up."""


class ProviderUnavailable(ProviderError):
    """5xx or 408: the provider's trouble, not the request's."""

    transient = True


# What a status says wherever it comes from; a provider's own words may say more.
# https://www.rfc-editor.org/rfc/rfc9110#section-15
BY_STATUS: Mapping[int, type[ProviderError]] = {
    400: InvalidRequest,
    401: KeyRefused,
    403: Forbidden,
    404: NotFound,
    408: ProviderUnavailable,
    409: Conflict,
    413: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}


class UnreadableAnswer(NonoError):
    """A 2xx answer whose body is not what the protocol says."""


class IncompleteDownload(NonoError):
    """The connection ended before all bytes came; what came is kept for the next try."""

    transient = True


class BatchError(NonoError):
    """The batch, not the call, is the problem."""

    def __init__(self, message: str, *, batch_id: str, state: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.batch_id = batch_id
        self.state = state


class NotComplete(BatchError):
    """The batch has not ended yet."""

    transient = True


class JobFailed(BatchError):
    """The batch ended without answers; `details` is the provider's own error object."""

    def __init__(
        self,
        message: str,
        *,
        batch_id: str,
        state: str | None = None,
        details: Any = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, batch_id=batch_id, state=state, hint=hint)
        self.details = details


class NoDestination(BatchError):
    """The batch ended and names no place for its answers."""


class AnswersElsewhere(BatchError):
    """The answers are not inline; `place` names where they are."""

    def __init__(self, message: str, *, batch_id: str, place: str, hint: str | None = None) -> None:
        super().__init__(message, batch_id=batch_id, hint=hint)
        self.place = place


class FileOutput(AnswersElsewhere):
    """The answers are in a file of the provider."""


class GcsOutput(AnswersElsewhere):
    """The answers are in Cloud Storage."""


class BigQueryOutput(AnswersElsewhere):
    """The answers are in a table of BigQuery."""


class WaitTimeout(NonoError, TimeoutError):
    """The wait was given up; the batch goes on. `last` is the batch as it was last seen."""

    def __init__(self, message: str, *, last: Any, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.last = last
