// Building and updating the page. Text becomes only a text node or an attribute that is not code:
// the page shows text that comes from upstreams, and the content security policy of the page
// forbids every other way.

const svgNS = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else setAttribute(node, name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/**
 * h creates an HTML element. `on` holds listeners. An attribute that is null or false is left out.
 */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** s creates an SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(svgNS, tag), attributes, children);

export const byID = (id) => document.getElementById(id);

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** setText changes the node only if the text is different: no flicker, no lost selection. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const keys = new WeakMap();

/** redraw replaces the node's children if the key differs from the last call's. */
export function redraw(node, key, build) {
  const text = JSON.stringify(key);
  if (keys.get(node) === text) return;
  keys.set(node, text);
  node.replaceChildren(...[build()].flat().filter(Boolean));
}

/**
 * reconcile keeps one child per key, in order. make(key) creates missing children; children that
 * are no longer wanted are removed.
 */
export function reconcile(parent, known, wanted, make) {
  for (const [key, view] of known) {
    if (!wanted.includes(key)) {
      view.node.remove();
      known.delete(key);
    }
  }
  wanted.forEach((key, i) => {
    if (!known.has(key)) known.set(key, make(key));
    const { node } = known.get(key);
    if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null);
  });
}

/** time shows an instant in the viewer's time zone, with UTC as its title. */
export function time(instant, text) {
  const date = new Date(instant);
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}
