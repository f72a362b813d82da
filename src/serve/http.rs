//! Everything that HTTP answers: pages, files, rooms, the CA for devices, health. Decides which links and headers a request is given.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Limited;
use tower_service::Service as _;

use super::origin::{self, Entrance, Forwarded};
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
            .route("/api/qr.svg", get(qr))
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
        let (entrance, client) = self.as_asked(entrance, client.ip(), &mut request);
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
        request.extensions_mut().insert(ClientIp(client));
        let mut router = match entrance {
            Entrance::Https => self.secure.clone(),
            Entrance::Http | Entrance::Proxy => self.plain.clone(),
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

    /// How the client asked, and from where: a proxy's word for it where one passed the request on. Without that word it came from a program
    /// on this machine, over plain http.
    fn as_asked(&self, entrance: Entrance, client: IpAddr, request: &mut Request<Body>) -> (Entrance, IpAddr) {
        if entrance != Entrance::Proxy {
            return (entrance, client);
        }
        let said = Forwarded::of(request);
        if let Some(host) = said.host.and_then(|host| host.as_str().parse().ok()) {
            request.headers_mut().insert(header::HOST, host);
        }
        (said.entrance.unwrap_or(Entrance::Http), said.client.unwrap_or(client))
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

async fn landing(State(view): State<Arc<View>>, Extension(Secure(secure)): Extension<Secure>) -> Response {
    call_page(&view, None, &secure)
}

async fn room(State(view): State<Arc<View>>, Extension(Secure(secure)): Extension<Secure>, Path(room): Path<String>) -> Response {
    if !is_room_name(&room) {
        return StatusCode::NOT_FOUND.into_response();
    }
    call_page(&view, Some(&room), &secure)
}

fn call_page(view: &View, room: Option<&str>, secure: &Origin) -> Response {
    page(web::call_page(web::CallView { title: &view.title, room, secure_origin: &origin::url(secure) }))
}

fn is_room_name(name: &str) -> bool {
    (1..=MAX_ROOM).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A page of ours: nothing from elsewhere may run in it, be framed around it or be told about it.
fn page(html: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, web::CSP),
        (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(self), geolocation=()"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    (headers, html).into_response()
}

/// Their URLs carry no version, so browsers ask each time and are told "not modified" in one short answer. Compressed where that is
/// understood; there is no secret in them that the length could tell.
async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = web::asset(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let gzip = accepts_gzip(&headers);
    // Strong tags name bytes, and these are other bytes (RFC 9110 §8.8.3.3).
    let etag = if gzip { asset.etag.replacen('"', "\"gz-", 1) } else { asset.etag };
    let dress = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, &etag), (header::VARY, "accept-encoding")];
    if matches_etag(&headers, &etag) {
        return (StatusCode::NOT_MODIFIED, dress).into_response();
    }
    let mut response = (dress, [(header::CONTENT_TYPE, asset.mime)], if gzip { asset.gzipped } else { asset.body }).into_response();
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// RFC 9110 §12.5.3: a list of codings, each with an optional weight; zero forbids.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    codings.map(|coding| coding.split_once(';').unwrap_or((coding, "q=1"))).any(|(name, weight)| {
        let forbidden = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0);
        name.trim().eq_ignore_ascii_case("gzip") && !forbidden
    })
}

/// RFC 9110 §13.1.2: a list, compared weakly, or `*`.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    tags.map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[derive(serde::Deserialize)]
struct QrText {
    text: String,
}

