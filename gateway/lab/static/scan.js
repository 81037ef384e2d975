// Reading inline markup: what Slack's two dialects share.

/** Slack's three escapes, undone. */
export function unescape(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}

/** Cut `text` at the earliest match of any rule; what lies between goes through `plain`. */
export function scan(text, rules, plain, context) {
  const nodes = [];
  let rest = text;
  while (rest) {
    let first = null;
    for (const [pattern, make] of rules) {
      const match = pattern.exec(rest);
      if (match && (!first || match.index < first.match.index)) first = { match, make };
    }
    if (!first) break;
    if (first.match.index) nodes.push(plain(rest.slice(0, first.match.index)));
    nodes.push(first.make(first.match, context));
    rest = rest.slice(first.match.index + first.match[0].length);
  }
  if (rest) nodes.push(plain(rest));
  return nodes;
}
