//! The page people open: embedded files with etags, and the two pages that are filled in (call page, /ca).
//!
//! Not for: routes and headers (`serve`), rooms (`signal`), the certificate itself (`cert`).

mod fill;
mod qr;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use rust_embed::RustEmbed;

use fill::{escape, fill};
pub use qr::{QR_TEXT_MAX, qr_svg};

/// The policy both pages need: no inline script, style or foreign origin. Connections are the page's own origin by
/// https, and by wss, which Safari before 16 does not count as 'self'; `/ca` on plain http tests the https origin.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' https: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file as it is served.
#[derive(Clone, Debug)]
pub struct Asset {
    pub body: Bytes,
    /// RFC 1952; a third of `body`.
    pub gzipped: Bytes,
    pub mime: &'static str,
    /// Quoted, strong.
    pub etag: String,
}

#[derive(RustEmbed)]
#[folder = "src/web/page/"]
struct Page;

/// Filled in before they are served, so they are no assets.
const TEMPLATES: [&str; 3] = ["index.html", "ca.html", "sprite.svg"];

static ASSETS: LazyLock<HashMap<String, Asset>> = LazyLock::new(|| {
    Page::iter().filter(|path| !TEMPLATES.contains(&path.as_ref())).filter_map(|path| Some((path.to_string(), read(&path)?))).collect()
});

/// What the page's scripts import, so that a browser asks for all at once and not for one after the other. `main.js` is asked for by its
/// own tag; the plain scripts and /ca's are no modules of the page.
static MODULES: LazyLock<String> = LazyLock::new(|| {
    let mut modules: Vec<&str> = ASSETS.keys().map(String::as_str).filter(|path| path.ends_with(".js")).collect();
    modules.retain(|path| !["main.js", "theme.js", "old.js", "ca.js"].contains(path));
    modules.sort_unstable();
    modules.into_iter().map(|path| format!("<link rel=\"modulepreload\" href=\"/assets/{path}\">\n")).collect()
});

/// `path` without the leading slash, under `/assets/`.
pub fn asset(path: &str) -> Option<Asset> {
    ASSETS.get(path).cloned()
}

/// What the call page shows.
#[derive(Clone, Copy, Debug)]
pub struct CallView<'a> {
    pub title: &'a str,
    /// The landing page without one.
    pub room: Option<&'a str>,
    /// `https://192.168.1.20:8443`: where a browser that came without https is sent.
    pub secure_origin: &'a str,
}

pub fn call_page(view: CallView<'_>) -> String {
    let title = escape(view.title);
    // The text is what tools look for in a page of an AppRTC server; the page itself reads the attribute.
    let (attribute, text) = match view.room.map(escape) {
        Some(room) => (format!(" data-room=\"{room}\""), format!("roomId: '{room}'")),
        None => Default::default(),
    };
    fill(
        &template("index.html"),
        &[
            ("title", &title),
            ("modules", &MODULES),
            ("sprite", &template("sprite.svg")),
            ("secure-origin", &escape(view.secure_origin)),
            ("room-attribute", &attribute),
            ("room-text", &text),
        ],
    )
}

/// What `/ca` shows.
#[derive(Clone, Debug)]
pub struct CaView {
    pub title: String,
    /// Upper-case hex, 64 characters.
    pub sha256: String,
    /// `https://192.168.1.20`: the secure origin that the test button opens.
    pub secure_origin: String,
}

/// Works on plain http and without script; the script only adds the test button.
pub fn ca_page(view: &CaView) -> String {
    let host = view.secure_origin.split_once("://").map_or(view.secure_origin.as_str(), |(_, authority)| authority);
    fill(
        &template("ca.html"),
        &[
            ("title", &escape(&view.title)),
            ("sprite", &template("sprite.svg")),
            ("origin", &escape(&view.secure_origin)),
            ("host", &escape(host)),
            ("fingerprint", &groups(&view.sha256)),
        ],
    )
}

/// `3A F1` in a span each, as the terminal shows it.
fn groups(hex: &str) -> String {
    let pairs: Vec<_> = hex.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
    pairs.chunks(2).map(|two| format!("<span>{}</span>", escape(&two.join(" ")))).collect()
}

