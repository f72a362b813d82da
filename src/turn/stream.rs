//! One TCP or TLS client: cuts what it sends into messages, and queues whole messages for it within a bound.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Instant;

use rustls::ServerConnection;

use super::listen::Ticket;
use super::routes::ClientAddr;
use crate::stun::framing::{Framer, NotTurn};

/// Relayed data that waits for a slow reader, in bytes. What comes above that is lost, message by message.
const DATA_WAITING: usize = 128 << 10;
/// Answers may wait in this much more, so that data never starves them.
const ANSWERS_WAITING: usize = DATA_WAITING + (32 << 10);
/// A queue that grew beyond this is given back when it has run empty.
const KEPT: usize = 16 << 10;
/// Plaintext handed to TLS at a time: one record.
const RECORD: usize = 16 << 10;

pub(super) struct Stream {
    pub(super) io: mio::net::TcpStream,
    pub(super) address: ClientAddr,
    /// When the shard looks again whether this connection has earned its place.
    pub(super) check: Instant,
    /// It has once sent a request that was authenticated.
    pub(super) proven: bool,
    /// It waits in the shard's list for a flush.
    pub(super) dirty: bool,
    tls: Option<Box<ServerConnection>>,
    framer: Framer,
    waiting: VecDeque<u8>,
    _ticket: Ticket,
}

/// How reading went on.
pub(super) enum Filled {
    /// Bytes came; there may be frames, and there may be more to read.
    Some,
    /// Nothing more for now.
    Dry,
    /// The client is gone, or the connection is broken.
    End,
}

/// Why a connection cannot go on.
#[derive(Debug)]
pub(super) struct Broken;

impl Stream {
    pub(super) fn new(io: mio::net::TcpStream, tls: Option<Box<ServerConnection>>, address: ClientAddr, check: Instant, ticket: Ticket) -> Self {
        Self { io, address, check, proven: false, dirty: false, tls, framer: Framer::new(), waiting: VecDeque::new(), _ticket: ticket }
    }

    /// Reads once. Over TLS, what is already decrypted comes first.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Filled {
        let read = match &mut self.tls {
            Some(tls) => read_tls(tls, &mut self.io, bytes),
            None => self.io.read(bytes),
        };
        match read {
            Ok(0) => Filled::End,
            Ok(count) => {
                self.framer.push(&bytes[..count]);
                Filled::Some
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Filled::Dry,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Filled::Some,
            Err(_) => Filled::End,
        }
    }

    /// The next whole message; ask until `None` after every [`Self::fill`].
    pub(super) fn next_frame(&mut self) -> Result<Option<&[u8]>, NotTurn> {
        self.framer.next_frame()
    }

    /// Queues relayed data with its header and padding; `false` when the client reads too slowly for it.
    pub(super) fn queue_data(&mut self, header: &[u8], payload: &[u8], pad: usize) -> bool {
        if self.waiting.len() + header.len() + payload.len() + pad > DATA_WAITING {
            return false;
        }
        self.waiting.extend(header);
        self.waiting.extend(payload);
        self.waiting.extend(&[0; 4][..pad]);
        true
    }

    /// Queues an answer; `false` when even the room for answers is full.
    pub(super) fn queue_answer(&mut self, message: &[u8]) -> bool {
        if self.waiting.len() + message.len() > ANSWERS_WAITING {
            return false;
        }
        self.waiting.extend(message);
        true
    }

    /// Writes until the queue is empty or the kernel takes no more.
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        let done = match &mut self.tls {
            Some(tls) => write_tls(tls, &mut self.io, &mut self.waiting),
            None => write_plain(&mut self.io, &mut self.waiting),
        };
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting.shrink_to(KEPT);
        }
        match done {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Broken),
        }
    }

    /// Says goodbye as far as that goes without waiting: what is queued, and a TLS close.
    pub(super) fn close(mut self) {
        if self.flush().is_ok()
            && let Some(tls) = &mut self.tls
        {
            tls.send_close_notify();
            let _ = self.flush();
        }
    }
}

fn read_tls(tls: &mut ServerConnection, io: &mut mio::net::TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        if tls.read_tls(io)? == 0 {
            return Ok(0);
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says why; the connection ends whether it arrives or not.
            let _ = tls.write_tls(io);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

fn write_tls(tls: &mut ServerConnection, io: &mut mio::net::TcpStream, waiting: &mut VecDeque<u8>) -> io::Result<()> {
    loop {
        while tls.wants_write() {
            tls.write_tls(io)?;
        }
        let (front, _) = waiting.as_slices();
        if front.is_empty() {
            return Ok(());
        }
        let taken = tls.writer().write(&front[..front.len().min(RECORD)])?;
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        waiting.drain(..taken);
    }
}

fn write_plain(io: &mut mio::net::TcpStream, waiting: &mut VecDeque<u8>) -> io::Result<()> {
    while !waiting.is_empty() {
        let (front, back) = waiting.as_slices();
        let written = match io.write_vectored(&[io::IoSlice::new(front), io::IoSlice::new(back)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        waiting.drain(..written);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::listen::Door;
    use crate::turn::routes::Transport;

    fn pair() -> (Stream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, client) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let address = ClientAddr { client, server: listener.local_addr().unwrap(), transport: Transport::Tcp };
        let ticket = Door::new().enter(client.ip()).unwrap();
        (Stream::new(mio::net::TcpStream::from_std(near), None, address, Instant::now(), ticket), far)
    }

    #[test]
    fn the_queue_takes_whole_messages_and_keeps_room_for_answers() {
        let (mut stream, _far) = pair();
        let mut queued = 0;
        while stream.queue_data(&[0x40, 0, 0x03, 0xE9], &[7; 1001], 3) {
            queued += 1;
        }
        assert_eq!(queued, DATA_WAITING / 1008);
        assert_eq!(stream.waiting.len(), queued * 1008);
        let mut answers = 0;
        while stream.queue_answer(&[1; 100]) {
            answers += 1;
        }
        assert!(answers >= 300, "{answers}");
        assert_eq!(stream.waiting.len(), queued * 1008 + answers * 100);
    }

    #[test]
    fn what_the_kernel_does_not_take_waits_and_arrives_whole() {
        let (mut stream, mut far) = pair();
        let mut sent = Vec::new();
        while stream.waiting.is_empty() {
            let number = (sent.len() as u32).to_be_bytes();
            assert!(stream.queue_data(&number, &[9; 5000], 0));
            sent.extend(number);
            sent.extend([9; 5000]);
            stream.flush().unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).unwrap();
            got
        });
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        while !stream.waiting.is_empty() {
            assert!(Instant::now() < deadline);
            stream.flush().unwrap();
            std::thread::yield_now();
        }
        assert!(stream.waiting.capacity() <= 2 * KEPT, "a burst's memory is given back");
        stream.close();
        assert!(reader.join().unwrap() == sent);
    }

    #[test]
    fn an_ended_connection_is_told_from_a_silent_one() {
        let (mut stream, mut far) = pair();
        let mut bytes = [0; 100];
        assert!(matches!(stream.fill(&mut bytes), Filled::Dry));
        far.write_all(&[0x40, 0, 0, 1, b'x', 0, 0, 0]).unwrap();
        drop(far);
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        while matches!(stream.fill(&mut bytes), Filled::Dry) {
            assert!(Instant::now() < deadline);
        }
        assert_eq!(stream.next_frame().unwrap(), Some(&[0x40, 0, 0, 1, b'x'][..]));
        while !matches!(stream.fill(&mut bytes), Filled::End) {
            assert!(Instant::now() < deadline);
        }
    }
}
