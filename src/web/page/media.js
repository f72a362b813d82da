// Camera, microphone and loudspeaker: opening them, saying why not, choosing others, and how loud it is.
// Long enough for a black frame to be sent.
const BLACK = 300;
const PREFERRED = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

export class Media {
  #want; #on; #level = null; #levelTimer = 0; #turning = Promise.resolve();

  /** `query` may say audio=false or video=false, as AppRTC links do. `on`: changed(), level(0 to 10), gone(kind). */
  constructor(query, on) {
    const asked = new URLSearchParams(query);
    this.#want = { audio: asked.get("audio") !== "false", video: asked.get("video") !== "false" };
    this.#on = on;
    this.stream = new MediaStream();
    this.muted = false;
    this.cameraOff = false;
    this.chosen = { audioinput: "", videoinput: "", audiooutput: "" };
    this.devices = { audioinput: [], videoinput: [], audiooutput: [] };
    this.facing = "user";
    navigator.mediaDevices.addEventListener?.("devicechange", () => this.#list());
  }

  get wantsPicture() {
    return this.#want.video;
  }

  get sendsPicture() {
    return Boolean(this.track("video")) && !this.cameraOff;
  }

  track(kind) {
    return this.stream.getTracks().find((track) => track.kind === kind && track.readyState === "live") ?? null;
  }

  /** Opens what there is. Returns null, or what is in the way: { kind: denied | busy, device: camera | microphone | both, detail }. */
  async open() {
    const wanted = ["audio", "video"].filter((kind) => this.#wants(kind));
    if (wanted.every((kind) => this.track(kind))) return null;
    this.stop();
    const tracks = [];
    let problem = null;
    const both = wanted.length === 2 && (await this.#ask({ audio: true, video: true }));
    if (both?.tracks) tracks.push(...both.tracks);
    else if (both && both.name === "NotAllowedError") problem = { kind: "denied", detail: both.detail };
    else problem = await this.#openEach(tracks);
    for (const track of tracks) this.#take(track);
    await this.#list();
    this.#apply();
    return problem;
  }

  // A camera that was switched off stays dark from one call to the next.
  #wants(kind) {
    return this.#want[kind] && !(kind === "video" && this.cameraOff);
  }

  // Together they failed: one of them may still work.
  async #openEach(tracks) {
    const failed = {};
    for (const kind of ["audio", "video"]) {
      if (!this.#wants(kind)) continue;
      const got = await this.#ask({ [kind]: true });
      if (got.tracks) tracks.push(...got.tracks);
      else failed[kind] = got;
    }
    const denied = Object.values(failed).find(({ name }) => name === "NotAllowedError");
    if (denied) return { kind: "denied", detail: denied.detail };
    const busy = Object.entries(failed).filter(([, { name }]) => name !== "NotFoundError");
    if (!busy.length) return null;
    const device = busy.length === 2 ? "both" : { audio: "microphone", video: "camera" }[busy[0][0]];
    return { kind: "busy", device, detail: busy.map(([, { detail }]) => detail).join("\n") };
  }

  async #ask({ audio, video }) {
    const constraints = {};
    if (audio) constraints.audio = this.chosen.audioinput ? { deviceId: { exact: this.chosen.audioinput } } : true;
    if (video) {
      constraints.video = { ...PREFERRED };
      if (this.chosen.videoinput) constraints.video.deviceId = { exact: this.chosen.videoinput };
      else constraints.video.facingMode = this.facing;
    }
    try {
      return { tracks: (await navigator.mediaDevices.getUserMedia(constraints)).getTracks() };
    } catch (error) {
      return { name: error.name, detail: `${error.name}: ${error.message}` };
    }
  }

  /** Another device of this kind. Returns the new track, or null if it did not start; the old one then stays. */
  async choose(device, id) {
    const kind = { audioinput: "audio", videoinput: "video" }[device];
    const before = this.chosen[device];
    this.chosen[device] = id;
    if (!kind || (kind === "video" && this.cameraOff)) return null;
    const track = await this.#again(kind);
    if (!track) this.chosen[device] = before;
    return track;
  }

  /** From the front camera to the back one. */
  async flip() {
    this.facing = this.facing === "user" ? "environment" : "user";
    const before = this.chosen.videoinput;
    this.chosen.videoinput = "";
    if (this.cameraOff) return null;
    const track = await this.#again("video");
    if (!track) this.chosen.videoinput = before;
    return track;
  }

  /** A device that was absent or failed is looked for again. */
  async find(kind) {
    this.#want[kind] = true;
    return this.#again(kind);
  }

  async #again(kind) {
    // Phones open only one camera at a time: the old one has to go first.
    const old = this.track(kind);
    if (kind === "video" && old) old.stop();
    const got = await this.#ask({ [kind]: true });
    if (!got.tracks && old && kind === "video") {
      const id = old.getSettings().deviceId;
      const back = await navigator.mediaDevices.getUserMedia({ video: id ? { deviceId: { exact: id } } : true }).catch(() => null);
      if (back) this.#swap(back.getTracks()[0]);
      return null;
    }
    if (!got.tracks) return null;
    this.#swap(got.tracks[0]);
    await this.#list();
    return got.tracks[0];
  }

