// The right to open rooms, where a site keeps it to its hosts: asked of the server, and got by opening a host link once.
const MARK = "#host=";

/** May this browser open rooms? A server that does not say so will say it when a room is opened. */
export async function mayOpenRooms() {
  try {
    return (await (await fetch("/api/host", { cache: "no-store" })).json()).may_open_rooms !== false;
  } catch {
    return true;
  }
}

/** Takes the host link out of the address, so that nobody copies it from there. `null`: there was none. */
export function takeHostLink() {
  if (!location.hash.startsWith(MARK)) return null;
  const token = location.hash.slice(MARK.length);
  history.replaceState(null, "", location.pathname + location.search);
  return token;
}

/** Trades the link for the cookie. Why it was refused: expired, revoked, foreign, or failed; "" if it was not. */
export async function enterAsHost(token) {
  try {
    const reply = await fetch("/api/host", { method: "POST", body: token });
    if (reply.ok) return "";
    const { code } = await reply.json();
    return ["expired", "revoked", "foreign"].includes(code) ? code : "failed";
  } catch {
    return "failed";
  }
}
