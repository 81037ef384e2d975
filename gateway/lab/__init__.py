"""The lab: Telegram and Slack on this machine, and the page to chat through both.

Real python-telegram-bot and slack-bolt code talks to it, in the demo as in tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from gateway.domain.pacing import Clock
from gateway.lab import page
from gateway.lab.background import Background
from gateway.lab.control import Control
from gateway.lab.courier import Courier
from gateway.lab.faults import Faults
from gateway.lab.feed import Feed
from gateway.lab.guard import Guard
from gateway.lab.slack.chat import ChatMethods
from gateway.lab.slack.events import Events
from gateway.lab.slack.http import SlackHttp
from gateway.lab.slack.people import SlackPeople
from gateway.lab.slack.reading import ReadMethods
from gateway.lab.slack.sender import RETRY_AFTER_S, Sender
from gateway.lab.slack.socket import Sockets
from gateway.lab.slack.world import SlackWorld
from gateway.lab.telegram.account import AccountMethods
from gateway.lab.telegram.http import TelegramHttp
from gateway.lab.telegram.messages import MessageMethods
from gateway.lab.telegram.people import TelegramPeople
from gateway.lab.telegram.updates import Updates
from gateway.lab.telegram.world import TelegramWorld
from gateway.lab.trace import Traces, TraceSource

__all__ = ["Lab", "TraceSource"]


class Lab:
    """Both platforms with one bot on each, an invented world, fault switches and a control API.

    All state is in memory and gone with the process. To be mounted at /lab of `public_url`:

    - Telegram Bot API: TELEGRAM_API_BASE_URL = {public_url}/lab/telegram
    - Slack Web API: SLACK_API_BASE_URL = {public_url}/lab/slack/api/
    - Slack events go to `slack_events_url` (default {public_url}/slack/events; several: in turn) or, once the app has
      asked for a connection, over Socket Mode; a refused one comes again after each of `slack_retry_after_s`
    - page at {public_url}/lab/, control API under {public_url}/lab/api (`gateway.lab.client.LabClient` speaks it)

    Lives on one event loop. `telegram_token` is "<bot id>:<secret>", as from BotFather (else ValueError). Without
    `password` only loopback clients get in; with one, the page and the control API want it by HTTP Basic (any user
    name).
    """

    def __init__(
        self,
        public_url: str,
        clock: Clock,
        telegram_token: str,
        slack_bot_token: str,
        slack_signing_secret: str,
        slack_app_token: str,
        trace: TraceSource | None = None,
        *,
        slack_events_url: str | Sequence[str] | None = None,
        slack_retry_after_s: Sequence[float] = RETRY_AFTER_S,
        password: str | None = None,
        seed: int = 0,
    ) -> None:
        if password == "":
            raise ValueError("an empty password is no password: leave it out")  # never fall open in silence
        public_url = public_url.rstrip("/")
        self._public_url, self._password = public_url, password
        self._trace_source, self._started = trace, False
        self._feed, self._background, self._courier = Feed(), Background(), Courier(clock)
        self._traces, self._sockets = Traces(self._feed, clock), Sockets()
        faults = Faults(seed)

        telegram = TelegramWorld(clock, self._feed, bot_id=int(telegram_token.partition(":")[0]))
        self._updates = Updates(clock, faults, self._courier, self._background)
        account = AccountMethods(telegram, self._updates)
        telegram_people = TelegramPeople(telegram, self._updates, account, self._traces)
        telegram_http = TelegramHttp(
            telegram_token, telegram, account, MessageMethods(telegram, self._traces), faults, clock
        )

        slack = SlackWorld(clock, self._feed)
        urls = slack_events_url or f"{public_url}/slack/events"
        sender = Sender(
            [urls] if isinstance(urls, str) else urls,
            slack_signing_secret,
            clock,
            faults,
            self._courier,
            self._sockets,
            self._background,
            slack_retry_after_s,
        )
        events = Events(slack, sender)
        slack_people = SlackPeople(slack, events, sender, self._traces, public_url)
        slack_http = SlackHttp(
            slack_bot_token,
            slack_app_token,
            ChatMethods(slack, events, self._traces),
            ReadMethods(slack, self._sockets, public_url),
            slack_people,
            faults,
            clock,
        )

        self._traces.locators |= {"telegram": telegram.locate, "slack": slack.locate}
        control = Control(
            (telegram, telegram_people),
            (slack, slack_people, sender, self._sockets),
            faults,
            self._feed,
            self._traces,
            clock,
        )
        self._routes = [*telegram_http.routes(), *slack_http.routes(), *control.routes(), *page.routes()]

    async def start(self) -> None:
        """Begin to follow the trace. May be called twice; needed only where `app()` is mounted, since a mounted
        application's lifespan is not run."""
        if self._trace_source is not None and not self._started:
            self._started = True
            self._background.start(self._traces.pump(self._trace_source))

    async def close(self) -> None:
        """End every open stream and long poll, deliveries and sockets; may be called twice.

        To be called before the HTTP server is asked to stop, which otherwise waits for the open streams.
        """
        self._feed.close()
        self._updates.close()
        await self._background.close()
        await self._sockets.close()
        await self._courier.close()

    def app(self) -> Starlette:
        """The ASGI application, to be mounted at /lab; served alone, it starts and closes the lab itself."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            await self.start()
            yield
            await self.close()

        guard = Middleware(Guard, public_url=self._public_url, password=self._password)
        middleware = [Middleware(page.PageHeaders), guard]
        return Starlette(routes=self._routes, middleware=middleware, lifespan=lifespan)
