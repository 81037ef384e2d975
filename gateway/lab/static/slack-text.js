// Slack's message → nodes: blocks where there are any, else mrkdwn text.
import { el, link } from "./dom.js";
import { markdown } from "./markdown.js";
import { scan, unescape } from "./scan.js";

/** `names` maps user ids to names, for <@U…>. */
export function slackBody(message, names) {
  if (!message.blocks.length) return mrkdwn(message.text, names);
  return message.blocks.flatMap((block) => blockNodes(block, names));
}

function blockNodes(block, names) {
  switch (block.type) {
    case "markdown":
      return markdown(block.text, (id) => names[id]);
    case "header":
      return [el("h3", {}, block.text.text)];
    case "divider":
      return [el("hr")];
    case "section":
      return [block.text, ...(block.fields ?? [])].filter(Boolean).map((text) => el("p", {}, ...textObject(text, names)));
    case "context":
      return [el("p", { class: "context" }, ...block.elements.flatMap((e) => (e.text ? textObject(e, names) : [])))];
    case "actions":
      return []; // drawn as the message's buttons
    default:
      return [el("p", { class: "context" }, `[${block.type}]`)];
  }
}

function textObject(text, names) {
  return text.type === "mrkdwn" ? mrkdwn(text.text, names) : [text.text];
}

const MRKDWN = [
  [/```\n?([\s\S]+?)```/, (m) => el("pre", {}, el("code", {}, unescape(m[1])))],
  [/`([^`\n]+)`/, (m) => el("code", {}, unescape(m[1]))],
  [/<@([UW][A-Z0-9]+)(?:\|[^>]*)?>/, (m, names) => el("span", { class: "token" }, `@${names[m[1]] ?? m[1]}`)],
  [/<((?:https?:|mailto:)[^|>]+)(?:\|([^>]+))?>/, (m) => link(unescape(m[1]), unescape(m[2] ?? m[1]))],
  [/(?<![\w*])\*(\S(?:[^*\n]*\S)?)\*(?![\w*])/, (m, names) => el("b", {}, ...mrkdwn(m[1], names))],
  [/(?<![\w_])_(\S(?:[^_\n]*\S)?)_(?![\w_])/, (m, names) => el("i", {}, ...mrkdwn(m[1], names))],
  [/(?<![\w~])~(\S(?:[^~\n]*\S)?)~(?![\w~])/, (m, names) => el("s", {}, ...mrkdwn(m[1], names))],
];

export function mrkdwn(text, names) {
  return scan(text, MRKDWN, unescape, names);
}
