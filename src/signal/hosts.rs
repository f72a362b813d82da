//! Who may open rooms, asked with files and clocks: the file that counts the generation of host links, and the cookie of a request.
//! The file is read when a host opens a room, which is rare, so that a revocation holds from the moment it is written.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::http::StatusCode;
use ::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, SET_COOKIE};
use axum::Json;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::http::{self, Address};
use super::invite::{self, Generation, Holder, NoRight};
use super::state::{State, lock, unix_now};
use crate::host::files::{self, FileError};

const NO_STORE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// A number and a newline.
const LONGEST: usize = 16;
/// Not a secret; the daemon may be another user than the operator who writes it.
const MODE: u32 = 0o644;

/// The generation of host links; `None` before the first one was made.
pub fn generation(path: &Path) -> Result<Option<Generation>, FileError> {
    parse(path, std::fs::read(path))
}

/// The same, and the first one is begun if there is none.
pub fn begin(path: &Path) -> Result<Generation, FileError> {
    match generation(path)? {
        Some(generation) => Ok(generation),
        None => write(path, Generation(1)),
    }
}

/// Ends every right that was given so far; the new generation.
pub fn revoke(path: &Path) -> Result<Generation, FileError> {
    let Generation(last) = generation(path)?.unwrap_or(Generation(0));
    // Each step is a command of the operator's.
    write(path, Generation(last.checked_add(1).expect("nobody revokes four thousand million times")))
}

fn write(path: &Path, generation: Generation) -> Result<Generation, FileError> {
    files::write_atomic(path, format!("{}\n", generation.0).as_bytes(), MODE).map(|()| generation)
}

fn parse(path: &Path, read: std::io::Result<Vec<u8>>) -> Result<Option<Generation>, FileError> {
    let failed = |cause| FileError { doing: "read the generation of host links in", path: path.to_owned(), cause };
    let bytes = match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed)?,
    };
    let number = bytes.get(..bytes.len().min(LONGEST)).and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim().parse().ok());
    number.map(|number| Some(Generation(number))).ok_or_else(|| failed(std::io::Error::new(ErrorKind::InvalidData, "not a number")))
}

/// Why a browser may not open rooms.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAHost {
    #[error("no host link was opened in this browser")]
    NoCookie,
    #[error(transparent)]
    NoRight(#[from] NoRight),
    /// Ours to mend, and said in the log.
    #[error("the server cannot read who its hosts are")]
    Unreadable,
}

impl State {
    /// On a site of hosts, the cookie decides.
    pub(super) async fn check_host(&self, headers: &HeaderMap) -> Result<(), NotAHost> {
        if !self.only_hosts_open_rooms() {
            return Ok(());
        }
        let mut outcome = Err(NotAHost::NoCookie);
        for cookie in invite::cookies(headers, invite::COOKIE) {
            match self.rights.holder(cookie, unix_now()) {
                Ok(Holder::Operator) => return Ok(()),
                Ok(Holder::Host(given)) => match invite::check_generation(given, self.current_generation().await?) {
                    Ok(()) => return Ok(()),
                    Err(revoked) => outcome = Err(revoked.into()),
                },
                Err(none) => outcome = Err(none.into()),
            }
        }
        outcome
    }

    /// The value of a cookie for the browser that opened this link.
    pub(super) async fn redeem(&self, link: &str) -> Result<String, NotAHost> {
        let current = self.current_generation().await?;
        Ok(self.rights.redeem(link, current, unix_now())?)
    }

    async fn current_generation(&self) -> Result<Option<Generation>, NotAHost> {
        let path = &self.settings.generation_file;
        parse(path, tokio::fs::read(path).await).map_err(|error| {
            tracing::warn!("nobody can open rooms: {error}");
            NotAHost::Unreadable
        })
    }
}

/// `GET /api/host`: may this browser open rooms? No status but 200, since both answers are good ones.
pub(super) async fn ask(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    let may = state.check_host(&headers).await.is_ok();
    let openers = if state.only_hosts_open_rooms() { "hosts" } else { "anyone" };
    (NO_STORE, Json(json!({ "open_rooms": openers, "may_open_rooms": may }))).into_response()
}

/// `POST /api/host`: the token of a host link for a cookie. 403 with a `code` when the link gives no right.
pub(super) async fn enter(Shared(state): Shared<Arc<State>>, address: Address, body: Body) -> Response {
    if let Err(wait) = lock(&state.visits).take(Instant::now(), http::ip(address)) {
        return http::too_many(json!({ "error": "too many requests from your address" }), wait);
    }
    if !state.only_hosts_open_rooms() {
        return (NO_STORE, StatusCode::NO_CONTENT).into_response();
    }
    let link = match http::text_of(&state, body).await {
        Ok(text) => text,
        Err(unread) => return (unread.status, Json(json!({ "error": unread.reason }))).into_response(),
    };
    match state.redeem(&link).await {
        Ok(cookie) => (NO_STORE, [(SET_COOKIE, invite::set_cookie(&cookie))], StatusCode::NO_CONTENT).into_response(),
        Err(why) => {
            let code = match why {
                NotAHost::NoRight(NoRight::Expired) => "expired",
                NotAHost::NoRight(NoRight::Revoked) => "revoked",
                NotAHost::NoRight(NoRight::Foreign) | NotAHost::NoCookie => "foreign",
                NotAHost::Unreadable => "unreadable",
            };
            (StatusCode::FORBIDDEN, NO_STORE, Json(json!({ "code": code, "error": format!("this host link gives no right: {why}") }))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_link_begins_to_count_and_each_revocation_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.generation");
        assert_eq!(generation(&path).unwrap(), None);
        assert_eq!((begin(&path).unwrap(), begin(&path).unwrap()), (Generation(1), Generation(1)));
        assert_eq!(revoke(&path).unwrap(), Generation(2));
        assert_eq!((begin(&path).unwrap(), generation(&path).unwrap()), (Generation(2), Some(Generation(2))));
    }

    #[test]
    fn a_revocation_before_the_first_link_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(revoke(&folder.path().join("hosts.generation")).unwrap(), Generation(1));
    }

    #[test]
    fn a_broken_file_is_not_counted_from_one_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.generation");
        for broken in ["", "one", "-1", "4294967296", "1 2", &"9".repeat(100)] {
            std::fs::write(&path, broken).unwrap();
            for refused in [generation(&path).map(|_| ()), begin(&path).map(|_| ()), revoke(&path).map(|_| ())] {
                let words = refused.unwrap_err().to_string();
                assert!(words.contains("hosts.generation") && words.contains("not a number"), "{broken:?}: {words}");
            }
        }
    }
}