/// Draws links into this site only: whoever scans a code that we drew trusts it.
async fn qr(Extension(seen): Extension<Origin>, Query(QrText { text }): Query<QrText>) -> Response {
    let own = text.strip_prefix(&origin::url(&seen)).is_some_and(|rest| rest.starts_with('/'));
    let Some(svg) = own.then(|| web::qr_svg(&text)).flatten() else {
        let why = format!("text: a link into this site, of at most {} bytes", web::QR_TEXT_MAX);
        return (StatusCode::BAD_REQUEST, why).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "private"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    (headers, svg).into_response()
}

async fn ca_page(State(view): State<Arc<View>>, Extension(Secure(secure)): Extension<Secure>) -> Response {
    let Some(files) = view.ca.load_full() else { return StatusCode::NOT_FOUND.into_response() };
    let sha256 = files.ca.sha256.iter().map(|byte| format!("{byte:02X}")).collect();
    let shown = web::CaView { title: view.title.clone(), sha256, secure_origin: origin::url(&secure) };
    page(web::ca_page(&shown))
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
    let mut segments = path.trim_start_matches('/').split('/');
    let free = segments.next().is_some_and(|first| !matches!(first, "join" | "leave"));
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use axum::routing::{delete, post};
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::config::HostName;

    #[tokio::test]
    async fn each_address_answers_what_it_is_for() {
        let site = site(true);
        for (method, path, status, mime) in [
            ("GET", "/", 200, "text/html; charset=utf-8"),
            ("HEAD", "/", 200, "text/html; charset=utf-8"),
            ("GET", "/r/my-room", 200, "text/html; charset=utf-8"),
            ("GET", "//r//my-room", 200, "text/html; charset=utf-8"),
            ("GET", "/r/my%20room", 404, ""),
            ("GET", "/r/%3Cb%3E", 404, ""),
            ("GET", "/assets/style.css", 200, "text/css"),
            ("GET", "/assets/main.js", 200, "text/javascript"),
            ("GET", "/assets/../Cargo.toml", 404, ""),
            ("GET", "/assets/nothing.js", 404, ""),
            ("GET", "/ca", 200, "text/html; charset=utf-8"),
            ("GET", "/ca/ca.pem", 200, "application/x-pem-file"),
            ("GET", "/ca/ca.crt", 200, "application/x-x509-ca-cert"),
            ("GET", "/ca/rtcctl.mobileconfig", 200, "application/x-apple-aspen-config"),
            ("GET", "/healthz", 200, "application/json"),
            ("GET", "/api/qr.svg", 400, "text/plain"),
            ("POST", "/", 405, ""),
            ("POST", "/healthz", 405, ""),
            ("POST", "/some/where", 200, ""),
            ("DELETE", "/some/where", 200, ""),
            ("PUT", "/some/where", 405, ""),
            ("GET", "/some/where", 404, ""),
            ("GET", "/join/room", 405, ""),
            ("GET", "/nowhere", 404, ""),
            ("GET", "/a/b/c", 404, ""),
        ] {
            let response = ask(&site, Entrance::Https, method, path, &[]).await;
            assert_eq!(response.status(), status, "{method} {path}");
            let found = response.headers().get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
            assert!(if mime.is_empty() { found.is_empty() } else { found.starts_with(mime) }, "{method} {path}: {found}");
            assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{method} {path}");
            assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer", "{method} {path}");
            assert!(!response.headers().contains_key(header::STRICT_TRANSPORT_SECURITY), "a local CA and HSTS lock people out");
            if found.starts_with("text/html") {
                assert!(response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"), "{path}");
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_method_names_the_right_ones() {
        let response = ask(&site(true), Entrance::Https, "POST", "/healthz", &[]).await;
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    }

    #[tokio::test]
    async fn a_person_who_is_lost_sees_a_page() {
        for path in ["/nowhere", "/some/where", "/r/my%20room"] {
            let response = ask(&site(true), Entrance::Https, "GET", path, &[("accept", "text/html,*/*")]).await;
            assert_eq!(response.status(), 404);
            assert!(text(response).await.contains("<a href=\"/\">Start a call</a>"), "{path}");
        }
    }

    #[tokio::test]
    async fn a_file_that_the_browser_has_is_not_sent_again() {
        let site = site(true);
        let first = ask(&site, Entrance::Https, "GET", "/assets/style.css", &[]).await;
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert!(!text(first).await.is_empty());
        for sent in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
            let again = ask(&site, Entrance::Https, "GET", "/assets/style.css", &[("if-none-match", &sent)]).await;
            assert_eq!((again.status(), again.headers()[header::ETAG].to_str().unwrap()), (StatusCode::NOT_MODIFIED, &*etag), "{sent}");
            assert!(text(again).await.is_empty());
        }
        let other = ask(&site, Entrance::Https, "GET", "/assets/style.css", &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status(), 200);
    }

    #[tokio::test]
    async fn files_travel_compressed_where_that_is_understood() {
        let site = site(true);
        for (accepted, gzip) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip;q=0.0, br", false),
            ("x-gzip", false),
        ] {
            let response = ask(&site, Entrance::Https, "GET", "/assets/main.js", &[("accept-encoding", accepted)]).await;
            assert_eq!(response.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip"), gzip, "{accepted}");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            let etag = response.headers()[header::ETAG].to_str().unwrap().to_owned();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let plain = web::asset("main.js").unwrap();
            if gzip {
                let mut unpacked = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut unpacked).unwrap();
                assert_eq!(unpacked, plain.body);
                assert_ne!(etag, plain.etag, "other bytes, another tag");
            } else {
                assert_eq!((body, etag.clone()), (plain.body, plain.etag));
            }
            let again = ask(&site, Entrance::Https, "GET", "/assets/main.js", &[("accept-encoding", accepted), ("if-none-match", &etag)]).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{accepted}");
        }
    }

    #[tokio::test]
    async fn plain_http_hands_out_the_ca_and_leads_everything_else_to_https() {
        let site = site(true);
        for path in ["/ca", "/ca/ca.pem", "/ca/ca.crt", "/ca/rtcctl.mobileconfig", "/assets/style.css"] {
            assert_eq!(ask(&site, Entrance::Http, "GET", path, &[]).await.status(), 200, "{path}");
        }
        for (method, host, path, location) in [
            ("GET", "call.test", "/", "https://call.test:8443/"),
            ("GET", "call.test:8080", "/r/x?hd=true&a=%2F", "https://call.test:8443/r/x?hd=true&a=%2F"),
            ("POST", "192.0.2.7", "/join/x", "https://192.0.2.7:8443/join/x"),
            ("GET", "evil.test", "/healthz", "https://192.0.2.7:8443/healthz"),
            ("GET", "call.test", "//evil.test/", "https://call.test:8443/evil.test/"),
        ] {
            let response = ask(&site, Entrance::Http, method, path, &[("host", host)]).await;
            assert_eq!((response.status().as_u16(), response.headers()[header::LOCATION].to_str().unwrap()), (308, location));
        }
        let page = text(ask(&site, Entrance::Http, "GET", "/ca", &[("host", "call.test:8080")]).await).await;
        assert!(page.contains("https://call.test:8443"), "the button tests the secure origin of the same host");
    }

    #[tokio::test]
    async fn a_qr_code_is_drawn_of_links_into_this_site_only() {
        let site = site(true);
        for (host, text, status) in [
            ("call.test:8443", "https://call.test:8443/r/quiet-otter", 200),
            ("call.test", "https://call.test/r/quiet-otter?it=relay%26tt=udp", 200),
            ("call.test:8443", "https://call.test:8443", 400),
            ("call.test:8443", "https://call.test:84430/", 400),
            ("call.test:8443", "https://call.test:8443.evil.test/", 400),
            ("call.test:8443", "https://call.test:8443@evil.test/", 400),
            ("call.test:8443", "https://192.0.2.7:8443/r/quiet-otter", 400),
            ("evil.test", "https://evil.test/", 400),
            ("call.test", "javascript:alert(1)", 400),
            ("call.test", &format!("https://call.test/{}", "a".repeat(web::QR_TEXT_MAX)), 400),
        ] {
            let response = ask(&site, Entrance::Https, "GET", &format!("/api/qr.svg?text={text}"), &[("host", host)]).await;
            assert_eq!(response.status(), status, "{host} {text}");
            if status == 200 {
                assert_eq!(response.headers()[header::CONTENT_TYPE], "image/svg+xml");
                assert_eq!(response.headers()[header::CACHE_CONTROL], "private");
                assert!(self::text(response).await.starts_with("<svg "));
            }
        }
        let page = text(ask(&site, Entrance::Https, "GET", "/", &[("host", "call.test")]).await).await;
        assert!(page.contains("data-secure=\"https://call.test:8443\""), "the page knows the https port");
    }

    #[tokio::test]
    async fn without_a_local_ca_there_is_none_to_hand_out() {
        for path in ["/ca", "/ca/ca.pem", "/ca/ca.crt", "/ca/rtcctl.mobileconfig"] {
            assert_eq!(ask(&site(false), Entrance::Https, "GET", path, &[]).await.status(), 404, "{path}");
        }
    }

    #[tokio::test]
    async fn health_is_ill_when_one_role_is_down() {
        let site = site(true);
        let well = ask(&site, Entrance::Https, "GET", "/healthz", &[]).await;
        assert_eq!(well.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        site.view.roles.turn.store(false, Ordering::Relaxed);
        let ill = ask(&site, Entrance::Https, "GET", "/healthz", &[]).await;
        assert_eq!(ill.status(), 503);
        let body: serde_json::Value = serde_json::from_str(&text(ill).await).unwrap();
        assert_eq!(body, serde_json::json!({ "ok": false, "roles": { "page": "up", "signal": "up", "turn": "down" } }));
    }

    #[tokio::test]
    async fn rooms_are_told_the_origin_and_the_client_and_never_a_foreign_host() {
        let site = site(true);
        for (host, expected) in
            [("call.test:8443", "true call.test call.test:8443 198.51.100.9"), ("evil.test", "true 192.0.2.7 192.0.2.7:8443 198.51.100.9")]
        {
            let response = ask(&site, Entrance::Https, "POST", "/some/where", &[("host", host)]).await;
            assert_eq!(text(response).await, expected);
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused() {
        let site = site(true);
        let request = |size: usize| Request::post("/join/room").body(Body::from(vec![b'x'; size])).unwrap();
        let fits = site.answer(Entrance::Https, client(), request(2 * 1024)).await;
        assert_eq!(fits.status(), 200);
        let large = site.answer(Entrance::Https, client(), request(BODY_OVERHEAD + 3 * 1024)).await;
        assert_eq!(large.status(), 413);
    }

    #[tokio::test]
    async fn only_a_public_site_is_https_for_good_and_says_so_on_https() {
        let public = site_of(View { hsts: true, ..view(false) });
        assert!(ask(&public, Entrance::Https, "GET", "/", &[]).await.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
        assert!(!ask(&public, Entrance::Http, "GET", "/", &[]).await.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
    }

    #[tokio::test]
    async fn a_proxy_is_believed_and_nobody_else() {
        let site = site(true);
        let said = [("host", "backend"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "call.test:8443"), ("x-forwarded-for", "192.0.2.99")];
        let response = ask(&site, Entrance::Proxy, "POST", "/some/where", &said).await;
        assert_eq!(text(response).await, "true call.test call.test:8443 192.0.2.99");
        let response = ask(&site, Entrance::Https, "POST", "/some/where", &said).await;
        assert_eq!(text(response).await, "true 192.0.2.7 192.0.2.7:8443 198.51.100.9", "the host is not ours, and the client is who it is");
        for headers in [&[("x-forwarded-proto", "http"), ("host", "call.test")][..], &[("host", "call.test")]] {
            assert_eq!(ask(&site, Entrance::Proxy, "GET", "/ca", headers).await.status(), 200);
            let response = ask(&site, Entrance::Proxy, "GET", "/r/x", headers).await;
            assert_eq!(
                (response.status(), &response.headers()[header::LOCATION]),
                (StatusCode::PERMANENT_REDIRECT, &HeaderValue::from_static("https://call.test:8443/r/x"))
            );
        }
    }

    fn client() -> SocketAddr {
        "198.51.100.9:50000".parse().unwrap()
    }

    async fn ask(site: &Site, entrance: Entrance, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        site.answer(entrance, client(), request.body(Body::empty()).unwrap()).await
    }

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn site(with_ca: bool) -> Site {
        site_of(view(with_ca))
    }

    fn view(with_ca: bool) -> View {
        let all: Vec<HostName> = ["192.0.2.7", "call.test"].map(|name| name.parse().unwrap()).into();
        let ca = LocalCa { pem: "pem".into(), der: vec![1], sha256: [0xab; 32], not_after: SystemTime::now() };
        View {
            title: "test".into(),
            https_port: 8443,
            hsts: false,
            names: ArcSwap::from_pointee(SiteNames { primary: all[0].clone(), all }),
            ca: ArcSwapOption::from(with_ca.then(|| Arc::new(CaFiles { mobileconfig: "<plist/>".into(), ca }))),
            roles: Roles { signal: AtomicBool::new(true), turn: AtomicBool::new(true) },
        }
    }

    /// With rooms that tell what they were told.
    fn site_of(view: View) -> Site {
        let told = |Extension(origin): Extension<Origin>, Extension(ClientIp(ip)): Extension<ClientIp>| async move {
            let body = format!("{} {} {} {ip}", origin.secure, origin.host, origin.authority);
            Response::new(Body::from(body))
        };
        let rooms = Router::new()
            .route("/{room}/{client}", post(told).merge(delete(|| async {})))
            .route("/join/{room}", post(|body: Bytes| async move { body.len().to_string() }));
        Site::new(Arc::new(view), rooms, 1024)
    }
}
