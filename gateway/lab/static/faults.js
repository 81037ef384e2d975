// The faults drawer: what goes wrong on purpose.
import { el } from "./dom.js";
import { act } from "./world.js";

const CHANCES = [
  ["rate_429", "Too many requests (429)"],
  ["errors_5xx", "Server errors (5xx)"],
  ["drop_response", "Done, but the answer is lost"],
  ["cut_before", "Not done, and the line is cut"],
  ["cut_after", "Done, and the line is cut"],
  ["duplicates", "Delivered twice"],
];
const NEXT = [
  ["telegram", "sendMessage", "rate_429", "Telegram: next send is told to wait 3 s"],
  ["telegram", "sendMessage", "drop_response", "Telegram: next send arrives, its answer does not"],
  ["telegram", "*", "duplicates", "Telegram: next update comes twice"],
  ["slack", "chat.postMessage", "rate_429", "Slack: next post is told to wait 3 s"],
  ["slack", "chat.postMessage", "drop_response", "Slack: next post arrives, its answer does not"],
  ["slack", "*", "duplicates", "Slack: next event comes twice"],
];

export class FaultsDrawer {
  constructor(dialog, opener, badge, world) {
    this.dialog = dialog;
    this.badge = badge;
    this.world = world;
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    opener.addEventListener("click", () => {
      this.draw();
      dialog.showModal();
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    this.draw();
    world.listeners.add(() => this.show());
  }

  show() {
    const { faults } = this.world.state;
    const on = ["telegram", "slack"].flatMap((p) => [...CHANCES.map(([name]) => faults[p][name]), faults[p].latency_ms]).filter(Boolean).length;
    const count = on + faults.next.length;
    this.badge.textContent = String(count);
    this.badge.hidden = !count;
    this.planned.replaceChildren(...faults.next.map((plan) => el("li", {}, `${plan.platform} ${plan.method}: ${plan.fault} × ${plan.count}`)));
  }

  draw() {
    const { faults } = this.world.state;
    this.planned = el("ul", { class: "planned" });
    this.dialog.replaceChildren(
      el("header", {}, el("h2", { id: "faults-title" }, "Faults"), el("button", { type: "button", class: "quiet", onclick: () => this.dialog.close() }, "Close")),
      el("p", {}, "Make the platforms misbehave and watch that no message is lost, doubled or reordered."),
      this.error,
      ...["telegram", "slack"].map((platform) => this.chances(platform, faults[platform])),
      el("h3", {}, "Exactly once"),
      el("div", { class: "next" }, ...NEXT.map((plan) => this.nextButton(plan))),
      this.planned,
      el("button", { type: "button", class: "reset", onclick: () => this.reset() }, "Everything works again"),
    );
    this.show();
  }

  chances(platform, rates) {
    const name = platform === "telegram" ? "Telegram" : "Slack";
    const rows = CHANCES.map(([key, words]) => this.slider(platform, key, words, rates[key], 1, 0.05, percent));
    const latency = this.slider(platform, "latency_ms", "Each call takes longer by", rates.latency_ms, 5000, 100, (v) => `${v} ms`);
    return el("fieldset", {}, el("legend", {}, name), ...rows, latency);
  }

  slider(platform, key, words, value, max, step, show) {
    const out = el("output", {}, show(value));
    const input = el("input", { type: "range", min: 0, max, step, value });
    input.addEventListener("input", () => (out.textContent = show(Number(input.value))));
    input.addEventListener("change", () => this.set({ [platform]: { [key]: Number(input.value) } }));
    return el("label", {}, el("span", {}, words), input, out);
  }

  nextButton([platform, method, fault, words]) {
    const plan = { platform, method, fault, retry_after: 3 };
    return el("button", { type: "button", onclick: () => this.set({ next: [plan] }) }, words);
  }

  async reset() {
    await this.set({ reset: true });
    this.draw();
  }

  async set(wish) {
    try {
      await act("faults", wish);
      this.error.hidden = true;
    } catch (error) {
      this.error.textContent = error.message;
      this.error.hidden = false;
    }
  }
}

function percent(value) {
  return `${Math.round(value * 100)} %`;
}
