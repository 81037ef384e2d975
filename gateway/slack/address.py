"""Where a Slack message belongs: the key "slack:<team>:<channel>:<root or ->", which nobody else takes apart."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.messages import ConversationKey, Destination, Origin

_NO_ROOT = "-"


@dataclass(frozen=True, slots=True)
class Address:
    """One conversation, as Slack's methods want it."""

    team: str
    channel: str
    root: str | None = None
    """ts of the message that opens the thread; None is a direct message that is one conversation as a whole."""

    @classmethod
    def of_message(cls, team: str, channel: str, ts: str, thread_ts: str | None, *, opens: bool) -> Address:
        """Where a message belongs: to its thread; at top level to one of its own if it `opens` one.

        A message that has replies names itself as its thread, from the first reply on.
        """
        inside = thread_ts if thread_ts != ts else None
        return cls(team, channel, inside or (ts if opens else None))

    @property
    def key(self) -> ConversationKey:
        """The conversation's key."""
        return ConversationKey(f"slack:{self.team}:{self.channel}:{self.root or _NO_ROOT}")

    @classmethod
    def of(cls, to: Destination) -> Address:
        """Read a destination; its `reply_to` is the thread. Raises ValueError for one that we did not make."""
        name, team, channel, root = to.conversation.split(":")
        if name != "slack" or not (team and channel and root):
            raise ValueError(f"not a Slack conversation: {to.conversation}")
        return cls(team, channel, to.reply_to or (None if root == _NO_ROOT else root))


def origin(team: str, channel: str, user: str, *, guest: bool = False, addressed: bool = True) -> Origin:
    """Who says something and where, for access rules.

    `guest`: somebody of another workspace, in a channel shared with it: who lets this workspace in does not mean them.
    A group DM is a channel.
    """
    places = (f"slack:channel:{team}:{channel}", *(() if guest else (f"slack:team:{team}",)))
    return Origin(f"slack:user:{team}:{user}", places, direct=channel.startswith("D"), addressed=addressed)
