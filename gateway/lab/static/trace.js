// The way of a message through threadway, as a pill that opens into a timeline.
import { el } from "./dom.js";

const WORDS = {
  sent: "sent", received: "received", queued: "queued", taken: "taken by a worker", "run.created": "run created",
  resumed: "resumed", looked: "looked", "tool.called": "tool called", "tool.answered": "tool answered",
  "run.ended": "run ended", "run.cancelled": "run cancelled", posted: "posted", parked: "parked",
  given_up: "given up", finished: "finished",
};
const FINAL = new Set(["finished", "given_up", "dead"]);
const BARE = new Set(["tool", "status", "run", "outcome"]);
const QUIET = new Set(["event_id", "id"]);
const opened = new Set();

/**
 * Which trace stands beside which message: the last reply carries the trace of what it answers, a message that has no
 * reply yet its own. Threadway's "posted" steps name the reply; the lab's own only guess what it answers, so they count
 * where threadway says nothing.
 */
export function placeTraces(messages, traces) {
  const answers = new Map(); // reply → the message it answers, as threadway says; of a batch the newest
  for (const message of messages) {
    for (const step of traces.get(message.id) ?? []) if (named(step)) answers.set(String(step.detail.id), message.id);
  }
  const bearers = new Map();
  let newest = null;
  for (const message of messages) {
    if (!message.author.bot) {
      newest = message.id;
      if (traces.has(message.id)) bearers.set(message.id, message.id);
    } else if (!message.ephemeral) {
      const asked = answers.get(message.id) ?? newest;
      if (traces.has(asked)) bearers.set(asked, message.id);
    }
  }
  const placed = new Map();
  for (const [id, bearer] of bearers) {
    const steps = traces.get(id).filter((step) => named(step) || !answers.has(String(step.detail.id)));
    placed.set(bearer, { id, steps, answered: steps.some((step) => step.event === "posted") });
  }
  return placed;
}

function named(step) {
  return step.event === "posted" && step.by !== "lab" && step.detail.id !== undefined;
}

/** The pill and, when open, the timeline. `redraw` is called after it was opened or closed. */
export function traceNode({ id, steps, answered }, redraw) {
  const known = answered || steps.some((step) => step.by !== "lab");
  if (!known || !steps.length) return null; // nothing but our own "sent": the bot was not told, or has not said anything yet
  const start = (steps.find((step) => step.event === "received") ?? steps[0]).at_ms;
  const open = opened.has(id);
  const toggle = () => {
    if (open) opened.delete(id);
    else opened.add(id);
    redraw();
  };
  const state = answered || steps.some((step) => FINAL.has(step.event)) ? "done" : "live";
  const pill = el(
    "button",
    { type: "button", class: `pill ${state}`, "aria-expanded": String(open), onclick: toggle },
    summary(steps, start, answered),
  );
  return el("div", { class: "trace" }, pill, open ? timeline(steps, start) : null);
}

export function traceSign(entry) {
  return entry ? `${entry.steps.length} ${entry.answered} ${opened.has(entry.id)}` : "";
}

function summary(steps, start, answered) {
  if (!answered) return `${WORDS[steps.at(-1).event] ?? steps.at(-1).event}…`;
  const posted = steps.filter((step) => step.event === "posted").map((step) => step.at_ms);
  const tools = new Set(steps.filter((s) => s.event === "tool.called").map((s) => `${s.at_ms} ${s.detail.tool}`)).size;
  const looks = steps.filter((step) => step.event === "looked").length;
  const parts = [posted.length ? `answered in ${span(Math.max(...posted) - start)}` : "answered"];
  if (looks) parts.push(`${looks} ${looks === 1 ? "look" : "looks"}`);
  if (tools) parts.push(`${tools} ${tools === 1 ? "tool" : "tools"}`);
  return parts.join(" · ");
}

function timeline(steps, start) {
  const end = Math.max(...steps.map((step) => step.at_ms));
  const total = Math.max(end - start, 1);
  const rows = steps.map((step) => {
    const offset = step.at_ms - start;
    const bar = el("i", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--at", `${(Math.max(offset, 0) / total) * 100}%`);
    return el(
      "li",
      { "data-event": step.event, "data-by": step.by },
      el("span", { class: "at" }, offset < 0 ? `−${span(-offset)}` : `+${span(offset)}`),
      bar,
      el("span", { class: "what", title: details(step) }, WORDS[step.event] ?? step.event, el("small", {}, details(step))),
    );
  });
  return el("ol", { class: "timeline", "aria-label": "What happened to this message" }, ...rows);
}

function details(step) {
  if (step.by === "lab") return step.event === "posted" ? "seen by the lab" : "";
  return Object.entries(step.detail)
    .filter(([name, value]) => value !== null && value !== "" && !QUIET.has(name))
    .filter(([name]) => name !== "turn" || step.event === "taken") // the same in every row
    .map(([name, value]) => (BARE.has(name) ? String(value) : `${name} ${value}`))
    .join(", ")
    .slice(0, 160);
}

function span(ms) {
  return ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
