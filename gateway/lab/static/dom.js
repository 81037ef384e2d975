// Building elements. Content only ever enters as text: nothing here reads HTML.

/** An element with properties, data and children: el("p", {class: "note"}, "text", child). */
export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** A link, if its address is one that is safe to follow; else just its text. */
export function link(address, ...children) {
  let scheme = "";
  try {
    scheme = new URL(address).protocol;
  } catch {
    return el("span", {}, ...children);
  }
  if (!["http:", "https:", "mailto:", "tg:"].includes(scheme)) return el("span", {}, ...children);
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, ...children);
}

/** Make `parent` hold exactly the nodes of `items` [{key, sign, make}], rebuilding only those whose sign changed. */
export function reconcile(parent, items) {
  const present = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let before = parent.firstElementChild;
  for (const { key, sign, make } of items) {
    let node = present.get(key);
    present.delete(key);
    if (!node || node.dataset.sign !== sign) {
      const fresh = make();
      fresh.dataset.key = key;
      fresh.dataset.sign = sign;
      if (node === before && node) before = node.nextElementSibling;
      node?.remove();
      node = fresh;
    }
    if (node === before) before = before.nextElementSibling;
    else parent.insertBefore(node, before);
  }
  for (const node of present.values()) node.remove();
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** Swap a list's nodes; the one with the focus (by data-place) keeps it. */
export function replaceKeepingFocus(parent, nodes) {
  const place = parent.contains(document.activeElement) ? document.activeElement.dataset.place : null;
  const scrolled = [parent.parentElement.scrollLeft, parent.parentElement.scrollTop];
  parent.replaceChildren(...nodes);
  [parent.parentElement.scrollLeft, parent.parentElement.scrollTop] = scrolled;
  if (place !== null) parent.querySelector(`[data-place="${CSS.escape(place)}"]`)?.focus();
}
