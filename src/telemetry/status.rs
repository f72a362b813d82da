//! The status document (`rtcctl status --json`, admin verb `status`) and the client side of the admin socket.
//! One request per connection: a JSON object `{"verb": "status"}` and a newline; one JSON object and a newline come back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// `/` of the primary name: the link.
    pub link: String,
    pub pid: u32,
    /// Version of the binary that runs.
    pub version: String,
    /// Release number when it runs from a release folder.
    pub release: Option<u64>,
    /// Seconds since the epoch.
    pub started: u64,
    pub ready: bool,
    pub listeners: Vec<ListenerStatus>,
    pub certificate: CertificateStatus,
    /// `anyone` or `hosts`; empty from a daemon that knew no difference.
    #[serde(default)]
    pub open_rooms: String,
    pub rooms: u64,
    pub sockets: u64,
    pub allocations: u64,
    pub relayed_bytes: u64,
    /// One sentence each.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ListenerStatus {
    /// `0.0.0.0:443`
    pub address: String,
    /// `tcp`, `udp` or `unix`.
    pub protocol: String,
    /// `page, rooms, turn/tls`
    pub serves: String,
    pub pid: u32,
    /// Seconds since the epoch.
    pub since: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct CertificateStatus {
    pub names: Vec<String>,
    pub issuer: String,
    /// Seconds since the epoch.
    pub not_after: u64,
}

/// Asks the daemon; `Err` of kind `NotFound` or `ConnectionRefused` when none runs.
pub fn ask(socket: &Path, verb: &str, deadline: Duration) -> std::io::Result<serde_json::Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(deadline))?;
    stream.set_write_timeout(Some(deadline))?;
    writeln!(stream, "{}", serde_json::json!({ "verb": verb }))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}
