//! A list that another part of this program writes while it is read.

use std::fmt;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The end that is read: a source of JSONL. It can be opened once.
#[derive(Clone)]
pub struct Fed(Arc<Mutex<Option<Receiver<Vec<u8>>>>>);

impl Fed {
    /// Both ends. The list ends when the sender is dropped.
    #[must_use]
    pub fn new() -> (Sender<Vec<u8>>, Self) {
        let (sender, receiver) = channel();
        (sender, Self(Arc::new(Mutex::new(Some(receiver)))))
    }

    /// What there is to read; nothing the second time.
    pub(super) fn open(&self) -> FedReader {
        let mut receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        FedReader {
            receiver: receiver.take(),
            piece: Vec::new(),
            at: 0,
        }
    }
}

impl fmt::Debug for Fed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fed")
    }
}

/// The same list.
impl PartialEq for Fed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fed {}

/// What was sent, one piece after the other.
pub(super) struct FedReader {
    receiver: Option<Receiver<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for FedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let next = self.receiver.as_ref().map(Receiver::recv);
            let Some(Ok(piece)) = next else {
                return Ok(0);
            };
            (self.piece, self.at) = (piece, 0);
        }
        let length = buffer.len().min(self.piece.len() - self.at);
        buffer[..length].copy_from_slice(&self.piece[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}
