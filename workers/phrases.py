"""What threadway itself says in a chat: one honest sentence each, with the turn's id where something went wrong."""

from __future__ import annotations

from gateway.domain.messages import Command, Refusal

HELP = (
    "I am an assistant; write to me and I answer.\n\n"
    "- `/new` starts a new conversation, the old one is put away\n"
    "- `/stop` stops the answer I am working on\n"
    "- `/last` shows my last answer again\n"
    "- `/help` shows this list\n\n"
    "On Slack write `!new`, `!stop`, `!last` and `!help` instead. In groups and channels mention me or reply to me."
)
COMMANDS = {
    Command.START: "Hello! " + HELP,
    Command.HELP: HELP,
    Command.NEW: "A new conversation begins. I no longer see what we said before.",
    Command.STOP: "There is nothing to stop.",
    Command.PAIRED: "You are paired, welcome! " + HELP,
}
REFUSALS = {
    Refusal.NOT_LISTED: (
        "Sorry, I may not talk with you here. Whoever runs me can let you in, and needs your id for it: `{person}`."
    ),
    Refusal.NOT_PAIRED: (
        "Sorry, I do not know you yet. Ask whoever runs me for a pairing code (`threadway pair` prints one) "
        "and send it to me in a direct message. Your id is `{person}`."
    ),
    Refusal.WRONG_CODE: (
        "Sorry, this code does not work: each works once, within ten minutes. Please ask for a new one."
    ),
    Refusal.TOO_MANY_CODES: "Sorry, that was one wrong code too many. Please try again in an hour, with a new code.",
}
STOPPED = "Stopped."
ENDINGS = {
    "failed": "Sorry, the assistant could not finish this answer (turn {turn}). Please try again.",
    "rate_limited": "Sorry, the assistant's model is over its limit right now (turn {turn}). Please try again later.",
    "expired": "Sorry, this answer took longer than the assistant's time limit and has expired (turn {turn}).",
    "cancelled": "This answer was cancelled (turn {turn}).",
    "incomplete": "The answer ends here because it reached its length limit (turn {turn}).",
    "filtered": "The answer ends here because the model's content filter stopped it (turn {turn}).",
    "timeout": "Sorry, this answer took too long and was stopped (turn {turn}). Please try again.",
    "rounds": "Sorry, the assistant asked for tools too many times and was stopped (turn {turn}).",
    "refused": "Sorry, the assistant is not set up correctly and refused this message (turn {turn}).",
    "poison": "Sorry, this message could not be processed; it was put aside for the operator (turn {turn}).",
    "empty": "The assistant gave an empty answer (turn {turn}). Please try again.",
}
WAITING = "I cannot reach my assistant right now. Your message is kept and will be answered (turn {turn})."
UNSURE = (
    "I was interrupted while sending and cannot see whether everything above arrived (turn {turn}). "
    "If something is missing, /last shows it again."
)
SHOW_AGAIN = "Show again"
NOTHING_KEPT = "There is no such answer to show again; I keep the last one for a day."
REJECTED = (
    "I am still working on your earlier message and did not take this one. "
    "Please send it again when I have answered, or /stop me first."
)
FORGOT = "(My record of our earlier conversation is gone, so I begin anew.)"


def refusal(reason: str, person: str) -> str:
    """What somebody is told who is not let in; `reason` is a Refusal, or one that a newer gateway knows."""
    known = Refusal(reason) if reason in frozenset(Refusal) else Refusal.NOT_LISTED
    return REFUSALS[known].format(person=person)
