// A conversation's messages, drawn and kept current; stays at the end unless one has scrolled up.
import { el, reconcile } from "./dom.js";
import { placeTraces, traceNode, traceSign } from "./trace.js";

export class Log {
  /** draw(message, context) → node; `starters` are offered while nothing was said. */
  constructor({ label, draw, starters, send }) {
    this.draw = draw;
    this.list = el("div", { class: "messages", role: "log", "aria-label": label, "aria-live": "polite" });
    this.typing = el("p", { class: "typing", role: "status" });
    this.empty = el("div", { class: "empty", hidden: true });
    this.starters = starters;
    this.send = send;
    this.node = el("div", { class: "scroll", tabindex: 0, "aria-label": label }, this.empty, this.list, this.typing);
  }

  show({ key, messages, traces, typing, context, welcome }) {
    const atEnd = key !== this.key || this.node.scrollHeight - this.node.scrollTop - this.node.clientHeight < 60;
    if (key !== this.key) this.list.replaceChildren();
    this.key = key;
    const placed = placeTraces(messages, traces);
    const redraw = () => this.show({ key, messages, traces, typing, context, welcome });
    let previous = null;
    const items = messages.map((message) => {
      const trace = placed.get(message.id);
      const grouped = previous && previous.author.id === message.author.id && message.at_ms - previous.at_ms < 120_000;
      previous = message;
      const extra = context.extra?.(message) ?? "";
      return {
        key: message.id,
        sign: JSON.stringify([message, traceSign(trace), grouped, extra]),
        make: () => {
          const node = this.draw(message, { ...context, grouped, extra });
          const told = trace ? traceNode(trace, redraw) : null;
          if (told) (node.querySelector(".body") ?? node).append(told);
          return node;
        },
      };
    });
    const focused = document.activeElement?.closest("[data-key]")?.dataset.key;
    const wasPill = document.activeElement?.classList.contains("pill");
    reconcile(this.list, items);
    if (wasPill && focused) this.list.querySelector(`[data-key="${CSS.escape(focused)}"] .pill`)?.focus();
    this.showEmpty(messages.length === 0, welcome);
    this.typing.textContent = typing ? `Threadway ${typing}` : "";
    this.typing.classList.toggle("on", Boolean(typing));
    if (atEnd) this.node.scrollTop = this.node.scrollHeight;
  }

  showEmpty(empty, welcome) {
    this.empty.hidden = !empty;
    if (!empty) return;
    const starters = this.starters(this.key).map((text) =>
      el("button", { type: "button", onclick: () => this.send(text) }, text),
    );
    this.empty.replaceChildren(el("p", {}, welcome), el("div", { class: "starters" }, ...starters));
  }
}
