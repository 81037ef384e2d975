"""What the service answers when it says no: OpenAI's error envelope, texts as the hosted API wrote them.

The API's clients match these texts by regular expression, because the hosted service left `code` null for most of
them; so the wording is part of the wire format (public reports of each are listed in docs/assistants-api.md). Errors
about a busy thread stay 400, never 409: every official SDK repeats a 409 by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.errors import Refused, Retryable


class ApiError(Refused):
    """One refused request: an HTTP status and the four fields of the `Error` schema. Never repeated as it is."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.type = type

    def body(self) -> dict[str, Any]:
        """The envelope `{"error": {message, type, param, code}}`; all four keys are always there."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class RecordsDown(Retryable):
    """The database is away, full or busy past its time-out; nothing was written, the same call may be repeated."""


def not_found(kind: str, id: str, *, param: str | None = None, status: int = 404) -> ApiError:
    """`kind` is thread, assistant, message, run, run step or model."""
    return ApiError(f"No {kind} found with id '{id}'.", status=status, param=param)


def thread_busy_for_messages(thread_id: str, run_id: str) -> ApiError:
    """A message was added while a run is active."""
    return ApiError(f"Can't add messages to {thread_id} while a run {run_id} is active.")


def thread_busy_for_runs(thread_id: str, run_id: str) -> ApiError:
    """A second run was asked for while one is active."""
    return ApiError(f"Thread {thread_id} already has an active run {run_id}.")


def outputs_mismatch(expected: Sequence[str], got: Sequence[str]) -> ApiError:
    """Tool outputs were missing, unknown or given twice. The lists are shown in Python's notation, as hosted."""
    return ApiError(f"Expected tool outputs for call_ids {list(expected)!r}, got {list(got)!r}")


def outputs_unwanted(status: str) -> ApiError:
    """Tool outputs came for a run that does not wait for them."""
    return ApiError(f'Runs in status "{status}" do not accept tool outputs.')


def cannot_cancel(status: str) -> ApiError:
    """The run is final, or being cancelled already: cancelling is not idempotent on this API."""
    return ApiError(f"Cannot cancel run with status '{status}'.")


def unsupported(param: str, what: str) -> ApiError:
    """A part of the API that this version does not have; `what` is a clause without a full stop."""
    return ApiError(f"{what}.", param=param, code="unsupported_value")
