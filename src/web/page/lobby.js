// Before a room: names for new rooms, what may be a room name, and the rooms this browser remembers.
const KEY = "rtcctl.recent";
const KEPT = 8;
const RESERVED = new Set(["r", "join", "leave", "message", "params", "v1alpha", "ws", "status", "ca", "healthz", "api", "assets", "js", "css", "images"]);
const FIRST = "amber bold brave bright brisk calm clear clever cosy crisp early eager fair fleet fresh gentle glad golden green happy honest jolly keen kind light lively lucky mellow merry mild neat noble olive plain proud quick quiet rapid ready royal rosy sandy sharp shiny silver simple sleek smart snowy soft solid sunny sure swift tidy warm wise witty young zesty azure coral".split(" ");
const SECOND = "acorn badger bay beaver birch bison brook canyon cedar cliff clover comet cove crane creek crow dawn deer delta dove dune eagle ember falcon fern finch fjord fox glade grove harbor hawk heron hill ibis island lake lark leaf lynx maple marsh meadow moon moose oak orchid otter owl pine pond poppy raven reef river robin sparrow spruce stone swan thrush tiger willow".split(" ");
const LETTERS = "abcdefghjkmnpqrstuvwxyz23456789";

/** Two words to say aloud and ten characters (49 bits) that nobody guesses: `quiet-otter-x7k2m9q4ta`. */
export function newRoomName() {
  const pick = (from) => from[random(from.length)];
  const tail = Array.from({ length: 10 }, () => pick(LETTERS)).join("");
  return `${pick(FIRST)}-${pick(SECOND)}-${tail}`;
}

function random(below) {
  const limit = 2 ** 32 - (2 ** 32 % below);
  const word = new Uint32Array(1);
  do crypto.getRandomValues(word); while (word[0] >= limit);
  return word[0] % below;
}

/** What is wrong with a typed name, as a key of the strings; null if nothing. A whole link is taken apart first. */
export function roomProblem(room) {
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(room)) return "badRoom";
  return RESERVED.has(room) ? "reservedRoom" : null;
}

export function roomFrom(typed) {
  const text = typed.trim();
  const link = /^https?:\/\/[^/]+\/r\/([^/?#]+)/.exec(text);
  return link ? link[1] : text.replace(/\s+/g, "-");
}

/** `[{ room, at }]`, the latest first; at most eight. */
export function recentRooms() {
  try {
    const list = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return list.filter((entry) => roomProblem(String(entry.room)) === null && Number.isFinite(entry.at)).slice(0, KEPT);
  } catch {
    return [];
  }
}

export function remember(room) {
  store([{ room, at: Date.now() }, ...recentRooms().filter((entry) => entry.room !== room)]);
}

export function forget(room) {
  store(recentRooms().filter((entry) => entry.room !== room));
}

function store(list) {
  keep(KEY, JSON.stringify(list.slice(0, KEPT)));
}

/** Browsers may close the storage to a page; the page then works without memory. */
export function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    return false;
  }
  return true;
}

export function kept(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
