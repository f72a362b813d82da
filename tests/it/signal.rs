//! Signaling at the wire: a real server on a port of the kernel's choice, spoken to as the shipped clients do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Extension;
use futures_util::{SinkExt as _, StreamExt as _};
use rtcctl::config::{Secret, model};
use rtcctl::signal::{ClientIp, IceSettings, Origin, Settings, Signal};
use rtcctl::stun::credential;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_util::sync::CancellationToken;

/// No answer on loopback takes longer.
const SOON: Duration = Duration::from_secs(5);
const BYE: &str = r#"{"type":"bye"}"#;

#[tokio::test]
async fn the_reference_servers_own_checklist() {
    let server = Server::start().await;
    let first = server.join("testRoom").await;
    assert!(!first.id.is_empty());
    assert_eq!((&first.params["room_id"], &first.params["is_initiator"]), (&json!("testRoom"), &json!("true")));
    assert_eq!((&first.params["error_messages"], &first.params["warning_messages"]), (&json!([]), &json!([])));
    for text in ["one", "two", "Zürich 😀"] {
        assert_eq!(server.message(&first, text).await, json!({"result": "SUCCESS"}));
    }
    let second = server.join("testRoom").await;
    assert_eq!(second.params["is_initiator"], "false");
    assert_eq!(second.params["messages"], json!(["one", "two", "Zürich 😀"]));
    assert_eq!(server.try_join("testRoom").await, json!({"result": "FULL", "params": {"messages": []}}));
    server.leave(&first).await;
    server.leave(&second).await;
    assert_eq!(server.join("testRoom").await.params["is_initiator"], "true");
}

#[tokio::test]
async fn links_have_the_origin_of_the_page() {
    let server = Server::start().await;
    let answer: Value = server.post("/join/room7?vsc=H264&hd=true&wshpp=evil.example:8089", "").await.json().await.unwrap();
    let (params, authority) = (&answer["params"], server.address);
    assert_eq!(params["room_link"], format!("http://{authority}/r/room7?vsc=H264&hd=true&wshpp=evil.example:8089"));
    assert_eq!(params["wss_url"], format!("ws://{authority}/ws"));
    assert_eq!(params["wss_post_url"], format!("http://{authority}"));
    assert!(params["ice_server_url"].as_str().unwrap().starts_with(&format!("http://{authority}/v1alpha/iceconfig?key=")));
    assert_eq!(params["warning_messages"].as_array().unwrap().len(), 1, "wshpp is ignored, and that is said");
    let media: Value = serde_json::from_str(params["media_constraints"].as_str().unwrap()).unwrap();
    assert_eq!(media["video"]["mandatory"]["minWidth"], "1280");
}

#[tokio::test]
async fn relay_credentials_are_given_for_a_signed_key_only() {
    let server = Server::start().await;
    let seat = server.join("room7").await;
    let url = seat.params["ice_server_url"].as_str().unwrap();
    assert!(!url.contains(&seat.id) && !url.contains("room7"), "urls end in logs");
    for response in [server.http.get(url).send().await.unwrap(), server.http.post(url).send().await.unwrap()] {
        assert_eq!((response.status().as_u16(), &response.headers()["cache-control"]), (200, &"no-store".parse().unwrap()));
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let ice: Value = response.json().await.unwrap();
        let servers = ice["iceServers"].as_array().unwrap();
        assert!(servers.iter().all(|server| server["urls"].is_array()));
        let user = servers[1]["username"].as_str().unwrap();
        assert!(!user.contains(&seat.id));
        assert_eq!(servers[1]["credential"], credential::password(b"newest", user));
        assert_eq!(
            servers[1]["urls"],
            json!(["turn:127.0.0.1:3478?transport=udp", "turn:127.0.0.1:3478?transport=tcp", "turns:127.0.0.1:443?transport=tcp"])
        );
    }
    for forged in ["/v1alpha/iceconfig", "/v1alpha/iceconfig?key=1", "/v1alpha/iceconfig?key=m.9999999999.abc.AAAA"] {
        let response = server.post(forged, "").await;
        assert_eq!(response.status(), 403, "{forged}");
        let words: Value = response.json().await.unwrap();
        assert!(words["error"].as_str().unwrap().starts_with("the key"), "{words}");
    }
    let filtered: Value = server.post("/join/room7?tt=tls", "").await.json().await.unwrap();
    let url = filtered["params"]["ice_server_url"].as_str().unwrap();
    let ice: Value = server.http.post(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(ice["iceServers"][1]["urls"], json!(["turns:127.0.0.1:443?transport=tcp"]));
}

#[tokio::test]
async fn params_of_one_address_open_nothing_for_another() {
    let server = Server::start().await;
    let params: Value = server.http.get(server.url("/params")).send().await.unwrap().json().await.unwrap();
    assert!(params.get("room_id").is_none() && params.get("result").is_none(), "the bare object");
    let path = params["ice_server_url"].as_str().unwrap().replace(&format!("http://{}", server.address), "");
    assert_eq!(server.post(&path, "").await.status(), 200);
    let neighbour = Server::start_as(|settings| settings, "192.0.2.9".parse().unwrap()).await;
    let refused = neighbour.post(&path, "").await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("another address"));
}

