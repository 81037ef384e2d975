// A small Markdown reader for Slack's `markdown` block: what models write, no more. Unknown things stay text.
import { el, link } from "./dom.js";
import { scan, unescape } from "./scan.js";

const INLINE = [
  [/(`+)([\s\S]*?[^`])\1(?!`)/, (m) => el("code", {}, unescape(m[2].replace(/^ (.*) $/, "$1")))],
  [/\\([!-/:-@[-`{-~])/, (m) => m[1]],
  [/!?\[([^\]\n]+)\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/, (m, name) => link(unescape(m[2]), ...inline(m[1], name))],
  [/<(https?:[^>\s]+)>/, (m) => link(m[1], m[1])],
  [/<@([UW][A-Z0-9]+)>/, (m, name) => el("span", { class: "token" }, `@${name(m[1]) ?? m[1]}`)],
  [/\*\*(?=\S)([\s\S]*?\S)\*\*(?!\*)/, (m, name) => el("b", {}, ...inline(m[1], name))],
  [/(?<![\w_])__(?=\S)([\s\S]*?\S)__(?![\w_])/, (m, name) => el("b", {}, ...inline(m[1], name))],
  [/~~(?=\S)([\s\S]*?\S)~~/, (m, name) => el("s", {}, ...inline(m[1], name))],
  [/(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])/, (m, name) => el("i", {}, ...inline(m[1], name))],
  [/(?<![\w_])_(?=[^\s_])([^_\n]*?[^\s_])_(?![\w_])/, (m, name) => el("i", {}, ...inline(m[1], name))],
  [/https?:\/\/[^\s<>()]+[^\s<>().,;:!?]/, (m) => link(m[0], m[0])],
];
const ITEM = /^(\s*)(?:([-*+•])|(\d{1,9})[.)])\s+(.*)$/;
const RULE = /^\s*(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;
const MAX_DEPTH = 8;

/** `name` maps a user id to a name, for <@U…>. */
export function markdown(text, name, depth = 0) {
  const lines = text.split("\n");
  const nodes = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.length) nodes.push(el("p", {}, ...inline(paragraph.join("\n"), name)));
    paragraph = [];
  };
  while (lines.length) {
    const line = lines.shift();
    const fence = /^\s*(`{3,}|~{3,})\s*(\S*)/.exec(line);
    const heading = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (fence) {
      flush();
      nodes.push(code(lines, fence));
    } else if (heading) {
      flush();
      nodes.push(el(heading[1].length < 3 ? "h3" : "h4", {}, ...inline(heading[2], name)));
    } else if (RULE.test(line)) {
      flush();
      nodes.push(el("hr"));
    } else if (/^\s*>/.test(line) && depth < MAX_DEPTH) {
      flush();
      const quoted = [line, ...take(lines, (next) => /^\s*>/.test(next))].map((l) => l.replace(/^\s*> ?/, ""));
      nodes.push(el("blockquote", {}, ...markdown(quoted.join("\n"), name, depth + 1)));
    } else if (ITEM.test(line) && depth < MAX_DEPTH) {
      flush();
      nodes.push(list([line, ...take(lines, inList)], name, depth));
    } else if (line.includes("|") && /^\s*\|?[\s:|-]*-[\s:|-]*$/.test(lines[0] ?? "")) {
      flush();
      lines.shift();
      nodes.push(table([line, ...take(lines, (next) => next.includes("|"))], name));
    } else if (line.trim()) {
      paragraph.push(line);
    } else {
      flush();
    }
  }
  flush();
  return nodes;
}

function inline(text, name) {
  return scan(text, INLINE, unescape, name);
}

function code(lines, fence) {
  const end = new RegExp(`^\\s*${fence[1][0]}{${fence[1].length},}\\s*$`);
  const content = take(lines, (line) => !end.test(line));
  lines.shift();
  return el("pre", { "data-language": fence[2] || null }, el("code", {}, unescape(content.join("\n"))));
}

function inList(line) {
  return ITEM.test(line) || /^\s{2,}\S/.test(line);
}

function list(lines, name, depth) {
  const [, indent, , number] = ITEM.exec(lines[0]);
  const node = el(number ? "ol" : "ul", number && number !== "1" ? { start: number } : {});
  while (lines.length) {
    const item = ITEM.exec(lines.shift());
    if (!item) continue;
    const deeper = take(lines, (line) => !ITEM.test(line) || ITEM.exec(line)[1].length > indent.length + 1);
    const width = indent.length + 2;
    const inner = deeper.map((line) => (line.slice(0, width).trim() ? line.trimStart() : line.slice(width)));
    const box = /^\[([ xX])\]\s+/.exec(item[4]);
    const words = box ? `${box[1] === " " ? "☐" : "☑"} ${item[4].slice(box[0].length)}` : item[4];
    node.append(el("li", {}, ...inline(words, name), ...(inner.length ? markdown(inner.join("\n"), name, depth + 1) : [])));
  }
  return node;
}

function table(lines, name) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const [head, ...rows] = lines.map(cells);
  const row = (tag, values) => el("tr", {}, ...values.map((value) => el(tag, {}, ...inline(value, name))));
  const body = el("tbody", {}, ...rows.map((values) => row("td", values)));
  return el("div", { class: "table", tabindex: 0 }, el("table", {}, el("thead", {}, row("th", head)), body));
}

function take(lines, fits) {
  const taken = [];
  while (lines.length && fits(lines[0])) taken.push(lines.shift());
  return taken;
}
