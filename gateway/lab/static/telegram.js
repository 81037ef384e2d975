// The Telegram pane: private chat, group, forum topics; bubbles.
import { Composer } from "./composer.js";
import { clock, el, replaceKeepingFocus } from "./dom.js";
import { Log } from "./log.js";
import { telegramText } from "./telegram-text.js";
import { act } from "./world.js";

export class TelegramPane {
  constructor(root, world) {
    this.root = root;
    this.world = world;
    this.person = world.state.people[0];
    this.place = { chat: this.person.telegram, thread: "" };
    this.mode = null; // {reply: message} | {edit: message}
    this.log = new Log({
      label: "Telegram messages",
      draw: (message, context) => this.draw(message, context),
      starters: () => this.starters(),
      send: (text) => this.send(text),
    });
    this.composer = new Composer({
      label: "Message on Telegram",
      send: (text) => this.send(text),
      cancel: () => this.setMode(null),
    });
    this.people = el("select", { "aria-label": "Write on Telegram as" });
    this.people.append(...world.state.people.map((p) => el("option", { value: p.key }, p.name)));
    this.people.addEventListener("change", () => this.choosePerson(this.people.value));
    this.places = el("nav", { class: "places", "aria-label": "Telegram chats" });
    this.title = el("h2", {});
    this.block = el("button", { type: "button", class: "quiet", onclick: () => this.toggleBlock() });
    const side = el("aside", { class: "side" }, el("label", { class: "as" }, "You are", this.people), this.places);
    const head = el("header", { class: "head" }, this.title, this.block);
    root.append(side, el("div", { class: "talk" }, head, this.log.node, this.composer.node));
    world.listeners.add(() => this.show());
    this.show();
  }

  get chat() {
    return this.world.chats.telegram.get(this.place.chat);
  }

  choosePerson(key) {
    this.person = this.world.state.people.find((person) => person.key === key);
    if (this.chat.kind === "private") this.place = { chat: this.person.telegram, thread: "" };
    this.setMode(null);
  }

  choose(chat, thread) {
    this.place = { chat, thread };
    this.setMode(null);
    this.places.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.composer.area.focus();
  }

  setMode(mode) {
    this.mode = mode;
    if (mode?.reply) this.composer.context(`Answering ${mode.reply.author.name}: “${mode.reply.text.slice(0, 60)}”`);
    else if (mode?.edit) this.composer.context("Changing your message", mode.edit.text);
    else this.composer.context("");
    this.show();
  }

  async send(text) {
    const { chat, thread } = this.place;
    const mode = this.mode;
    if (mode?.edit) {
      await act("telegram/edit", { chat, message: mode.edit.id, text });
      this.setMode(null);
      return;
    }
    const wish = { user: this.person.key, chat, text };
    if (thread) wish.thread = thread;
    if (mode?.reply) wish.reply_to = mode.reply.id;
    await act("telegram/send", wish);
    this.setMode(null);
  }

  starters() {
    const [hello, sum, times] = ["Hi! What can you do?", "What is 12 times 12?", "What time is it in Tokyo and in Lima?"];
    if (this.chat.kind === "private") return [hello, sum, times];
    const bot = `@${this.world.state.telegram.bot.username}`;
    return [`${bot} ${sum}`, `${bot} ${times}`];
  }

  async toggleBlock() {
    const removed = !this.chat.bot_removed;
    if (this.chat.kind === "private") await act("telegram/block", { user: this.person.key, blocked: removed });
    else await act("telegram/remove_bot", { user: this.person.key, chat: this.place.chat, removed });
  }

  show() {
    const { chat, place } = this;
    chat.unread.delete(place.thread);
    this.showPlaces();
    const topic = chat.topics.find((t) => t.id === place.thread);
    const name = chat.kind === "private" ? this.world.state.telegram.bot.first_name : chat.title;
    this.title.replaceChildren(name, el("small", {}, subtitle(chat, topic)));
    this.block.textContent = chat.kind === "private" ? (chat.bot_removed ? "Unblock" : "Block") : chat.bot_removed ? "Add bot" : "Remove bot";
    this.composer.hint(chat.kind === "private" ? "Message" : "Mention the bot, answer it or use a /command");
    this.log.show({
      key: `${place.chat} ${place.thread} ${this.person.key}`,
      messages: chat.messages.filter((message) => message.thread === place.thread),
      traces: chat.traces,
      typing: this.world.typingIn("telegram", place.chat, place.thread) || this.draft(),
      welcome: chat.kind === "private" ? "Nothing said yet. Start with one of these:" : "In groups the bot sees only what is meant for it.",
      context: {},
    });
  }

