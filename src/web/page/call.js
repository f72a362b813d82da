// A call from "Join" to "Leave": the seat in the room, the peer of the moment, and which of the call's states it is in.
import { Channel, Refusal, pause } from "./channel.js";
import { Peer } from "./peer.js";
import { Meter, Record } from "./stats.js";

const FIRST_PATH = 20_000;
const NAME_LENGTH = 40;

export class Call {
  #channel; #media; #name; #on; #query; #peer = null; #timer = 0; #connectingSince = 0; #lostSince = 0; #over = false;
  #work = Promise.resolve(); #seatLost = false;

  /** `on`: changed(), stream(MediaStream), gone(kind), sample(). */
  constructor({ room, query, name, media, on }) {
    this.#query = new URLSearchParams(query);
    this.#media = media;
    this.#name = name;
    this.#on = on;
    this.room = room;
    this.name = "";
    this.left = false;
    this.server = { up: true, retryAt: 0 };
    this.their = { muted: false, camera: true };
    this.sample = null;
    this.meter = new Meter();
    this.record = new Record();
    this.#channel = new Channel(room, query, {
      message: (message) => this.#enqueue(() => this.#receive(message)),
      socket: (server) => this.#socket(server),
      seatLost: (reason) => this.#rejoin(reason),
    });
  }

  /** Throws `Refusal`. */
  async start() {
    const messages = await this.#channel.join();
    try {
      await this.#channel.open();
    } catch (error) {
      await this.#channel.leave();
      throw error;
    }
    this.#enqueue(() => this.#meet(messages));
    this.#timer = setInterval(() => this.#tick(), 1000);
    await this.#work;
  }

  /** waiting, call-connecting, call-nopath, call, call-server, call-reconnecting, call-left. */
  get state() {
    if (this.left) return "call-left";
    if (!this.#peer?.met) return "waiting";
    if (!this.#peer.wasConnected)
      return Date.now() - this.#connectingSince > FIRST_PATH ? "call-nopath" : "call-connecting";
    if (this.#peer.state !== "connected") return "call-reconnecting";
    return this.server.up ? "call" : "call-server";
  }

  /** Seconds without a path. */
  get lostFor() {
    const since = this.#peer?.wasConnected ? this.#lostSince : this.#connectingSince;
    return since ? Math.floor((Date.now() - since) / 1000) : 0;
  }

  get iceErrors() {
    return [...(this.#peer?.iceErrors ?? [])];
  }

  async report() {
    const rows = [];
    (await this.#peer?.stats())?.forEach((row) => rows.push(row));
    return rows;
  }

  /** The user saw that the other one left, and goes on waiting. */
  waitOn() {
    this.left = false;
    this.#on.changed();
  }

  tryNow() {
    if (!this.#channel.up) this.#channel.reconnectNow();
    if (this.#peer?.met && this.#peer.state !== "connected") this.#peer.restartNow().catch(() => undefined);
  }

  /** The network changed: the old socket may be dead without knowing it. */
  networkChanged() {
    this.#channel.reconnectNow();
    if (this.#peer?.met && this.#peer.state !== "connected") this.#peer.restartNow().catch(() => undefined);
  }

  replace(kind, track) {
    return this.#peer?.replace(kind, track);
  }

  /** Between two of our pages only: an app takes a message it does not know for a fatal error. */
  tellMedia() {
    if (this.#peer?.ours) this.#channel.send({ type: "rtcctl", muted: this.#media.muted, camera: this.#media.sendsPicture });
  }

  async leave() {
    this.#end();
    await this.#channel.leave();
  }

  beacon() {
    this.#channel.beacon();
    this.#end();
  }

  #end() {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#timer);
    this.record.end();
    this.#peer?.close();
  }

  // Signaling messages are handled one after the other, each to its end.
  #enqueue(step) {
    this.#work = this.#work.then(() => (this.#over ? undefined : step())).catch((error) => console.warn("signaling", error));
  }

  async #meet(messages) {
    // A description before its candidates; of several offers (the caller's path changed while it waited) the last one counts.
    const described = messages.filter(({ type }) => type === "offer" || type === "answer").slice(-1);
    const others = messages.filter(({ type }) => type !== "offer" && type !== "answer");
    await this.#newPeer();
    for (const message of [...described, ...others]) await this.#receive(message);
  }

  async #newPeer() {
    const servers = await this.#servers();
    if (this.#over) return;
    this.#peer?.close();
    this.#connectingSince = this.#lostSince = 0;
    this.their = { muted: false, camera: true };
    this.meter = new Meter();
    this.sample = null;
    const stream = new MediaStream();
    this.#on.stream(stream);
    const peer = new Peer({
      configuration: {
        iceServers: servers,
        iceTransportPolicy: this.#query.get("it") === "relay" ? "relay" : "all",
        bundlePolicy: "max-bundle",
      },
      initiator: this.#channel.initiator,
      media: this.#media,
      on: {
        send: (message) => this.#channel.send(this.#signed(message)),
        changed: () => this.#peer === peer && this.#peerChanged(),
        track: (track) => stream.addTrack(track),
        servers: () => this.#servers(),
      },
    });
    this.#peer = peer;
    this.#on.changed();
  }

  async #servers() {
    const servers = await this.#channel.iceServers();
    this.noServers = servers.length === 0;
    return servers;
  }

  // Apps ignore fields they do not know in an offer or answer.
  #signed(message) {
    if (message.type !== "offer" && message.type !== "answer") return message;
    return { ...message, app: "rtcctl", ...(this.#name ? { name: this.#name } : {}) };
  }

  async #receive(message) {
    switch (message.type) {
      case "offer":
      case "answer":
        return this.#described(message);
      case "candidate":
        return this.#peer?.receive(message);
      case "bye":
        return this.#bye();
      case "rtcctl":
        this.their = { muted: message.muted === true, camera: message.camera !== false };
        return this.#on.changed();
    }
  }

  async #described(message) {
    if (this.#peer?.isStranger(message)) {
      // Nothing that was agreed with the one before is worth keeping. Whoever answered waits for our next offer.
      this.#channel.initiator = message.type === "answer";
      await this.#newPeer();
      if (message.type === "answer") return;
    }
    this.left = false;
    this.name = typeof message.name === "string" ? message.name.trim().slice(0, NAME_LENGTH) : "";
    if (!this.#connectingSince) this.#connectingSince = Date.now();
    await this.#peer?.receive(message);
    this.tellMedia();
  }

  /** The one who stays offers anew; the offer waits at the server for whoever comes next. */
  async #bye() {
    if (this.#peer?.met) {
      this.left = true;
      this.record.left(this.name);
    }
    this.#peer?.close();
    this.#peer = null;
    this.sample = null;
    this.#channel.initiator = true;
    this.#on.changed();
    // A closing page sends its leave beside its bye: an offer that overtook the leave would be sent to nobody.
    await pause(400);
    if (!this.#over) await this.#newPeer();
  }

  #peerChanged() {
    if (this.#peer.state === "connected") {
      if (this.#lostSince) this.record.back(Math.max(1, this.lostFor));
      this.#lostSince = 0;
      this.record.begin();
    } else if (this.#peer.wasConnected && !this.#lostSince) {
      this.#lostSince = Date.now();
      this.record.lost();
    }
    this.#on.changed();
  }

  #socket(server) {
    if (server.up !== this.server.up && this.record.running) this.record.server(server.up);
    this.server = server;
    if (server.up && this.#peer?.met && this.#peer.state === "failed") this.#peer.restartNow().catch(() => undefined);
    this.#on.changed();
  }

  /** The server no longer knows our seat: take another one. A call whose media flows goes on untouched. */
  async #rejoin() {
    if (this.#seatLost || this.#over) return;
    this.#seatLost = true;
    const flows = () => this.#peer?.state === "connected";
    const initiator = this.#channel.initiator;
    for (let wait = 500; !this.#over; wait = Math.min(wait * 2, 8000)) {
      try {
        const messages = await this.#channel.join();
        this.#channel.reconnectNow();
        if (flows()) this.#channel.initiator = initiator;
        else this.#enqueue(() => this.#meet(messages));
        break;
      } catch (error) {
        if (error instanceof Refusal && error.kind === "full" && !flows()) {
          this.#on.gone("elsewhere");
          break;
        }
        await pause(wait);
      }
    }
    this.#seatLost = false;
  }

  async #tick() {
    const peer = this.#peer;
    if (peer?.wasConnected && !this.left) {
      if (peer.state === "connected") this.sample = await this.meter.sample(await peer.stats());
      this.record.second(peer.state === "connected" ? this.sample : null);
    }
    if (!this.#over) this.#on.sample();
  }
}
