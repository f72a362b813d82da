// The page from landing to "how it went": wires the document to the devices and the call.
import strings from "./strings.en.js";
import { Call } from "./call.js";
import { Refusal, pause } from "./channel.js";
import { enterAsHost, mayOpenRooms, takeHostLink } from "./host.js";
import { forget, keep, kept, newRoomName, recentRooms, remember, roomFrom, roomProblem } from "./lobby.js";
import { Media } from "./media.js";
import { fill } from "./message.js";
import { quality } from "./stats.js";
import * as stage from "./stage.js";
import { after } from "./after.js";
import { $, all, band, facts, icon, put, say, show, speak } from "./view.js";
import { connectionFacts, truth } from "./words.js";

const boot = $("#boot").dataset;
const room = boot.room ?? "";
const link = `${location.origin}/r/${room}${location.search}`;
const localCa = hasLocalCa();
let media = null;
let call = null;
let problem = null;
let soundBlocked = false;
let spoken = "";

function start() {
  const missing = whatIsMissing();
  if (missing) return void window.rtcctlOld(`missing: ${missing}`);
  speak(strings);
  put("host", location.host);
  put("room", room);
  stage.setUp();
  wire();
  Object.defineProperty(window, "rtcctl", { value: Object.freeze({ get state() { return document.body.dataset.state; }, report: () => call?.report() ?? Promise.resolve([]) }) });
  if (!room) return void landing();
  if (!window.isSecureContext || !navigator.mediaDevices) return void message("insecure");
  prejoin();
}

function whatIsMissing() {
  if (!window.RTCPeerConnection) return "RTCPeerConnection";
  if (!RTCPeerConnection.prototype.restartIce) return "RTCPeerConnection.restartIce";
  if (window.isSecureContext && !navigator.mediaDevices?.getUserMedia) return "mediaDevices.getUserMedia";
  return "";
}

function titled(words) {
  return words ? `${words} · ${boot.title}` : boot.title;
}

// ---------- landing ----------

async function landing() {
  const token = takeHostLink();
  const refusal = token === null ? "" : await enterAsHost(token);
  const may = await mayOpenRooms();
  $("#host-note").hidden = token === null || Boolean(refusal);
  if (!may) return closed({ expired: strings.linkExpired, revoked: strings.linkRevoked, foreign: strings.linkForeign, failed: strings.linkFailed }[refusal] ?? "");
  listRecent();
  show("landing", titled(""));
  if (!$("#host-note").hidden) say(strings.hostNow);
}

/** Where only hosts open rooms, and this browser is none. */
function closed(why) {
  put("closedWhy", why);
  $("#closed-again").hidden = !room;
  $("#recent").hidden = true;
  show("landing-closed", titled(strings.closedTitle));
}

function listRecent() {
  const list = recentRooms();
  $("#recent").hidden = list.length === 0;
  $("#recent-list").replaceChildren(...list.map(({ room: name, at }) => {
    const item = document.createElement("li"), anchor = document.createElement("a");
    const words = document.createElement("b"), when = document.createElement("span"), button = document.createElement("button");
    anchor.href = `/r/${name}`;
    words.translate = false;
    words.textContent = name;
    when.textContent = whenWords(at);
    anchor.append(words, when);
    button.type = "button";
    button.className = "plain only";
    button.setAttribute("aria-label", strings.forget(name));
    button.append(icon("x", true));
    button.onclick = () => {
      forget(name);
      listRecent();
      say(strings.forgotten(name));
      ($("#recent-list button") ?? $("#new-room")).focus();
    };
    item.append(anchor, button);
    return item;
  }));
}

function whenWords(at) {
  const then = new Date(at), today = new Date();
  const days = Math.round((new Date(today.toDateString()) - new Date(then.toDateString())) / 86_400_000);
  if (days === 0) return strings.today(then.toLocaleTimeString(strings.language, { hour: "2-digit", minute: "2-digit", hour12: false }));
  return days === 1 ? strings.yesterday : then.toLocaleDateString(strings.language, { day: "numeric", month: "long" });
}

function go(event) {
  event.preventDefault();
  const input = event.target.elements.room;
  const name = roomFrom(input.value);
  const wrong = roomProblem(name);
  const words = wrong && (typeof strings[wrong] === "function" ? strings[wrong](name) : strings[wrong]);
  $(`#${input.getAttribute("aria-describedby")}`).textContent = words ?? "";
  input.toggleAttribute("aria-invalid", Boolean(wrong));
  if (wrong) return input.focus();
  location.assign(`/r/${name}${location.search}`);
}

// ---------- before the call ----------

