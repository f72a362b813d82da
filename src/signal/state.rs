//! What requests and sockets share: the lobby under its lock, the lines to the sockets' tasks, limits per address, counters.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ring::rand::SecureRandom as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guests::Guests;
use super::invite::Rights;
use super::lobby::{Effect, Ending, Lobby, SocketId};
use super::names::{ClientId, Identity, RoomName};
use super::rate::{Holders, Rate, Table};
use super::{Counts, Settings};
use crate::config::model::RoomOpeners;

/// Joins of one address, which may be a whole office.
const JOINS: Rate = Rate { burst: 60, refill: Duration::from_millis(200) };
/// `/params` gives relay credentials to anybody who asks, so it is asked rarely.
const VISITS: Rate = Rate { burst: 30, refill: Duration::from_secs(1) };
/// Messages by request, and fetching of ICE servers.
const POSTS: Rate = Rate { burst: 1000, refill: Duration::from_millis(5) };
const SOCKETS_PER_ADDRESS: u32 = 256;
/// Where hosts open rooms, somebody who was let in may bring a room back that a restart or a dead network took away, for this long.
const RETURN_FOR: Duration = Duration::from_secs(24 * 3600);
/// iOS asks for relay credentials while its join is still under way.
const JOIN_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) rights: Rights,
    lobby: Mutex<Lobby>,
    /// One line per open socket.
    lines: Mutex<HashMap<SocketId, Arc<Line>>>,
    /// The lobby's next deadline has come nearer.
    pub(super) sooner: Notify,
    pub(super) joins: Mutex<Table>,
    pub(super) visits: Mutex<Table>,
    pub(super) posts: Mutex<Table>,
    guests: Mutex<Guests>,
    joined: Notify,
    holders: Mutex<Holders>,
    random: ring::rand::SystemRandom,
    next_socket: AtomicU64,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) started: Instant,
    pub(super) totals: Totals,
}

/// Since the start.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) messages: AtomicU64,
    pub(super) joins: AtomicU64,
    pub(super) registers: AtomicU64,
    pub(super) ws_errors: AtomicU64,
    pub(super) http_errors: AtomicU64,
    /// Joins for which `max_rooms` left no room.
    pub(super) rooms_refused: AtomicU64,
}

/// How the lobby reaches the task of a socket.
#[derive(Default)]
pub(super) struct Line {
    pub(super) wake: Notify,
    /// Not even a write that waits goes on.
    pub(super) cut: CancellationToken,
    end: Mutex<Option<End>>,
}

/// What the task has to do besides writing messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Drain(Duration),
    Close(Ending),
}

