//! One HTTP connection, from its first byte to its last: versions, timers, upgrades, an orderly end.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::seats::Seat;

/// A connection that asks for nothing within this time is closed; also how long a request may take to send its header, and how long an idle
/// HTTP/1.1 connection is kept.
const FIRST_REQUEST: Duration = Duration::from_secs(20);
/// HTTP/2 pings a silent client after this time.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 64;
/// Bytes of a request header.
const MAX_HEADER: usize = 32 * 1024;
/// How long running requests may take to end after `stop`.
const DRAIN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Serves until the connection ends, or until `stop` and the drain time. Tasks of its streams belong to `tasks`.
pub(super) async fn serve<IO, Answer, Answered>(io: Held<IO>, version: Version, tasks: &TaskTracker, stop: &CancellationToken, answer: Answer)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Answer: Fn(http::Request<Incoming>) -> Answered + Clone + Send + 'static,
    Answered: Future<Output = http::Response<Body>> + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let service = hyper::service::service_fn(move |request| {
        seen.store(true, Ordering::Relaxed);
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let builder = builder(version, tasks);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    let mut first = pin!(tokio::time::sleep(FIRST_REQUEST));
    let mut waiting = true;
    loop {
        tokio::select! {
            result = connection.as_mut() => return said(result),
            () = &mut first, if waiting => {
                waiting = false;
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = stop.cancelled() => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(result) = tokio::time::timeout(DRAIN, connection).await {
        said(result);
    }
}

/// The version is known (ALPN), so nothing waits for a preface to tell it.
fn builder(version: Version, tasks: &TaskTracker) -> Builder<Owned> {
    let mut builder = Builder::new(Owned(tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(FIRST_REQUEST).max_buf_size(MAX_HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match version {
        Version::Http1 => builder.http1_only(),
        Version::Http2 => builder.http2_only(),
    }
}

fn said<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Gives every stream's task an owner.
#[derive(Clone)]
struct Owned(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn(async move {
            future.await;
        });
    }
}

/// A stream that keeps its seat for as long as it lives, also after an upgrade has taken it out of the connection.
pub(super) struct Held<IO> {
    pub(super) io: IO,
    pub(super) _seat: Seat,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Held<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Held<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
