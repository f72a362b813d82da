//! The probe as two clients of a room: the page, joining, talking over WebSocket, ICE servers, leaving.

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::COOKIE;
use reqwest::{Response, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::servers::IceServers;
use super::wire::{Stream, Trust, hop};
use super::{Broken, Step, Target, wire, words};

/// What the first client leaves for the second.
const GREETING: &str = r#"{"type":"probe","text":"waiting"}"#;
/// Whatever comes instead of a page or an answer is read no further than this.
const MAX_ANSWER: usize = 1024 * 1024;

/// The HTTP side: one connection pool for both clients, as one browser has.
pub(super) struct Client {
    link: Url,
    http: reqwest::Client,
    deadline: Instant,
    cookie: Option<String>,
}

/// One seat.
pub(super) struct Member {
    room: String,
    pub(super) client: String,
    pub(super) links: Links,
}

/// The URLs that a member is told, as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Links {
    pub room_link: String,
    pub wss_url: String,
    pub wss_post_url: String,
    pub ice_server_url: String,
}

/// The answer of `ice_server_url`, and where it came from.
pub(super) struct IceList {
    pub(super) url: String,
    pub(super) servers: IceServers,
}

#[derive(Deserialize)]
struct Joined {
    result: String,
    #[serde(default)]
    reason: String,
    params: Value,
}

/// Types are what shipped clients read: every scalar is a string.
#[derive(Deserialize)]
struct Params {
    room_id: String,
    client_id: String,
    is_initiator: String,
    messages: Vec<String>,
    #[serde(flatten)]
    links: Links,
}

impl Client {
    /// Only the roots in `trust` are believed, and no proxy is asked: this is what devices in the same network do.
    pub(super) fn new(target: &Target, trust: &Trust, deadline: Instant) -> Result<Self, String> {
        let link = Url::parse(&target.link).map_err(|error| format!("not a link: {error}"))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust.http.clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| words::of(&error))?;
        Ok(Self { link, http, deadline, cookie: target.cookie.clone() })
    }

    /// Its text.
    pub(super) async fn page(&self) -> Result<String, Broken> {
        hop(Step::Page, self.link.as_str(), self.deadline, async {
            let response = self.http.get(self.link.clone()).send().await.map_err(|error| words::of(&error))?;
            let body = body(response).await?;
            if body.is_empty() { Err("the page is empty".to_owned()) } else { Ok(String::from_utf8_lossy(&body).into_owned()) }
        })
        .await
    }

    /// Takes the first seat and leaves a message for the second.
    pub(super) async fn join(&self, room: &str) -> Result<Member, Broken> {
        let seat = self.take_seat(room).await?;
        self.same_origin(&seat.0)?;
        self.greet(room, seat).await
    }

    /// The same, wherever the links lead.
    pub(super) async fn join_anywhere(&self, room: &str) -> Result<Member, Broken> {
        self.greet(room, self.take_seat(room).await?).await
    }

    async fn greet(&self, room: &str, (member, params): (Member, Params)) -> Result<Member, Broken> {
        if params.is_initiator != "true" {
            return Err(self.broken(&self.join_url(room), format!("the first client is not the initiator: {}", params.is_initiator)));
        }
        let url = self.address(&format!("message/{room}/{}", member.client));
        hop(Step::Room, &url, self.deadline, async {
            let answer: Value = read(self.http.post(&url).body(GREETING).send().await).await?;
            if answer["result"] == "SUCCESS" { Ok(()) } else { Err(format!("a message was refused: {}", answer["result"])) }
        })
        .await
        // The id is the secret of the seat.
        .map_err(|broken| Broken { url: self.address(&format!("message/{room}/…")), ..broken })?;
        Ok(member)
    }

    /// Takes the second seat, where the message of the first must wait.
    pub(super) async fn join_second(&self, first: &Member) -> Result<Member, Broken> {
        let member = self.join_second_anywhere(first).await?;
        self.same_origin(&member)?;
        Ok(member)
    }

    /// The same, wherever the links lead.
    pub(super) async fn join_second_anywhere(&self, first: &Member) -> Result<Member, Broken> {
        let (member, params) = self.take_seat(&first.room).await?;
        let broken = |cause: String| self.broken(&self.join_url(&first.room), cause);
        if params.is_initiator != "false" {
            return Err(broken(format!("the second client is not the callee: {}", params.is_initiator)));
        }
        if params.messages != [GREETING] {
            return Err(broken(format!("the message of the first client did not wait for the second: {} messages", params.messages.len())));
        }
        Ok(member)
    }

    async fn take_seat(&self, room: &str) -> Result<(Member, Params), Broken> {
        let url = self.join_url(room);
        let params = hop(Step::Room, &url, self.deadline, async {
            let cookie = self.cookie.iter().map(|cookie| (COOKIE, cookie));
            let request = cookie.fold(self.http.post(&url), |request, (name, value)| request.header(name, value));
            let joined: Joined = read(request.send().await).await?;
            if joined.result != "SUCCESS" {
                return Err(format!("joining was refused: {} {}", joined.result, joined.reason).trim_end().to_owned());
            }
            let params: Params = serde_json::from_value(joined.params).map_err(|error| format!("clients could not read the answer: {error}"))?;
            if params.room_id != room || params.client_id.is_empty() {
                return Err("the answer is about another room or names no client".to_owned());
            }
            Ok(params)
        })
        .await?;
        let member = Member { room: room.to_owned(), client: params.client_id.clone(), links: params.links.clone() };
        Ok((member, params))
    }

    /// A link of another origin than the page's breaks the web client before it starts.
    fn same_origin(&self, member: &Member) -> Result<(), Broken> {
        self.check(&member.links).map_err(|cause| self.broken(&self.join_url(&member.room), cause))
    }

    fn check(&self, links: &Links) -> Result<(), String> {
        let secure = self.link.scheme() == "https";
        let websocket = if secure { "wss" } else { "ws" };
        for (name, link, scheme) in [
            ("room_link", &links.room_link, self.link.scheme()),
            ("wss_url", &links.wss_url, websocket),
            ("wss_post_url", &links.wss_post_url, self.link.scheme()),
            ("ice_server_url", &links.ice_server_url, self.link.scheme()),
        ] {
            let url = Url::parse(link).map_err(|error| format!("{name} is not a URL: {link:?}: {error}"))?;
            let same = url.scheme() == scheme && url.host() == self.link.host() && url.port_or_known_default() == self.link.port_or_known_default();
            if !same {
                let origin = format!("{}://{}", url.scheme(), url.authority());
                return Err(format!("{name} leads to another origin than the page: {origin}"));
            }
        }
        Ok(())
    }

    pub(super) async fn ice_servers(&self, member: &Member) -> Result<IceList, Broken> {
        // The key in the query is a secret.
        let shown = member.links.ice_server_url.split('?').next().unwrap_or_default().to_owned();
        let servers = hop(Step::Room, &shown, self.deadline, async { read(self.http.post(&member.links.ice_server_url).send().await).await }).await?;
        Ok(IceList { url: shown, servers })
    }

    pub(super) async fn leave(&self, member: &Member) -> Result<(), reqwest::Error> {
        self.http.post(self.address(&format!("leave/{}/{}", member.room, member.client))).send().await?;
        self.http.delete(format!("{}/{}/{}", member.links.wss_post_url, member.room, member.client)).send().await?;
        Ok(())
    }

    fn join_url(&self, room: &str) -> String {
        self.address(&format!("join/{room}"))
    }

    fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.link.origin().ascii_serialization())
    }

    fn broken(&self, url: &str, cause: String) -> Broken {
        Broken::new(Step::Room, url, cause)
    }
}