  #swap(track) {
    this.#letGo(track.kind);
    this.#take(track);
    this.#apply();
  }

  #letGo(wanted) {
    for (const track of this.stream.getTracks().filter(({ kind }) => kind === wanted)) {
      track.onended = null;
      track.stop();
      this.stream.removeTrack(track);
    }
  }

  #take(track) {
    track.onended = () => {
      this.stream.removeTrack(track);
      this.#apply();
      this.#on.gone(track.kind);
    };
    this.stream.addTrack(track);
    if (track.kind === "audio" && this.#levelTimer) this.listen();
  }

  setMuted(muted) {
    this.muted = muted;
    this.#apply();
  }

  /** Off, the device is let go and its light goes out; on, it is opened again. False: it did not start. */
  turnCamera(on) {
    this.cameraOff = !on;
    this.#apply();
    this.#turning = this.#turning.then(() => this.#settle());
    return this.#turning;
  }

  // Asked anew after each wait: somebody may have pressed the key again.
  async #settle() {
    if (!this.cameraOff) {
      this.cameraOff = !this.track("video") && !(await this.#again("video"));
      this.#apply();
      return !this.cameraOff;
    }
    // The other side keeps the last picture that it got, and an app is told nothing: let it be a black one.
    if (this.track("video")) await new Promise((resolve) => setTimeout(resolve, BLACK));
    if (this.cameraOff) this.#letGo("video");
    this.#on.changed();
    return true;
  }

  #apply() {
    for (const track of this.stream.getTracks()) track.enabled = track.kind === "audio" ? !this.muted : !this.cameraOff;
    this.#on.changed();
  }

  async #list() {
    let all = [];
    try {
      all = await navigator.mediaDevices.enumerateDevices();
    } catch {
      return;
    }
    for (const kind of Object.keys(this.devices))
      this.devices[kind] = all.filter((device) => device.kind === kind && device.deviceId);
    this.#on.changed();
  }

  /** The device a track of this kind comes from. */
  current(device) {
    if (device === "audiooutput") return this.chosen.audiooutput;
    const track = this.track(device === "audioinput" ? "audio" : "video");
    return track?.getSettings().deviceId ?? this.chosen[device];
  }

  /** Calls `level` ten times a second until `deafen`. */
  listen() {
    this.deafen();
    const track = this.track("audio");
    const Context = window.AudioContext;
    if (!track || !Context) return;
    const context = new Context();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.#level = context;
    this.#levelTimer = setInterval(() => {
      if (context.state === "suspended") context.resume().catch(() => undefined);
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((total, value) => total + value * value, 0) / samples.length;
      // -60 dB is silence, -10 dB is loud.
      const decibels = 10 * Math.log10(power || 1e-12);
      this.#on.level(Math.round(Math.min(10, Math.max(0, (decibels + 60) / 5))));
    }, 100);
  }

  deafen() {
    clearInterval(this.#levelTimer);
    this.#levelTimer = 0;
    this.#level?.close().catch(() => undefined);
    this.#level = null;
  }

  stop() {
    this.deafen();
    this.#letGo("audio");
    this.#letGo("video");
  }
}
