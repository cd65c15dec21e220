// Building and updating the page. Text only ever becomes a text node or an attribute that is no code: what upstreams send is shown here, and the policy the page
// is served with forbids every other way.

const svgNS = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else setAttribute(node, name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** h makes an element; `on` holds listeners, an attribute that is null or false is left out. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** s makes an element of SVG. */
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

/** setText touches the node only where the text is another: no flicker, no lost selection. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const keys = new WeakMap();

/** redraw replaces the node's children when the key is another than the last time. */
export function redraw(node, key, build) {
  const text = JSON.stringify(key);
  if (keys.get(node) === text) return;
  keys.set(node, text);
  node.replaceChildren(...[build()].flat().filter(Boolean));
}

/** reconcile keeps one child a key, in order; make(key) makes what is missing, what is no longer wanted goes. */
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

/** time is an instant in the viewer's zone, with UTC as its title. */
export function time(instant, text) {
  const date = new Date(instant);
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}
