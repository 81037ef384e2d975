// The Slack pane: channels, direct message, threads in a panel of their own; flat rows.
import { Composer } from "./composer.js";
import { clock, el, replaceKeepingFocus } from "./dom.js";
import { Log } from "./log.js";
import { unescape } from "./scan.js";
import { slackBody } from "./slack-text.js";
import { act } from "./world.js";

export class SlackPane {
  constructor(root, world) {
    this.world = world;
    this.person = world.state.people[0];
    this.channel = this.direct();
    this.root = ""; // the open thread's root
    this.editing = null;
    this.main = this.column("", "Slack messages", "Message on Slack");
    this.thread = this.column("thread", "Slack thread", "Reply in thread");
    this.people = el("select", { "aria-label": "Write on Slack as" });
    this.people.append(...world.state.people.map((p) => el("option", { value: p.key }, p.name)));
    this.people.addEventListener("change", () => this.choosePerson(this.people.value));
    this.places = el("nav", { class: "places", "aria-label": "Slack channels" });
    this.title = el("h2", {});
    const side = el("aside", { class: "side" }, el("label", { class: "as" }, "You are", this.people), this.places);
    const talk = el("div", { class: "talk" }, el("header", { class: "head" }, this.title), this.main.log.node, this.main.composer.node);
    const close = el("button", { type: "button", class: "quiet", onclick: () => this.openThread("") }, "Close");
    this.panel = el(
      "div",
      { class: "panel", hidden: true },
      el("header", { class: "head" }, el("h2", {}, "Thread"), close),
      this.thread.log.node,
      this.thread.composer.node,
    );
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.defaultPrevented && !this.editing) this.openThread("");
    });
    root.append(side, talk, this.panel);
    world.listeners.add((change) => this.show(change));
    this.show(null);
  }

  column(kind, label, writing) {
    const send = (text) => this.send(text, kind === "thread" ? this.root : "");
    const composer = new Composer({ label: writing, send, cancel: () => this.edit(null) });
    const log = new Log({ label, draw: (message, context) => this.draw(message, context, kind), starters: () => this.starters(), send });
    return { composer, log };
  }

  direct() {
    return `D${this.person.slack.slice(1)}`;
  }

  get chat() {
    return this.world.chats.slack.get(this.channel);
  }

  choosePerson(key) {
    const wasDirect = this.chat.kind === "im";
    this.person = this.world.state.people.find((person) => person.key === key);
    if (wasDirect) this.choose(this.direct());
    else this.show(null);
  }

  choose(channel) {
    this.channel = channel;
    this.root = "";
    this.edit(null);
    this.places.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.main.composer.area.focus();
  }

  openThread(root) {
    this.root = root;
    this.edit(null);
    (root ? this.thread : this.main).composer.area.focus();
  }

  edit(message) {
    this.editing = message;
    const column = this.root ? this.thread : this.main;
    for (const each of [this.main, this.thread]) if (each !== column || !message) each.composer.context("");
    if (message) column.composer.context("Changing your message", this.readable(message.text));
    this.show(null);
  }

  async send(text, root) {
    if (this.editing) {
      await act("slack/edit", { channel: this.channel, ts: this.editing.id, text });
      this.edit(null);
      return;
    }
    const wish = { user: this.person.key, channel: this.channel, text };
    if (root) wish.thread_ts = root;
    await act("slack/send", wish);
  }

  starters() {
    const asks = ["Hi! What can you do?", "What is 12 times 12?", "What time is it in Tokyo and in Lima?"];
    return this.chat.kind === "im" ? asks : asks.slice(1).map((text) => `@Threadway ${text}`);
  }

  readable(text) {
    return unescape(text.replace(/<@([UW][A-Z0-9]+)>/g, (_, id) => `@${this.world.state.slack.users[id] ?? id}`));
  }

  show(change) {
    const { chat, world } = this;
    this.follow(change);
    for (const thread of ["", this.root]) chat.unread.delete(thread);
    this.showPlaces();
    const away = chat.bot_inside ? "" : "the bot is not a member";
    this.title.replaceChildren(chat.kind === "im" ? "Threadway" : chat.title, el("small", {}, chat.kind === "im" ? "app · direct message" : away || "channel"));
    this.main.composer.hint(chat.kind === "im" ? "Message Threadway" : `Message ${chat.title}; @Threadway to ask the bot`);
    this.thread.composer.hint("Reply…");
    const visible = chat.messages.filter((m) => !m.ephemeral || m.ephemeral === this.person.slack);
    const replies = (message) => visible.filter((m) => m.thread === message.id).length;
    this.main.log.show({
      key: `${this.channel} ${this.person.key}`,
      messages: visible.filter((message) => !message.thread),
      traces: chat.traces,
      typing: world.typingIn("slack", this.channel, ""),
      welcome: chat.kind === "im" ? "Nothing said yet. Start with one of these:" : "Mention @Threadway; it answers in a thread.",
      context: {
        extra: (message) => `${replies(message)} ${world.typingIn("slack", this.channel, message.id)}`,
        replies,
      },
    });
    this.panel.hidden = !this.root;
    if (!this.root) return;
    this.thread.log.show({
      key: `${this.channel} ${this.root}`,
      messages: visible.filter((message) => message.id === this.root || message.thread === this.root),
      traces: chat.traces,
      typing: world.typingIn("slack", this.channel, this.root),
      welcome: "",
      context: {},
    });
  }

  /** Open the thread in which the bot answers what was just asked here, as long as no other one is open. */
  follow(change) {
    if (change?.type !== "message" || change.platform !== "slack" || change.chat !== this.channel || this.root) return;
    const { message } = change;
    const asked = this.chat.messages.find((m) => m.id === message.thread);
    if (message.author.bot && message.thread && asked?.author.id === this.person.slack) this.root = message.thread;
  }

  showPlaces() {
    const channels = [...this.world.chats.slack.values()].filter((chat) => chat.kind === "channel");
    replaceKeepingFocus(this.places, [
      el("p", { class: "caption" }, "Channels"),
      ...channels.map((chat) => this.entry(chat.id, chat.title)),
      el("p", { class: "caption" }, "Direct messages"),
      this.entry(this.direct(), "Threadway"),
    ]);
  }

  entry(channel, name) {
    const here = channel === this.channel;
    const unread = here ? 0 : [...this.world.chats.slack.get(channel).unread.values()].reduce((a, b) => a + b, 0);
    return el(
      "button",
      { type: "button", "aria-current": here ? "true" : null, "data-place": channel, onclick: () => this.choose(channel) },
      el("span", {}, name),
      unread ? el("b", { class: "unread", "aria-label": `${unread} new` }, String(unread)) : null,
    );
  }

  draw(message, { grouped, replies }, kind) {
    const { author } = message;
    const mine = author.id === this.person.slack;
    const body = el("div", { class: "body" });
    if (!grouped) {
      body.append(el("p", { class: "by" }, el("b", {}, author.name), author.bot ? el("span", { class: "badge" }, "APP") : null, el("time", {}, clock(message.at_ms))));
    }
    if (message.ephemeral) body.append(el("p", { class: "context" }, "Only visible to you"));
    body.append(el("div", { class: "text" }, ...slackBody(message, this.world.state.slack.users), message.edited ? el("small", {}, " (edited)") : null));
    for (const row of message.buttons) body.append(this.buttonRow(message, row));
    if (message.reactions.length) body.append(el("p", { class: "reactions" }, message.reactions.join(" ")));
    const count = replies?.(message) ?? 0;
    const status = kind === "thread" ? "" : this.world.typingIn("slack", this.channel, message.id);
    if (count) body.append(el("button", { type: "button", class: "replies", onclick: () => this.openThread(message.id) }, `${count} ${count === 1 ? "reply" : "replies"}`));
    if (status) body.append(el("p", { class: "status" }, `Threadway ${status}`));
    body.append(this.tools(message, mine, kind));
    const avatar = el("span", { class: `avatar ${author.bot ? "bot" : ""}`, "data-hue": hue(author.id), "aria-hidden": "true" }, grouped ? "" : initials(author.name));
    return el("article", { class: `message ${grouped ? "grouped" : ""} ${message.ephemeral ? "ephemeral" : ""}` }, avatar, body);
  }

  buttonRow(message, row) {
    const press = (action) => act("slack/press", { user: this.person.key, channel: this.channel, ts: message.id, action });
    return el("div", { class: "buttons" }, ...row.map((b) => el("button", { type: "button", onclick: () => press(b.data) }, b.text)));
  }

  tools(message, mine, kind) {
    const tools = [];
    if (message.ephemeral) return el("div", { class: "tools" });
    if (kind !== "thread") tools.push(el("button", { type: "button", onclick: () => this.openThread(message.id) }, "Thread"));
    if (mine) {
      tools.push(el("button", { type: "button", onclick: () => this.edit(message) }, "Edit"));
      tools.push(el("button", { type: "button", onclick: () => act("slack/delete", { channel: this.channel, ts: message.id }) }, "Delete"));
    }
    return el("div", { class: "tools" }, ...tools);
  }
}

function initials(name) {
  return name.split(/\s+/).map((word) => word[0]).slice(0, 2).join("").toUpperCase();
}

function hue(id) {
  let sum = 0;
  for (const char of id) sum = (sum * 31 + char.charCodeAt(0)) % 6;
  return sum;
}
