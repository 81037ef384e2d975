"""Telegram's messages → InboundMessage, their edits → Amendment. Pure: no network, no clock, no state.

Wire facts: Bot API 10.0, https://core.telegram.org/bots/api (Update, Message, MessageEntity; offsets are UTF-16 units).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from telegram import Chat, Message, MessageEntity, User
from telegram.constants import ChatType

from gateway.domain.commands import Order, parse_order
from gateway.domain.messages import Amendment, Attachment, Command, InboundMessage
from gateway.telegram.address import Address, origin

_TELEGRAM_ITSELF = 777000
"""Author of the posts that a linked channel forwards into its discussion group."""
_GROUPS = (ChatType.GROUP, ChatType.SUPERGROUP)
_PERHAPS_CUT_UTF16 = 4000
"""Telegram's clients send a longer text as several messages of up to 4096 units each, cut at a space or line end."""


@dataclass(frozen=True, slots=True)
class BotIdentity:
    """Who we are, as getMe says; needed to know when a group speaks to us."""

    id: int
    username: str

    def is_named(self, name: str) -> bool:
        """Whether `name` (no @) is ours; user names are case-insensitive."""
        return name.lower() == self.username.lower()


def normalise(message: Message, update_id: int, me: BotIdentity) -> InboundMessage | None:
    """The question or command in `message`, None where there is nothing for us to answer.

    None: channel posts, business messages; service messages (members, pins, migration to a supergroup); other bots; in
    groups whatever neither mentions, answers nor commands us.
    """
    author = _author(message)
    if author is None or not talks_with_us(message.chat):
        return None
    in_group = is_group(message.chat)
    written, mentioned = _without_mention(message, me)
    order = parse_order(written, "/")
    if order is not None and order.addressee and not me.is_named(order.addressee):
        if in_group:
            return None  # another bot's command
        order = None  # nobody else is there to obey: it is text
    if in_group and not (mentioned or _answers_us(message, me) or _commands_us(order)):
        return None
    text = _without_our_name(written, order)
    attachments = _attachments(message)
    if not (text or attachments or mentioned):
        return None  # a service message, or content that has no words: dice, games, gifts
    author_id, author_name = author
    address = address_of(message, me)
    command = order.command if order is not None else None
    if not (text or attachments):
        command = Command.HELP  # called by name and nothing more: an empty question would fail at every backend
    return InboundMessage(
        conversation=address.key,
        dedupe_keys=(f"{me.id}:{update_id}",),
        text=text,
        author_id=author_id,
        author_name=author_name,
        language=language_of(message.from_user),
        command=command,
        argument=order.argument if order is not None and order.command is not None else "",
        attachments=attachments,
        message_id=str(message.message_id),
        reply_to=address.reply_to,
        sent_ms=int(message.date.timestamp() * 1000),
        order=number(message.message_id),
        more_follows=message.media_group_id is not None or _length_utf16(message.text or "") >= _PERHAPS_CUT_UTF16,
        origin=origin(author_id, message.chat.id, direct=not in_group),
    )


def amend(message: Message, update_id: int, me: BotIdentity) -> Amendment | None:
    """The new text of an edited `message`; None where there is none, or where its author is nobody we listen to.

    In a group this is asked for less than of a message: an edit may take our name out, and only what waits is changed.
    The revision is the update's number, which grows with each update of a bot (Bot API, Update): edit_date has whole
    seconds, in which two edits fit.
    """
    author = _author(message)
    if author is None or not talks_with_us(message.chat):
        return None
    if message.text is None and message.caption is None:
        return None  # a live location moves, a picture was exchanged: no words that could replace others
    text, _ = _without_mention(message, me)
    order = parse_order(text, "/")
    if order is not None and order.addressee and me.is_named(order.addressee):
        text = _without_our_name(text, order)
    if not (text or _attachments(message)):
        return None  # nothing is left but our name: the question stays as it was, an empty one fails everywhere
    said_by = origin(author[0], message.chat.id, direct=not is_group(message.chat))
    return Amendment(address_of(message, me).key, str(number(message.message_id)), text, update_id, said_by)


def talks_with_us(chat: Chat) -> bool:
    """Whether it is a chat in which we answer at all."""
    return chat.type == ChatType.PRIVATE or is_group(chat)


def is_group(chat: Chat) -> bool:
    """Whether several people may talk there."""
    return chat.type in _GROUPS


def address_of(message: Message, me: BotIdentity) -> Address:
    """Where `message` stands, and where its answer goes."""
    # A plain reply in a supergroup carries message_thread_id too: only is_topic_message makes it a topic.
    topic = number(message.message_thread_id) if message.is_topic_message else None
    in_group = is_group(message.chat)
    return Address(
        bot_id=me.id,
        chat_id=number(message.chat.id),
        topic=topic,
        answers=number(message.message_id) if in_group else None,
        general=in_group and bool(message.chat.is_forum) and topic is None,
    )


