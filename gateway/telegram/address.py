"""Where a Telegram message belongs: the conversation key, and what `post` has to know beside it.

The key is "telegram:<bot>:<chat>:<topic or ->"; nobody else takes it apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.messages import ConversationKey, Destination, Origin

_NO_TOPIC = "-"
_GENERAL = "general"


@dataclass(frozen=True, slots=True)
class Address:
    """One place in one chat, as Telegram's methods want it."""

    bot_id: int
    chat_id: int
    topic: int | None = None
    """message_thread_id of a forum or private topic; None is the chat itself or a forum's "General"."""
    answers: int | None = None
    """The message a reply is attached to; set in groups only, where it shows whose question is answered."""
    general: bool = False
    """The place is the "General" topic of a forum, which has its own rule for chat actions."""

    @property
    def key(self) -> ConversationKey:
        """The conversation's key."""
        return ConversationKey(f"telegram:{self.bot_id}:{self.chat_id}:{self.topic or _NO_TOPIC}")

    @property
    def reply_to(self) -> str:
        """What the key does not say, for `Destination.reply_to`; `Address.of` reads it back."""
        marks = [str(self.answers)] if self.answers else []
        return ";".join([*marks, _GENERAL] if self.general else marks)

    @classmethod
    def of(cls, to: Destination) -> Address:
        """Read a destination. Raises ValueError for one that this adapter did not make."""
        name, bot, chat, topic = to.conversation.split(":")
        if name != "telegram":
            raise ValueError(f"not a Telegram conversation: {to.conversation}")
        marks = to.reply_to.split(";")
        return cls(
            bot_id=int(bot),
            chat_id=int(chat),
            topic=None if topic == _NO_TOPIC else int(topic),
            answers=next((int(mark) for mark in marks if mark.isdecimal()), None),
            general=_GENERAL in marks,
        )


def origin(author_id: str, chat_id: int, *, direct: bool) -> Origin:
    """Who says something and where, for access rules; `author_id` as in InboundMessage.

    Who speaks as a chat (an anonymous admin, a channel) is that chat, "telegram:chat:-1001", and no person.
    """
    person = f"telegram:{author_id}" if author_id.startswith("chat:") else f"telegram:user:{author_id}"
    return Origin(person, (f"telegram:chat:{chat_id}",), direct=direct)