#[tokio::test]
async fn a_foreign_page_may_delete() {
    let server = Server::start().await;
    let asked = server.http.request(reqwest::Method::OPTIONS, server.url("/room7/abc"));
    let granted = asked.header("Origin", "https://appr.tc").header("Access-Control-Request-Method", "DELETE").send().await.unwrap();
    assert!(granted.status().is_success());
    assert_eq!(granted.headers()["access-control-allow-origin"], "*");
    assert_eq!(granted.headers()["access-control-allow-methods"], "POST, DELETE");
    assert_eq!(server.http.get(server.url("/room7/abc")).send().await.unwrap().status(), 404);
    assert_eq!(server.http.put(server.url("/room7/abc")).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_call_as_the_web_client_makes_it() {
    let server = Server::start().await;
    let caller = server.join("room7").await;
    let mut caller_ws = server.register(&caller).await;
    server.message(&caller, r#"{"type":"offer","sdp":"v=0"}"#).await;
    let callee = server.join("room7").await;
    assert_eq!(callee.params["messages"], json!([r#"{"type":"offer","sdp":"v=0"}"#]));
    server.message(&caller, "late candidate").await;
    let mut callee_ws = server.register(&callee).await;
    assert_eq!(callee_ws.msg().await, "late candidate");
    callee_ws.send_msg(r#"{"type":"answer","sdp":"v=0"}"#).await;
    assert_eq!(caller_ws.msg().await, r#"{"type":"answer","sdp":"v=0"}"#);
    // Hanging up: leave, bye on the socket, then close and DELETE at once.
    server.leave(&callee).await;
    callee_ws.send_msg(BYE).await;
    let (deleted, ()) = tokio::join!(server.delete(&callee), callee_ws.close());
    assert_eq!(deleted, "OK\n");
    assert_eq!(caller_ws.msg().await, BYE);
    // The answer to a bye is a new offer for whoever comes next, and the seat is free at once.
    server.message(&caller, "new offer").await;
    assert_eq!(server.join("room7").await.params["messages"], json!(["new offer"]));
}

#[tokio::test]
async fn bye_and_delete_race_and_the_room_is_free_every_time() {
    let server = Server::start().await;
    let caller = server.join("room7").await;
    let mut caller_ws = server.register(&caller).await;
    for round in 0..40 {
        let callee = server.join("room7").await;
        let mut callee_ws = server.register(&callee).await;
        callee_ws.send_msg("answer").await;
        callee_ws.send_msg(BYE).await;
        tokio::join!(server.delete(&callee), server.leave(&callee), callee_ws.close());
        assert_eq!((caller_ws.msg().await, caller_ws.msg().await), ("answer".into(), BYE.into()), "round {round}");
    }
}

#[tokio::test]
async fn android_as_it_really_speaks() {
    let server = Server::start().await;
    let join = server.http.post(server.url("/join/room7")).header("Origin", "https://appr.tc").header("Content-Type", "text/plain; charset=utf-8");
    let answer: Value = join.send().await.unwrap().json().await.unwrap();
    let seat = Seat::of(&answer);
    let config: Value = serde_json::from_str(seat.params["pc_config"].as_str().unwrap()).unwrap();
    assert_eq!(config["iceServers"], json!([]), "an array of urls in there kills its call");
    let ice = server.http.post(seat.params["ice_server_url"].as_str().unwrap()).header("Referer", "https://appr.tc");
    assert_eq!(ice.send().await.unwrap().status(), 200);
    // Its WebSocket names the host without the port and always the same foreign origin.
    let mut request = server.ws_url().into_client_request().unwrap();
    request.headers_mut().insert("Host", "127.0.0.1".parse().unwrap());
    request.headers_mut().insert("Origin", "https://www.google.com".parse().unwrap());
    let mut android = Ws::with(&server, request).await;
    android.text(&json!({"cmd": "register", "roomid": "room7", "clientid": seat.id}).to_string()).await;
    let other = server.join("room7").await;
    let mut other_ws = server.register(&other).await;
    android.text(r#"{"cmd":"send","msg":"{\"type\":\"answer\"}"}"#).await;
    assert_eq!(other_ws.msg().await, r#"{"type":"answer"}"#);
    // Its leave goes out in a thread of its own, so bye may come first.
    android.text(r#"{"cmd":"send","msg":"{\"type\": \"bye\"}"}"#).await;
    android.close().await;
    server.leave(&seat).await;
    assert_eq!(other_ws.msg().await, r#"{"type": "bye"}"#);
    server.join("room7").await;
}

#[tokio::test]
async fn ios_as_it_really_speaks() {
    let server = Server::start().await;
    let params: Value = server.http.get(server.url("/params")).send().await.unwrap().json().await.unwrap();
    assert_eq!(server.http.post(params["ice_server_url"].as_str().unwrap()).send().await.unwrap().status(), 200);
    let (seat, other) = (server.join("room7").await, server.join("room7").await);
    let mut request = server.ws_url().into_client_request().unwrap();
    request.headers_mut().insert("Origin", format!("http://{}", server.address).parse().unwrap());
    let mut ios = Ws::with(&server, request).await;
    ios.text(&format!("{{\n  \"cmd\" : \"register\",\n  \"clientid\" : \"{}\",\n  \"roomid\" : \"room7\"\n}}", seat.id)).await;
    server.message(&other, "to ios").await;
    assert_eq!(ios.frame().await, json!({"msg": "to ios", "error": ""}));
    ios.binary(b"{\n  \"cmd\" : \"send\",\n  \"msg\" : \"binary\"\n}").await;
    assert_eq!(server.register(&other).await.msg().await, "binary");
    server.leave(&seat).await;
    ios.send_msg(BYE).await;
    ios.close().await;
    server.delete(&seat).await;
}

#[tokio::test]
async fn errors_stand_in_the_words_of_the_reference() {
    let server = Server::start().await;
    let seat = server.join("room7").await;
    let mut ws = server.register(&seat).await;
    ws.text(r#"{"cmd":"dance"}"#).await;
    assert_eq!(ws.frame().await, json!({"msg": "", "error": "Invalid message: unexpected 'cmd'"}));
    ws.send_msg("still open").await;
    ws.text(&json!({"cmd": "register", "roomid": "room7", "clientid": seat.id}).to_string()).await;
    ws.refused("Duplicated register request").await;
    let cases = [
        (r#"{"cmd":"send","msg":"x"}"#, "Client not registered"),
        (r#"{"cmd":"send"}"#, "Invalid send request: missing 'msg'"),
        (r#"{"cmd":"register","roomid":"room7"}"#, "Invalid register request: missing 'clientid' or 'roomid'"),
        (r#"{"cmd":"register","roomid":"ws","clientid":"x"}"#, "Invalid register request: this room name is reserved: ws"),
        ("{", "websocket.JSON.Receive error: "),
    ];
    for (frame, error) in cases {
        let mut ws = server.ws().await;
        ws.text(frame).await;
        ws.refused(error).await;
    }
    let status: Value = server.http.get(server.url("/status")).send().await.unwrap().json().await.unwrap();
    assert!(status["upsec"].is_f64() && status["totalws"] == 1 && status["wserrors"] == 7, "{status}");
    assert!(status["openws"].is_u64() && status["httperrors"].is_u64());
}

#[tokio::test]
async fn fragments_are_put_together() {
    let server = Server::start().await;
    let (a, b) = (server.join("room7").await, server.join("room7").await);
    let (mut a, mut b) = (server.register(&a).await, server.register(&b).await);
    let frame = json!({"cmd": "send", "msg": "in three parts"}).to_string();
    let (one, two, three) = (&frame[..5], &frame[5..9], &frame[9..]);
    a.raw(Message::Frame(Frame::message(one.to_owned(), OpCode::Data(Data::Text), false))).await;
    a.raw(Message::Frame(Frame::message(two.to_owned(), OpCode::Data(Data::Continue), false))).await;
    a.raw(Message::Ping("between".into())).await;
    a.raw(Message::Frame(Frame::message(three.to_owned(), OpCode::Data(Data::Continue), true))).await;
    assert_eq!(b.msg().await, "in three parts");
}

#[tokio::test]
async fn too_large_and_not_utf8() {
    let server = Server::start().await;
    let (a, b) = (server.join("room7").await, server.join("room7").await);
    let mut reader = server.register(&b).await;
    let largest = "x".repeat(64 * 1024);
    assert_eq!(server.message(&a, &largest).await["result"], "SUCCESS");
    assert_eq!(reader.msg().await.len(), largest.len());
    for path in [format!("/message/room7/{}", a.id), format!("/room7/{}", a.id)] {
        assert_eq!(server.post(&path, format!("{largest}x")).await.status(), 413, "{path}");
        let refused = server.http.post(server.url(&path)).body(vec![0xff, 0xfe]).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        assert!(refused.text().await.unwrap().contains("not UTF-8"));
        assert_eq!(server.post(&path, "").await.status(), 400);
    }
    let mut ws = server.register(&a).await;
    ws.send_msg(&format!("{largest}x")).await;
    assert_eq!(ws.frame().await["error"], "Invalid send request: the message is too large");
    assert_eq!(ws.end().await, Some(CloseCode::Size));
    let mut ws = server.register(&a).await;
    ws.send_msg(&"x".repeat(1024 * 1024)).await;
    assert_eq!(ws.end().await, Some(CloseCode::Size));
    let mut ws = server.register(&a).await;
    ws.raw(Message::Frame(Frame::message(vec![b'"', 0xff, 0xfe], OpCode::Data(Data::Text), true))).await;
    assert_eq!(ws.end().await, Some(CloseCode::Invalid));
    server.message(&a, "the other end felt nothing").await;
    assert_eq!(reader.msg().await, "the other end felt nothing");
}

#[tokio::test]
async fn guessed_ids_get_nowhere() {
    let server = Server::start().await;
    let (a, b) = (server.join("room7").await, server.join("room7").await);
    let (mut a_ws, elsewhere) = (server.register(&a).await, server.join("another").await);
    let cut = &a.id[..a.id.len() - 1];
    for guess in ["12345678", cut, &elsewhere.id, "LOOPBACK_CLIENT_ID", "loopback_client_id"] {
        let mut ws = server.ws().await;
        ws.text(&json!({"cmd": "register", "roomid": "room7", "clientid": guess}).to_string()).await;
        ws.refused("Invalid register request: unknown 'clientid'").await;
        let posted: Value = server.post(&format!("/message/room7/{guess}"), "x").await.json().await.unwrap();
        assert_eq!(posted["result"], "UNKNOWN_CLIENT");
        let posted: Value = server.post(&format!("/message/nowhere/{guess}"), "x").await.json().await.unwrap();
        assert_eq!(posted["result"], "UNKNOWN_ROOM");
        assert_eq!(server.post(&format!("/room7/{guess}"), "x").await.status(), 404);
        let seat = Seat { id: guess.to_owned(), room: "room7".to_owned(), params: Value::Null };
        server.leave(&seat).await;
        assert_eq!(server.delete(&seat).await, "OK\n", "the same answer for everybody");
    }
    server.message(&b, "undisturbed").await;
    assert_eq!(a_ws.msg().await, "undisturbed");
    assert_eq!(server.signal.counts().clients, 3);
}

#[tokio::test]
async fn names_that_are_none_are_refused_in_words() {
    let server = Server::start().await;
    for (name, words) in [("%3Cb%3Ehi", "letters, digits"), ("a%20b", "letters, digits"), ("z%C3%BCrich", "letters, digits"), ("ws", "reserved: ws")]
    {
        let response = server.post(&format!("/join/{name}"), "").await;
        assert_eq!(response.status(), 404, "{name}");
        let body = response.text().await.unwrap();
        assert!(body.contains(words) && !body.contains('<'), "{body}");
    }
    assert_eq!(server.post(&format!("/join/{}", "x".repeat(129)), "").await.status(), 404);
    assert_eq!(server.post("/api/anything", "x").await.status(), 404);
    assert_eq!(server.signal.counts().rooms, 0);
}

#[tokio::test]
async fn a_phone_that_changed_networks_takes_over_its_own_seat() {
    let server = Server::start().await;
    let (a, b) = (server.join("room7").await, server.join("room7").await);
    let (mut old, mut other) = (server.register(&a).await, server.register(&b).await);
    let mut new = server.register(&a).await;
    assert_eq!(old.end().await, Some(CloseCode::Normal));
    other.send_msg("hello").await;
    assert_eq!(new.msg().await, "hello");
    new.send_msg("here").await;
    assert_eq!(other.msg().await, "here");
}

#[tokio::test]
async fn a_ghost_makes_room_and_the_survivor_is_told_to_offer() {
    let server = Server::start().await;
    let (a, b) = (server.join("room7").await, server.join("room7").await);
    let (mut survivor, ghost) = (server.register(&a).await, server.register(&b).await);
    assert_eq!(server.try_join("room7").await["result"], "FULL");
    drop(ghost);
    server.until(|counts| counts.sockets == 1).await;
    let newcomer = server.join("room7").await;
    assert_eq!((survivor.msg().await, &newcomer.params["is_initiator"]), (BYE.into(), &json!("false")));
    server.message(&a, "new offer").await;
    assert_eq!(server.register(&newcomer).await.msg().await, "new offer");
}

#[tokio::test]
async fn rooms_die_with_their_sockets_after_the_grace_time() {
    let server = Server::start_with(|mut settings| {
        settings.config.room_grace = Duration::from_millis(50);
        settings
    })
    .await;
    let a = server.join("room7").await;
    drop(server.register(&a).await);
    server.until(|counts| counts.rooms == 0 && counts.clients == 0).await;
    assert_eq!(server.join("room7").await.params["is_initiator"], "true");
}

#[tokio::test]
async fn a_restarted_server_knows_its_own() {
    let before = Server::start().await;
    let (a, b) = (before.join("room7").await, before.join("room7").await);
    drop(before);
    let after = Server::start().await;
    let mut b_ws = after.register(&b).await;
    assert_eq!(after.message(&a, "by request").await["result"], "SUCCESS");
    assert_eq!(b_ws.msg().await, "by request");
    let mut a_ws = after.register(&a).await;
    b_ws.send_msg("by socket").await;
    assert_eq!(a_ws.msg().await, "by socket");
    assert_eq!(after.try_join("room7").await["result"], "FULL");
    let stranger = Server::start_with(|settings| Settings { key: Secret::new([9; 32]), ..settings }).await;
    let mut ws = stranger.ws().await;
    ws.text(&json!({"cmd": "register", "roomid": "room7", "clientid": a.id}).to_string()).await;
    ws.refused("Invalid register request: unknown 'clientid'").await;
}

#[tokio::test]
async fn a_reader_that_stalls_loses_its_socket_and_nobody_else_notices() {
    let server = Server::start().await;
    let (a, b) = (server.join("flood").await, server.join("flood").await);
    let (mut flooder, _stalled) = (server.register(&a).await, server.register(&b).await);
    let (c, d) = (server.join("calm").await, server.join("calm").await);
    let (mut c, mut d) = (server.register(&c).await, server.register(&d).await);
    let flood = async {
        let message = json!({"cmd": "send", "msg": "x".repeat(60 * 1024)}).to_string();
        while server.signal.counts().sockets == 4 {
            flooder.text(&message).await;
        }
    };
    let calm = async {
        let mut slowest = Duration::ZERO;
        while server.signal.counts().sockets == 4 {
            let asked = Instant::now();
            c.send_msg("ping").await;
            assert_eq!(d.msg().await, "ping");
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        slowest
    };
    let ((), slowest) = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(flood, calm) }).await.expect("the stalled one goes");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(server.signal.counts().clients, 4, "its seat waits for it to come back");
}

#[tokio::test]
async fn stopping_says_goodbye_and_returns() {
    let mut server = Server::start().await;
    let seat = server.join("room7").await;
    let (mut registered, mut silent) = (server.register(&seat).await, server.ws().await);
    let asked = Instant::now();
    server.stop.cancel();
    assert_eq!((registered.end().await, silent.end().await), (Some(CloseCode::Away), Some(CloseCode::Away)));
    assert_eq!(server.tasks.join_next().await.unwrap().unwrap(), "signal");
    assert!(asked.elapsed() < Duration::from_millis(1900));
    assert_eq!(server.signal.counts().sockets, 0);
}

#[tokio::test]
async fn one_address_may_not_take_everything() {
    let server = Server::start().await;
    let mut refused = None;
    for n in 0..200 {
        let response = server.post(&format!("/join/room-{n}"), "").await;
        if response.status() == 429 {
            refused = Some((n, response));
            break;
        }
    }
    let (n, response) = refused.expect("joins are bounded");
    assert!(n >= 60 && response.headers().contains_key("retry-after"));
    assert_eq!(response.json::<Value>().await.unwrap()["result"], "ERROR");
}

#[tokio::test]
async fn loopback_as_the_web_client_does_it() {
    let server = Server::start().await;
    let answer: Value = server.post("/join/mirror?debug=loopback", "").await.json().await.unwrap();
    let seat = Seat::of(&answer);
    assert_eq!((&seat.params["is_loopback"], &seat.params["is_initiator"]), (&json!("true"), &json!("true")));
    assert_eq!(server.try_join("mirror").await["result"], "FULL");
    let mut ws = server.register(&seat).await;
    let mut echo = server.ws().await;
    echo.text(&json!({"cmd": "register", "roomid": "mirror", "clientid": "loopback_client_id"}).to_string()).await;
    server.message(&seat, "offer").await;
    assert_eq!(echo.msg().await, "offer");
    echo.send_msg("answer").await;
    assert_eq!(ws.msg().await, "answer");
    server.leave(&seat).await;
    assert_eq!(server.signal.counts().rooms, 0);
}

#[tokio::test]
async fn collider_by_request() {
    let server = Server::start().await;
    let (a, b) = (server.join("room7").await, server.join("room7").await);
    let injected = server.post(&format!("/room7/{}", a.id), "kept").await;
    assert_eq!((injected.status().as_u16(), injected.text().await.unwrap()), (200, "OK\n".to_owned()));
    let mut ws = server.register(&b).await;
    assert_eq!(ws.msg().await, "kept");
    assert_eq!(server.delete(&b).await, "OK\n");
    assert_eq!(ws.end().await, Some(CloseCode::Normal), "DELETE closes the socket");
    assert_eq!(server.http.get(server.url("/ws")).send().await.unwrap().status(), 426);
}

/// Who joined.
struct Seat {
    id: String,
    room: String,
    params: Value,
}

impl Seat {
    fn of(answer: &Value) -> Self {
        assert_eq!(answer["result"], "SUCCESS", "{answer}");
        let text = |name: &str| answer["params"][name].as_str().unwrap().to_owned();
        Self { id: text("client_id"), room: text("room_id"), params: answer["params"].clone() }
    }
}

struct Server {
    address: SocketAddr,
    signal: Signal,
    http: reqwest::Client,
    stop: CancellationToken,
    tasks: JoinSet<&'static str>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|settings| settings).await
    }

    async fn start_with(change: impl FnOnce(Settings) -> Settings) -> Self {
        Self::start_as(change, Ipv4Addr::LOCALHOST.into()).await
    }

    /// `client` is the address that requests seem to come from.
    async fn start_as(change: impl FnOnce(Settings) -> Settings, client: IpAddr) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let secrets = Arc::new(ArcSwap::from_pointee(vec![Secret::new(*b"newest"), Secret::new(*b"older")]));
        let settings = Settings {
            config: model::Signal {
                open_rooms: model::RoomOpeners::Anyone,
                room_grace: Duration::from_secs(10),
                max_rooms: 100,
                max_message: 64 * 1024,
            },
            ice: IceSettings { ports: vec![3478], tls_ports: vec![443], secrets, ttl: Duration::from_secs(3600) },
            key: Secret::new([5; 32]),
            generation_file: "/nowhere/hosts.generation".into(),
        };
        let signal = Signal::new(change(settings));
        let origin = Origin { secure: false, host: "127.0.0.1".into(), authority: address.to_string() };
        let routes = signal.routes().layer(Extension(origin)).layer(Extension(ClientIp(client)));
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (running, until) = (signal.clone(), stop.clone());
        tasks.spawn(async move {
            running.run(until).await;
            "signal"
        });
        tasks.spawn(async move {
            axum::serve(listener, routes).await.unwrap();
            "http"
        });
        let http = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
        Self { address, signal, http, stop, tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn ws_url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
        self.http.post(self.url(path)).body(body).header("User-Agent", "Safari").send().await.unwrap()
    }

    async fn try_join(&self, room: &str) -> Value {
        let response = self.post(&format!("/join/{room}"), "").await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    async fn join(&self, room: &str) -> Seat {
        Seat::of(&self.try_join(room).await)
    }

    async fn message(&self, seat: &Seat, text: &str) -> Value {
        self.post(&format!("/message/{}/{}", seat.room, seat.id), text.to_owned()).await.json().await.unwrap()
    }

    async fn leave(&self, seat: &Seat) {
        let response = self.post(&format!("/leave/{}/{}", seat.room, seat.id), "").await;
        assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, String::new()));
    }

    async fn delete(&self, seat: &Seat) -> String {
        self.http.delete(self.url(&format!("/{}/{}", seat.room, seat.id))).send().await.unwrap().text().await.unwrap()
    }

    async fn ws(&self) -> Ws {
        Ws::with(self, self.ws_url().into_client_request().unwrap()).await
    }

    /// Registered for sure: there is no acknowledgement, but the count of `/status` tells.
    async fn register(&self, seat: &Seat) -> Ws {
        let registers = || async {
            let status: Value = self.http.get(self.url("/status")).send().await.unwrap().json().await.unwrap();
            status["totalws"].as_u64().unwrap()
        };
        let before = registers().await;
        let mut ws = self.ws().await;
        ws.text(&json!({"cmd": "register", "roomid": seat.room, "clientid": seat.id}).to_string()).await;
        let deadline = Instant::now() + SOON;
        while registers().await == before {
            assert!(Instant::now() < deadline, "not registered");
        }
        ws
    }

    async fn until(&self, holds: impl Fn(rtcctl::signal::Counts) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(self.signal.counts()) {
            assert!(Instant::now() < deadline, "{:?}", self.signal.counts());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

struct Ws(WebSocketStream<TcpStream>);

impl Ws {
    async fn with(server: &Server, request: http::Request<()>) -> Self {
        let tcp = TcpStream::connect(server.address).await.unwrap();
        Self(tokio_tungstenite::client_async(request, tcp).await.unwrap().0)
    }

    async fn raw(&mut self, message: Message) {
        self.0.send(message).await.unwrap();
    }

    async fn text(&mut self, text: &str) {
        self.raw(Message::text(text)).await;
    }

    async fn binary(&mut self, bytes: &[u8]) {
        self.raw(Message::binary(bytes.to_vec())).await;
    }

    async fn send_msg(&mut self, text: &str) {
        self.text(&json!({"cmd": "send", "msg": text}).to_string()).await;
    }

    async fn next(&mut self) -> Option<Message> {
        tokio::time::timeout(SOON, self.0.next()).await.expect("something comes").and_then(Result::ok)
    }

    /// The next object, which must have both keys.
    async fn frame(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    assert!(frame["msg"].is_string() && frame["error"].is_string() && frame.as_object().unwrap().len() == 2);
                    return frame;
                }
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no frame: {other:?}"),
            }
        }
    }

    async fn msg(&mut self) -> String {
        let frame = self.frame().await;
        assert_eq!(frame["error"], "");
        frame["msg"].as_str().unwrap().to_owned()
    }

    /// One error frame that begins with these words, then a close with code 1000.
    async fn refused(&mut self, error: &str) {
        let frame = self.frame().await;
        assert!(frame["msg"] == "" && frame["error"].as_str().unwrap().starts_with(error), "{frame}");
        assert_eq!(self.end().await, Some(CloseCode::Normal));
    }

    /// The code it was closed with.
    async fn end(&mut self) -> Option<CloseCode> {
        match self.next().await? {
            Message::Close(frame) => frame.map(|frame| frame.code),
            other => panic!("not the end: {other:?}"),
        }
    }

    async fn close(mut self) {
        self.0.close(None).await.ok();
    }
}
