//! Pure: every key of `rtcctl.toml` in one table, with its kind, its default and the reason: the parser, the schema, the example
//! and the origin listing are made from these rows.

/// One key. `default` is TOML.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Empty: top level.
    pub section: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// Why there is such a key and why this default; the comment in the example.
    pub why: &'static str,
    /// The engine behind it is not built yet: what it would be. Such a key may only hold its default.
    pub unbuilt: Option<&'static str>,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    Flag,
    Path,
    /// A name, an address or `lan`.
    Address,
    Host,
    Ip,
    IpOrAuto,
    Socket,
    SocketOrOff,
    Port,
    PortOrOff,
    Range,
    Prefix,
    Duration,
    Size,
    RateOrOff,
    Count,
    CountOrAuto,
    /// From 0.0 to 1.0.
    Share,
    Choice(&'static [&'static str]),
    List(&'static Self),
}

/// A section with its one-line comment; `repeated` ones are written `[[…]]` and are absent by default.
pub struct Section {
    pub name: &'static str,
    pub repeated: bool,
    pub why: &'static str,
}

impl Key {
    /// `site.https_port`
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }
}

impl Kind {
    /// A word between quotes in TOML; in the environment and in flags the quotes may be left out.
    pub fn is_quoted(self) -> bool {
        !matches!(self, Self::Flag | Self::Port | Self::PortOrOff | Self::Count | Self::CountOrAuto | Self::Share | Self::List(_))
    }
}

pub const SECTIONS: &[Section] = &[
    section("site", "where people find the page"),
    section("cert", "who vouches for the site"),
    section("turn", "the relay for calls that find no direct way"),
    repeated("ice", "further STUN and TURN servers to hand to clients"),
    section("signal", "the rooms"),
    section("metrics", "counters for Prometheus"),
    section("test_call", "the proof at the end of `up`"),
    repeated("hosts", "where to deploy to; none: this machine"),
];

const PROXIES: &[&str] = &["none", "nginx", "other"];
const CHALLENGES: &[&str] = &["auto", "http-01", "tls-alpn-01", "dns-01"];
const ROOM_OPENERS: &[&str] = &["auto", "anyone", "hosts"];
const TRANSPORTS: &[&str] = &["udp", "tcp", "tls"];
const ROLES: &[&str] = &["signal", "turn"];

const ACME: Option<&str> = Some("an ACME certificate authority");
const USERS: Option<&str> = Some("a file of long-term users");
const AUDIT: Option<&str> = Some("an audit log");
const REDIS: Option<&str> = Some("rooms shared by several nodes");
const ICE: Option<&str> = Some("further ICE servers");
const HOSTS: Option<&str> = Some("deploying to another machine");