async function prejoin() {
  $("#name").value = kept("rtcctl.name") ?? "";
  $("#join-button").disabled = true;
  $("#join .switch").before($("#pickers"));
  show("prejoin", titled(room));
  media = media ?? new Media(location.search, { changed: mediaChanged, level: showLevel, gone: deviceGone });
  asking(true);
  problem = await media.open();
  asking(false);
  if (problem?.kind === "denied") return message("denied", problem.detail);
  if (problem?.kind === "busy") return message("busy", problem.detail, problem.device);
  ready();
}

function asking(now) {
  document.body.toggleAttribute("data-asking", now);
  mediaChanged();
}

function ready() {
  show("prejoin", titled(room));
  $("#join-button").disabled = false;
  media.listen();
  mediaChanged();
}

function joinWords() {
  const sound = media.track("audio"), picture = media.track("video");
  if (sound && media.cameraOff) return strings.join;
  if (sound && !picture && media.wantsPicture) return strings.joinSoundOnly;
  if (!sound && picture) return strings.joinPictureOnly;
  return !sound && !picture ? strings.joinWatching : strings.join;
}

async function join() {
  const name = $("#name").value.trim();
  keep("rtcctl.name", name);
  $("#join-button").disabled = true;
  $("#join-button").textContent = strings.joining;
  media.deafen();
  soundBlocked = false;
  call = new Call({ room, query: location.search, name, media, on: {
    changed: render, sample: render, stream: (stream) => play(stream), gone: (kind) => gone(kind),
  } });
  try {
    await call.start();
  } catch (error) {
    call = null;
    return refused(error);
  } finally {
    $("#join-button").disabled = false;
  }
  remember(room);
  render();
}

async function refused(error) {
  if (!(error instanceof Refusal)) throw error;
  if (error.kind === "full") return message("room-full");
  if (error.kind === "closed") return closed(strings.closedRoom(room));
  if (error.kind === "unreachable") return message("unreachable", error.message);
  // The page's own origin answers, only the socket does not: a certificate that was clicked away, or something in between.
  const answer = await fetch("/status", { cache: "no-store" }).then((reply) => reply.status, () => 0);
  const detail = `${error.message}\n${location.origin}/status ${answer ? `answered ${answer}` : "did not answer"}`;
  if (!answer) return message("unreachable", detail);
  if (await localCa) return message("untrusted", detail);
  message("blocked", detail);
}

/** Only a site with a certificate of its own making has one to hand out. */
async function hasLocalCa() {
  const asked = fetch("/ca/ca.pem", { method: "HEAD" }).then((reply) => reply.ok, () => false);
  const has = await Promise.race([asked, pause(3000)]) === true;
  for (const element of all(".local-ca")) element.hidden = !has;
  return has;
}

async function message(state, detail = "", device = "") {
  const ca = await localCa;
  show(state, titled(fill(strings, state, { detail, device, ca, secure: boot.secure })));
}

// ---------- devices ----------

function mediaChanged() {
  if (!media) return;
  const state = document.body.dataset.state;
  const picture = media.track("video");
  const off = media.cameraOff;
  for (const video of [$("#preview"), $("#mirror"), $("#mine")]) attach(video, media.stream, picture && !off);
  $("#preview").hidden = !picture || off;
  $("#no-picture").hidden = !$("#preview").hidden;
  $("#no-picture-text").textContent = noPictureWords(picture);
  $("#self-empty").hidden = Boolean(picture) && !off;
  $("#mine").hidden = !$("#self-empty").hidden;
  $("#self-muted").hidden = !media.muted;
  $("#join-muted").checked = media.muted;
  $("#flip").hidden = !matchMedia("(pointer: coarse)").matches || media.devices.videoinput.length < 2;
  for (const key of all("[data-do=mute]")) drawKey(key, media.track("audio") ? (media.muted ? ["mic-off", strings.unmute, true] : ["mic", strings.mute, false]) : ["mic-off", strings.findMicrophone, true]);
  for (const key of all("[data-do=camera]")) drawKey(key, off ? ["cam-off", strings.cameraOn, true] : picture ? ["cam", strings.cameraOff, false] : ["cam-off", strings.findCamera, true]);
  for (const select of all("[data-device]")) listDevices(select);
  if (!media.track("audio") || media.muted) showLevel(0);
  if (state === "prejoin" && !$("#join-button").disabled) $("#join-button").textContent = joinWords();
  if (state === "prejoin" && $("#join-button").disabled && !call) $("#join-button").textContent = strings.join;
  call?.tellMedia();
}

function attach(video, stream, wanted) {
  if (wanted && video.srcObject !== stream) video.srcObject = stream;
  if (!wanted) video.srcObject = null;
}

