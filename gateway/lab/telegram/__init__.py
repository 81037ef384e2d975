"""A small, strict Telegram Bot API: chats, updates by long polling or webhook, and the methods that bots here use."""
