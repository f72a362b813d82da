// The screens that say what is in the way: what happened, what it means, what to do. One place in the document, filled in.
import { $, icon, put } from "./view.js";

/** Fills it in and returns the title of the page. `about`: detail (the browser's own words), device, ca (there is a /ca), secure (origin). */
export function fill(strings, state, about) {
  const it = screens[state](strings, about);
  for (const name of ["dot", "cut", "full"]) $(`#pict-${name}`).hidden = name !== (it.picture ?? "dot");
  if (it.icon) $("#pict-dot use").setAttribute("href", `#i-${it.icon}`);
  put("messageHead", it.head);
  put("messageText", it.text);
  address($("#message-address"), it.address);
  $("#message-steps").replaceChildren(...(it.steps ?? []).map((words) => Object.assign(document.createElement("li"), { textContent: words })));
  $("#message-steps").hidden = !it.steps;
  $("#message-buttons").replaceChildren(...it.buttons.filter(Boolean).map(button));
  put("messageNote", it.note ?? "");
  $("#message-detail").hidden = !about.detail;
  $("#message-detail").open = false;
  put("messageSummary", it.summary ?? strings.technical);
  put("messageMore", it.more ?? "");
  put("messageDetail", about.detail);
  return it.title;
}

function address(box, given) {
  box.hidden = !given;
  if (!given) return;
  box.querySelector("b").replaceChildren(icon(given[0], true));
  box.querySelector("span").textContent = given[1];
}

// [words, action or address]: the first is the primary one.
function button([words, target], at) {
  const link = target.includes("/");
  const element = document.createElement(link ? "a" : "button");
  element.className = at === 0 ? "button primary" : "button";
  element.textContent = words;
  if (link) element.href = target;
  else {
    element.type = "button";
    element.dataset.do = target;
  }
  return element;
}

const screens = {
  "room-full": (s) => ({
    picture: "full", title: s.fullTitle, head: s.fullHead, text: s.fullText,
    buttons: [[s.tryAgain, "retry"], [s.otherRoom, "/"]],
  }),
  denied: (s) => ({
    icon: "cam-off", title: s.deniedTitle, head: s.deniedHead, text: s.deniedText,
    address: ["devices", location.host + location.pathname],
    steps: [s.denied1, s.denied2, s.denied3],
    buttons: [[s.tryAgain, "retry"], [s.onlyWatch, "go-on"]],
    summary: s.stillRefused, more: s.stillRefusedText,
  }),
  busy: (s, { device }) => ({
    icon: "cam", title: s.busyTitle, steps: [s.busy1, s.busy2],
    head: { camera: s.busyCameraHead, microphone: s.busyMicrophoneHead, both: s.busyBothHead }[device],
    text: { camera: s.busyCameraText, microphone: s.busyMicrophoneText, both: s.busyBothText }[device],
    buttons: [[s.tryAgain, "retry"], [{ camera: s.joinSoundOnly, microphone: s.joinPictureOnly, both: s.joinWatching }[device], "go-on"]],
  }),
  insecure: (s, { ca, secure: origin }) => {
    const secure = `${origin}${location.pathname}${location.search}`;
    return {
      icon: "lock", title: s.insecureTitle, head: s.insecureHead, text: s.insecureText, address: ["lock", secure],
      buttons: [[s.openSecure, secure], ca && [s.trustFirst, "/ca"]], note: ca ? s.insecureNote : "",
    };
  },
  untrusted: (s) => ({
    picture: "cut", title: s.untrustedTitle, head: s.untrustedHead, text: s.untrustedText, steps: [s.untrusted1, s.untrusted2],
    buttons: [[s.trustSite, "/ca"], [s.tryAgain, "retry"]],
  }),
  blocked: (s) => ({
    picture: "cut", title: s.blockedTitle, head: s.blockedHead, text: s.blockedText, steps: [s.blocked1, s.blocked2],
    buttons: [[s.tryAgain, "retry"]],
  }),
  unreachable: (s) => ({
    icon: "plug", title: s.unreachableTitle, head: s.unreachableHead, text: s.unreachableText,
    buttons: [[s.tryAgain, "retry"], [s.toStart, "/"]],
  }),
  elsewhere: (s) => ({
    icon: "info", title: s.elsewhereTitle, head: s.elsewhereHead, text: s.elsewhereText,
    buttons: [[s.tryAgain, "retry"], [s.toStart, "/"]],
  }),
};
