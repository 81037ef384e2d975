// Where one writes: Enter sends, Shift+Enter breaks the line, Escape gives up an edit or a reply.
import { el } from "./dom.js";

/** send(text) → promise; rejected with an Error whose words are shown. */
export class Composer {
  constructor({ label, send, cancel }) {
    this.send = send;
    this.cancel = cancel;
    this.area = el("textarea", { rows: 1, "aria-label": label, maxlength: 12000, autocomplete: "off" });
    this.note = el("div", { class: "composing", hidden: true });
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.button = el("button", { type: "submit", "aria-label": "Send" }, "Send");
    this.node = el("form", { class: "composer" }, this.note, this.error, el("div", { class: "row" }, this.area, this.button));
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.area.addEventListener("input", () => this.fit());
    this.area.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.isComposing) return; // Enter that ends an input method's word is not for us
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "Escape" && !this.note.hidden) {
      this.cancel?.();
    }
  }

  async submit() {
    const text = this.area.value;
    if (!text.trim()) return;
    this.area.value = "";
    this.fit();
    this.fail("");
    try {
      await this.send(text);
    } catch (error) {
      if (!this.area.value) this.area.value = text;
      this.fit();
      this.fail(error.message);
    }
  }

  fail(words) {
    this.error.textContent = words;
    this.error.hidden = !words;
  }

  /** Say what the next message is (a reply, an edit); "" for an ordinary one. */
  context(words, prefill) {
    this.note.replaceChildren(words);
    if (words) this.note.append(el("button", { type: "button", onclick: () => this.cancel?.() }, "Cancel"));
    this.note.hidden = !words;
    if (prefill !== undefined) this.area.value = prefill;
    this.fit();
    if (words) this.area.focus();
  }

  hint(words) {
    this.area.placeholder = words;
  }

  fit() {
    this.area.style.height = "auto";
    if (!this.area.scrollHeight) return; // hidden: it has no height to fit
    this.area.style.height = `${Math.min(this.area.scrollHeight, 160)}px`;
  }
}
