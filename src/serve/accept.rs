//! The accept loop that every stream listener runs: it never waits for a client and never spins when the system has run out of descriptors.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::traffic::{Fate, Traffic};

/// Long enough for connections to end, short enough that nobody notices.
const PAUSE: Duration = Duration::from_millis(200);
/// A flood says so once in a while, not once per connection.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Calls `each` for every connection until `stop`; `each` must not block.
pub(super) async fn run(listener: TcpListener, traffic: &Traffic, stop: &CancellationToken, mut each: impl FnMut(TcpStream, SocketAddr)) {
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => each(stream, SocketAddr::new(client.ip().to_canonical(), client.port())),
            Err(error) if belongs_to_one_client(&error) => traffic.count(Fate::Closed),
            Err(error) => {
                traffic.count(Fate::Exhausted);
                if said.is_none_or(|at| at.elapsed() > SAY_AGAIN) {
                    said = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept connections for the moment");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Errors of a connection that died in the queue (accept(2)); anything else is ours and may last.
fn belongs_to_one_client(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ECONNABORTED | Errno::ECONNRESET | Errno::EPROTO | Errno::EPERM | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ETIMEDOUT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_pauses_and_a_dead_client_does_not() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EINVAL] {
            assert!(!belongs_to_one_client(&io::Error::from(errno)), "{errno}");
        }
        assert!(belongs_to_one_client(&io::Error::from(Errno::ECONNABORTED)));
    }
}
