//! Pure: messages that wait for one member, bounded by count and bytes, and by what all queues hold together.

use std::collections::VecDeque;

/// Messages one queue holds; the reference's number.
const MAX_MESSAGES: usize = 1024;
/// Bytes one queue holds; a single message of the configured maximum always fits an empty queue.
const MAX_BYTES: usize = 1024 * 1024;
/// Bytes that all queues of the server hold together.
const MAX_TOTAL: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: VecDeque<String>,
    bytes: usize,
}

/// The message was not taken: the queue, or the server, holds as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What all queues hold, in bytes.
#[derive(Debug, Default)]
pub(super) struct Total(usize);

impl Total {
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0
    }
}

impl Queue {
    pub(super) fn push(&mut self, total: &mut Total, message: String) -> Result<(), Full> {
        let fits_here = self.messages.is_empty() || self.bytes + message.len() <= MAX_BYTES;
        if !fits_here || self.messages.len() >= MAX_MESSAGES || total.0 + message.len() > MAX_TOTAL {
            return Err(Full);
        }
        self.bytes += message.len();
        total.0 += message.len();
        self.messages.push_back(message);
        Ok(())
    }

    pub(super) fn pop(&mut self, total: &mut Total) -> Option<String> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        total.0 -= message.len();
        Some(message)
    }

    pub(super) fn take(&mut self, total: &mut Total) -> Vec<String> {
        total.0 -= self.bytes;
        self.bytes = 0;
        std::mem::take(&mut self.messages).into()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        debug_assert_eq!(self.bytes, self.messages.iter().map(String::len).sum::<usize>());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_accounts() {
        let (mut queue, mut total) = (Queue::default(), Total::default());
        for text in ["one", "two", "three"] {
            queue.push(&mut total, text.into()).unwrap();
        }
        assert_eq!(total.bytes(), 11);
        assert_eq!(queue.pop(&mut total).as_deref(), Some("one"));
        assert_eq!(queue.take(&mut total), ["two", "three"]);
        assert!(queue.is_empty());
        assert_eq!((queue.bytes(), total.bytes()), (0, 0));
    }

    #[test]
    fn bounded_by_count() {
        let (mut queue, mut total) = (Queue::default(), Total::default());
        for _ in 0..MAX_MESSAGES {
            queue.push(&mut total, "x".into()).unwrap();
        }
        assert_eq!(queue.push(&mut total, "x".into()), Err(Full));
        queue.pop(&mut total);
        assert_eq!(queue.push(&mut total, "x".into()), Ok(()));
    }

    #[test]
    fn bounded_by_bytes_but_one_message_always_fits() {
        let (mut queue, mut total) = (Queue::default(), Total::default());
        queue.push(&mut total, "x".repeat(MAX_BYTES + 1)).unwrap();
        assert_eq!(queue.push(&mut total, "x".into()), Err(Full));
    }

    #[test]
    fn bounded_together() {
        let mut total = Total::default();
        let mut queues: Vec<Queue> = (0..MAX_TOTAL / MAX_BYTES).map(|_| Queue::default()).collect();
        for queue in &mut queues {
            queue.push(&mut total, "x".repeat(MAX_BYTES)).unwrap();
        }
        assert_eq!(Queue::default().push(&mut total, "x".into()), Err(Full));
        queues[0].take(&mut total);
        assert_eq!(Queue::default().push(&mut total, "x".into()), Ok(()));
    }
}
