"""Telegram: bots in private chats, groups and topics, by long polling or webhook, on python-telegram-bot."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, TypeVar

import httpx
import structlog
from telegram import Bot
from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from gateway.domain.adapter import Accept, Capabilities, HttpRequest, HttpResponse
from gateway.domain.errors import Retryable, SettingsInvalid, TokenRefused
from gateway.domain.messages import Destination, OutboundPart
from gateway.domain.pacing import Clock, RetryPolicy, SystemClock
from gateway.telegram import webhook
from gateway.telegram.answering import Answering
from gateway.telegram.backlog import Backlog, Spill
from gateway.telegram.failures import translate
from gateway.telegram.normalise import BotIdentity
from gateway.telegram.polling import Leader, Offsets, Poller, Term
from gateway.telegram.posting import Posting
from gateway.telegram.render import render

__all__ = ["BotIdentity", "Leader", "Offsets", "Spill", "TelegramAdapter", "Term"]

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")
T = TypeVar("T")


class TelegramAdapter:
    """One bot. Its id is the number before the colon of its token; its name comes from getMe.

    `leader` and `offsets` are needed to receive, not to post, so workers leave them out. `webhook_url` None means long
    polling; both ways of receiving happen on one replica of many, chosen by `leader`. `spill` is for polling: without
    it a conversation whose inbox is full can hold up all others. Proxies come in by `proxy` alone: the environment is
    not read here.
    """

    name: ClassVar[str] = "telegram"
    capabilities = Capabilities(max_text_utf16=4096, working_every_s=4.0)  # an action is shown for 5 s (Bot API)
    paths: Sequence[str] = (webhook.PATH,)

    def __init__(
        self,
        token: str,
        *,
        api_base_url: str = "https://api.telegram.org",
        webhook_url: str | None = None,
        webhook_secret: str = "",
        leader: Leader | None = None,
        offsets: Offsets | None = None,
        spill: Spill | None = None,
        bot_info: BotIdentity | None = None,
        call_timeout_s: float = 4.0,
        poll_wait_s: int = 25,
        proxy: str | None = None,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Raises SettingsInvalid for a token or webhook that cannot work. Connects to nothing."""
        bot_id, colon, rest = token.partition(":")
        if not (bot_id.isascii() and bot_id.isdecimal() and colon and rest):
            raise SettingsInvalid(["TELEGRAM_BOT_TOKEN: does not look like 123456:ABC-DEF (ask @BotFather)"])
        if webhook_url is not None:
            webhook.check_settings(webhook_url, webhook_secret, api_base_url)
        self.bot_id = int(bot_id)
        self._me = bot_info
        self._webhook_url, self._webhook_secret = webhook_url, webhook_secret
        self._leader, self._offsets, self._spill = leader, offsets, spill
        self._clock, self._retry = clock or SystemClock(), retry or RetryPolicy()
        self._poll_wait_s = poll_wait_s
        self._poller: Poller | None = None
        self._mail_comes_in = False
        self._request = _http(call_timeout_s, proxy)
        self._polling_request = _http(call_timeout_s, proxy)  # a connection of its own: a poll is held open for long
        base = api_base_url.rstrip("/")
        self._bot = Bot(
            token,
            base_url=f"{base}/bot",
            base_file_url=f"{base}/file/bot",
            request=self._request,
            get_updates_request=self._polling_request,
        )
        self._posting = Posting(self._bot, call_timeout_s)
        self._answering = Answering(self._bot, call_timeout_s)

    async def receive(self, accept: Accept) -> None:
        """Poll until cancelled; in webhook mode learn who we are, register the webhook and return.

        Raises TokenRefused; every other failure is retried with backoff. Cancelling loses nothing.
        """
        if self._me is None:
            self._me = await self._until_done("telegram.getme.failed", self._identify)
        if self._leader is None:
            raise TypeError("receiving needs a leader: one replica polls or registers, not all")
        if self._webhook_url is not None:
            await self._until_done("telegram.webhook.failed", self._register)
            self._mail_comes_in = True
            return
        if self._offsets is None:
            raise TypeError("polling needs offsets")
        backlog = Backlog(self._me, accept, self._spill, self._answering.settled)
        self._poller = Poller(
            self._bot, self._me, self._offsets, backlog, clock=self._clock, wait_s=self._poll_wait_s, retry=self._retry
        )
        while True:
            await self._until_done("telegram.lease.failed", self._poll_one_term)

    async def _poll_one_term(self) -> None:
        assert self._leader is not None
        assert self._poller is not None
        self._mail_comes_in = True  # standing by: another replica brings it in
        async with self._leader.term(f"telegram:{self.bot_id}") as term:
            self._mail_comes_in = False  # now it is the poller who knows
            log.info("telegram.term.begun", bot=self.bot_id)
            await self._poller.run(term)
        log.info("telegram.term.ended", bot=self.bot_id)

    async def _register(self) -> None:
        assert self._leader is not None
        assert self._webhook_url is not None
        async with self._leader.term(f"telegram:{self.bot_id}"):  # replicas that start together take turns
            await webhook.register(self._bot, self._webhook_url, self._webhook_secret)
        log.info("telegram.webhook.registered", bot=self.bot_id)

    async def _identify(self) -> BotIdentity:
        user = await self._bot.get_me()
        return BotIdentity(id=user.id, username=user.username or "")

    async def _until_done(self, event: str, action: Callable[[], Awaitable[T]]) -> T:
        """`action`, repeated with backoff until it works. Raises TokenRefused and what no repetition can help."""
        attempt = 0
        while True:
            try:
                return await action()
            except (TelegramError, Retryable) as error:
                cause = translate(error) if isinstance(error, TelegramError) else error
                if isinstance(cause, TokenRefused):
                    raise cause from error
                wish = cause.retry_after_s if isinstance(cause, Retryable) else None
            wait_s = self._retry.delay(attempt, random.random(), wish)  # noqa: S311 - spreads load, guards nothing
            log.warning(event, bot=self.bot_id, reason=str(cause), kind=type(cause).__name__, wait_s=round(wait_s, 2))
            attempt += 1
            await self._clock.sleep(wait_s)

    async def handle(self, request: HttpRequest, accept: Accept) -> HttpResponse:
        """One webhook call; see `webhook.take`. 404 while we poll: nobody can know the secret of a webhook not set."""
        if self._webhook_url is None:
            return HttpResponse(404)
        return await webhook.take(request, self._me, self._webhook_secret, accept, self._answering.settled)

    def render(self, reply: str) -> Sequence[OutboundPart]:
        """Markdown → parts of text and entities; see the contract."""
        return render(reply)

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        """Send one part; see the contract. Telegram takes no idempotency key, so `key` stays with us."""
        return await self._posting.post(to, part)

    async def edit(self, to: Destination, platform_id: str, part: OutboundPart) -> None:
        """Make a posted message read as `part`; see the contract."""
        await self._posting.edit(to, platform_id, part)

    async def working(self, to: Destination) -> None:
        """Show "typing…" for five seconds. Never raises; a failure is worth no more than a debug line."""
        await self._posting.working(to)

    def healthy(self) -> bool:
        """Whether mail can come in: polls succeed, or another replica polls, or the webhook is registered."""
        return self._mail_comes_in or (self._poller is not None and self._poller.reachable)

    async def close(self) -> None:
        """Give back the connections. Safe to call twice, and without any use before."""
        await self._answering.close()
        await self._request.shutdown()
        await self._polling_request.shutdown()


def _http(call_timeout_s: float, proxy: str | None) -> HTTPXRequest:
    """An HTTP client whose waits for a connection sum up to less than the whole call may take."""
    return HTTPXRequest(
        connection_pool_size=256,
        connect_timeout=call_timeout_s * 0.35,  # counts twice: TCP, then TLS
        pool_timeout=call_timeout_s * 0.2,
        read_timeout=call_timeout_s,
        write_timeout=call_timeout_s,
        proxy=httpx.Proxy(proxy) if proxy else None,
        httpx_kwargs={"trust_env": False},
    )
