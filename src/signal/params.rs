//! Pure: the parameter object of `/join` and `/params`, with the exact types that shipped clients read.
//! Every scalar is a string, and some strings hold JSON: that is how it is on the wire.

use serde_json::{Map, Value, json};

use super::Origin;

/// The query of a page or request: what it asks for, and the whole of it for the room's link.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    raw: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn new(raw: String, pairs: Vec<(String, String)>) -> Self {
        Self { raw, pairs }
    }

    /// The first value of this name, or nothing.
    pub(super) fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn says(&self, name: &str, word: &str) -> bool {
        self.get(name).eq_ignore_ascii_case(word)
    }

    /// `debug=loopback`: a call with oneself.
    pub(super) fn is_loopback(&self) -> bool {
        self.get("debug") == "loopback"
    }
}

/// What `/join` adds for a client that was seated.
pub(super) struct Member<'a> {
    pub(super) room: &'a str,
    pub(super) client: &'a str,
    pub(super) initiator: bool,
    pub(super) messages: Vec<String>,
}

/// The bare object of `/params`. `ice_key` is a signed key for `/v1alpha/iceconfig`.
pub(super) fn params(origin: &Origin, query: &Query, user_agent: &str, ice_key: &str) -> Map<String, Value> {
    let (http, ws) = if origin.secure { ("https", "wss") } else { ("http", "ws") };
    let authority = &origin.authority;
    let mut warnings = ignored(query);
    let media = media_constraints(query, user_agent, &mut warnings);
    let loopback = query.is_loopback();
    let transports = query.get("tt");
    let filter = if matches!(transports, "udp" | "tcp" | "tls") { format!("&tt={transports}") } else { String::new() };
    let mut config = json!({ "iceServers": [], "bundlePolicy": "max-bundle", "rtcpMuxPolicy": "require" });
    if !query.get("it").is_empty() {
        config["iceTransports"] = query.get("it").into();
    }
    let Value::Object(mut params) = json!({
        "wss_url": format!("{ws}://{authority}/ws"),
        "wss_post_url": format!("{http}://{authority}"),
        "ice_server_url": format!("{http}://{authority}/v1alpha/iceconfig?key={ice_key}{filter}"),
        "ice_server_transports": transports,
        "pc_config": config.to_string(),
        "pc_constraints": pc_constraints(query).to_string(),
        "offer_options": "{}",
        "media_constraints": media.to_string(),
        "is_loopback": loopback.to_string(),
        "include_loopback_js": if loopback { r#"<script src="/js/loopback.js"></script>"# } else { "" },
        "bypass_join_confirmation": "false",
        "version_info": "null",
        "header_message": null,
        "error_messages": [],
        "warning_messages": warnings,
    }) else {
        unreachable!("an object was written")
    };
    // Forks of the clients still read these.
    params.insert("turn_url".into(), "".into());
    params.insert("turn_transports".into(), transports.into());
    params.insert("turn_server_override".into(), json!([]));
    params.insert("callstats_params".into(), "{}".into());
    params
}

/// The answer to a `/join` that was granted.
pub(super) fn joined(mut params: Map<String, Value>, origin: &Origin, query: &Query, member: Member<'_>) -> Value {
    let http = if origin.secure { "https" } else { "http" };
    let mut link = format!("{http}://{}/r/{}", origin.authority, member.room);
    if !query.raw.is_empty() {
        link.push('?');
        link.push_str(&query.raw);
    }
    params.insert("room_id".into(), member.room.into());
    params.insert("client_id".into(), member.client.into());
    params.insert("is_initiator".into(), member.initiator.to_string().into());
    params.insert("messages".into(), member.messages.into());
    params.insert("room_link".into(), link.into());
    json!({ "result": "SUCCESS", "params": params })
}

/// The answer to a `/join` that was not. `reason` is for people; shipped clients read `result`.
pub(super) fn not_joined(result: &str, reason: Option<&str>) -> Value {
    let mut answer = json!({ "result": result, "params": { "messages": [] } });
    if let Some(reason) = reason {
        answer["reason"] = reason.into();
    }
    answer
}

/// What Android shows behind "Room response error:"; it is given as `result` because no shipped client shows anything else.
const HOSTS_ONLY: &str = "Only hosts open rooms on this site, and this room is not open. Join when its host is in it.";

/// The answer to a `/join` that would have opened a room where only hosts may. `code` is for programs, `reason` says why this browser is no host.
pub(super) fn not_opened(reason: &str) -> Value {
    let mut answer = not_joined(HOSTS_ONLY, Some(reason));
    answer["code"] = "HOSTS_ONLY".into();
    answer
}

/// Warnings about parameters that could send other people's signaling elsewhere, or that are no longer known.
fn ignored(query: &Query) -> Vec<String> {
    let elsewhere = ["wshpp", "wstls", "ts", "apikey"].into_iter().filter(|name| !query.get(name).is_empty());
    let mut warnings: Vec<String> = elsewhere.map(|name| format!("The \"{name}\" parameter is ignored by this server.")).collect();
    if !query.get("minre").is_empty() || !query.get("maxre").is_empty() {
        warnings.push("The \"minre\" and \"maxre\" parameters are no longer supported. Use \"video\" instead.".to_owned());
    }
    warnings
}

fn pc_constraints(query: &Query) -> Value {
    let mut optional = Vec::new();
    for (name, constraint) in [("dtls", "DtlsSrtpKeyAgreement"), ("dscp", "googDscp"), ("ipv6", "googIPv6")] {
        let off = name == "dtls" && query.is_loopback();
        if query.says(name, "true") && !off {
            optional.push(json!({ constraint: true }));
        } else if query.says(name, "false") || off {
            optional.push(json!({ constraint: false }));
        }
    }
    json!({ "optional": optional })
}

fn media_constraints(query: &Query, user_agent: &str, warnings: &mut Vec<String>) -> Value {
    let asked = query.get("video");
    let desktop_chrome = user_agent.contains("Chrome") && !user_agent.contains("Android");
    let video = if query.says("hd", "true") {
        if !asked.is_empty() {
            warnings.push(format!("The \"hd\" parameter has overridden video={asked}"));
        }
        "mandatory:minWidth=1280,mandatory:minHeight=720"
    } else if asked.is_empty() && query.get("hd").is_empty() && desktop_chrome {
        "optional:minWidth=1280,optional:minHeight=720"
    } else {
        asked
    };
    let mut media = json!({ "audio": track(query.get("audio")), "video": track(video) });
    if !query.get("firefox_fake_device").is_empty() {
        media["fake"] = true.into();
    }
    media
}

/// `true`, `false`, or a list of `[mandatory:|optional:]key=value`; malformed entries are left out.
fn track(asked: &str) -> Value {
    if asked.is_empty() || asked.eq_ignore_ascii_case("true") {
        return true.into();
    }
    if asked.eq_ignore_ascii_case("false") {
        return false.into();
    }
    let (mut mandatory, mut optional) = (Map::new(), Vec::new());
    for entry in asked.split(',') {
        let (must, pair) = match entry.split_once(':') {
            Some((word, pair)) => (word == "mandatory", pair),
            // Other browsers do not know the goog ones.
            None => (!entry.starts_with("goog"), entry),
        };
        match pair.split_once('=') {
            Some((key, value)) if must => {
                mandatory.insert(key.to_owned(), value.into());
            }
            Some((key, value)) => optional.push(json!({ key: value })),
            None => {}
        }
    }
    json!({ "mandatory": mandatory, "optional": optional })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_the_type_that_clients_read() {
        let params = params(&origin(), &query(&[]), "Safari", "k");
        let arrays = ["error_messages", "warning_messages", "turn_server_override"];
        for (name, value) in &params {
            assert!(value.is_string() || arrays.contains(&&**name) && *value == json!([]) || name == "header_message", "{name}: {value}");
        }
        assert_eq!(params["header_message"], Value::Null);
        assert_eq!(params["wss_url"], "wss://192.168.1.20:8443/ws");
        assert_eq!(params["wss_post_url"], "https://192.168.1.20:8443");
        assert_eq!(params["ice_server_url"], "https://192.168.1.20:8443/v1alpha/iceconfig?key=k");
        assert_eq!(parsed(&params, "pc_config"), json!({"iceServers": [], "bundlePolicy": "max-bundle", "rtcpMuxPolicy": "require"}));
        for (name, holds) in [
            ("pc_constraints", json!({"optional": []})),
            ("offer_options", json!({})),
            ("media_constraints", json!({"audio": true, "video": true})),
            ("is_loopback", json!(false)),
            ("bypass_join_confirmation", json!(false)),
            ("version_info", json!(null)),
        ] {
            assert_eq!(parsed(&params, name), holds, "{name}");
        }
    }

    #[test]
    fn the_link_keeps_the_query_and_the_origin() {
        let query = Query::new("vsc=H264&tt=tcp".into(), vec![("vsc".into(), "H264".into()), ("tt".into(), "tcp".into())]);
        let member = Member { room: "a", client: "c", initiator: true, messages: vec!["m".into()] };
        let answer = joined(params(&origin(), &query, "", "k"), &origin(), &query, member);
        assert_eq!(answer["params"]["room_link"], "https://192.168.1.20:8443/r/a?vsc=H264&tt=tcp");
        assert_eq!(answer["params"]["is_initiator"], "true");
        assert_eq!(answer["params"]["messages"], json!(["m"]));
        assert_eq!(answer["params"]["ice_server_url"], "https://192.168.1.20:8443/v1alpha/iceconfig?key=k&tt=tcp");
        assert_eq!(not_joined("FULL", None), json!({"result": "FULL", "params": {"messages": []}}));
    }

    #[test]
    fn the_scheme_follows_the_page() {
        let plain = Origin { secure: false, host: "localhost".into(), authority: "localhost:8080".into() };
        let params = params(&plain, &query(&[]), "", "k");
        assert_eq!(params["wss_url"], "ws://localhost:8080/ws");
        assert_eq!(params["wss_post_url"], "http://localhost:8080");
    }

    #[test]
    fn parameters_that_lead_elsewhere_are_ignored_and_said() {
        let plain = params(&origin(), &query(&[]), "", "k");
        for name in ["wshpp", "wstls", "ts", "apikey"] {
            let led = params(&origin(), &query(&[(name, "evil.example")]), "", "k");
            let warnings = led["warning_messages"].as_array().unwrap();
            assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains(name), "{name}");
            assert_eq!((&led["wss_url"], &led["ice_server_url"]), (&plain["wss_url"], &plain["ice_server_url"]));
        }
    }

    #[test]
    fn media() {
        let media = |pairs: &[(&str, &str)], agent: &str| parsed(&params(&origin(), &query(pairs), agent, ""), "media_constraints");
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0 Safari/537.36";
        let wide = json!([{"minWidth": "1280"}, {"minHeight": "720"}]);
        assert_eq!(media(&[], chrome)["video"], json!({"mandatory": {}, "optional": wide}));
        assert_eq!(media(&[], &chrome.replace("Linux", "Linux; Android 14"))["video"], true);
        assert_eq!(media(&[("hd", "false")], chrome)["video"], true);
        assert_eq!(media(&[("hd", "true")], "")["video"]["mandatory"], json!({"minWidth": "1280", "minHeight": "720"}));
        assert_eq!(media(&[("audio", "False"), ("video", "false")], chrome), json!({"audio": false, "video": false}));
        assert_eq!(
            media(&[("audio", "googEchoCancellation=false,optional:a=1,b=2,mandatory:c=3,nonsense")], "")["audio"],
            json!({"mandatory": {"b": "2", "c": "3"}, "optional": [{"googEchoCancellation": "false"}, {"a": "1"}]})
        );
        assert_eq!(media(&[("firefox_fake_device", "1")], "")["fake"], true);
    }

    #[test]
    fn warnings_of_the_reference() {
        let warned = |pairs: &[(&str, &str)]| params(&origin(), &query(pairs), "", "")["warning_messages"].as_array().unwrap().len();
        assert_eq!(warned(&[("hd", "true"), ("video", "true")]), 1);
        assert_eq!(warned(&[("minre", "1"), ("maxre", "1")]), 1);
        assert_eq!(warned(&[("hd", "true"), ("anything", "else")]), 0);
    }

    #[test]
    fn loopback_and_constraints() {
        let looped = params(&origin(), &query(&[("debug", "loopback"), ("dtls", "true"), ("ipv6", "FALSE"), ("it", "relay")]), "", "");
        assert_eq!(looped["is_loopback"], "true");
        assert_eq!(parsed(&looped, "pc_constraints"), json!({"optional": [{"DtlsSrtpKeyAgreement": false}, {"googIPv6": false}]}));
        assert_eq!(parsed(&looped, "pc_config")["iceTransports"], "relay");
    }

    fn parsed(params: &Map<String, Value>, name: &str) -> Value {
        serde_json::from_str(params[name].as_str().unwrap()).unwrap()
    }

    fn query(pairs: &[(&str, &str)]) -> Query {
        Query::new(String::new(), pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn origin() -> Origin {
        Origin { secure: true, host: "192.168.1.20".into(), authority: "192.168.1.20:8443".into() }
    }
}
