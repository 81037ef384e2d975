// What the page knows: the lab's state, kept current by the stream of changes.

const MOST_STEPS = 60;

export class World {
  constructor() {
    this.state = null;
    this.listeners = new Set();
    this.typing = new Map(); // "platform chat thread" → {text, timer}
    this.drafts = new Map(); // chat → text of a Telegram draft
  }

  /** Read everything, then follow the changes from there. */
  async start(onLink) {
    await this.load();
    this.stream = new EventSource(`api/events?after=${encodeURIComponent(this.state.cursor)}`);
    this.stream.onopen = () => onLink(true);
    this.stream.onerror = () => onLink(false);
    this.stream.onmessage = (event) => this.take(event.lastEventId, JSON.parse(event.data));
  }

  /** A change of the stream; those that the state already holds are left out. */
  take(cursor, change) {
    const [name, number] = split(cursor);
    const [ours, last] = split(this.state.cursor);
    if (change.type === "reset" || name !== ours) this.reload();
    else if (number > last) this.apply(change);
  }

  /** Read everything again, once for any number of reasons at a time. */
  reload() {
    this.reloading ??= this.load().finally(() => (this.reloading = null));
    return this.reloading;
  }

  async load() {
    const response = await fetch("api/state");
    if (!response.ok) throw new Error(`the lab answers ${response.status}`);
    const state = await response.json();
    this.state = state;
    this.chats = { telegram: new Map(), slack: new Map() };
    for (const platform of ["telegram", "slack"]) {
      for (const chat of state[platform].chats) {
        const steps = chat.traces;
        chat.traces = new Map();
        chat.unread = new Map();
        this.chats[platform].set(chat.id, chat);
        for (const step of steps) this.addStep(chat, step);
      }
    }
    this.changed(null);
  }

  apply(change) {
    if (change.type === "faults") {
      this.state.faults = change.faults;
      this.changed(null);
      return;
    }
    const chat = this.chats[change.platform]?.get(change.chat);
    if (!chat) {
      this.reload(); // somebody new: a test invented a guest
      return;
    }
    this[`on_${change.type}`]?.(chat, change);
    this.changed(change);
  }

  on_message(chat, { platform, message, thread }) {
    if (chat.messages.some((known) => known.id === message.id)) return;
    chat.messages.push(message);
    if (message.author.bot) {
      this.setTyping(platform, chat.id, thread, "");
      this.drafts.delete(chat.id);
      chat.unread.set(thread, (chat.unread.get(thread) ?? 0) + 1);
    }
  }

  on_edit(chat, { message }) {
    const index = chat.messages.findIndex((known) => known.id === message.id);
    if (index >= 0) chat.messages[index] = message;
  }

  on_delete(chat, { id }) {
    chat.messages = chat.messages.filter((message) => message.id !== id);
  }

  on_typing(chat, { platform, thread, status }) {
    // Telegram's goes by itself after 5 s; Slack's stays until it is cleared or answered.
    this.setTyping(platform, chat.id, thread, status ?? "is typing…", platform === "telegram" ? 5000 : 0);
  }

  on_draft(chat, { text }) {
    this.drafts.set(chat.id, text || "Thinking…");
  }

  on_membership(chat, { bot_removed }) {
    chat.bot_removed = bot_removed;
  }

  on_ephemeral(chat, { id, text, user, thread }) {
    const author = { id: "app", name: "Threadway", bot: true };
    const message = { id, author, at_ms: Date.now(), text, blocks: [], thread, buttons: [], reactions: [] };
    chat.messages.push({ ...message, ephemeral: user, edited: false });
  }

  on_trace(chat, step) {
    this.addStep(chat, step);
  }

  addStep(chat, step) {
    const steps = chat.traces.get(step.message) ?? [];
    steps.push(step);
    steps.sort((a, b) => a.at_ms - b.at_ms);
    chat.traces.set(step.message, steps.slice(-MOST_STEPS));
  }

  setTyping(platform, chat, thread, text, forMs = 0) {
    const key = `${platform} ${chat} ${thread}`;
    clearTimeout(this.typing.get(key)?.timer);
    this.typing.delete(key);
    if (!text) return;
    const timer = forMs
      ? setTimeout(() => {
          this.typing.delete(key);
          this.changed(null);
        }, forMs)
      : 0;
    this.typing.set(key, { text, timer });
  }

  typingIn(platform, chat, thread) {
    return this.typing.get(`${platform} ${chat} ${thread}`)?.text ?? "";
  }

  changed(change) {
    for (const listener of this.listeners) listener(change);
  }
}

function split(cursor) {
  const [name, number] = cursor.split("-");
  return [name, Number(number)];
}

/** A control request; throws Error with the lab's own words. */
export async function act(path, wish) {
  const response = await fetch(`api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(wish),
  });
  const answer = await response.json().catch(() => ({ error: `the lab answers ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
