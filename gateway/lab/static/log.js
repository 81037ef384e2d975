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
    let previous = null;
    const items = messages.map((message) => {
      const grouped = previous && previous.author.id === message.author.id && message.at_ms - previous.at_ms < 120_000;
      previous = message;
      return {
        key: message.id,
        sign: JSON.stringify([message, grouped, context.extra?.(message)]),
        make: () => this.draw(message, { ...context, grouped }),
      };
    });
    reconcile(this.list, items);
    this.shown = { messages, traces };
    this.showTraces();
    this.showEmpty(messages.length === 0, welcome);
    this.typing.textContent = typing ? `Threadway ${typing}` : "";
    this.typing.classList.toggle("on", Boolean(typing));
    if (atEnd) this.node.scrollTop = this.node.scrollHeight;
  }

  /** Traces grow while one reads: they are drawn into the messages, which stay, so that nothing is read out twice. */
  showTraces() {
    const placed = placeTraces(this.shown.messages, this.shown.traces);
    for (const node of this.list.children) {
      const trace = placed.get(node.dataset.key);
      const sign = traceSign(trace);
      let slot = node.querySelector(".slot");
      if (!slot) {
        slot = el("div", { class: "slot", "aria-live": "off" });
        node.querySelector(".body").append(slot);
      }
      if ((slot.dataset.sign ?? "") === sign) continue;
      const focused = slot.contains(document.activeElement);
      slot.dataset.sign = sign;
      const drawn = trace ? traceNode(trace, () => this.showTraces()) : null;
      slot.replaceChildren(...(drawn ? [drawn] : []));
      if (focused) {
        slot.querySelector("button")?.focus();
        slot.scrollIntoView({ block: "nearest" });
      }
    }
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
