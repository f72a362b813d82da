// One RTCPeerConnection to one other browser or app: offer, answer, candidates, and a new path when the old one breaks.
const PATIENCE = 3000; // disconnected often mends itself; after this a new path is looked for
const RESTART_EVERY = 8000;
const FIRST_PATH = 15_000; // a side without any candidate never fails by itself
const RESTARTS = 30; // four minutes, then only "Try now"
const CANDIDATES = 256;

export class Peer {
  #on; #pc; #initiator; #media; #makingOffer = false; #candidates = []; #timer = 0; #restarts = 0; #closed = false;
  #theirs = "";

  /** `configuration`: RTCConfiguration. `media`: { stream, track(kind) }. `on`: send, changed, track, servers (async). */
  constructor({ configuration, initiator, media, on }) {
    this.#on = on;
    this.#initiator = initiator;
    this.#media = media;
    this.ours = false;
    this.iceErrors = new Map();
    this.wasConnected = false;
    const pc = new RTCPeerConnection(configuration);
    this.#pc = pc;
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && this.#on.send({
      type: "candidate", label: candidate.sdpMLineIndex, id: candidate.sdpMid, candidate: candidate.candidate,
    });
    pc.onicecandidateerror = ({ url, errorCode, errorText }) => {
      if (url && this.iceErrors.size < 16) this.iceErrors.set(url, `${errorCode} ${errorText}`.trim());
    };
    pc.ontrack = ({ track }) => this.#on.track(track);
    pc.onnegotiationneeded = () => this.#mayOffer() && this.#offer();
    pc.onconnectionstatechange = () => this.#stateChanged();
    for (const kind of ["audio", "video"]) {
      const track = media.track(kind);
      if (track) pc.addTrack(track, media.stream);
      // Both directions from the start: a camera found later then needs no new offer, which not every app can answer.
      else if (initiator) pc.addTransceiver(kind, { direction: "sendrecv", streams: [media.stream] });
    }
  }

  get state() {
    return this.#pc.connectionState;
  }

  /** Somebody answered or offered. */
  get met() {
    return this.#theirs !== "";
  }

  stats() {
    return this.#pc.getStats();
  }

  async receive(message) {
    if (this.#closed) return;
    if (message.type === "candidate") await this.#addCandidate(message);
    else if (message.type === "offer" || message.type === "answer") await this.#describe(message);
  }

  /** This description comes from another browser than the one we are connected to: it reloaded, or is somebody else. */
  isStranger({ sdp }) {
    return this.#theirs !== "" && fingerprint(sdp) !== this.#theirs;
  }

  async replace(kind, track) {
    const found = this.#pc.getTransceivers().find((each) => each.receiver.track.kind === kind);
    await found?.sender.replaceTrack(track);
  }

  /** Looks for a new path with fresh credentials; again every eight seconds until there is one. */
  async restart() {
    clearTimeout(this.#timer);
    if (this.#closed || !this.#mayOffer()) return;
    this.#timer = setTimeout(() => this.#retry(), RESTART_EVERY);
    const servers = await this.#on.servers();
    if (this.#closed) return;
    if (servers.length) this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers: servers });
    // An offer that was never answered would keep the next one back.
    if (this.#pc.signalingState === "have-local-offer") await this.#pc.setLocalDescription({ type: "rollback" });
    this.#pc.restartIce();
  }

  restartNow() {
    this.#restarts = 0;
    return this.restart();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    const pc = this.#pc;
    pc.onicecandidate = pc.onicecandidateerror = pc.ontrack = pc.onnegotiationneeded = pc.onconnectionstatechange = null;
    pc.close();
  }

  // A native app that called us cannot answer an offer of ours; it will offer again itself.
  #mayOffer() {
    return this.#initiator || this.ours;
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.#pc.setLocalDescription();
      this.#say(this.#pc.localDescription);
    } catch (error) {
      if (!this.#closed) console.warn("offer", error);
    } finally {
      this.#makingOffer = false;
    }
  }

  #say({ type, sdp }) {
    if (!this.#closed) this.#on.send({ type, sdp });
  }

  async #describe(message) {
    const pc = this.#pc;
    const { type, sdp } = message;
    if (type === "answer" && pc.signalingState !== "have-local-offer") return;
    if (type === "offer" && (this.#makingOffer || pc.signalingState !== "stable") && !this.#yields(sdp)) return;
    await pc.setRemoteDescription({ type, sdp });
    this.#theirs = fingerprint(sdp);
    this.ours = message.app === "rtcctl";
    if (type === "offer") {
      for (const each of pc.getTransceivers()) if (each.direction === "recvonly") this.#bothWays(each);
      await pc.setLocalDescription();
      this.#say(pc.localDescription);
    }
    for (const candidate of this.#candidates.splice(0)) await this.#addCandidate(candidate);
    if (!this.wasConnected) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#retry(), FIRST_PATH);
    }
    this.#on.changed();
  }

  #bothWays(transceiver) {
    transceiver.direction = "sendrecv";
    const track = this.#media.track(transceiver.receiver.track.kind);
    if (track) transceiver.sender.replaceTrack(track);
  }

  // Two offers crossed. Between two of our pages the smaller fingerprint yields, whoever called whom; to an app the callee yields.
  #yields(sdp) {
    const mine = this.#pc.localDescription?.sdp;
    return mine ? fingerprint(mine) < fingerprint(sdp) : !this.#initiator;
  }

  async #addCandidate(message) {
    if (!this.#pc.remoteDescription) {
      if (this.#candidates.length < CANDIDATES) this.#candidates.push(message);
      return;
    }
    const { label, id, candidate } = message;
    try {
      await this.#pc.addIceCandidate({ sdpMLineIndex: label, sdpMid: id, candidate });
    } catch (error) {
      // One of an offer that we did not take; nothing is lost with it.
      console.debug("candidate", error);
    }
  }

  #stateChanged() {
    clearTimeout(this.#timer);
    if (this.state === "connected") {
      this.wasConnected = true;
      this.#restarts = 0;
    } else if (this.state === "failed") {
      this.#timer = setTimeout(() => this.#retry(), this.#restarts ? RESTART_EVERY : 0);
    } else if (this.state === "disconnected") {
      this.#timer = setTimeout(() => this.#retry(), PATIENCE);
    } else if (this.#restarts) {
      this.#timer = setTimeout(() => this.#retry(), RESTART_EVERY);
    }
    this.#on.changed();
  }

  #retry() {
    if (this.state === "connected" || this.#restarts >= RESTARTS) return;
    this.#restarts += 1;
    this.restart().catch((error) => console.warn("restart", error));
  }
}

function fingerprint(sdp) {
  return /^a=fingerprint:(.+)$/m.exec(sdp ?? "")?.[1].trim().toUpperCase() ?? "";
}
