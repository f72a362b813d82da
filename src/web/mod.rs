//! The page people open: embedded files with etags, and the two pages that are filled in (call page, /ca).

use std::borrow::Cow;

/// A file as it is served.
#[derive(Clone, Debug)]
pub struct Asset {
    pub body: Cow<'static, [u8]>,
    pub mime: &'static str,
    /// Quoted, strong.
    pub etag: String,
}

/// `path` without the leading slash, under `/assets/`.
pub fn asset(_path: &str) -> Option<Asset> {
    unimplemented!()
}

/// The call page: landing without a room, else the room.
pub fn call_page(_title: &str, _room: Option<&str>) -> String {
    unimplemented!()
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
pub fn ca_page(_view: &CaView) -> String {
    unimplemented!()
}
