//! The admin socket: one JSON line in, one JSON line out (`telemetry::status`). Only the owner of the socket can connect.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::Book;
use super::keeper::Reload;

/// Bytes of one request.
const MAX_LINE: u64 = 4096;
const DEADLINE: Duration = Duration::from_secs(10);
/// Requests at once; further ones wait in the kernel.
const MAX_CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(200);
const VERBS: [&str; 4] = ["status", "metrics", "reload-certificate", "stop"];

#[derive(Clone)]
pub(super) struct Admin {
    pub(super) book: Arc<Book>,
    pub(super) reloads: mpsc::Sender<Reload>,
    /// Cancelled by `stop`.
    pub(super) wanted_down: CancellationToken,
}

#[derive(Deserialize)]
struct Request {
    verb: String,
}

impl Admin {
    pub(super) async fn run(self, listener: UnixListener, tasks: TaskTracker, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
                (listener.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                () = stop.cancelled() => return,
                next = next => next,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let admin = self.clone();
            tasks.spawn(async move {
                if tokio::time::timeout(DEADLINE, admin.talk(stream)).await.is_err() {
                    tracing::debug!("an admin request took too long");
                }
                drop(place);
            });
        }
    }

    async fn talk(&self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let read = BufReader::new(read.take(MAX_LINE)).read_line(&mut line).await;
        let answer = match read {
            Ok(_) if line.ends_with('\n') => self.answer(&line).await,
            _ => json!({ "error": "a request is one line of JSON" }),
        };
        // Whoever asked may have gone.
        let _ = write.write_all(format!("{answer}\n").as_bytes()).await;
    }

    async fn answer(&self, line: &str) -> Value {
        let Ok(request) = serde_json::from_str::<Request>(line) else {
            return json!({ "error": "a request is {\"verb\": …}", "verbs": VERBS });
        };
        match request.verb.as_str() {
            "status" => serde_json::to_value(self.book.status()).unwrap_or_else(|error| json!({ "error": error.to_string() })),
            "metrics" => json!({ "text": self.book.metrics() }),
            "reload-certificate" => match self.reload().await {
                Ok(said) => json!({ "ok": true, "message": said }),
                Err(error) => json!({ "error": error }),
            },
            "stop" => {
                self.wanted_down.cancel();
                json!({ "ok": true })
            }
            other => json!({ "error": format!("no such verb: {other}"), "verbs": VERBS }),
        }
    }

    async fn reload(&self) -> Result<String, String> {
        let (reply, answer) = oneshot::channel();
        self.reloads.try_send(reply).map_err(|_| "a reload is under way".to_owned())?;
        answer.await.map_err(|_| "the daemon is stopping".to_owned())?
    }
}
