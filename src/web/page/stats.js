// What getStats says, in figures people can read: the path, the round trip, what is lost on the way. Unknown is null, never a guess.
const WINDOW = 5; // seconds over which loss and rate are taken
const RUNS = 400;
const EVENTS = 200;

/** Turns one report after the other into samples. */
export class Meter {
  #past = [];

  sample(report) {
    const rows = new Map();
    report.forEach((row) => rows.set(row.id, row));
    const pair = selectedPair(rows);
    const local = rows.get(pair?.localCandidateId);
    const remote = rows.get(pair?.remoteCandidateId);
    const relayed = local?.candidateType === "relay" || remote?.candidateType === "relay";
    const of = (type, kind) => [...rows.values()].filter((row) => row.type === type && row.kind === kind);
    const incoming = [...of("inbound-rtp", "audio"), ...of("inbound-rtp", "video")];
    const heard = [...of("remote-inbound-rtp", "audio"), ...of("remote-inbound-rtp", "video")];
    const sent = [...of("outbound-rtp", "audio"), ...of("outbound-rtp", "video")];
    const now = {
      at: report.values().next().value?.timestamp ?? Date.now(),
      lostIn: sum(incoming, "packetsLost"), gotIn: sum(incoming, "packetsReceived"),
      lostOut: sum(heard, "packetsLost"), sentOut: sum(sent, "packetsSent"),
      bytesIn: sum(incoming, "bytesReceived"), bytesOut: sum(sent, "bytesSent"),
    };
    const before = this.#past[0] ?? now;
    this.#past.push(now);
    if (this.#past.length > WINDOW) this.#past.shift();
    const seconds = (now.at - before.at) / 1000;
    const rate = (key) => (seconds > 0 ? Math.max(0, (8 * (now[key] - before[key])) / seconds) : null);
    const lossIn = share(now.lostIn - before.lostIn, now.gotIn - before.gotIn + now.lostIn - before.lostIn);
    const lossOut = heard.length ? share(now.lostOut - before.lostOut, now.sentOut - before.sentOut) : null;
    return {
      relayed: pair ? relayed : null,
      protocol: local?.candidateType === "relay" ? local.relayProtocol ?? null : null,
      roundTrip: Number.isFinite(pair?.currentRoundTripTime) ? pair.currentRoundTripTime * 1000 : null,
      lossIn, lossOut,
      rateIn: rate("bytesIn"), rateOut: rate("bytesOut"),
      pictureIn: picture(of("inbound-rtp", "video")[0]),
      pictureOut: picture(of("outbound-rtp", "video").find((row) => row.frameWidth)),
      codecs: codecs(rows, incoming),
    };
  }
}

function selectedPair(rows) {
  const all = [...rows.values()];
  const transport = all.find((row) => row.type === "transport" && row.selectedCandidatePairId);
  return rows.get(transport?.selectedCandidatePairId) ?? all.find((row) => row.type === "candidate-pair" && row.selected) ?? null;
}

function sum(rows, key) {
  return rows.reduce((total, row) => total + (row[key] ?? 0), 0);
}

function share(part, whole) {
  return whole > 0 ? Math.min(1, Math.max(0, part / whole)) : null;
}

function picture(row) {
  if (!row?.frameWidth) return null;
  return { width: row.frameWidth, height: row.frameHeight, rate: Math.round(row.framesPerSecond ?? 0) };
}

function codecs(rows, incoming) {
  const names = incoming.map((row) => rows.get(row.codecId)?.mimeType?.split("/")[1]).filter(Boolean);
  const spelled = names.map((name) => (name === "opus" ? "Opus" : name));
  return [...new Set(spelled)].reverse().join(", ");
}

/** good, fair, poor: what a listener would say. */
export function quality(sample) {
  if (!sample) return "poor";
  const loss = Math.max(sample.lossIn ?? 0, sample.lossOut ?? 0);
  const roundTrip = sample.roundTrip ?? 0;
  if (loss > 0.05 || roundTrip > 400) return "poor";
  return loss > 0.02 || roundTrip > 250 ? "fair" : "good";
}

/** What happened, for the page after the call. Bounded: runs and events beyond their number join the last. */
export class Record {
  #roundTrips = [];
  #path = "";

  constructor() {
    this.started = 0;
    this.ended = 0;
    this.runs = [];
    this.events = [];
    this.last = null;
    this.lossIn = [0, 0];
    this.lossOut = [0, 0];
  }

  get running() {
    return this.started > 0 && !this.ended;
  }

  begin() {
    this.started ||= Date.now();
  }

  end() {
    if (this.started) this.ended ||= Date.now();
  }

  lost() {
    this.#note({ kind: "lost" });
  }

  back(seconds) {
    this.#path = "";
    this.#note({ kind: "back", seconds });
  }

  server(up) {
    this.#note({ kind: up ? "serverBack" : "serverLost" });
  }

  left(name) {
    this.#note({ kind: "left", name });
    this.#path = "";
  }

  second(sample) {
    if (!this.running) return;
    const kind = quality(sample);
    const run = this.runs[this.runs.length - 1];
    if (run?.kind === kind || this.runs.length >= RUNS) run.seconds += 1;
    else this.runs.push({ kind, seconds: 1 });
    if (!sample) return;
    this.last = sample;
    add(this.lossIn, sample.lossIn);
    add(this.lossOut, sample.lossOut);
    if (sample.roundTrip !== null && this.#roundTrips.length < 10_000) this.#roundTrips.push(sample.roundTrip);
    const path = sample.relayed === null ? "" : `${sample.relayed}${sample.protocol}`;
    if (!path || path === this.#path) return;
    this.#path = path;
    const newest = this.events[this.events.length - 1];
    if (newest?.kind === "back" && !newest.sample) newest.sample = sample;
    else this.#note({ kind: "path", sample });
  }

  get medianRoundTrip() {
    const sorted = [...this.#roundTrips].sort((a, b) => a - b);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  }

  /** Seconds of each quality. */
  get totals() {
    const totals = { good: 0, fair: 0, poor: 0 };
    for (const { kind, seconds } of this.runs) totals[kind] += seconds;
    return totals;
  }

  #note(event) {
    if (this.events.length < EVENTS) this.events.push({ at: Date.now(), ...event });
  }
}

function add(mean, value) {
  if (value === null) return;
  mean[0] += value;
  mean[1] += 1;
}
