// The stage's own manners: what opens over it, the bar's arrow keys, the self view in its corner, the fading of the bar.
import { $, all } from "./view.js";

const FADE_AFTER = 4000;
const CORNERS = { ArrowLeft: ["r", "l"], ArrowRight: ["l", "r"], ArrowUp: ["b", "t"], ArrowDown: ["t", "b"] };

let opened = null;
let opener = null;
let fading = 0;

/** Opens a menu, dialog or sheet and gives it the focus; `from` gets it back. */
export function open(panel, from) {
  close();
  opened = panel;
  opener = from;
  panel.hidden = false;
  from?.setAttribute("aria-expanded", "true");
  (panel.querySelector("[role=menuitem]:not([hidden]), h2[tabindex], button") ?? panel).focus();
  awake();
}

export function close() {
  if (!opened) return false;
  const inside = opened.contains(document.activeElement);
  opened.hidden = true;
  opener?.setAttribute("aria-expanded", "false");
  opened = null;
  if (inside && opener?.offsetParent) opener.focus();
  return true;
}

export const isOpen = (panel) => opened === panel;

export function setUp() {
  document.addEventListener("pointerdown", (event) => {
    if (opened && !opened.contains(event.target) && !opener?.contains(event.target)) close();
  });
  document.addEventListener("keydown", keys);
  for (const name of ["pointermove", "pointerdown", "keydown", "focusin"]) document.addEventListener(name, awake, { passive: true });
  $("#bar").addEventListener("keydown", (event) => {
    if (!opened) arrows(event, all("#bar > .ctl > .key").filter((key) => key.offsetParent));
  });
  $("#menu").addEventListener("keydown", (event) => arrows(event, all("#menu .item").filter((item) => item.offsetParent)));
  selfView($("#self"));
  const remote = $("#remote");
  remote.addEventListener("resize", fit);
  addEventListener("resize", fit);
}

function keys(event) {
  if (event.key === "Escape" && close()) event.preventDefault();
  if (event.key !== "Tab" || !opened) return;
  // A menu closes when it is left; a dialog keeps the focus.
  if (opened.matches("[role=menu]")) return void close();
  const stops = [...opened.querySelectorAll("button, select, input, a[href], summary")].filter((each) => each.offsetParent);
  const at = stops.indexOf(document.activeElement);
  const next = event.shiftKey ? (at <= 0 ? stops.length - 1 : at - 1) : (at + 1) % stops.length;
  event.preventDefault();
  stops[next]?.focus();
}

function arrows(event, items) {
  const at = items.indexOf(document.activeElement);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const to = event.key === "Home" ? 0 : event.key === "End" ? items.length - 1 : step && at >= 0 ? (at + step + items.length) % items.length : -1;
  if (to < 0) return;
  event.preventDefault();
  event.stopPropagation();
  items[to].focus();
}

/** Covers while that crops under a quarter, else shows all. */
function fit() {
  const video = $("#remote");
  if (!video.videoWidth) return;
  const theirs = video.videoWidth / video.videoHeight, ours = video.clientWidth / video.clientHeight;
  video.classList.toggle("fit", Math.min(theirs, ours) / Math.max(theirs, ours) < 0.75);
}

function selfView(self) {
  self.addEventListener("keydown", (event) => {
    const move = CORNERS[event.key];
    if (!move) return;
    event.preventDefault();
    self.dataset.corner = self.dataset.corner.replace(move[0], move[1]);
  });
  let from = null;
  self.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, y: event.clientY };
    self.setPointerCapture(event.pointerId);
  });
  self.addEventListener("pointermove", (event) => {
    if (from) self.style.transform = `translate(${event.clientX - from.x}px, ${event.clientY - from.y}px)`;
  });
  const drop = () => {
    if (!from) return;
    const box = self.getBoundingClientRect(), stage = $("#stage").getBoundingClientRect();
    const side = box.left + box.width / 2 < stage.left + stage.width / 2 ? "l" : "r";
    const edge = box.top + box.height / 2 < stage.top + stage.height / 2 ? "t" : "b";
    from = null;
    self.style.transform = "";
    self.dataset.corner = edge + side;
  };
  self.addEventListener("pointerup", drop);
  self.addEventListener("pointercancel", drop);
}

function awake() {
  const stage = $("#stage");
  stage.classList.remove("quiet");
  clearTimeout(fading);
  fading = setTimeout(() => {
    const busy = opened || document.body.dataset.state !== "call" || stage.querySelector(".dock :focus-visible, .top :focus-visible") || all(".note").some((note) => note.offsetParent);
    if (!busy) stage.classList.add("quiet");
  }, FADE_AFTER);
}

