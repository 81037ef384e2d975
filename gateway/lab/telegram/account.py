"""Bot API methods about the bot itself: who it is, its updates, webhook, commands, files, button presses."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from gateway.lab.arguments import Arguments
from gateway.lab.feed import Json
from gateway.lab.telegram.errors import Refusal, bad_request
from gateway.lab.telegram.updates import Conflict, Updates
from gateway.lab.telegram.world import Chat, TelegramWorld

MAX_BATCH = 100
MAX_WAIT_S = 50
MAX_COMMANDS = 100
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
_COMMAND = re.compile(r"[a-z0-9_]{1,32}")


class AccountMethods:
    """Each public method is one Bot API method: Arguments → result. All raise Refusal."""

    def __init__(self, world: TelegramWorld, updates: Updates) -> None:
        self._world, self._updates = world, updates
        self.open_queries: dict[str, Chat] = {}
        """Callback queries that wait for answerCallbackQuery, and where their button is."""

    async def get_me(self, args: Arguments) -> Json:
        """getMe; privacy mode is on."""
        can = {
            "can_join_groups": True,
            "can_read_all_group_messages": False,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }
        return self._world.bot | can

    async def get_updates(self, args: Arguments) -> list[Json]:
        """getUpdates, with long polling up to 50 s."""
        limit = args.integer("limit") or MAX_BATCH
        timeout = args.integer("timeout") or 0
        try:
            return await self._updates.get(
                args.integer("offset") or 0,
                min(max(limit, 1), MAX_BATCH),
                min(max(timeout, 0), MAX_WAIT_S),
                _kinds(args),
            )
        except Conflict as error:
            raise Refusal(409, f"Conflict: {error}") from None

    async def set_webhook(self, args: Arguments) -> bool:
        """setWebhook; plain http is taken for loopback addresses only, any port."""
        url, secret = args.text("url").strip(), args.text("secret_token")
        if not url:
            return await self.delete_webhook(args)
        target = urlsplit(url)
        if target.scheme not in {"http", "https"} or not target.hostname:
            raise bad_request("bad webhook: invalid webhook URL specified")
        if target.scheme == "http" and target.hostname not in LOOPBACK:
            raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
        if secret and not _SECRET.fullmatch(secret):
            raise bad_request("secret token contains unallowed characters")
        connections = args.integer("max_connections") or 40
        if not 1 <= connections <= 100:
            raise bad_request("max_connections must be 1-100")
        self._updates.allow(_kinds(args))
        if args.flag("drop_pending_updates"):
            self._updates.drop_pending()
        self._updates.set_webhook(url, secret, connections)
        return True

    async def delete_webhook(self, args: Arguments) -> bool:
        """deleteWebhook."""
        if args.flag("drop_pending_updates"):
            self._updates.drop_pending()
        self._updates.delete_webhook()
        return True

    async def get_webhook_info(self, args: Arguments) -> Json:
        """getWebhookInfo."""
        return self._updates.view()

    async def set_my_commands(self, args: Arguments) -> bool:
        """setMyCommands, per scope and language."""
        commands = args.structure("commands")
        if not isinstance(commands, list):
            raise bad_request("can't parse commands: expected an Array of BotCommand")
        if len(commands) > MAX_COMMANDS:
            raise bad_request("BOT_COMMANDS_TOO_MUCH")
        for command in commands:
            if not isinstance(command, dict) or not _COMMAND.fullmatch(str(command.get("command", ""))):
                raise bad_request("BOT_COMMAND_INVALID")
            if not 1 <= len(str(command.get("description", ""))) <= 256:
                raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
        self._world.commands[_scope(args)] = commands
        return True

    async def get_my_commands(self, args: Arguments) -> list[Json]:
        """getMyCommands."""
        return self._world.commands.get(_scope(args), [])

    async def answer_callback_query(self, args: Arguments) -> bool:
        """answerCallbackQuery: once per query."""
        if len(args.text("text")) > 200:
            raise bad_request("MESSAGE_TOO_LONG")
        query = args.text("callback_query_id")
        chat = self.open_queries.pop(query, None)
        if chat is None:
            raise bad_request("query is too old and response timeout expired or query ID is invalid")
        self._world.tell(chat, "answered", query=query, text=args.text("text"))
        return True

    async def get_file(self, args: Arguments) -> Json:
        """getFile."""
        stored = self._world.files.get(args.text("file_id"))
        if stored is None:
            raise bad_request("wrong file_id or the file is temporarily unavailable")
        path, content = stored
        file_id = args.text("file_id")
        return {"file_id": file_id, "file_unique_id": file_id, "file_size": len(content), "file_path": path}

    async def log_out(self, args: Arguments) -> bool:
        """logOut; here without effect."""
        return True

    async def close(self, args: Arguments) -> bool:
        """close; here without effect."""
        return True


def _kinds(args: Arguments) -> list[str] | None:
    kinds: Any = args.structure("allowed_updates")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        raise bad_request("can't parse allowed_updates: expected an Array of String")
    return kinds


def _scope(args: Arguments) -> str:
    scope = args.structure("scope") or {}
    if not isinstance(scope, dict):
        raise bad_request("can't parse BotCommandScope")
    place = (str(scope.get(name, "")) for name in ("type", "chat_id", "user_id"))
    return ":".join((*place, args.text("language_code"))).replace("default", "")
