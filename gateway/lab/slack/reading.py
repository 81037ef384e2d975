"""Web API methods that read, and apps.connections.open. Source: docs.slack.dev, one page per method."""

from __future__ import annotations

import base64
import binascii

from gateway.lab.arguments import Arguments
from gateway.lab.feed import Json
from gateway.lab.slack.errors import Refusal
from gateway.lab.slack.socket import Sockets
from gateway.lab.slack.world import APP_ID, BOT_ID, BOT_NAME, BOT_USER_ID, TEAM_ID, Channel, Message, SlackWorld

MAX_PAGE = 999
PAGE = 100


class ReadMethods:
    """Each public method is one Web API method: Arguments → the answer's fields. All raise Refusal."""

    def __init__(self, world: SlackWorld, sockets: Sockets, public_url: str) -> None:
        self._world, self._sockets, self._public_url = world, sockets, public_url

    async def auth_test(self, args: Arguments) -> Json:
        """auth.test."""
        return {
            "url": f"{self._public_url}/",
            "team": "Lab",
            "user": BOT_NAME.lower(),
            "team_id": TEAM_ID,
            "user_id": BOT_USER_ID,
            "bot_id": BOT_ID,
            "is_enterprise_install": False,
        }

    async def open_connection(self, args: Arguments) -> Json:
        """apps.connections.open; the caller has checked that the token is the app's."""
        return {"url": await self._sockets.url()}

    async def replies(self, args: Arguments) -> Json:
        """conversations.replies: a thread from its root on, oldest first. `ts` may be any message of the thread."""
        channel = self._channel(args)
        message = channel.messages.get(args.text("ts"))
        if message is None:
            raise Refusal("thread_not_found")
        thread = channel.thread(message.thread_ts or message.ts)
        return self._page(args, channel, thread)

    async def history(self, args: Arguments) -> Json:
        """conversations.history: top-level messages and broadcast replies, newest first."""
        channel = self._channel(args)
        top = [m for m in reversed(channel.messages.values()) if not m.thread_ts or m.broadcast]
        return self._page(args, channel, top)

    async def open_direct(self, args: Arguments) -> Json:
        """conversations.open with one user."""
        users = args.text("users").split(",")
        if len(users) != 1 or users[0] not in self._world.users:
            raise Refusal("user_not_found")
        channel = self._world.channel(users[0])
        if channel is None:
            raise Refusal("cannot_dm_bot")
        return {"channel": channel.wire()}

    async def channel_info(self, args: Arguments) -> Json:
        """conversations.info."""
        return {"channel": self._channel(args, inside=False).wire()}

    async def user_info(self, args: Arguments) -> Json:
        """users.info."""
        user_id = args.text("user")
        name = self._world.users.get(user_id)
        if name is None:
            raise Refusal("user_not_found")
        user = {"id": user_id, "team_id": TEAM_ID, "name": name.split()[0].lower(), "real_name": name}
        profile = {"real_name": name, "display_name": name}
        flags = {"deleted": False, "is_bot": user_id == BOT_USER_ID, "is_app_user": False}
        return {"user": {**user, **flags, "tz": "Europe/Berlin", "tz_offset": 3600, "profile": profile}}

    async def bot_info(self, args: Arguments) -> Json:
        """bots.info."""
        if args.text("bot", BOT_ID) != BOT_ID:
            raise Refusal("bot_not_found")
        return {"bot": {"id": BOT_ID, "deleted": False, "name": BOT_NAME, "app_id": APP_ID, "user_id": BOT_USER_ID}}

    async def team_info(self, args: Arguments) -> Json:
        """team.info."""
        return {"team": {"id": TEAM_ID, "name": "Lab", "domain": "lab", "email_domain": ""}}

    async def publish_view(self, args: Arguments) -> Json:
        """views.publish; the App Home is not shown here."""
        view = args.structure("view")
        if args.text("user_id") not in self._world.users:
            raise Refusal("user_not_found")
        if not isinstance(view, dict) or view.get("type") != "home":
            raise Refusal("invalid_arguments", "[ERROR] view must be a home view")
        return {"view": {**view, "id": "V0LAB0001", "team_id": TEAM_ID, "app_id": APP_ID, "bot_id": BOT_ID}}

    def _channel(self, args: Arguments, *, inside: bool = True) -> Channel:
        channel = self._world.channels.get(args.text("channel"))
        if channel is None:
            raise Refusal("channel_not_found")
        if inside and not channel.bot_inside:
            raise Refusal("not_in_channel")
        return channel

    def _page(self, args: Arguments, channel: Channel, messages: list[Message]) -> Json:
        oldest, latest = args.text("oldest"), args.text("latest")
        inclusive, metadata = args.flag("inclusive"), args.flag("include_all_metadata")
        limit = args.integer("limit") or PAGE
        if not 1 <= limit <= MAX_PAGE:
            raise Refusal("invalid_limit")
        within = [m for m in messages if _inside(m.ts, oldest, latest, inclusive)]
        start = _read_cursor(args.text("cursor"))
        page, rest = within[start : start + limit], within[start + limit :]
        answer: Json = {
            "messages": [self._world.message(channel, m, metadata=metadata) for m in page],
            "has_more": bool(rest),
        }
        if rest:
            answer["response_metadata"] = {"next_cursor": _cursor(start + limit)}
        return answer


def _inside(ts: str, oldest: str, latest: str, inclusive: bool) -> bool:
    try:
        at, least, most = float(ts), float(oldest or 0), float(latest or "inf")
    except ValueError:
        raise Refusal("invalid_ts_oldest" if oldest else "invalid_ts_latest") from None
    return least <= at <= most if inclusive else least < at < most


def _cursor(position: int) -> str:
    return base64.b64encode(f"from:{position}".encode()).decode()


def _read_cursor(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        name, _, position = base64.b64decode(cursor, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal("invalid_cursor") from None
    if name != "from" or not position.isdecimal():
        raise Refusal("invalid_cursor")
    return int(position)