/// In the order in which they are written.
pub const KEYS: &[Key] = &[
    key("", "name", Kind::Text, r#""rtcctl""#, "names the unit, the directories and the release on a host"),
    //
    key(
        "site",
        "address",
        Kind::Address,
        r#""lan""#,
        r#""call.example.org", "203.0.113.7", or "lan": whatever this machine is called in its network"#,
    ),
    key("site", "aliases", Kind::List(&Kind::Host), "[]", "further names and addresses people use; all go into the certificate"),
    key("site", "listen", Kind::List(&Kind::Ip), r#"["0.0.0.0", "::"]"#, "both families; a family that the kernel lacks is said and skipped"),
    key("site", "https_port", Kind::Port, "443", "page, rooms, WebSocket and TURN over TLS share it: the port that every network lets out"),
    key("site", "http_port", Kind::PortOrOff, "80", r#"redirect to https, and /ca for phones; "off""#),
    key("site", "proxy", Kind::Choice(PROXIES), r#""none""#, r#""nginx" or "other": that one owns 80 and 443, we listen on `backend`"#),
    key(
        "site",
        "backend",
        Kind::Socket,
        r#""127.0.0.1:8480""#,
        "where a proxy finds us: on this machine, because its word about clients is believed",
    ),
    key("site", "title", Kind::Text, r#""rtcctl""#, "what the page calls itself"),
    //
    key("cert", "ca", Kind::Text, r#""auto""#, r#""local": own authority; "files": chain and key below; auto: local where only a LAN can look"#),
    unbuilt("cert", "ca_root", Kind::Path, r#""""#, "PEM that vouches for a private ACME server", ACME),
    unbuilt("cert", "email", Kind::Text, r#""""#, "where an authority may write to", ACME),
    unbuilt("cert", "agree_tos", Kind::Flag, "false", "the authority's terms of service are agreed to", ACME),
    unbuilt("cert", "challenge", Kind::Choice(CHALLENGES), r#""auto""#, "how to prove that the name is ours", ACME),
    unbuilt("cert", "dns_hook", Kind::Text, r#""""#, "command called with present|cleanup NAME VALUE for dns-01", ACME),
    unbuilt("cert", "profile", Kind::Text, r#""auto""#, "shortlived for addresses, tlsserver for names", ACME),
    unbuilt("cert", "after", Kind::Text, r#""""#, "command run after a new pair is live", Some("a command after a renewal")),
    unbuilt("cert", "eab_kid", Kind::Text, r#""""#, "external account binding: key id", ACME),
    unbuilt("cert", "eab_key_file", Kind::Path, r#""""#, "external account binding: file of the key", ACME),
    key("cert", "chain", Kind::Path, r#""""#, r#"PEM, the site's certificate first; for ca = "files""#),
    key("cert", "key", Kind::Path, r#""""#, r#"PEM; for ca = "files""#),
    //
    key("turn", "ports", Kind::List(&Kind::Port), "[3478]", "UDP and TCP; the number that RFC 8656 registers"),
    key("turn", "tls_ports", Kind::List(&Kind::Port), "[]", "TURN over TLS besides https_port; behind a proxy, which has that one: [5349]"),
    key("turn", "relay_ports", Kind::Range, r#""61000-65535""#, "UDP; above the ports that Linux gives to outgoing connections"),
    key("turn", "public_address", Kind::IpOrAuto, r#""auto""#, "auto: site.address if it is one, else the interface's; no third party is asked"),
    key("turn", "realm", Kind::Text, r#""""#, "empty: site.address"),
    key("turn", "secret_file", Kind::Path, r#""""#, "empty: turn.secret in the state directory, made on first use"),
    unbuilt("turn", "users_file", Kind::Path, r#""""#, "name:password lines, mode 0600", USERS),
    key("turn", "credential_ttl", Kind::Duration, r#""1h""#, "long enough to begin a call; a running allocation may be refreshed after it"),
    key("turn", "credential_max", Kind::Duration, r#""48h""#, "longer ones are neither minted nor accepted, so that a leaked one dies"),
    key("turn", "allow_peers", Kind::List(&Kind::Prefix), "[]", "prefixes opened on purpose; loopback, private and other special ranges are closed"),
    key("turn", "deny_peers", Kind::List(&Kind::Prefix), "[]", "prefixes closed on top of these"),
    key("turn", "shards", Kind::CountOrAuto, r#""auto""#, "threads of the relay; auto: one per core"),
    key("turn", "max_allocations", Kind::Count, "4000", "below the number of relay ports"),
    key("turn", "max_per_user", Kind::Count, "20", "a browser takes one per transport and family"),
    key("turn", "max_per_address", Kind::Count, "200", "an office behind one NAT still fits"),
    key("turn", "max_bandwidth", Kind::RateOrOff, r#""3Mbit/s""#, r#"per allocation, each way: HD video fits, a file server does not; "off""#),
    key("turn", "allocation_lifetime", Kind::Duration, r#""10m""#, "granted when a client asks for none (RFC 8656); at most 1h"),
    unbuilt("turn", "audit_log", Kind::Path, r#""off""#, "or a file: one line per allocation start and end", AUDIT),
    key("turn", "permission_lifetime", Kind::Duration, r#""5m""#, "RFC 8656; this one and the next two are shortened only in tests"),
    key("turn", "channel_lifetime", Kind::Duration, r#""10m""#, "RFC 8656"),
    key("turn", "nonce_lifetime", Kind::Duration, r#""10m""#, "a stolen nonce is good for this long"),
    //
    unbuilt("ice", "urls", Kind::List(&Kind::Text), r#"["turn:turn.example.org:3478?transport=udp"]"#, "URIs as a browser takes them", ICE),
    unbuilt("ice", "secret_file", Kind::Path, r#""""#, "shared secret of time-limited credentials", ICE),
    unbuilt("ice", "username", Kind::Text, r#""""#, "or a fixed user", ICE),
    unbuilt("ice", "credential_file", Kind::Path, r#""""#, "and the file of its password", ICE),
    //
    key("signal", "open_rooms", Kind::Choice(ROOM_OPENERS), r#""auto""#, "anyone | hosts; auto: anyone on a LAN, hosts on a public site"),
    key("signal", "room_grace", Kind::Duration, r#""10s""#, "how long a seat waits for its socket to come back"),
    key("signal", "max_rooms", Kind::Count, "10000", "about 10 MB at most"),
    key("signal", "max_message", Kind::Size, r#""64KiB""#, "an SDP of a large call is 20 KiB"),
    unbuilt("signal", "redis", Kind::Text, r#""off""#, "redis://…: several nodes share their rooms", REDIS),
    unbuilt("signal", "redis_password_file", Kind::Path, r#""""#, "file of its password", REDIS),
    //
    key("metrics", "listen", Kind::SocketOrOff, r#""127.0.0.1:9641""#, r#"OpenMetrics; "off". Held by somebody else: warned, served without"#),
    //
    key("test_call", "transports", Kind::List(&Kind::Choice(TRANSPORTS)), r#"["udp", "tcp", "tls"]"#, "every way a client may take"),
    key("test_call", "max_loss", Kind::Share, "0.02", "share of packets; people hear more than this"),
    //
    unbuilt("hosts", "ssh", Kind::Text, r#""root@203.0.113.7""#, "USER@HOST or USER@HOST:PORT", HOSTS),
    unbuilt("hosts", "roles", Kind::List(&Kind::Choice(ROLES)), r#"["signal", "turn"]"#, "what runs there", HOSTS),
    unbuilt("hosts", "name", Kind::Text, r#""""#, "own name or address of a host that only relays", HOSTS),
];

/// The row of `site.https_port`.
pub fn find(path: &str) -> Option<&'static Key> {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// The section of that name.
pub fn find_section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

const fn key(section: &'static str, name: &'static str, kind: Kind, default: &'static str, why: &'static str) -> Key {
    Key { section, name, kind, default, why, unbuilt: None }
}

const fn unbuilt(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    why: &'static str,
    engine: Option<&'static str>,
) -> Key {
    Key { section, name, kind, default, why, unbuilt: engine }
}

const fn section(name: &'static str, why: &'static str) -> Section {
    Section { name, repeated: false, why }
}

const fn repeated(name: &'static str, why: &'static str) -> Section {
    Section { name, repeated: true, why }
}
