//! Pure: Collider's JSON, both directions. One object per frame, opaque text in `msg`.

use serde_json::{Map, Value, json};

/// No frame to a client is longer once encoded: Android's WebSocket library refuses more.
pub(super) const MAX_ENCODED: usize = 128 * 1024;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Register { room: String, client: String },
    Send { message: String },
}

/// What is answered to a frame that is none, in the reference's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) error: String,
    /// The reference hangs up, except on a command it does not know.
    pub(super) fatal: bool,
}

/// Further fields are ignored; the order of fields and white space mean nothing.
pub(super) fn parse(frame: &[u8]) -> Result<Command, Unfit> {
    let fatal = |error: &str| Unfit { error: error.to_owned(), fatal: true };
    let fields: Map<String, Value> = serde_json::from_slice(frame).map_err(|error| fatal(&format!("websocket.JSON.Receive error: {error}")))?;
    let field = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(fatal(&format!("websocket.JSON.Receive error: '{name}' is not a string"))),
    };
    match field("cmd")?.as_str() {
        "register" => match (field("roomid")?, field("clientid")?) {
            (room, client) if room.is_empty() || client.is_empty() => Err(fatal("Invalid register request: missing 'clientid' or 'roomid'")),
            (room, client) => Ok(Command::Register { room, client }),
        },
        "send" => match field("msg")? {
            message if message.is_empty() => Err(fatal("Invalid send request: missing 'msg'")),
            message => Ok(Command::Send { message }),
        },
        _ => Err(Unfit { error: "Invalid message: unexpected 'cmd'".to_owned(), fatal: false }),
    }
}

pub(super) fn message(text: &str) -> String {
    encode(text, "")
}

pub(super) fn error(text: &str) -> String {
    encode("", text)
}

/// May this be passed on? Not beyond `max` bytes, and not beyond [`MAX_ENCODED`] once it is a frame.
pub(super) fn fits(text: &str, max: usize) -> bool {
    // No byte becomes more than six: shorter texts need not be encoded to know.
    text.len() <= max && (text.len() < MAX_ENCODED / 8 || message(text).len() <= MAX_ENCODED)
}

/// Both keys, both strings, always: Android throws on a missing one, iOS asserts.
fn encode(msg: &str, error: &str) -> String {
    let mut frame = json!({ "msg": msg, "error": error }).to_string();
    frame.push('\n');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_really_send() {
        let register = Ok(Command::Register { room: "r1".into(), client: "c1".into() });
        assert_eq!(parse(br#"{"cmd":"register","roomid":"r1","clientid":"c1"}"#), register);
        assert_eq!(parse(b"{\n  \"roomid\" : \"r1\",\n  \"clientid\" : \"c1\",\n  \"cmd\" : \"register\"\n}"), register, "iOS");
        assert_eq!(parse(br#"{"cmd":"send","msg":"{\"type\":\"bye\"}"}"#), Ok(Command::Send { message: r#"{"type":"bye"}"#.into() }));
        assert_eq!(parse(br#"{"cmd":"send","msg":"x","more":{"a":[1]}}"#), Ok(Command::Send { message: "x".into() }));
        assert_eq!(parse("{\"cmd\":\"send\",\"msg\":\"Zürich \\ud83d\\ude00\"}".as_bytes()), Ok(Command::Send { message: "Zürich 😀".into() }));
    }

    #[test]
    fn errors_in_the_words_of_the_reference() {
        let refused = |frame: &str, error: &str, fatal: bool| {
            let unfit = parse(frame.as_bytes()).unwrap_err();
            assert!(unfit.error.starts_with(error) && unfit.fatal == fatal, "{frame}: {unfit:?}");
        };
        refused(r#"{"cmd":"register","roomid":"r"}"#, "Invalid register request: missing 'clientid' or 'roomid'", true);
        refused(r#"{"cmd":"register","roomid":"","clientid":"c"}"#, "Invalid register request: missing 'clientid' or 'roomid'", true);
        refused(r#"{"cmd":"send"}"#, "Invalid send request: missing 'msg'", true);
        refused(r#"{"cmd":"send","msg":null}"#, "Invalid send request: missing 'msg'", true);
        refused(r#"{"cmd":"dance"}"#, "Invalid message: unexpected 'cmd'", false);
        refused("{}", "Invalid message: unexpected 'cmd'", false);
        for broken in ["", "x", "[]", "7", r#"{"cmd":"send","msg":7}"#, r#"{"cmd":["send"]}"#, &"[".repeat(100_000), r#"{"cmd":"send""#] {
            refused(broken, "websocket.JSON.Receive error: ", true);
        }
        assert!(parse(&[b'{', b'"', 0xff, b'"', b':', b'1', b'}']).is_err());
    }

    #[test]
    fn what_android_would_refuse_is_refused_here() {
        assert!(fits(&"x".repeat(64 * 1024), 64 * 1024));
        assert!(!fits(&"x".repeat(64 * 1024 + 1), 64 * 1024));
        assert!(fits(&"x".repeat(MAX_ENCODED - 22), usize::MAX) && !fits(&"x".repeat(MAX_ENCODED - 21), usize::MAX));
        assert!(!fits(&"\u{1}".repeat(30 * 1024), 64 * 1024), "six bytes each");
    }

    #[test]
    fn both_keys_always() {
        assert_eq!(message("a\"b\n"), "{\"error\":\"\",\"msg\":\"a\\\"b\\n\"}\n");
        assert_eq!(error("Client not registered"), "{\"error\":\"Client not registered\",\"msg\":\"\"}\n");
    }
}
