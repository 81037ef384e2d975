"""Every exception that threadway raises itself. Each leaf answers one question: what do we do now?

ThreadwayError
├── Retryable            wait (retry_after_s if the other side named a time) and try again
│   ├── RateLimited      the other side said "slow down"; retry_after_s is its wish and is honoured in full
│   ├── Unreachable      surely not done: refused connection, DNS, 503 before any effect
│   ├── Ambiguous        perhaps done: time-out, reset, 5xx after sending; look before repeating
│   ├── BackendDown      the backend errs or is away; mail and turn stay stored
│   ├── RecordsDown      the embedded service's database is away (gateway/assistants/errors.py)
│   └── StoreDown        Redis is away, full, loading or read-only; intake answers 503
├── Refused              never repeat; dead letter or tell the user
│   ├── BackendRefused   the backend says no and will say no again
│   │   ├── ThreadGone       the backend does not know the thread (any more): open a new one
│   │   └── AssistantGone    the backend does not know the assistant (any more): create it again
│   ├── DeliveryRefused  the platform will not take this part (bot blocked, chat gone, thread gone)
│   │   └── FormatRefused  the platform will not take this part's markup: send it again as plain text
│   ├── MailUnreadable   stored mail that this version cannot read (gateway/store/turns.py)
│   ├── ApiError         the embedded service's answer to a wrong request (gateway/assistants/errors.py)
│   └── ConversationMoved  the platform renamed the conversation (Telegram group → supergroup)
├── LeaseLost            drop everything at once, someone newer works on it
├── StaleRun             the run moved on without us; look again
├── ToolFailed           the tool's own words, told to the model
├── SettingsInvalid      the start stops; one line per error
└── TokenRefused         a platform refuses our token; the process exits 1
"""


class ThreadwayError(Exception):
    """Root of the tree; catching it catches everything threadway raises on purpose."""


class Retryable(ThreadwayError):
    """Try again later. `retry_after_s` is the other side's wish in seconds, None where it named none."""

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Retryable):
    """The other side said "slow down"."""


class Unreachable(Retryable):
    """The call surely had no effect: it may be repeated as it is."""


class Ambiguous(Retryable):
    """The call may have had its effect: look for it before repeating."""


class BackendDown(Retryable):
    """The backend is away or errs; the turn stays stored and is taken up again."""


class StoreDown(Retryable):
    """Redis cannot take a write now; nothing was stored and nothing may be acknowledged."""


class Refused(ThreadwayError):
    """The answer is no and stays no."""


class BackendRefused(Refused):
    """The backend refuses this request for good (unknown assistant, bad model, bad key)."""


class ThreadGone(BackendRefused):
    """The thread does not exist at the backend (any more)."""


class AssistantGone(BackendRefused):
    """The assistant does not exist at the backend (any more)."""


class DeliveryRefused(Refused):
    """The platform refuses this part for good (bot blocked, chat deleted)."""


class FormatRefused(DeliveryRefused):
    """The platform refuses the markup of this part; the same text goes out as plain text."""


class ConversationMoved(Refused):
    """The platform moved the conversation; `moved_to` is its new key."""

    def __init__(self, moved_to: str) -> None:
        super().__init__(f"conversation moved to {moved_to}")
        self.moved_to = moved_to


class LeaseLost(ThreadwayError):
    """Our right to work on the conversation ended; nothing may be written, called or posted any more."""


class StaleRun(ThreadwayError):
    """The run is not in the state we thought it in; look again."""


class ToolFailed(ThreadwayError):
    """A tool could not do its work; the text is shown to the model, so it holds nothing internal."""


class SettingsInvalid(ThreadwayError):
    """The settings do not hold; `errors` has one line per fault: where, which key, what is wrong, how to right it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class TokenRefused(ThreadwayError):
    """A platform refuses our token; retrying cannot help."""
