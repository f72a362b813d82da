// The document: which state is shown, what the strings say, what a screen reader is told.
const SVG = "http://www.w3.org/2000/svg";

export const $ = (selector) => document.querySelector(selector);
export const all = (selector) => [...document.querySelectorAll(selector)];

/** Puts the strings into the document, once. */
export function speak(strings) {
  document.documentElement.lang = strings.language;
  for (const drawing of all("svg.icon")) drawing.setAttribute("aria-hidden", "true");
  for (const element of all("[data-t]")) element.textContent = strings[element.dataset.t];
  for (const element of all("[data-label]")) element.setAttribute("aria-label", strings[element.dataset.label]);
  for (const element of all("[data-hint]")) element.placeholder = strings[element.dataset.hint];
}

/** Shows what belongs to the state. A new screen gets the focus on its heading, a new state of the same screen does not. */
export function show(state, title) {
  const before = document.body.dataset.state;
  document.title = title;
  if (before === state) return;
  document.body.dataset.state = state;
  for (const element of all("[data-in]"))
    element.hidden = !element.dataset.in.split(" ").some((word) => (word.endsWith("*") ? state.startsWith(word.slice(0, -1)) : word === state));
  const inCall = (name) => name === "waiting" || name.startsWith("call");
  if (before === "start" || (inCall(before) && inCall(state))) return;
  scrollTo(0, 0);
  all("main:not([hidden]) h1").find((heading) => heading.offsetParent !== null || heading.matches(".seen"))?.focus();
}

/** Text of everything marked `data-out="name"`. */
export function put(name, text) {
  for (const element of all(`[data-out="${name}"]`)) if (element.textContent !== text) element.textContent = text;
}

let last = "";

/** Spoken once by a screen reader. */
export function say(text) {
  if (!text || text === last) return;
  last = text;
  $("#said").textContent = text;
}

export function icon(name, small = false) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", small ? "icon s" : "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** `rows`: [term, description]. */
export function facts(list, rows) {
  const text = rows.map((row) => row.join("\u0000")).join("\u0001");
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...rows.map(([term, description]) => {
    const row = document.createElement("div"), dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = term;
    dd.textContent = description;
    row.append(dt, dd);
    return row;
  }));
}

/** Rectangles side by side: [class, share]. */
export function band(svg, parts) {
  let x = 0;
  svg.replaceChildren(...parts.map(([name, width]) => {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("class", name);
    rect.setAttribute("x", String(x));
    rect.setAttribute("width", String(width));
    rect.setAttribute("height", "12");
    x += width;
    return rect;
  }));
}
