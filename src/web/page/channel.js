// The signaling of an AppRTC web client: POST /join, a WebSocket for what comes in, POST /message for what an initiator
// says and the socket for what a callee says. The socket is opened again with the same client id until `leave`.
const RETRY_AFTER = [500, 1000, 2000, 4000, 8000];
const ANSWER_WITHIN = 10_000;
const OUTBOX = 256;

/** Why a room could not be entered: `kind` is full, closed (only a host may open it), unreachable, refused (the socket). */
export class Refusal extends Error {
  constructor(kind, detail) {
    super(detail);
    this.kind = kind;
  }
}

export class Channel {
  #room; #query; #on; #seat = null; #socket = null; #opened = false; #closed = false;
  #outbox = []; #draining = false; #tries = 0; #timer = 0; #drainTimer = 0;

  /** `on`: message(object), socket({ up, retryAt }), seatLost(reason). */
  constructor(room, query, on) {
    this.#room = room;
    this.#query = query;
    this.#on = on;
  }

  get up() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  get transports() {
    return this.#seat?.transports ?? "";
  }

  /** Who offers, and who speaks by POST. After a "bye" the one who stays becomes the initiator. */
  initiator = false;

  /** Takes a seat. Returns the messages that waited for us, in order. */
  async join() {
    let reply;
    try {
      reply = JSON.parse(await (await post(`/join/${this.#room}${this.#query}`)).text());
    } catch (error) {
      throw new Refusal("unreachable", `POST /join: ${error.message}`);
    }
    if (reply.result === "FULL") throw new Refusal("full", reply.result);
    if (reply.code === "HOSTS_ONLY") throw new Refusal("closed", reply.result);
    if (reply.result !== "SUCCESS") throw new Refusal("unreachable", `POST /join: ${reply.result}`);
    const given = reply.params;
    this.#seat = {
      room: given.room_id, client: given.client_id, socket: given.wss_url, http: given.wss_post_url,
      ice: given.ice_server_url, transports: given.ice_server_transports ?? "",
    };
    this.initiator = String(given.is_initiator) === "true";
    this.#outbox = [];
    return given.messages.map(parsed).filter(Boolean);
  }

  /** Opens the socket the first time; refused twice means that it will not do. */
  async open() {
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#connect();
        return;
      } catch (error) {
        if (attempt === 1) throw new Refusal("refused", error.message);
        await pause(RETRY_AFTER[0]);
      }
    }
  }

  /** Fresh servers and credentials, as `RTCIceServer[]`; empty if the server gave none within three tries. */
  async iceServers() {
    if (!this.#seat?.ice) return [];
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        const reply = await post(this.#seat.ice);
        if (!reply.ok) throw new Error(`status ${reply.status}`);
        return only(this.transports, (await reply.json()).iceServers ?? []);
      } catch {
        await pause(RETRY_AFTER[attempt]);
      }
    }
    return [];
  }

  send(message) {
    // The oldest go first: what is lost here is mended by the next ICE restart.
    if (this.#outbox.length === OUTBOX) this.#outbox.shift();
    this.#outbox.push(JSON.stringify(message));
    this.#drain();
  }

  /** Opens a new socket at once; the server drops the old one. */
  reconnectNow() {
    if (this.#closed || !this.#opened) return;
    clearTimeout(this.#timer);
    this.#tries = 0;
    this.#again();
  }

  /** The order matters: the server must know of the leave before the other side hears "bye" and offers anew. */
  async leave() {
    const seat = this.#seat;
    if (!seat || this.#closed) return;
    this.#closed = true;
    this.#stopTimers();
    const bye = { type: "bye" };
    // Without a socket the goodbye has to go first: after the leave we have no seat to say it from.
    if (!this.up) await post(this.#path("message"), { body: JSON.stringify(bye), keepalive: true }).catch(() => undefined);
    await post(this.#path("leave"), { keepalive: true }).catch(() => undefined);
    if (this.up) this.#socket.send(envelope(bye));
    this.#drop();
    fetch(`${seat.http}/${seat.room}/${seat.client}`, { method: "DELETE", keepalive: true }).catch(() => undefined);
  }

  /** The page goes away: nothing may be awaited any more. */
  beacon() {
    if (!this.#seat || this.#closed) return;
    this.#closed = true;
    this.#stopTimers();
    navigator.sendBeacon(this.#path("leave"));
    if (this.up) this.#socket.send(envelope({ type: "bye" }));
  }

  #path(verb) {
    return `/${verb}/${this.#seat.room}/${this.#seat.client}${verb === "message" ? this.#query : ""}`;
  }

  #stopTimers() {
    clearTimeout(this.#timer);
    clearTimeout(this.#drainTimer);
  }

  #connect() {
    this.#drop();
    const socket = new WebSocket(this.#seat.socket);
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => socket.close(), ANSWER_WITHIN);
      let open = false;
      socket.onopen = () => {
        clearTimeout(late);
        open = true;
        this.#opened = true;
        this.#tries = 0;
        socket.send(JSON.stringify({ cmd: "register", roomid: this.#seat.room, clientid: this.#seat.client }));
        this.#on.socket({ up: true });
        this.#drain();
        resolve();
      };
      socket.onmessage = (event) => this.#receive(event.data);
      socket.onclose = (event) => {
        clearTimeout(late);
        if (this.#socket !== socket) return reject(new Error("replaced"));
        reject(new Error(`${this.#seat.socket} closed before it opened (${event.code})`));
        if (open || this.#opened) this.#later();
      };
    });
  }

  #later() {
    if (this.#closed) return;
    const wait = RETRY_AFTER[Math.min(this.#tries++, RETRY_AFTER.length - 1)] * (0.8 + 0.4 * Math.random());
    this.#on.socket({ up: false, retryAt: Date.now() + wait });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#again(), wait);
  }

  #again() {
    this.#connect().catch(() => undefined); // `onclose` has planned the next try
  }

  #drop() {
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = null;
    socket.close();
  }

  #receive(text) {
    const frame = parsed(text);
    if (!frame) return;
    if (frame.error) {
      if (/regist|capacity|room/i.test(frame.error)) this.#on.seatLost(frame.error);
      return;
    }
    const message = parsed(frame.msg);
    if (message) this.#on.message(message);
  }

  // One message after the other: a candidate must not overtake its description.
  async #drain() {
    if (this.#draining) return;
    this.#draining = true;
    clearTimeout(this.#drainTimer);
    while (this.#outbox.length && !this.#closed) {
      const text = this.#outbox[0];
      const sent = this.initiator ? await this.#post(text) : this.#push(text);
      if (!sent) break;
      if (this.#outbox[0] === text) this.#outbox.shift();
    }
    this.#draining = false;
    if (this.#outbox.length && !this.#closed && this.initiator)
      this.#drainTimer = setTimeout(() => this.#drain(), RETRY_AFTER[1]);
  }

  #push(text) {
    if (!this.up) return false;
    this.#socket.send(JSON.stringify({ cmd: "send", msg: text }));
    return true;
  }

  async #post(text) {
    let result;
    try {
      const reply = await post(this.#path("message"), { body: text });
      if (reply.status >= 500) return false;
      result = parsed(await reply.text())?.result;
    } catch {
      return false;
    }
    if (/^UNKNOWN/.test(result ?? "")) {
      this.#outbox = [];
      this.#on.seatLost(result);
    }
    return true;
  }
}

function envelope(message) {
  return JSON.stringify({ cmd: "send", msg: JSON.stringify(message) });
}

async function post(url, options = {}) {
  const stop = new AbortController();
  const late = setTimeout(() => stop.abort(), ANSWER_WITHIN);
  try {
    return await fetch(url, { method: "POST", cache: "no-store", signal: stop.signal, ...options });
  } finally {
    clearTimeout(late);
  }
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** `tt=`: TURN by this transport only; STUN stays. */
export function only(transport, servers) {
  if (!["udp", "tcp", "tls"].includes(transport)) return servers;
  return servers
    .map((server) => ({ ...server, urls: [server.urls].flat().filter((url) => !/^turns?:/.test(url) || transportOf(url) === transport) }))
    .filter((server) => server.urls.length);
}

function transportOf(url) {
  if (url.startsWith("turns:")) return "tls";
  return /[?&]transport=tcp/.test(url) ? "tcp" : "udp";
}

export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
