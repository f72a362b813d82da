//! Everything that HTTP answers: pages, files, rooms, the CA for devices, health. Decides which links and headers a request is given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Limited;
use tower_service::Service as _;

use super::origin::{self, Entrance};
use crate::cert::LocalCa;
use crate::config::SiteNames;
use crate::signal::{ClientIp, Origin};
use crate::web;

/// A request that is not answered by then never will be; bodies that trickle in included.
const ANSWER: Duration = Duration::from_secs(30);
/// What a body may hold besides one message of the rooms.
const BODY_OVERHEAD: usize = 64 * 1024;
/// Browsers stay on https for so long once they have seen a public site.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Room names: RFC 3986 unreserved without dots, as AppRTC has them.
const MAX_ROOM: usize = 128;

/// What pages and files are made of; changes while we run.
pub(super) struct View {
    pub(super) title: String,
    pub(super) https_port: u16,
    /// A public name with a certificate that everybody trusts: plain http may be forbidden for good.
    pub(super) hsts: bool,
    pub(super) names: ArcSwap<SiteNames>,
    /// The local CA, when there is one to hand out.
    pub(super) ca: ArcSwapOption<CaFiles>,
    pub(super) roles: Roles,
}

/// What `/healthz` tells.
#[derive(Default)]
pub(super) struct Roles {
    pub(super) signal: AtomicBool,
    pub(super) turn: AtomicBool,
}

/// The CA in every form a device wants.
pub(super) struct CaFiles {
    pub(super) ca: LocalCa,
    pub(super) mobileconfig: String,
}

/// The answers of both ports. Cheap to clone.
#[derive(Clone)]
pub(super) struct Site {
    view: Arc<View>,
    secure: Router,
    plain: Router,
    max_body: usize,
}

impl Site {
    /// `rooms` are the routes of signaling; `max_message` its largest message in bytes.
    pub(super) fn new(view: Arc<View>, rooms: Router, max_message: usize) -> Self {
        let shared = Router::new()
            .route("/assets/{*path}", get(asset))
            .route("/ca", get(ca_page))
            .route("/ca/ca.pem", get(ca_pem))
            .route("/ca/ca.crt", get(ca_der))
            .route("/ca/rtcctl.mobileconfig", get(ca_mobileconfig));
        let secure = shared
            .clone()
            .route("/", get(landing))
            .route("/r/{room}", get(room))
            .route("/healthz", get(healthz))
            .with_state(Arc::clone(&view))
            .merge(rooms)
            .fallback(|| async { StatusCode::NOT_FOUND });
        let plain = shared.with_state(Arc::clone(&view)).fallback(redirect);
        // A message may double when JSON escapes it.
        Self { view, secure, plain, max_body: 2 * max_message + BODY_OVERHEAD }
    }

    /// Never fails: what goes wrong is an answer.
    pub(super) async fn answer<B>(&self, entrance: Entrance, client: SocketAddr, request: Request<B>) -> Response
    where
        B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let mut request = request.map(|body| Body::new(Limited::new(body, self.max_body)));
        collapse_slashes(&mut request);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let wants_html = accepts_html(request.headers());
        let (seen, secure) = {
            let names = self.view.names.load();
            let seen = origin::of_request(&request, entrance, &names, self.view.https_port);
            (seen, Secure(origin::secure_of_request(&request, &names, self.view.https_port)))
        };
        request.extensions_mut().insert(seen);
        request.extensions_mut().insert(secure);
        request.extensions_mut().insert(ClientIp(client.ip()));
        let mut router = match entrance {
            Entrance::Https => self.secure.clone(),
            Entrance::Http => self.plain.clone(),
        };
        let answered = tokio::time::timeout(ANSWER, router.call(request)).await;
        let mut response = answered.map_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response(), |Ok(response)| response);
        if response.status() == StatusCode::METHOD_NOT_ALLOWED && is_unknown_page(&method, &path) {
            response = StatusCode::NOT_FOUND.into_response();
        }
        if response.status() == StatusCode::NOT_FOUND && wants_html && !response.headers().contains_key(header::CONTENT_TYPE) {
            response = not_found();
        }
        self.dress(entrance, response.headers_mut());
        response
    }

    fn dress(&self, entrance: Entrance, headers: &mut HeaderMap) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if entrance == Entrance::Https && self.view.hsts {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
    }
}

/// Where the same host is found on https.
#[derive(Clone)]
struct Secure(Origin);

async fn landing(State(view): State<Arc<View>>, Extension(seen): Extension<Origin>) -> Response {
    page(web::call_page(&view.title, None), &seen)
}

async fn room(State(view): State<Arc<View>>, Extension(seen): Extension<Origin>, Path(room): Path<String>) -> Response {
    if !is_room_name(&room) {
        return StatusCode::NOT_FOUND.into_response();
    }
    page(web::call_page(&view.title, Some(&room)), &seen)
}

