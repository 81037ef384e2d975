"""Offers → inline buttons, pressed buttons → commands. Pure.

Wire facts: Bot API 10.0, InlineKeyboardButton (callback_data: 1-64 bytes) and CallbackQuery (of a message that is gone
or too old only chat and number are told). A client may send any data, so it is believed no more than a text.
"""

from __future__ import annotations

from collections.abc import Sequence

from telegram import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message

from gateway.domain.messages import ORDERS, Command, InboundMessage, Offer
from gateway.telegram.address import Address, origin
from gateway.telegram.normalise import BotIdentity, address_of, clean, is_group, language_of, number, talks_with_us

_OURS = "tw"
_MAX_DATA_BYTES = 64
_MAX_PER_ROW = 8


def keyboard(offers: Sequence[Offer]) -> InlineKeyboardMarkup | None:
    """One row of buttons, None for none. An offer whose argument is too long for a button is left out: a refused button
    would take the text with it."""
    row = [
        InlineKeyboardButton(offer.label, callback_data=data)
        for offer in offers
        if offer.label and len((data := f"{_OURS}:{offer.command}:{offer.argument}").encode()) <= _MAX_DATA_BYTES
    ]
    return InlineKeyboardMarkup([row[:_MAX_PER_ROW]]) if row else None


def read_press(query: CallbackQuery, update_id: int, me: BotIdentity) -> InboundMessage | None:
    """The command behind a pressed button, given where the button is; None for a button that is not ours."""
    ordered = _read_data(query.data or "")
    under = query.message  # None: under an inline message, which we never send
    if ordered is None or under is None or query.from_user.is_bot or not talks_with_us(under.chat):
        return None
    command, argument = ordered
    if isinstance(under, Message):
        if under.business_connection_id is not None:
            return None
        address = address_of(under, me)
    else:
        answers = number(under.message_id) if is_group(under.chat) else None
        address = Address(me.id, number(under.chat.id), answers=answers)
    author_id = str(number(query.from_user.id))
    return InboundMessage(
        conversation=address.key,
        dedupe_keys=(f"{me.id}:{update_id}",),
        text=f"/{command} {argument}".rstrip(),
        author_id=author_id,
        author_name=clean(query.from_user.full_name),
        language=language_of(query.from_user),
        command=command,
        argument=argument,
        reply_to=address.reply_to,
        origin=origin(author_id, under.chat.id, direct=not is_group(under.chat)),
    )


def _read_data(data: str) -> tuple[Command, str] | None:
    ours, _, ordered = clean(data).partition(":")
    word, colon, argument = ordered.partition(":")
    if ours != _OURS or not colon:
        return None
    if word not in ORDERS:
        return None  # of a version of ours that knew more, or somebody's invention
    return Command(word), argument