function noPictureWords(picture) {
  if (document.body.hasAttribute("data-asking")) return strings.asking;
  if (picture || media.cameraOff) return strings.cameraOffHere;
  if (problem || !media.wantsPicture) return strings.cameraUnused;
  return media.track("audio") ? strings.noCamera : strings.noDevices;
}

function drawKey(key, [name, words, off]) {
  if (key.dataset.drawn === words) return;
  key.dataset.drawn = words;
  key.classList.toggle("off", off);
  const label = document.createElement("span");
  label.textContent = words;
  if (key.matches(".round")) label.className = "seen";
  key.replaceChildren(icon(name), label);
  key.title = key.matches(".round") ? words : "";
}

function listDevices(select) {
  const kind = select.dataset.device;
  const devices = media.devices[kind];
  const field = select.closest(".field").closest("div.field") ?? select.closest(".field");
  field.hidden = kind === "audiooutput" && (devices.length < 2 || !("setSinkId" in HTMLMediaElement.prototype));
  const options = devices.map(({ deviceId, label }, at) => [deviceId, label || strings.unnamedDevice(at + 1)]);
  if (kind === "audiooutput") options.unshift(["", strings.systemChoice]);
  if (!options.length) options.push(["", kind === "audioinput" ? strings.noMicrophoneListed : strings.noCameraListed]);
  const text = JSON.stringify(options);
  if (select.dataset.text !== text) {
    select.dataset.text = text;
    select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  }
  select.disabled = devices.length === 0;
  const current = media.current(kind);
  if (options.some(([value]) => value === current)) select.value = current;
}

async function choose(event) {
  const { device } = event.target.dataset;
  const id = event.target.value;
  if (device === "audiooutput") {
    media.chosen.audiooutput = id;
    await $("#remote").setSinkId(id).catch(() => note(strings.deviceFailedHead, strings.deviceFailedText));
    return;
  }
  const track = await media.choose(device, id);
  if (!track && !(device === "videoinput" && media.cameraOff)) note(strings.deviceFailedHead, strings.deviceFailedText);
  if (track) await call?.replace(track.kind, track);
  mediaChanged();
}

let lastHeard = 0;

function showLevel(level) {
  if (level > 1) lastHeard = Date.now();
  const sound = media?.track("audio");
  const words = !sound ? strings.noMicrophone : media.muted ? strings.mutedLevel : Date.now() - lastHeard < 3000 ? strings.heard : strings.silent;
  for (const meter of all(".level")) {
    meter.hidden = !sound;
    meter.setAttribute("aria-valuenow", String(level));
    [...meter.children].forEach((bar, at) => bar.classList.toggle("on", at < level));
  }
  for (const element of all(".heard")) if (element.textContent !== words) element.textContent = words;
}

function deviceGone(kind) {
  call?.replace(kind, null);
  if (call) note(strings.deviceGoneHead, strings.deviceGoneText);
  mediaChanged();
}

function note(head, text) {
  put("deviceHead", head);
  put("deviceText", text);
  $("#device-note").hidden = false;
  say(head);
}

async function toggleMute() {
  if (!media.track("audio")) return find("audio");
  media.setMuted(!media.muted);
  say(media.muted ? strings.saidMuted : strings.saidUnmuted);
}

async function toggleCamera() {
  if (!media.track("video") && !media.cameraOff) return find("video");
  const on = media.cameraOff;
  say(on ? strings.saidCameraOn : strings.saidCameraOff);
  const started = await media.turnCamera(on);
  await call?.replace("video", media.track("video"));
  if (!started) note(strings.deviceFailedHead, strings.deviceFailedText);
}

async function find(kind) {
  const track = await media.find(kind);
  if (track) await call?.replace(kind, track);
  else if (call) note(strings.deviceFailedHead, strings.findFailedText);
  if (track && kind === "audio" && !call) media.listen();
  mediaChanged();
}

async function flip() {
  const track = await media.flip();
  if (track) await call?.replace("video", track);
  mediaChanged();
}

// ---------- the call ----------

/** The remote picture and voice. Browsers may want a tap before they play sound. */
function play(stream) {
  const video = $("#remote");
  video.srcObject = stream;
  if (media.chosen.audiooutput) video.setSinkId?.(media.chosen.audiooutput).catch(() => undefined);
  soundBlocked = false;
  stream.onaddtrack = null;
  video.play().catch((error) => blockedSound(error));
}

function blockedSound(error) {
  if (error.name !== "NotAllowedError") return; // a newer stream took its place
  soundBlocked = true;
  render();
}