fn is_room_name(name: &str) -> bool {
    (1..=MAX_ROOM).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A page of ours: nothing from elsewhere may run in it, be framed around it or be told about it.
fn page(html: String, connect: &Origin) -> Response {
    let scheme = if connect.secure { "s" } else { "" };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; manifest-src 'self'; \
         connect-src 'self' http{scheme}://{0} ws{scheme}://{0}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        connect.authority
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(self), geolocation=()"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response = (headers, html).into_response();
    let policy = HeaderValue::try_from(policy).expect("a host name or address is a header value");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

async fn asset(Path(path): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(asset) = web::asset(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let bare = asset.etag.trim_matches('"');
    // A URL that names this very content may be kept for good; every other one asks again and is told "not modified".
    let named = uri.query().and_then(|query| query.strip_prefix("v=")).is_some_and(|version| version.len() >= 8 && bare.starts_with(version));
    let caching = if named { "public, max-age=31536000, immutable" } else { "no-cache" };
    let dress = [(header::CACHE_CONTROL, caching.to_owned()), (header::ETAG, asset.etag.clone())];
    if matches_etag(&headers, &asset.etag) {
        return (StatusCode::NOT_MODIFIED, dress).into_response();
    }
    let body = match asset.body {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    };
    (dress, [(header::CONTENT_TYPE, asset.mime)], body).into_response()
}

/// RFC 9110 §13.1.2: a list, compared weakly, or `*`.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    tags.map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

async fn ca_page(State(view): State<Arc<View>>, Extension(Secure(secure)): Extension<Secure>) -> Response {
    let Some(files) = view.ca.load_full() else { return StatusCode::NOT_FOUND.into_response() };
    let sha256 = files.ca.sha256.iter().map(|byte| format!("{byte:02X}")).collect();
    let shown = web::CaView { title: view.title.clone(), sha256, secure_origin: origin::url(&secure) };
    page(web::ca_page(&shown), &secure)
}

async fn ca_pem(State(view): State<Arc<View>>) -> Response {
    ca_file(&view, "application/x-pem-file", "rtcctl-ca.pem", |files| files.ca.pem.clone().into())
}

async fn ca_der(State(view): State<Arc<View>>) -> Response {
    ca_file(&view, "application/x-x509-ca-cert", "rtcctl-ca.crt", |files| files.ca.der.clone())
}

async fn ca_mobileconfig(State(view): State<Arc<View>>) -> Response {
    ca_file(&view, "application/x-apple-aspen-config", "rtcctl.mobileconfig", |files| files.mobileconfig.clone().into())
}

fn ca_file(view: &View, mime: &'static str, name: &str, bytes: impl FnOnce(&CaFiles) -> Vec<u8>) -> Response {
    let Some(files) = view.ca.load_full() else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, mime.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, bytes(&files)).into_response()
}

/// 200 when every role is up, else 503; readable from any origin, so that `/ca` on plain http can try it.
async fn healthz(State(view): State<Arc<View>>) -> Response {
    let (signal, turn) = (view.roles.signal.load(Ordering::Relaxed), view.roles.turn.load(Ordering::Relaxed));
    let word = |up: bool| if up { "up" } else { "down" };
    let status = if signal && turn { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ok": signal && turn, "roles": { "page": "up", "signal": word(signal), "turn": word(turn) } });
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (status, headers, Json(body)).into_response()
}

/// Plain http holds nothing but the CA: the same path on https, whatever the method.
async fn redirect(Extension(Secure(secure)): Extension<Secure>, uri: Uri) -> Response {
    let path = uri.path_and_query().map_or("/", |both| both.as_str());
    let target = format!("{}{path}", origin::url(&secure));
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, target), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response()
}

/// `//join/42` is `/join/42`: old clients join a base that ends in a slash with a path that begins with one.
fn collapse_slashes<B>(request: &mut Request<B>) {
    if !request.uri().path().contains("//") {
        return;
    }
    let mut path = String::with_capacity(request.uri().path().len());
    for c in request.uri().path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = request.uri().query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path.parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// `/{room}/{client}` exists for POST and DELETE only; to somebody who opens it, it is a page that is not there.
fn is_unknown_page(method: &Method, path: &str) -> bool {
    let known = ["r", "join", "leave", "message", "params", "v1alpha", "ws", "status", "ca", "healthz", "assets"];
    let mut segments = path.trim_start_matches('/').split('/');
    let free = segments.next().is_some_and(|first| !known.contains(&first));
    matches!(*method, Method::GET | Method::HEAD) && free && segments.count() == 1
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn not_found() -> Response {
    let html = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
                <title>Nothing here</title><h1>Nothing here</h1><p>This address leads nowhere. <a href=\"/\">Start a call</a> instead.</p></html>";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ];
    (StatusCode::NOT_FOUND, headers, html).into_response()
}