impl Line {
    pub(super) fn take_end(&self) -> Option<End> {
        lock(&self.end).take()
    }
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            identity: Identity::new(&settings.key),
            rights: Rights::new(&settings.key),
            lobby: Mutex::new(Lobby::new(settings.config.room_grace, settings.config.max_rooms)),
            lines: Mutex::default(),
            sooner: Notify::new(),
            joins: Mutex::new(Table::new(JOINS)),
            visits: Mutex::new(Table::new(VISITS)),
            posts: Mutex::new(Table::new(POSTS)),
            guests: Mutex::default(),
            joined: Notify::new(),
            holders: Mutex::new(Holders::new(SOCKETS_PER_ADDRESS)),
            random: ring::rand::SystemRandom::new(),
            next_socket: AtomicU64::new(1),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            started: Instant::now(),
            totals: Totals::default(),
            settings,
        }
    }

    /// The one way to the lobby: the lock is held for the call only, and what it asks for is done after it is released.
    pub(super) fn with_lobby<T>(&self, call: impl FnOnce(&mut Lobby, Instant) -> T) -> T {
        let mut lobby = lock(&self.lobby);
        let before = lobby.deadline();
        let answer = call(&mut lobby, Instant::now());
        let (after, effects) = (lobby.deadline(), lobby.take_effects());
        drop(lobby);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            self.sooner.notify_one();
        }
        for effect in effects {
            self.carry_out(effect);
        }
        answer
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        lock(&self.lobby).deadline()
    }

    fn carry_out(&self, effect: Effect) {
        let (socket, end) = match effect {
            Effect::Wake(socket) => (socket, None),
            Effect::Drain(socket, patience) => (socket, Some(End::Drain(patience))),
            Effect::Close(socket, ending) => (socket, Some(End::Close(ending))),
        };
        let Some(line) = lock(&self.lines).get(&socket).cloned() else { return };
        if end.is_some() {
            *lock(&line.end) = end;
        }
        if let Some(End::Close(_)) = end {
            line.cut.cancel();
        }
        line.wake.notify_one();
    }

    /// A place for one more socket of this address; given back when dropped. `None`: it has all it may.
    pub(super) fn open_line(self: &Arc<Self>, address: IpAddr) -> Option<OpenLine> {
        if !lock(&self.holders).hold(address) {
            return None;
        }
        let socket = SocketId(self.next_socket.fetch_add(1, Ordering::Relaxed));
        let line = Arc::<Line>::default();
        lock(&self.lines).insert(socket, Arc::clone(&line));
        Some(OpenLine { state: Arc::clone(self), address, socket, line })
    }

    /// `None` when the kernel has no random numbers to give.
    pub(super) fn new_client(&self, room: &RoomName) -> Option<ClientId> {
        let mut random = [0; 16];
        self.random.fill(&mut random).ok()?;
        Some(self.identity.issue(room, random, unix_now()))
    }

    pub(super) fn only_hosts_open_rooms(&self) -> bool {
        self.settings.config.open_rooms == RoomOpeners::Hosts
    }

    /// May this client sit down in a room that is gone? Its id says when it was let in.
    pub(super) fn may_return(&self, client: &ClientId) -> bool {
        !self.only_hosts_open_rooms() || unix_now().saturating_sub(client.issued()) < RETURN_FOR.as_secs()
    }

    pub(super) fn sat_down(&self, address: IpAddr) {
        if self.only_hosts_open_rooms() {
            lock(&self.guests).sat_down(Instant::now(), address);
            self.joined.notify_waiters();
        }
    }

    /// May somebody at this address have relay credentials without a seat of its own? A join that is under way is waited for.
    pub(super) async fn is_guest(&self, address: IpAddr) -> bool {
        let deadline = tokio::time::Instant::now() + JOIN_PATIENCE;
        while self.only_hosts_open_rooms() {
            // Listens before it looks, so that no join falls in between.
            let joined = self.joined.notified();
            if lock(&self.guests).contains(Instant::now(), address) {
                return true;
            }
            if tokio::time::timeout_at(deadline, joined).await.is_err() {
                return false;
            }
        }
        true
    }

    pub(super) fn counts(&self) -> Counts {
        let (rooms, clients) = {
            let lobby = lock(&self.lobby);
            (lobby.rooms() as u64, lobby.clients() as u64)
        };
        Counts {
            rooms,
            clients,
            sockets: lock(&self.lines).len() as u64,
            messages_total: self.totals.messages.load(Ordering::Relaxed),
            joins_total: self.totals.joins.load(Ordering::Relaxed),
        }
    }
}

/// One socket's place in the table of lines and among those of its address.
pub(super) struct OpenLine {
    state: Arc<State>,
    address: IpAddr,
    pub(super) socket: SocketId,
    pub(super) line: Arc<Line>,
}

impl Drop for OpenLine {
    fn drop(&mut self) {
        self.state.with_lobby(|lobby, now| lobby.socket_closed(now, self.socket));
        lock(&self.state.lines).remove(&self.socket);
        lock(&self.state.holders).release(self.address);
    }
}

pub(super) fn count(total: &AtomicU64) {
    total.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under these locks")
}

/// Seconds since the epoch.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
