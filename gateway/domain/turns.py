"""A turn: our unit of work on a conversation, from collecting its mail to the posted reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.domain.messages import ConversationKey, InboundMessage, RunId, ThreadId


class Phase(StrEnum):
    """How far a turn has come; written before and after everything that changes something outside."""

    COLLECTED = "collected"
    """The batch is fixed; the run may or may not have been created (`Turn.run_intended`)."""
    RUNNING = "running"
    """The run exists and its id is stored."""
    REPLYING = "replying"
    """The reply's parts are stored in the delivery ledger; posting goes on."""


class WhileRunning(StrEnum):
    """What becomes of a message that comes in while the turn's run is active (`[conversations] while_running`)."""

    QUEUE = "queue"
    """It waits; the next turn takes all that waits."""
    STEER = "steer"
    """The run is cancelled, and a new one answers the old messages and the new one together."""
    INTERRUPT = "interrupt"
    """As steer, and parts of a reply that are not posted yet are dropped."""
    REJECT = "reject"
    """It is not taken, and its author is told so."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one conversation until it ends or is renewed."""

    conversation: ConversationKey
    fence: str
    """Redis's own time at acquisition; every write carries it, an old one is refused."""
    owner: str
    """A nonce of the acquiring call, so that a repeated acquire finds its own lease."""


@dataclass(slots=True)
class Turn:
    """The stored state of a turn, as acquire hands it out; the worker's copy, written back by `step`."""

    id: str
    """Short public id, told to users on failure."""
    key: str
    """Idempotency key: "<conversation>#<first event id>"; names this turn at the backend and at the platform."""
    lease: Lease
    batch: list[InboundMessage]
    taken_ms: int = 0
    """Redis's time when this worker took the turn."""
    phase: Phase = Phase.COLLECTED
    thread: ThreadId | None = None
    run: RunId | None = None
    run_intended: bool = False
    """A create-run call may have been sent: look for our run before creating one."""
    started_ms: int = 0
    """Redis's time when the run was created; the turn's time limit counts from here."""
    failing_since_ms: int = 0
    """Redis's time of the first failed call in a row; 0 while all is well."""
    failures: int = 0
    """Failed calls in a row, for the backoff."""
    rounds: int = 0
    """Rounds of tool calls so far."""
    tries: int = 0
    """How often the turn was taken up without coming to its end."""
    parts: list[str] = field(default_factory=list)
    """Rendered parts (OutboundPart JSON), fixed when phase becomes REPLYING."""
    outcome: str = ""
    """How the run ended, in one word; fixed together with the parts."""
    posted: dict[int, str] = field(default_factory=dict)
    """Part number → the platform's message id."""
    part_intended: int = -1
    """The part a post call may have been sent for; -1 none."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Tool call id → output, kept so that a crash never runs a finished tool again."""
    intended_calls: set[str] = field(default_factory=set)
    """Tool calls that were started; one without an output after a crash has an unknown outcome."""
    stop_requested: bool = False
    sent: int = 0
    """How many messages of the batch an earlier, cancelled run of this turn has put into the thread (steer)."""
    steering: bool = False
    """The run is being cancelled so that newer messages join the turn."""
    suspicious: bool = False
    """Redis was restarted within the last minutes and may remember less than was done: look before every act."""
    passed_over: RunId | None = None
    """The run that a replayed dead letter came from: unless it was completed after all, a new one is made. "": of a
    replay, too, but nobody lived to write down which run it was."""
    notices: set[str] = field(default_factory=set)
    """Names of one-time notices already sent to the user in this turn."""

    @property
    def conversation(self) -> ConversationKey:
        """The conversation this turn belongs to."""
        return self.lease.conversation

    @property
    def fresh(self) -> list[InboundMessage]:
        """The messages that the turn's present run brings into the thread."""
        return self.batch[self.sent :]

    @property
    def run_key(self) -> str:
        """Idempotency key of the turn's present run: "<conversation>#<first event id it brings>"."""
        return f"{self.conversation}#{self.fresh[0].event_id}"

    @property
    def first(self) -> InboundMessage:
        """The message that opened the batch."""
        return self.batch[0]

    @property
    def last(self) -> InboundMessage:
        """The newest message of the batch: the reply goes where it was asked."""
        return self.batch[-1]
