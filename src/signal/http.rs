//! The room server's and Collider's routes over HTTP. Any origin may call them: what a caller may do hangs on the client id alone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, RawQuery, Request, State as Shared};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Json, Router};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use super::lobby::{Joined, Lobby, Refusal};
use super::names::{ClientId, NotARoom, RoomName};
use super::params::{self, Member};
use super::state::{State, count, lock, unix_now};
use super::{ClientIp, Origin, frame, hosts, ice, ws};

/// A body that is sent slower than this is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

type Pairs = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;
pub(super) type Address = Option<Extension<ClientIp>>;

pub(super) fn routes(state: Arc<State>) -> Router {
    let open = |methods: &'static str, route: MethodRouter<Arc<State>>| {
        route.layer(middleware::from_fn_with_state((Arc::clone(&state), methods), any_origin))
    };
    Router::new()
        .route("/join/{room}", open("POST", post(join)))
        .route("/message/{room}/{client}", open("POST", post(message)))
        .route("/leave/{room}/{client}", open("POST", post(leave)))
        .route("/params", open("GET, POST", get(params_only).post(params_only)))
        .route("/v1alpha/iceconfig", open("GET, POST", get(ice_config).post(ice_config)))
        .route("/status", open("GET", get(status)))
        .route("/{room}/{client}", open("POST, DELETE", post(inject).delete(remove).get(nothing_here)))
        // Not for foreign pages: their browsers would not send the cookie anyway.
        .route("/api/host", get(hosts::ask).post(hosts::enter))
        // HTTP/1.1 upgrades a GET, HTTP/2 a CONNECT.
        .route("/ws", any(ws::upgrade))
        .with_state(state)
}

