//! The metrics port, for scrapers on this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::response::IntoResponse as _;
use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept;
use super::book::Book;
use super::conn::{self, Held, Version};
use super::seats::Seats;
use super::traffic::Traffic;
use crate::telemetry::metrics;

/// Scrapers at once.
const SCRAPERS: usize = 16;

/// `GET /metrics`, nothing else.
pub(super) async fn run(listener: TcpListener, book: Arc<Book>, tasks: TaskTracker, stop: CancellationToken) {
    let (seats, traffic) = (Seats::new(SCRAPERS, SCRAPERS), Traffic::default());
    accept::run(listener, &traffic, &stop, |tcp, client: SocketAddr| {
        let Some(seat) = seats.take(client.ip()) else { return };
        let (book, tracker, stop) = (Arc::clone(&book), tasks.clone(), stop.clone());
        tasks.spawn(async move {
            let answer = move |request: Request<Incoming>| {
                let answer = match (request.method(), request.uri().path()) {
                    (&Method::GET, "/metrics") => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], book.metrics()).into_response(),
                    (_, "/metrics") => StatusCode::METHOD_NOT_ALLOWED.into_response(),
                    _ => StatusCode::NOT_FOUND.into_response(),
                };
                std::future::ready(answer)
            };
            conn::serve(Held { io: tcp, _seat: seat }, Version::Http1, &tracker, &stop, answer).await;
        });
    })
    .await;
}
