// Telegram's text with entities → nodes. JavaScript strings count UTF-16 units, as entities do.
import { el, link } from "./dom.js";

const PLAIN = {
  bold: "b", italic: "i", underline: "u", strikethrough: "s", code: "code", blockquote: "blockquote",
  expandable_blockquote: "blockquote",
};

const BLOCKS = new Set(["pre", "blockquote", "expandable_blockquote"]);

export function telegramText(text, entities) {
  const sorted = [...entities].sort((a, b) => a.offset - b.offset || b.length - a.length);
  return build(text, 0, text.length, sorted);
}

function build(text, start, end, entities) {
  const nodes = [];
  let at = start;
  while (entities.length) {
    const entity = entities.shift();
    const stop = entity.offset + entity.length;
    const inside = [];
    const block = BLOCKS.has(entity.type);
    while (entities.length && entities[0].offset < stop) inside.push(entities.shift());
    const before = text.slice(at, entity.offset);
    // A block stands on lines of its own: the breaks around it in the text are not to be drawn again.
    if (before) nodes.push(block ? before.replace(/\n{1,2}$/, "") : before);
    nodes.push(wrap(entity, text, build(text, entity.offset, stop, inside)));
    at = block ? stop + /^\n{0,2}/.exec(text.slice(stop))[0].length : stop;
  }
  if (at < end) nodes.push(text.slice(at, end));
  return nodes;
}

function wrap(entity, text, children) {
  const words = text.slice(entity.offset, entity.offset + entity.length);
  if (PLAIN[entity.type]) return el(PLAIN[entity.type], {}, ...children);
  if (entity.type === "pre") return el("pre", { "data-language": entity.language }, el("code", {}, ...children));
  if (entity.type === "text_link") return link(entity.url, ...children);
  if (entity.type === "url") return link(words, ...children);
  if (entity.type === "email") return link(`mailto:${words}`, ...children);
  if (entity.type === "spoiler") return el("span", { class: "spoiler", tabindex: 0 }, ...children);
  return el("span", { class: "token" }, ...children);
}