def _without_our_name(text: str, order: Order | None) -> str:
    """`text`, but of an assistant's own word ("/ask@our_bot how?") our name is taken out."""
    if order is None or not order.addressee or order.command is not None:
        return text
    return f"/{order.word} {order.argument}".rstrip()


def _author(message: Message) -> tuple[str, str] | None:
    """(id, name) of who wrote it: a user, or the chat an anonymous admin or a channel speaks as; None for others."""
    if message.business_connection_id is not None:
        return None  # a customer of the account that connected us, not somebody who talks to us
    if message.is_automatic_forward or (message.from_user and message.from_user.id == _TELEGRAM_ITSELF):
        return None
    if message.sender_chat is not None:
        # from_user is a stand-in bot shared by all of Telegram (1087968824): never an identity
        return f"chat:{number(message.sender_chat.id)}", clean(message.sender_chat.effective_name or "")
    if message.from_user is None or message.from_user.is_bot:
        return None
    return str(number(message.from_user.id)), clean(message.from_user.full_name)


def _without_mention(message: Message, me: BotIdentity) -> tuple[str, bool]:
    """The text or caption without our own name, and whether it named us."""
    if message.text is not None:
        written, entities = message.text, message.entities
    elif message.caption is not None:
        written, entities = message.caption, message.caption_entities
    else:
        return _said_without_text(message), False
    units = written.encode("utf-16-le", "surrogatepass")
    mentioned = False
    for entity in sorted(entities, key=lambda e: e.offset, reverse=True):  # from the end: earlier offsets stay right
        start, end = entity.offset * 2, (entity.offset + entity.length) * 2
        if not _names_us(entity, units[start:end].decode("utf-16-le", "replace"), me):
            continue
        mentioned = True
        before, after = units[:start], units[end:]
        if after.startswith(b" \0") and (not before or before.endswith((b" \0", b"\n\0"))):
            after = after[2:]  # "hey @bot please" becomes "hey please", not "hey  please"
        units = before + after
    return clean(units.decode("utf-16-le", "replace")).strip(), mentioned


def _names_us(entity: MessageEntity, written: str, me: BotIdentity) -> bool:
    if entity.type == MessageEntity.MENTION:
        return me.is_named(written.removeprefix("@"))
    return entity.type == MessageEntity.TEXT_MENTION and entity.user is not None and entity.user.id == me.id


def _answers_us(message: Message, me: BotIdentity) -> bool:
    """Whether it replies to a message of ours. In a topic everything "replies" to its root, which says nothing."""
    replied = message.reply_to_message
    if replied is None or replied.from_user is None or replied.from_user.id != me.id:
        return False
    return not (message.is_topic_message and replied.message_id == message.message_thread_id)


def _commands_us(order: Order | None) -> bool:
    """Whether it is a command for us. One without a name is ours only if we know it: groups have many bots."""
    return order is not None and (bool(order.addressee) or order.command is not None)


def _length_utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _said_without_text(message: Message) -> str:
    """Words for content that is neither text nor file but can be said in words."""
    if message.sticker is not None:
        return clean(message.sticker.emoji or "")
    if message.location is not None:
        return f"📍 {message.location.latitude}, {message.location.longitude}"
    if message.contact is not None:
        names = (message.contact.first_name, message.contact.last_name, message.contact.phone_number)
        return clean(" ".join(filter(None, names)))
    return ""


def _attachments(message: Message) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    if message.photo:
        largest = message.photo[-1]  # Telegram lists the sizes of one picture in ascending order
        found.append(Attachment("image", largest.file_id, mime="image/jpeg", size_bytes=largest.file_size))
    if message.voice:
        found.append(_file("voice", message.voice))
    if message.audio:
        found.append(_file("audio", message.audio))
    for video in (message.video, message.video_note):
        if video:
            found.append(_file("video", video))
    if message.document:  # an animation arrives as a document too, for clients that know no animations
        found.append(_file("document", message.document))
    return tuple(found)


def _file(kind: str, file: object) -> Attachment:
    """An Attachment from any of the library's file classes; which of name, type and size exist differs by class."""
    fields: Mapping[str, object] = {
        name: getattr(file, name, None) for name in ("file_id", "file_name", "mime_type", "file_size")
    }
    size = fields["file_size"]
    return Attachment(
        kind=kind,
        file_id=str(fields["file_id"]),
        name=clean(str(fields["file_name"] or "")),
        mime=clean(str(fields["mime_type"] or "")),
        size_bytes=size if isinstance(size, int) else None,
    )


def language_of(user: User | None) -> str:
    """The language of somebody's client, "" where it is not told."""
    return clean(str(user.language_code or "")) if user else ""


def number(value: int | None) -> int:
    """`value`, which the library has not looked at: nothing but a whole number may get into a key or an order. Raises
    TypeError for anything else."""
    if type(value) is not int:
        raise TypeError("an id that is no number")
    return value


def clean(text: str) -> str:
    """`text` without what JSON may carry but neither Redis nor SQL can store: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
