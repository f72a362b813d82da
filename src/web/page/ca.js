// Adds to /ca what needs a script: tabs instead of a list, and the test whether this device trusts the site now.
const device = /iPhone|iPad/.test(navigator.userAgent) || (/Mac/.test(navigator.platform) && navigator.maxTouchPoints > 1)
  ? "ios" : /Android/.test(navigator.userAgent) ? "android" : "desktop";
const tabs = [...document.querySelectorAll(".tabs a")];
const button = document.querySelector("#test");
const { origin } = button.dataset;
const WITHIN = 6000;

function choose(id) {
  for (const section of document.querySelectorAll(".devices > section")) section.hidden = section.id !== id;
  for (const tab of tabs) tab.hash === `#${id}` ? tab.setAttribute("aria-current", "page") : tab.removeAttribute("aria-current");
}

function verdict(colour, name, words, explained) {
  const tag = document.querySelector("#verdict");
  tag.className = `tag ${colour}`;
  tag.querySelector("use").setAttribute("href", `#i-${name}`);
  tag.querySelector("span").textContent = words;
  document.querySelector("#explained").textContent = explained;
  document.querySelector("#said").textContent = `${words}. ${explained}`;
  document.querySelector("#start").hidden = colour !== "ok";
}

// A browser tells a page nothing about why a connection failed, so reachability is asked on plain http, where it can be.
async function test() {
  button.disabled = true;
  verdict("", "dash", "Testing", "The test opens the secure page and the call channel from this device.");
  const [page, channel] = await Promise.all([opensPage(), opensChannel()]);
  button.disabled = false;
  if (page && channel) return verdict("ok", "check", "Trusted", "Page and call channel opened without a warning. You are done.");
  if (page) return verdict("danger", "x", "Not trusted yet", device === "ios"
    ? "The page opens, the call channel does not: the second switch is probably off (step 3)."
    : "The page opens, the call channel does not. If you only clicked the browser’s warning away, install the certificate as described here.");
  if (location.protocol === "http:" && !(await answers())) return verdict("warn", "warn", "No answer", "The server does not answer at the moment, so nothing can be said about trust.");
  verdict("danger", "x", "Not trusted yet", `This device refuses ${origin}. Follow the steps, then test again; some browsers must be restarted first.`);
}

function within(promise) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(resolve, WITHIN, false))]);
}

const opensPage = () => within(fetch(`${origin}/healthz`, { cache: "no-store", mode: "cors" }).then(() => true, () => false));
const answers = () => within(fetch("/ca/ca.pem", { cache: "no-store" }).then(() => true, () => false));

function opensChannel() {
  return within(new Promise((resolve) => {
    const socket = new WebSocket(`${origin.replace(/^http/, "ws")}/ws`);
    socket.onopen = () => {
      socket.close();
      resolve(true);
    };
    socket.onerror = () => resolve(false);
  }));
}

for (const tab of tabs)
  tab.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", tab.hash);
    choose(tab.hash.slice(1));
  });
choose(tabs.some((tab) => tab.hash === location.hash) ? location.hash.slice(1) : device);
document.querySelector("#explained").textContent = "The test opens the secure page and the call channel from this device.";
button.hidden = false;
button.addEventListener("click", test);