function render() {
  if (!call) return;
  let state = call.state;
  if (state === "call" && soundBlocked) state = "call-sound";
  const { name } = call;
  const connected = state === "call" || state === "call-server" || state === "call-sound";
  show(state, titled(titleOf(state, name)));
  if (state === "waiting") drawLink();
  put("who", name || strings.they);
  put("whoShort", name || strings.they);
  put("initial", [...name][0]?.toUpperCase() ?? "–");
  put("clock", clock(call.record.started));
  put("callHead", titleOf(state, name) || strings.callTitle(name));
  $("#remote").setAttribute("aria-label", strings.theirPicture(name));
  $("#remote").classList.toggle("old", state === "call-reconnecting");
  renderWords(state, name);
  renderPath(connected);
  renderTheirs(state, name);
  speakChange(state, name);
}

function renderWords(state, name) {
  const lost = call.lostFor;
  put("connectingText", strings.connectingText(name));
  put("reconnectingText", lost < 15 ? strings.reconnectingText : strings.reconnectingLong);
  put("lostFor", lost ? strings.lostFor(lost) : "");
  put("leftHead", strings.leftHead(name));
  put("soundText", strings.soundText(name));
  const seconds = Math.ceil((call.server.retryAt - Date.now()) / 1000);
  put("nextTry", seconds > 0 ? strings.nextTry(seconds) : strings.tryingNow);
  $("#waiting-offline").hidden = call.server.up || !["waiting", "call-left", "call-connecting", "call-nopath"].includes(state);
  if (state !== "call-nopath") return;
  // On the page's own port the way is open: what fails there is the certificate, whose warning was clicked away for the page.
  const own = `turns:${location.hostname}:${location.port || 443}`;
  const tls = call.iceErrors.some(([url]) => url.split("?")[0] === own);
  localCa.then((has) => { $("#nopath-trust").hidden = !(has && tls); });
  put("nopathText", `${strings.nopathText(name)}${tls ? ` ${strings.nopathTls}` : ""}`);
  put("iceDetail", call.noServers ? strings.noIceServers : call.iceErrors.map(([url, error]) => `${url} ${error}`).join("\n") || strings.unknown);
}

function renderPath(connected) {
  const { sample } = call;
  const grade = connected ? (sample ? quality(sample) : "") : "lost";
  const [mark, colour] = { good: ["bars", "ok"], fair: ["bars", "warn"], poor: ["bars-1", "danger"], lost: ["warn", "warn"] }[grade] ?? ["bars", ""];
  $("#bars").setAttribute("class", `icon s ${colour}`);
  $("#bars use").setAttribute("href", `#i-${mark}`);
  put("path", connected ? (sample ? truth(strings, sample) : strings.measuring) : strings.noPathNow);
  const relayed = sample?.relayed === true;
  $("#route .relay").hidden = !relayed;
  $("#route .rest").hidden = !relayed;
  $("#route .wire").classList.toggle("half", relayed);
  $("#route").setAttribute("aria-label", relayed ? strings.routePictureRelay(call.name) : strings.routePictureDirect(call.name));
  put("routeText", relayed ? strings.routeRelay(sample.protocol) : sample ? strings.routeDirect : "");
  facts($("#facts"), connectionFacts(strings, sample, call.server.up));
}

function renderTheirs(state, name) {
  const shown = state === "call" || state === "call-server";
  const { muted, camera } = call.their;
  const pictured = $("#remote").videoWidth > 2;
  $("#face").hidden = !shown || (camera && pictured) || (camera && call.record.started && Date.now() - call.record.started < 3000);
  $("#remote").classList.toggle("blank", shown && !camera);
  put("faceHead", camera ? strings.faceNoPicture : strings.faceCameraOff);
  put("faceText", camera ? strings.faceNoPictureText(name) : strings.faceCameraOffText(name));
  $("#their-muted").hidden = !shown || !muted;
  put("theirMuted", strings.theirMuted(name));
}

function titleOf(state, name) {
  return {
    waiting: strings.waitingTitle, "call-connecting": strings.connectingTitle, "call-nopath": strings.nopathTitle,
    call: strings.callTitle(name), "call-sound": strings.soundTitle, "call-server": strings.serverTitle,
    "call-reconnecting": strings.reconnectingTitle(name), "call-left": strings.leftTitle(name),
  }[state] ?? "";
}

function speakChange(state, name) {
  const key = `${state}/${name}`;
  if (spoken === key) return;
  const before = spoken.split("/")[0];
  spoken = key;
  if (state === "call" && before === "call-server") return say(strings.serverBack);
  say({ waiting: strings.waitingHead, "call-left": strings.leftHead(name), call: strings.begun(name), "call-server": strings.serverHead }[state] ?? titleOf(state, name));
}