  draft() {
    const text = this.chat.kind === "private" ? this.world.drafts.get(this.place.chat) : "";
    return text ? `drafts: ${text.slice(-200)}` : "";
  }

  showPlaces() {
    const entries = [this.entry(this.person.telegram, "", "Private chat", "with the bot")];
    for (const chat of this.world.chats.telegram.values()) {
      if (chat.kind === "private") continue;
      if (!chat.topics.length) entries.push(this.entry(chat.id, "", chat.title, "group"));
      else {
        entries.push(el("p", { class: "caption" }, chat.title));
        entries.push(this.entry(chat.id, "", "General", "", "topic"));
        entries.push(...chat.topics.map((topic) => this.entry(chat.id, topic.id, topic.name, "", "topic")));
      }
    }
    replaceKeepingFocus(this.places, entries);
  }

  entry(chat, thread, name, note, kind = "") {
    const here = this.place.chat === chat && this.place.thread === thread;
    const unread = here ? 0 : (this.world.chats.telegram.get(chat).unread.get(thread) ?? 0);
    return el(
      "button",
      { type: "button", class: kind, "aria-current": here ? "true" : null, "data-place": `${chat} ${thread}`, onclick: () => this.choose(chat, thread) },
      el("span", {}, name, note ? el("small", {}, note) : null),
      unread ? el("b", { class: "unread", "aria-label": `${unread} new` }, String(unread)) : null,
    );
  }

  draw(message, { grouped }) {
    const mine = message.author.id === this.person.telegram;
    const answered = message.reply_to && this.chat.messages.find((m) => m.id === message.reply_to);
    const body = el("div", { class: "body" });
    if (!mine && !grouped && this.chat.kind !== "private") body.append(el("b", { class: "author" }, message.author.name));
    if (answered) body.append(el("p", { class: "quote" }, el("b", {}, answered.author.name), answered.text.slice(0, 80)));
    if (message.file) body.append(el("p", { class: "file" }, message.file));
    body.append(el("div", { class: "text" }, ...telegramText(message.text, message.entities)));
    body.append(el("span", { class: "meta" }, message.edited ? "edited " : "", clock(message.at_ms)));
    if (message.reactions.length) body.append(el("p", { class: "reactions" }, message.reactions.join(" ")));
    for (const row of message.buttons) body.append(this.buttonRow(message, row));
    if (message.unseen) body.append(el("p", { class: "unseen" }, "Not shown to the bot: privacy mode"));
    body.append(this.tools(message, mine));
    return el("article", { class: `message ${mine ? "mine" : "theirs"} ${message.author.bot ? "bot" : ""} ${grouped ? "grouped" : ""}` }, body);
  }

  buttonRow(message, row) {
    const press = (data) => act("telegram/press", { user: this.person.key, chat: this.place.chat, message: message.id, data });
    return el("div", { class: "buttons" }, ...row.map((b) => el("button", { type: "button", onclick: () => press(b.data) }, b.text)));
  }

  tools(message, mine) {
    const tools = [el("button", { type: "button", onclick: () => this.setMode({ reply: message }) }, "Reply")];
    if (mine && !message.file) {
      tools.push(el("button", { type: "button", onclick: () => this.setMode({ edit: message }) }, "Edit"));
      tools.push(el("button", { type: "button", onclick: () => act("telegram/delete", { chat: this.place.chat, message: message.id }) }, "Delete"));
    }
    return el("div", { class: "tools" }, ...tools);
  }
}

function subtitle(chat, topic) {
  if (chat.bot_removed) return chat.kind === "private" ? "blocked by you" : "the bot is not here";
  if (chat.kind === "private") return "bot";
  return chat.topics.length ? (topic?.name ?? "General") : "group, everybody is here";
}
