//! Collider's WebSocket: register, send, and what comes back. One task per socket; it holds no lock while it waits, so that a client
//! that does not read costs nobody but itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State as Shared;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite;

use super::ClientIp;
use super::frame::{self, Command};
use super::http::ip;
use super::lobby::{Ending, Refusal};
use super::names::RoomName;
use super::rate::{Bucket, Rate};
use super::state::{End, OpenLine, State, count};

const REGISTER_DEADLINE: Duration = Duration::from_secs(10);
/// Below the 60 s after which many proxies cut a silent connection.
const PING_EVERY: Duration = Duration::from_secs(25);
/// Two pings unanswered.
const IDLE: Duration = Duration::from_secs(60);
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long we read on after a close frame, so that the other side gets to see it.
const LINGER: Duration = Duration::from_secs(1);
/// A socket that sends faster is read slower; nothing is lost.
const MESSAGES: Rate = Rate { burst: 500, refill: Duration::from_millis(5) };
/// A reader and a writer buffer of a socket, which is mostly silent.
const BUFFER: usize = 4096;

/// Close codes (RFC 6455 §7.4.1) out of the set that the iOS client's library takes.
mod code {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const GOING_AWAY: u16 = 1001;
    pub(super) const NOT_UTF8: u16 = 1007;
    pub(super) const POLICY: u16 = 1008;
    pub(super) const TOO_BIG: u16 = 1009;
}

pub(super) async fn upgrade(
    Shared(state): Shared<Arc<State>>,
    address: Option<Extension<ClientIp>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(why) => {
            let words = format!("this address speaks WebSocket only: {}\n", why.body_text());
            return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], words).into_response();
        }
    };
    if state.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    }
    let Some(line) = state.open_line(ip(address)) else {
        return (StatusCode::TOO_MANY_REQUESTS, "too many sockets from your address\n").into_response();
    };
    // JSON may spell a character in up to six bytes; four leave room for every message that is not made to be large.
    let largest = state.settings.config.max_message * 4 + 1024;
    upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(largest)
        .max_frame_size(largest)
        .on_upgrade(move |socket| state.tasks.clone().track_future(async move { Session::new(state, line, socket).run().await }))
}

/// How a session ends: a close frame with code and reason, or nothing more to say.
enum Over {
    Close(u16, &'static str),
    Gone,
}

struct Session {
    state: Arc<State>,
    line: OpenLine,
    socket: WebSocket,
    registered: bool,
    /// The last time anything came.
    heard: Instant,
    /// The client left: read on until then.
    drain_until: Option<Instant>,
    bucket: Bucket,
    /// Not before then is the next frame read.
    read_from: Option<Instant>,
}

impl Session {
    fn new(state: Arc<State>, line: OpenLine, socket: WebSocket) -> Self {
        let now = Instant::now();
        let bucket = Bucket::new(now.into_std());
        Self { state, line, socket, registered: false, heard: now, drain_until: None, bucket, read_from: None }
    }

    async fn run(mut self) {
        let over = self.talk().await.err().unwrap_or(Over::Gone);
        let Self { line, mut socket, .. } = self;
        // The seat's grace time begins now, not when the other side has taken its leave.
        drop(line);
        if let Over::Close(code, reason) = over {
            let farewell = async {
                socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
                while let Some(Ok(_)) = socket.recv().await {}
                Ok::<(), axum::Error>(())
            };
            // Neither a farewell unheard nor one refused changes anything.
            let _ = timeout(LINGER, farewell).await;
        }
    }

