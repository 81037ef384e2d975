"""What workers do with the bot: post a part, change a posted one, show "typing…".

Wire facts: Bot API 10.0, sendMessage, editMessageText, sendChatAction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from telegram import Bot, MessageEntity, ReplyParameters
from telegram.constants import ChatAction
from telegram.error import TelegramError

from gateway.domain.errors import Ambiguous, DeliveryRefused
from gateway.domain.messages import Destination, OutboundPart
from gateway.telegram.address import Address
from gateway.telegram.buttons import keyboard
from gateway.telegram.failures import not_modified, thread_is_gone, translate

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

_GENERAL_TOPIC = 1
"""sendChatAction is seen in a forum's "General" only under this id, with which sendMessage would be refused."""


class Posting:
    """The outgoing half of the adapter; `post` and `edit` raise what the contract of Adapter says.

    A whole call ends within `call_timeout_s`; connecting is given less than that, so that a call which ends by the
    limit has been sent: Ambiguous.
    """

    def __init__(self, bot: Bot, call_timeout_s: float) -> None:
        self._bot, self._call_timeout_s = bot, call_timeout_s

    async def post(self, to: Destination, part: OutboundPart) -> str:
        """Send one part and return its message_id. A topic that is gone is answered in the chat itself."""
        address = _address(to)
        content = _content(part)
        with self._judged(address):
            async with asyncio.timeout(self._call_timeout_s):
                try:
                    return await self._send(address, part.text, address.topic, content)
                except TelegramError as error:
                    if address.topic is None or not thread_is_gone(error):
                        raise
                    log.warning("telegram.topic.gone", conversation=to.conversation)
                    return await self._send(address, part.text, None, content)

    async def edit(self, to: Destination, platform_id: str, part: OutboundPart) -> None:
        """Make the message `platform_id` read as `part`, buttons included. Idempotent.

        Of a message that is gone, or is none of ours, Telegram says "message to edit not found" or "message can't be
        edited": DeliveryRefused.
        """
        address = _address(to)
        if not platform_id.isdecimal():
            raise DeliveryRefused("not the id of a Telegram message")
        with self._judged(address):
            async with asyncio.timeout(self._call_timeout_s):
                try:
                    await self._bot.edit_message_text(part.text, address.chat_id, int(platform_id), **_content(part))
                except TelegramError as error:
                    if not not_modified(error):
                        raise

    async def working(self, to: Destination) -> None:
        """Show "typing…" for five seconds. Never raises; a failure is worth no more than a debug line."""
        try:
            address = _address(to)
            async with asyncio.timeout(self._call_timeout_s):
                await self._bot.send_chat_action(
                    address.chat_id,
                    ChatAction.TYPING,
                    message_thread_id=_GENERAL_TOPIC if address.general else address.topic,
                )
        except (TelegramError, DeliveryRefused, TimeoutError) as error:
            log.debug("telegram.typing.failed", conversation=to.conversation, kind=type(error).__name__)

    async def _send(self, address: Address, text: str, topic: int | None, content: dict[str, Any]) -> str:
        attached = ReplyParameters(address.answers, allow_sending_without_reply=True) if address.answers else None
        sent = await self._bot.send_message(
            address.chat_id, text, message_thread_id=topic, reply_parameters=attached, **content
        )
        return str(sent.message_id)

    @contextmanager
    def _judged(self, address: Address) -> Iterator[None]:
        """Whatever goes wrong inside, in our words."""
        try:
            yield
        except TelegramError as error:
            raise translate(error, address) from error
        except TimeoutError as error:
            raise Ambiguous(f"Telegram: no answer within {self._call_timeout_s:g} s") from error
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise Ambiguous("Telegram: an answer that is no message") from error


def _content(part: OutboundPart) -> dict[str, Any]:
    """What sending and editing have in common."""
    entities = [MessageEntity.de_json(entity) for entity in part.markup.get("entities", ())]
    return {"entities": entities, "reply_markup": keyboard(part.offers)}


def _address(to: Destination) -> Address:
    try:
        return Address.of(to)
    except ValueError as error:
        raise DeliveryRefused(f"not a Telegram conversation: {to.conversation}") from error