/// Grants what browsers ask before a foreign page may call, keeps credentials out of caches, counts refusals.
async fn any_origin(Shared((state, methods)): Shared<(Arc<State>, &'static str)>, request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if response.status().is_client_error() || response.status().is_server_error() {
        count(&state.totals.http_errors);
    }
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn join(
    Shared(state): Shared<Arc<State>>,
    Extension(origin): Extension<Origin>,
    address: Address,
    Path(room): Path<String>,
    RawQuery(raw): RawQuery,
    pairs: Pairs,
    headers: HeaderMap,
) -> Response {
    let room = match RoomName::parse(&room) {
        Ok(room) => room,
        Err(why) => return no_such_room(why),
    };
    let address = ip(address);
    if let Err(wait) = lock(&state.joins).take(std::time::Instant::now(), address) {
        return too_many(params::not_joined("ERROR", Some("too many joins from your address")), wait);
    }
    let host = state.check_host(&headers).await;
    let Some(client) = state.new_client(&room) else {
        let answer = params::not_joined("ERROR", Some("the server has no random numbers"));
        return (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response();
    };
    let query = query(raw, pairs);
    let joined = state.with_lobby(|lobby, now| match &host {
        Err(why) if !lobby.has_room(&room) => Err(why),
        _ => Ok(lobby.join(now, &room, client.clone(), query.is_loopback())),
    });
    let joined = match joined {
        Ok(joined) => joined,
        Err(why) => return Json(params::not_opened(&why.to_string())).into_response(),
    };
    let (initiator, messages) = match joined {
        Joined::Seated { initiator, messages } => (initiator, messages),
        Joined::Full => return Json(params::not_joined("FULL", None)).into_response(),
        Joined::TooManyRooms => {
            let refused = state.totals.rooms_refused.fetch_add(1, Ordering::Relaxed) + 1;
            // Worth a word, and not one for each of a flood.
            if refused.is_power_of_two() {
                tracing::warn!(max = state.settings.config.max_rooms, refused, "joins are refused: signal.max_rooms is reached");
            }
            return Json(params::not_joined("ERROR", Some("the server has no room left: signal.max_rooms"))).into_response();
        }
    };
    count(&state.totals.joins);
    state.sat_down(address);
    let key = ice::member_key(&state.identity, &state.identity.user(&room, &client), unix_now(), state.settings.ice.ttl);
    let member = Member { room: room.as_str(), client: client.as_str(), initiator, messages };
    let params = params::params(&origin, &query, user_agent(&headers), &key);
    Json(params::joined(params, &origin, &query, member)).into_response()
}

async fn params_only(
    Shared(state): Shared<Arc<State>>,
    Extension(origin): Extension<Origin>,
    address: Address,
    RawQuery(raw): RawQuery,
    pairs: Pairs,
    headers: HeaderMap,
) -> Response {
    let address = ip(address);
    if let Err(wait) = lock(&state.visits).take(std::time::Instant::now(), address) {
        return too_many(json!({ "error": "too many requests from your address" }), wait);
    }
    let key = ice::visitor_key(&state.identity, address, unix_now());
    Json(params::params(&origin, &query(raw, pairs), user_agent(&headers), &key)).into_response()
}

async fn ice_config(
    Shared(state): Shared<Arc<State>>,
    Extension(origin): Extension<Origin>,
    address: Address,
    RawQuery(raw): RawQuery,
    pairs: Pairs,
) -> Response {
    let address = ip(address);
    if let Err(wait) = lock(&state.posts).take(std::time::Instant::now(), address) {
        return too_many(json!({ "error": "too many requests from your address" }), wait);
    }
    let query = query(raw, pairs);
    let now = unix_now();
    let key = query.get("key");
    match ice::check_key(&state.identity, key, now, address) {
        Ok(_) if ice::is_visitors(key) && !state.is_guest(address).await => {
            let answer = json!({ "error": "on this site relay credentials are for people in a room: join one first" });
            (StatusCode::FORBIDDEN, Json(answer)).into_response()
        }
        Ok(user) => Json(ice::config(&state.settings.ice, &origin, &user, now, query.get("tt"))).into_response(),
        Err(why) => (StatusCode::FORBIDDEN, Json(json!({ "error": why.to_string() }))).into_response(),
    }
}

/// `POST /message/{room}/{client}`: status 200 for every logical outcome, which stands in `result`.
async fn message(Shared(state): Shared<Arc<State>>, address: Address, Path((room, client)): Path<(String, String)>, body: Body) -> Response {
    let room = match RoomName::parse(&room) {
        Ok(room) => room,
        Err(why) => return no_such_room(why),
    };
    let answer = |status: StatusCode, result: &str, reason: Option<&str>| {
        let mut answer = json!({ "result": result });
        if let Some(reason) = reason {
            answer["reason"] = reason.into();
        }
        (status, Json(answer)).into_response()
    };
    if let Err(wait) = lock(&state.posts).take(std::time::Instant::now(), ip(address)) {
        return too_many(json!({ "result": "ERROR", "reason": "too many messages from your address" }), wait);
    }
    let text = match text_of(&state, body).await {
        Ok(text) => text,
        Err(Unread { status, reason }) => return answer(status, "ERROR", Some(reason)),
    };
    match put(&state, &room, &client, text) {
        Ok(()) => answer(StatusCode::OK, "SUCCESS", None),
        Err(Refusal::UnknownRoom) => answer(StatusCode::OK, "UNKNOWN_ROOM", None),
        Err(Refusal::QueueFull) => answer(StatusCode::OK, "ERROR", Some("too many messages wait for the other client")),
        Err(Refusal::TooManyRooms) => answer(StatusCode::OK, "ERROR", Some("the server has no room left: signal.max_rooms")),
        Err(Refusal::UnknownClient | Refusal::RoomFull | Refusal::AlreadyRegistered | Refusal::NotRegistered) => {
            answer(StatusCode::OK, "UNKNOWN_CLIENT", None)
        }
    }
}

/// Collider's `POST /{room}/{client}`.
async fn inject(Shared(state): Shared<Arc<State>>, address: Address, Path((room, client)): Path<(String, String)>, body: Body) -> Response {
    let room = match RoomName::parse(&room) {
        Ok(room) => room,
        Err(why) => return no_such_room(why),
    };
    if let Err(wait) = lock(&state.posts).take(std::time::Instant::now(), ip(address)) {
        return too_many(json!({ "error": "too many messages from your address" }), wait);
    }
    let text = match text_of(&state, body).await {
        Ok(text) => text,
        Err(Unread { status, reason }) => return (status, format!("{reason}\n")).into_response(),
    };
    match put(&state, &room, &client, text) {
        Ok(()) => "OK\n".into_response(),
        Err(Refusal::QueueFull) => (StatusCode::SERVICE_UNAVAILABLE, "Failed to send the message: Too many messages queued\n").into_response(),
        Err(Refusal::TooManyRooms) => (StatusCode::SERVICE_UNAVAILABLE, "Failed to send the message: Too many rooms\n").into_response(),
        Err(_) => (StatusCode::NOT_FOUND, "Failed to send the message: no such client\n").into_response(),
    }
}

async fn leave(Shared(state): Shared<Arc<State>>, Path((room, client)): Path<(String, String)>) -> StatusCode {
    goodbye(&state, &room, &client, Lobby::leave);
    StatusCode::OK
}

async fn remove(Shared(state): Shared<Arc<State>>, Path((room, client)): Path<(String, String)>) -> &'static str {
    goodbye(&state, &room, &client, Lobby::delete);
    "OK\n"
}

async fn nothing_here() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Collider's dashboard, read by the reference's prober.
async fn status(Shared(state): Shared<Arc<State>>) -> Response {
    let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
    Json(json!({
        "upsec": state.started.elapsed().as_secs_f64(),
        "openws": state.with_lobby(|lobby, _| lobby.sockets()),
        "totalws": read(&state.totals.registers),
        "wserrors": read(&state.totals.ws_errors),
        "httperrors": read(&state.totals.http_errors),
    }))
    .into_response()
}

fn put(state: &State, room: &RoomName, client: &str, text: String) -> Result<(), Refusal> {
    let Some(client) = state.identity.recognise(room, client) else {
        let known = state.with_lobby(|lobby, _| lobby.has_room(room));
        return Err(if known { Refusal::UnknownClient } else { Refusal::UnknownRoom });
    };
    let may_return = state.may_return(&client);
    state.with_lobby(|lobby, now| match may_return || lobby.has_room(room) {
        true => lobby.post(now, room, &client, text),
        false => Err(Refusal::UnknownRoom),
    })?;
    count(&state.totals.messages);
    Ok(())
}

/// The same answer whether or not there was somebody to go.
fn goodbye(state: &State, room: &str, client: &str, how: fn(&mut Lobby, std::time::Instant, &RoomName, &ClientId)) {
    let Ok(room) = RoomName::parse(room) else { return };
    if let Some(client) = state.identity.recognise(&room, client) {
        state.with_lobby(|lobby, now| how(lobby, now, &room, &client));
    }
}

/// A body that is not a message.
pub(super) struct Unread {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

pub(super) async fn text_of(state: &State, body: Body) -> Result<String, Unread> {
    let unread = |status, reason| Err(Unread { status, reason });
    let max = state.settings.config.max_message;
    let bytes = match tokio::time::timeout(BODY_DEADLINE, axum::body::to_bytes(body, max)).await {
        Err(_) => return unread(StatusCode::REQUEST_TIMEOUT, "the message did not arrive in time"),
        Ok(Err(error)) if is_length_limit(&error) => return unread(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large"),
        Ok(Err(_)) => return unread(StatusCode::BAD_REQUEST, "the message was cut off"),
        Ok(Ok(bytes)) => bytes,
    };
    match String::from_utf8(bytes.into()) {
        Err(_) => unread(StatusCode::BAD_REQUEST, "the message is not UTF-8"),
        Ok(text) if text.is_empty() => unread(StatusCode::BAD_REQUEST, "Empty request body"),
        Ok(text) if !frame::fits(&text, max) => unread(StatusCode::PAYLOAD_TOO_LARGE, "the message is too large"),
        Ok(text) => Ok(text),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

fn no_such_room(why: NotARoom) -> Response {
    (StatusCode::NOT_FOUND, Json(params::not_joined("ERROR", Some(&why.to_string())))).into_response()
}

pub(super) fn too_many(body: serde_json::Value, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())], Json(body)).into_response()
}

fn query(raw: Option<String>, pairs: Pairs) -> params::Query {
    params::Query::new(raw.unwrap_or_default(), pairs.map(|Query(pairs)| pairs).unwrap_or_default())
}

fn user_agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Without an address (nobody put it there) all clients are one.
pub(super) fn ip(address: Address) -> IpAddr {
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(ClientIp(address))| address)
}