    /// Never `Ok`: the way out is the error.
    async fn talk(&mut self) -> Result<(), Over> {
        let opened = Instant::now();
        let mut ping = interval_at(opened + PING_EVERY, PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (stop, line) = (self.state.stop.clone(), Arc::clone(&self.line.line));
        loop {
            let (deadline, late) = self.deadline(opened);
            tokio::select! {
                frame = self.socket.recv(), if self.read_from.is_none() => self.hear(frame).await?,
                () = line.wake.notified() => self.wake().await?,
                _ = ping.tick() => self.write(Message::Ping(axum::body::Bytes::new())).await?,
                () = sleep_until(self.read_from.unwrap_or(opened)), if self.read_from.is_some() => self.read_from = None,
                () = sleep_until(deadline) => return Err(late),
                () = stop.cancelled() => return Err(Over::Close(code::GOING_AWAY, "the server is stopping")),
            }
        }
    }

    /// The next time that ends this session, and how.
    fn deadline(&self, opened: Instant) -> (Instant, Over) {
        if let Some(until) = self.drain_until {
            (until, Over::Close(code::NORMAL, "the client left"))
        } else if self.registered {
            (self.heard + IDLE, Over::Close(code::POLICY, "no answer to pings"))
        } else {
            (opened + REGISTER_DEADLINE, Over::Close(code::POLICY, "no register within 10 s"))
        }
    }

    async fn hear(&mut self, frame: Option<Result<Message, axum::Error>>) -> Result<(), Over> {
        let frame = frame.ok_or(Over::Gone)?.map_err(|error| self.broken(error))?;
        self.heard = Instant::now();
        match frame {
            Message::Text(text) => self.obey(text.as_bytes()).await,
            Message::Binary(bytes) => self.obey(&bytes).await,
            // Answered by the library, as is a close: its echo goes out while we read on.
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => {
                self.drain_until = Some(self.heard + LINGER);
                Ok(())
            }
        }
    }

    async fn obey(&mut self, frame: &[u8]) -> Result<(), Over> {
        if let Err(wait) = self.bucket.take(self.heard.into_std(), MESSAGES) {
            self.read_from = Some(self.heard + wait);
        }
        match frame::parse(frame) {
            Ok(Command::Register { room, client }) => self.register(&room, &client).await,
            Ok(Command::Send { message }) => self.send(message).await,
            Err(unfit) if unfit.fatal => self.refuse(&unfit.error).await,
            Err(unfit) => self.complain(&unfit.error).await,
        }
    }

    async fn register(&mut self, room: &str, client: &str) -> Result<(), Over> {
        if self.registered {
            return self.refuse("Duplicated register request").await;
        }
        let room = match RoomName::parse(room) {
            Ok(room) => room,
            Err(why) => return self.refuse(&format!("Invalid register request: {why}")).await,
        };
        let socket = self.line.socket;
        let client = self.state.identity.recognise(&room, client);
        let registered = match client {
            Some(client) => {
                let may_return = self.state.may_return(&client);
                self.state.with_lobby(|lobby, now| match may_return || lobby.has_room(&room) {
                    true => lobby.register(now, socket, &room, &client),
                    false => Err(Refusal::UnknownRoom),
                })
            }
            None => Err(Refusal::UnknownClient),
        };
        match registered {
            Ok(()) => {
                self.registered = true;
                count(&self.state.totals.registers);
                Ok(())
            }
            Err(Refusal::RoomFull) => self.refuse("Max room capacity reached").await,
            Err(Refusal::TooManyRooms) => self.refuse("Max room count reached").await,
            Err(Refusal::AlreadyRegistered) => self.refuse("Duplicated register request").await,
            // The same for a room that is not there and a seat that is not theirs.
            Err(Refusal::UnknownRoom | Refusal::UnknownClient | Refusal::NotRegistered | Refusal::QueueFull) => {
                self.refuse("Invalid register request: unknown 'clientid'").await
            }
        }
    }

    async fn send(&mut self, message: String) -> Result<(), Over> {
        if !frame::fits(&message, self.state.settings.config.max_message) {
            self.complain("Invalid send request: the message is too large").await?;
            return Err(Over::Close(code::TOO_BIG, "the message is too large"));
        }
        match self.state.with_lobby(|lobby, now| lobby.send(now, self.line.socket, message)) {
            Ok(()) => {
                count(&self.state.totals.messages);
                Ok(())
            }
            // Whoever does not read loses its own socket for it; the sender's goes on.
            Err(Refusal::QueueFull) => Ok(()),
            Err(_) => self.refuse("Client not registered").await,
        }
    }

    /// Writes what waits, then does what else the lobby asked for.
    async fn wake(&mut self) -> Result<(), Over> {
        while let Some(message) = self.state.with_lobby(|lobby, _| lobby.next(self.line.socket)) {
            self.write(Message::Text(frame::message(&message).into())).await?;
        }
        match self.line.line.take_end() {
            None => Ok(()),
            Some(End::Drain(patience)) => {
                let until = Instant::now() + patience;
                self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
                Ok(())
            }
            Some(End::Close(Ending::TakenOver)) => Err(Over::Close(code::NORMAL, "the client came back on another socket")),
            Some(End::Close(Ending::Stalled)) => Err(Over::Close(code::POLICY, "too many messages were not read")),
        }
    }

    /// An error frame; the connection stays.
    async fn complain(&mut self, error: &str) -> Result<(), Over> {
        count(&self.state.totals.ws_errors);
        self.write(Message::Text(frame::error(error).into())).await
    }

    /// An error frame, then the end.
    async fn refuse(&mut self, error: &str) -> Result<(), Over> {
        self.complain(error).await?;
        Err(Over::Close(code::NORMAL, ""))
    }

    fn broken(&self, error: axum::Error) -> Over {
        count(&self.state.totals.ws_errors);
        match error.into_inner().downcast_ref::<tungstenite::Error>() {
            Some(tungstenite::Error::Capacity(_)) => Over::Close(code::TOO_BIG, "the frame is too large"),
            Some(tungstenite::Error::Utf8(_)) => Over::Close(code::NOT_UTF8, "a text frame is not UTF-8"),
            _ => Over::Gone,
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), Over> {
        let (stop, cut) = (&self.state.stop, &self.line.line.cut);
        tokio::select! {
            biased;
            written = timeout(WRITE_DEADLINE, self.socket.send(message)) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Over::Gone),
            },
            // Only a write that has to wait gets here.
            () = stop.cancelled() => Err(Over::Gone),
            () = cut.cancelled() => Err(Over::Gone),
        }
    }
}