fn template(path: &str) -> Cow<'static, str> {
    let file = Page::get(path).expect("the templates are embedded");
    match file.data {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn read(path: &str) -> Option<Asset> {
    let body = match Page::get(path)?.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let hash = digest(&SHA256, &body);
    // 96 bits tell one version from the next.
    let etag = hash.as_ref()[..12].iter().fold(String::from("\""), |text, byte| text + &format!("{byte:02x}")) + "\"";
    Some(Asset { gzipped: gzipped(&body), body, mime: mime(path), etag })
}

fn gzipped(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("a vector takes all bytes").into()
}

fn mime(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_named_where_apprtc_tools_look_for_it() {
        assert!(call_page(view("rtcctl", Some("testRoom"))).contains("roomId: 'testRoom'"));
        let landing = call_page(view("rtcctl", None));
        assert!(!landing.contains("roomId"), "the landing page has no room");
        assert!(!landing.contains("data-room"));
    }

    #[test]
    fn markup_in_title_and_room_stays_text() {
        let page = call_page(view("<b>\"&'", Some("\"><script>x</script>")));
        assert!(page.contains("<title>&lt;b&gt;&quot;&amp;&#39;</title>"));
        assert!(!page.contains("<script>x"));
        assert!(!page.contains("data-room=\"\">"));
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_a_title_is_no_template() {
        let ca = CaView { title: "{{origin}}".into(), sha256: "3AF1".repeat(16), secure_origin: "https://192.168.1.20".into() };
        for page in [call_page(view("rtcctl", None)), call_page(view("rtcctl", Some("a"))), ca_page(&CaView { title: "t".into(), ..ca.clone() })] {
            assert!(!page.contains("{{"), "{page}");
        }
        assert!(ca_page(&ca).contains("<title>Trust this site · {{origin}}</title>"));
    }

    #[test]
    fn the_fingerprint_stands_in_groups() {
        let view = CaView {
            title: "rtcctl".into(),
            sha256: "3AF10C7E92B4D815660BE4297FC311A85D90B26E04F7CB38A14D83F02E59D617".into(),
            secure_origin: "https://192.168.1.20:8443".into(),
        };
        let page = ca_page(&view);
        assert!(page.contains("<span>3A F1</span><span>0C 7E</span>"));
        assert!(page.contains("<span>D6 17</span></div>"));
        assert!(page.contains("data-origin=\"https://192.168.1.20:8443\""));
        assert!(page.contains(">192.168.1.20:8443</span>"));
    }

    #[test]
    fn all_that_the_pages_and_modules_ask_for_is_there() {
        let ca = CaView { title: "t".into(), sha256: "00".repeat(32), secure_origin: "https://a".into() };
        for page in [call_page(view("t", Some("a"))), ca_page(&ca)] {
            let wanted: Vec<_> = page.split("\"/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert!(wanted.len() > 3);
            for path in wanted {
                assert!(asset(path).is_some(), "{path}");
            }
        }
        let page = call_page(view("t", None));
        for (path, module) in ASSETS.iter().filter(|(path, _)| path.ends_with(".js")) {
            for import in String::from_utf8_lossy(&module.body).split("from \"./").skip(1) {
                let name = import.split('"').next().unwrap();
                assert!(asset(name).is_some(), "{path} imports {name}");
                assert!(page.contains(&format!("modulepreload\" href=\"/assets/{name}\"")), "{name} is not preloaded");
            }
        }
    }

    #[test]
    fn every_icon_and_every_string_that_is_used_exists() {
        let sprite = template("sprite.svg");
        let strings = asset("strings.en.js").unwrap();
        let strings = String::from_utf8_lossy(&strings.body);
        for page in [template("index.html"), template("ca.html")] {
            for name in page.split("href=\"#i-").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(sprite.contains(&format!("id=\"i-{name}\"")), "icon {name}");
            }
            for mark in ["data-t=\"", "data-label=\"", "data-hint=\""] {
                for key in page.split(mark).skip(1).filter_map(|rest| rest.split('"').next()) {
                    assert!(strings.contains(&format!("\n  {key}: ")), "string {key}");
                }
            }
        }
        for (path, module) in ASSETS.iter().filter(|(path, _)| path.ends_with(".js")) {
            let body = String::from_utf8_lossy(&module.body);
            for key in body.split("strings.").skip(1) {
                let key: String = key.chars().take_while(char::is_ascii_alphanumeric).collect();
                assert!(key == "en" || strings.contains(&format!("\n  {key}: ")), "{path} says {key}");
            }
        }
    }

    #[test]
    fn nothing_in_the_pages_needs_a_looser_policy() {
        for page in [template("index.html"), template("ca.html")] {
            assert!(!page.contains(" style="), "style attribute");
            assert!(!page.contains("<style"), "inline style");
            assert!(!page.contains(" onclick="), "inline handler");
            for script in page.split("<script").skip(1) {
                assert!(script.trim_start_matches(|c| c != '>').starts_with("></script>"), "inline script");
            }
            for scheme in ["src=\"http", "href=\"http", "src=\"//", "href=\"//"] {
                assert!(!page.contains(scheme), "third party: {scheme}");
            }
        }
        assert!(!CSP.contains("unsafe"));
    }

    #[test]
    fn etags_are_strong_and_follow_the_content() {
        let style = asset("style.css").unwrap();
        assert!(style.etag.starts_with('"') && style.etag.ends_with('"') && style.etag.len() == 26, "{}", style.etag);
        assert_ne!(style.etag, asset("main.js").unwrap().etag);
        assert_eq!(style.etag, asset("style.css").unwrap().etag);
        assert_eq!(style.mime, "text/css; charset=utf-8");
        assert!(asset("main.js").unwrap().mime.starts_with("text/javascript"), "modules need it");
    }

    #[test]
    fn only_what_is_embedded_is_served() {
        for path in ["", "index.html", "ca.html", "sprite.svg", "../mod.rs", "/style.css", "style.css/", "nothing.js"] {
            assert!(asset(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_page_and_all_that_it_ever_asks_for_travels_in_under_150_kib() {
        let ca = CaView { title: "t".into(), sha256: "00".repeat(32), secure_origin: "https://a".into() };
        let pages = [call_page(view("rtcctl", Some("quiet-otter-x7k2m9q4ta"))), ca_page(&ca)];
        let asks = |page: &str, path: &str| page.contains(&format!("\"/assets/{path}\""));
        for page in &pages {
            let assets: usize = ASSETS.iter().filter(|(path, _)| asks(page, path)).map(|(_, asset)| asset.gzipped.len()).sum();
            let qr = qr_svg(&"a".repeat(80)).unwrap().len();
            assert!(page.len() + assets + qr < 150 * 1024, "{} + {assets} + {qr} bytes", page.len());
        }
        for path in ASSETS.keys() {
            assert!(pages.iter().any(|page| asks(page, path)), "{path} is served to nobody");
        }
    }

    fn view<'a>(title: &'a str, room: Option<&'a str>) -> CallView<'a> {
        CallView { title, room, secure_origin: "https://192.168.1.20:8443" }
    }
}
