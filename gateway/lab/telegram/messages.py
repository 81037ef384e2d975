"""Bot API methods about messages: send, edit, delete, react, show typing. Source: Bot API, one section per method."""

from __future__ import annotations

from typing import Any

from gateway.lab.arguments import Arguments, File
from gateway.lab.feed import Json
from gateway.lab.telegram.errors import Refusal, bad_request
from gateway.lab.telegram.markup import check_markup
from gateway.lab.telegram.text import MAX_TEXT_UTF16, BadText, check_text
from gateway.lab.telegram.world import Chat, Post, TelegramWorld
from gateway.lab.trace import Place, Traces

MAX_CAPTION_UTF16 = 1024
MAX_PHOTO_BYTES = 10 << 20
GENERAL_TOPIC = 1
ACTIONS = {
    "typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice", "upload_document",
    "choose_sticker", "find_location", "record_video_note", "upload_video_note",
}  # fmt: skip


class MessageMethods:
    """Each public method is one Bot API method: Arguments → result. All raise Refusal."""

    def __init__(self, world: TelegramWorld, traces: Traces) -> None:
        self._world, self._traces = world, traces

    async def send_message(self, args: Arguments) -> Json:
        """sendMessage."""
        text, entities = _text(args, "text", "entities", MAX_TEXT_UTF16)
        return self._send(args, text, entities)

    async def send_photo(self, args: Arguments) -> Json:
        """sendPhoto; the picture's size is not looked at."""
        file = _file(args, "photo")
        if len(file.content) > MAX_PHOTO_BYTES:
            raise bad_request("PHOTO_INVALID_DIMENSIONS")
        stored = self._store(file, "photos")
        return self._send_media(args, {"photo": [{**stored, "width": 320, "height": 240}]})

    async def send_document(self, args: Arguments) -> Json:
        """sendDocument."""
        file = _file(args, "document")
        stored = {**self._store(file, "documents"), "file_name": file.name, "mime_type": file.mime}
        return self._send_media(args, {"document": stored})

    async def edit_message_text(self, args: Arguments) -> Json:
        """editMessageText; only the bot's own messages."""
        chat = self._chat(args)
        post = _post(args, chat, "message to edit not found")
        if not post.by_bot or post.media:
            raise bad_request("message can't be edited")
        text, entities = _text(args, "text", "entities", MAX_TEXT_UTF16)
        markup = check_markup(args.structure("reply_markup"))
        if (text, entities, markup) == (post.text, post.entities, post.reply_markup):
            raise bad_request(
                "message is not modified: specified new message content and reply markup are exactly the same "
                "as a current content and reply markup of the message"
            )
        post.text, post.entities, post.reply_markup = text, entities, markup
        post.edited_ms = self._world.now_ms()
        self._world.changed(chat, post)
        return self._world.message(chat, post)

    async def delete_message(self, args: Arguments) -> bool:
        """deleteMessage; in groups only the bot's own (it is no administrator here)."""
        chat = self._chat(args)
        post = _post(args, chat, "message to delete not found")
        if not post.by_bot and chat.kind != "private":
            raise bad_request("message can't be deleted")
        self._world.remove(chat, post)
        return True

    async def send_chat_action(self, args: Arguments) -> bool:
        """sendChatAction; General's thread id 1 is accepted here, unlike in sendMessage."""
        chat = self._chat(args)
        if args.text("action") not in ACTIONS:
            raise bad_request("wrong parameter action in request")
        topic = self._topic(args, chat, general_too=True)
        self._world.tell(chat, "typing", thread=str(topic or ""), action=args.text("action"))
        return True

    async def send_message_draft(self, args: Arguments) -> bool:
        """sendMessageDraft (Bot API 9.3): private chats only, an empty text shows that the bot thinks."""
        chat = self._chat(args)
        if chat.kind != "private":
            raise bad_request("the method is available only in private chats")
        if not args.integer("draft_id"):
            raise bad_request("draft_id must be non-zero")
        text, entities = _text(args, "text", "entities", MAX_TEXT_UTF16) if args.text("text").strip() else ("", [])
        self._world.tell(chat, "draft", thread="", text=text, entities=entities)
        return True

    async def set_message_reaction(self, args: Arguments) -> bool:
        """setMessageReaction: one emoji at most, as for every bot."""
        chat = self._chat(args)
        post = _post(args, chat, "message to react not found")
        wanted = args.structure("reaction") or []
        if not isinstance(wanted, list) or len(wanted) > 1:
            raise bad_request("REACTIONS_TOO_MANY")
        if any(not isinstance(r, dict) or r.get("type") != "emoji" or not r.get("emoji") for r in wanted):
            raise bad_request("REACTION_INVALID")
        post.reactions = [str(r["emoji"])[:8] for r in wanted]
        self._world.changed(chat, post)
        return True

    async def get_chat(self, args: Arguments) -> Json:
        """getChat: ChatFullInfo with what this lab knows."""
        gifts = {
            "unlimited_gifts": False,
            "limited_gifts": False,
            "unique_gifts": False,
            "premium_subscription": False,
            "gifts_from_channels": False,
        }
        full = {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts}
        return self._chat(args).wire() | full

    def _send(self, args: Arguments, text: str, entities: list[Json], media: Json | None = None) -> Json:
        chat = self._chat(args)
        topic = self._topic(args, chat)
        post = self._world.add(
            chat,
            self._world.bot,
            text,
            entities=entities,
            topic=topic,
            reply_to=self._reply_to(args, chat),
            reply_markup=check_markup(args.structure("reply_markup")),
            media=media,
        )
        thread = str(topic or "")
        if asked := self._world.newest(chat, thread):
            self._traces.note(
                Place("telegram", str(chat.chat_id), thread, asked), "posted", detail={"id": str(post.message_id)}
            )
        return self._world.message(chat, post)

    def _send_media(self, args: Arguments, media: Json) -> Json:
        caption, entities = "", list[Json]()
        if args.text("caption").strip():
            caption, entities = _text(args, "caption", "caption_entities", MAX_CAPTION_UTF16)
        return self._send(args, caption, entities, media)

    def _store(self, file: File, folder: str) -> Json:
        number = len(self._world.files) + self._world.now_ms()
        file_id = f"lab-file-{number}-{len(file.content)}"
        self._world.keep_file(file_id, f"{folder}/file_{number}", file.content)
        return {"file_id": file_id, "file_unique_id": f"u{number}", "file_size": len(file.content)}

    def _chat(self, args: Arguments) -> Chat:
        name = args.text("chat_id").strip()
        if not name:
            raise bad_request("chat_id is empty")
        # People's keys are the lab's own names; a bot knows ids and public usernames only.
        is_id = name.removeprefix("-").isdecimal() or name.startswith("@")
        chat = self._world.chat(name) if is_id else None
        if chat is None:
            raise bad_request("chat not found")
        if chat.bot_removed:
            if chat.kind == "private":
                raise Refusal(403, "Forbidden: bot was blocked by the user")
            raise Refusal(403, f"Forbidden: bot was kicked from the {chat.kind} chat")
        return chat

    def _topic(self, args: Arguments, chat: Chat, *, general_too: bool = False) -> int | None:
        topic = args.integer("message_thread_id")
        if not topic or (general_too and topic == GENERAL_TOPIC and chat.topics):
            return None
        if topic not in chat.topics:
            raise bad_request("message thread not found")
        return topic

    def _reply_to(self, args: Arguments, chat: Chat) -> int | None:
        wish = args.structure("reply_parameters")
        if wish is None:
            wish = {"message_id": args.integer("reply_to_message_id")}
        if not isinstance(wish, dict):
            raise bad_request("can't parse reply parameters JSON object")
        target = wish.get("message_id")
        if not target:
            return None
        if target in chat.posts:
            return int(target)
        if wish.get("allow_sending_without_reply") is True or args.flag("allow_sending_without_reply"):
            return None
        raise bad_request("message to be replied not found")


def _text(args: Arguments, name: str, entities_name: str, limit: int) -> tuple[str, list[Json]]:
    if args.text("parse_mode"):
        # threadway sends entities; a half-true copy of two markup languages would only hide its mistakes.
        raise bad_request("can't parse entities: this server reads entities only, not parse_mode")
    raw: Any = args.structure(entities_name)
    try:
        return check_text(args.text(name), raw, limit=limit)
    except BadText as error:
        if str(error) == "message is too long" and name == "caption":
            raise bad_request("message caption is too long") from None
        raise bad_request(str(error)) from None


def _post(args: Arguments, chat: Chat, missing: str) -> Post:
    post = chat.posts.get(args.integer("message_id") or 0)
    if post is None:
        raise bad_request(missing)
    return post


def _file(args: Arguments, name: str) -> File:
    file = args.files.get(args.text(name).removeprefix("attach://") or name)
    if file is None:
        raise bad_request(f"there is no {name} in the request")
    if not file.content:
        raise bad_request("file must be non-empty")
    return file