/// Both clients register and say one thing to each other.
pub(super) async fn talk(trust: &Trust, caller: &Member, callee: &Member, deadline: Instant) -> Result<(), Broken> {
    hop(Step::WebSocket, &caller.links.wss_url, deadline, async {
        let (mut one, mut two) = tokio::try_join!(Socket::open(trust, caller), Socket::open(trust, callee))?;
        one.send("from the caller").await?;
        two.send("from the callee").await?;
        tokio::try_join!(one.expect("from the callee"), two.expect("from the caller"))?;
        tokio::try_join!(one.close(), two.close())?;
        Ok(())
    })
    .await
}

struct Socket(WebSocketStream<Box<dyn Stream>>);

impl Socket {
    async fn open(trust: &Trust, member: &Member) -> Result<Self, String> {
        let url = Url::parse(&member.links.wss_url).map_err(|error| format!("not a URL: {error}"))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err("no host in it".to_owned()) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = match url.scheme() {
            "wss" => wire::tls(&trust.websocket, host, port).await?,
            _ => Box::new(wire::tcp(host, port).await?),
        };
        let (stream, _) = tokio_tungstenite::client_async(&member.links.wss_url, stream).await.map_err(|error| of_websocket(&error))?;
        let mut socket = Self(stream);
        socket.write(&json!({ "cmd": "register", "roomid": member.room, "clientid": member.client })).await?;
        Ok(socket)
    }

    async fn send(&mut self, text: &str) -> Result<(), String> {
        self.write(&json!({ "cmd": "send", "msg": text })).await
    }

    async fn write(&mut self, frame: &Value) -> Result<(), String> {
        self.0.send(Message::text(frame.to_string())).await.map_err(|error| of_websocket(&error))
    }

    async fn expect(&mut self, text: &str) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Frame {
            msg: String,
            error: String,
        }
        loop {
            let frame = self.0.next().await.ok_or("the socket was closed before the message came")?;
            match frame.map_err(|error| of_websocket(&error))? {
                Message::Text(frame) => {
                    let frame: Frame = serde_json::from_str(&frame).map_err(|error| format!("clients could not read a frame: {error}"))?;
                    return match frame {
                        Frame { error, .. } if !error.is_empty() => Err(format!("the server said: {error}")),
                        Frame { msg, .. } if msg == text => Ok(()),
                        Frame { msg, .. } => Err(format!("another message came: {msg:?}")),
                    };
                }
                Message::Close(frame) => {
                    return Err(frame.map_or_else(|| "the socket was closed".to_owned(), |frame| format!("the socket was closed: {frame}")));
                }
                _ => {}
            }
        }
    }

    async fn close(mut self) -> Result<(), String> {
        self.0.close(None).await.map_err(|error| of_websocket(&error))
    }
}

fn of_websocket(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(response) => format!("answered {} instead of opening a WebSocket", response.status()),
        other => words::of(other),
    }
}

async fn read<T: for<'a> Deserialize<'a>>(response: Result<Response, reqwest::Error>) -> Result<T, String> {
    let body = body(response.map_err(|error| words::of(&error))?).await?;
    serde_json::from_slice(&body).map_err(|error| format!("clients could not read the answer: {error}"))
}

/// The body of a 200; of anything else, the status and the server's own words.
async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| words::of(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(format!("answered {status} with more than {MAX_ANSWER} bytes"));
        }
    }
    if status.as_u16() == 200 {
        return Ok(body);
    }
    Err(format!("answered {status}{}", reason(&body).map(|reason| format!(": {reason}")).unwrap_or_default()))
}

/// What our own servers say in refusals.
fn reason(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer.get("error").or_else(|| answer.get("reason"))?.as_str().map(str::to_owned)
}