function clock(since) {
  if (!since) return "";
  const seconds = Math.floor((Date.now() - since) / 1000);
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function drawLink() {
  if ($("#link").textContent) return;
  $("#link").textContent = link;
  put("copyWord", strings.copy);
  const local = /^(localhost|127\.|\[::1\])/.test(location.hostname);
  $("#share").hidden = !navigator.share;
  $("#local-link").hidden = !local;
  if (local) return;
  // A site reached by a name that it does not know draws none.
  $("#qr-code").onload = () => { $("#qr").hidden = false; };
  $("#qr-code").src = `/api/qr.svg?text=${encodeURIComponent(link)}`;
}

async function copyLink() {
  const done = await copy(link);
  put("copyWord", done ? strings.copied : strings.notCopied);
  say(done ? strings.linkCopied : strings.notCopied);
  setTimeout(() => put("copyWord", strings.copy), 3000);
}

function copy(text) {
  return navigator.clipboard ? navigator.clipboard.writeText(text).then(() => true, () => false) : Promise.resolve(false);
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("main.call").requestFullscreen().catch(() => undefined);
}

async function leave() {
  const ended = call;
  call = null;
  stage.close();
  if (document.fullscreenElement) document.exitFullscreen().catch(() => undefined);
  $("#remote").srcObject = null;
  media.stop();
  const leaving = ended.leave();
  spoken = "";
  after(strings, ended, { copy, show: (title) => show("after", titled(title)), band, facts });
  say(strings.afterTitle);
  await leaving;
}

function gone(kind) {
  const ended = call;
  call = null;
  ended.beacon();
  media.stop();
  message(kind);
}

// ---------- wiring ----------

const actions = {
  mute: toggleMute,
  camera: toggleCamera,
  flip,
  leave,
  retry: () => prejoin(),
  rejoin: () => prejoin(),
  "go-on": () => ready(),
  wait: () => call?.waitOn(),
  "try-now": () => call?.tryNow(),
  sound: () => $("#remote").play().then(() => { soundBlocked = false; render(); }, () => undefined),
  copy: copyLink,
  full: () => { stage.close(); fullScreen(); },
  devices: () => {
    $("#devices").append($("#pickers"));
    stage.open($("#devices"), $("#more"));
    media.listen();
  },
  connection: () => stage.open($("#connection"), $("#truth")),
  keys: () => stage.open($("#keys"), $("#more")),
  close: () => stage.close(),
  "close-note": () => { $("#device-note").hidden = true; },
};

function wire() {
  document.addEventListener("click", (event) => {
    const name = event.target.closest("[data-do]")?.dataset.do;
    if (!name) return;
    if (name === "copy" && stage.isOpen($("#menu"))) stage.close();
    Promise.resolve(actions[name]()).catch((error) => console.warn(name, error));
  });
  for (const select of all("[data-device]")) select.addEventListener("change", choose);
  $("#new-room").onclick = () => location.assign(`/r/${newRoomName()}${location.search}`);
  for (const form of all("[data-go]")) form.onsubmit = go;
  $("#join").onsubmit = (event) => {
    event.preventDefault();
    join();
  };
  $("#join-muted").onchange = (event) => media.setMuted(event.target.checked);
  $("#truth").onclick = () => (stage.isOpen($("#connection")) ? stage.close() : actions.connection());
  $("#more").onclick = () => {
    $("#menu-connection").hidden = !call?.record.started;
    $("#menu-full").hidden = !document.fullscreenEnabled;
    if (!stage.close()) stage.open($("#menu"), $("#more"));
  };
  $("#share").onclick = () => navigator.share({ url: link, title: boot.title }).catch(() => undefined);
  $("#single-keys").checked = kept("rtcctl.keys") !== "off";
  $("#single-keys").onchange = (event) => keep("rtcctl.keys", event.target.checked ? "on" : "off");
  $("#remote").addEventListener("resize", render);
  document.addEventListener("keydown", shortcut);
  // A host link that is opened where the landing page stands already does not load it again.
  if (!room) addEventListener("hashchange", landing);
  addEventListener("online", () => call?.networkChanged());
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && call && !call.server.up && call.tryNow());
  addEventListener("pagehide", () => call?.beacon());
  // Out of the back-forward cache the seat is long gone: begin anew.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}

function shortcut(event) {
  if (!call || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (!$("#single-keys").checked) return;
  const action = { m: "mute", v: "camera", f: "full", d: "devices", "?": "keys" }[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  actions[action]();
}

start();
