//! How ipc-channel puts a message into one packet of its socket.
//!
//! The crate's own receiving code trusts its peer: it reserves what a header announces, takes every
//! descriptor, and waits for later fragments. The coordinator takes bytes from workers that may have
//! been taken over, so it reads and writes these packets itself, and only whole ones. The crate's
//! version is pinned, and a test compares this module with it.
//!
//! A packet is two native-endian words, its own length with these words and the length of the whole
//! message, and then the message. A message that does not fit a packet would continue on a second
//! socket; a frame always fits.

use crate::codec::MAX_FRAME;

/// Bytes of a word.
const WORD: usize = size_of::<usize>();

/// Bytes before the message.
pub const HEADER: usize = 2 * WORD;

/// The longest packet.
pub const MAX_PACKET: usize = HEADER + MAX_FRAME;

/// What stands before a message of `length` bytes.
#[must_use]
pub fn header(length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (packet, message) = header.split_at_mut(WORD);
    packet.copy_from_slice(&(HEADER + length).to_ne_bytes());
    message.copy_from_slice(&length.to_ne_bytes());
    header
}

/// Why a packet holds no message. Its sender broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It has no room for the two lengths.
    #[error("packet of {0} bytes is shorter than a header")]
    Short(usize),
    /// The message would be longer than a frame.
    #[error("message of {0} bytes exceeds the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// A length in the header is not that of the packet.
    #[error("packet of {came} bytes announces {announced}")]
    Length {
        /// Bytes that came.
        came: usize,
        /// Bytes that the header announces for the packet.
        announced: usize,
    },
    /// The rest of the message would come as further fragments.
    #[error("packet holds {here} of {whole} bytes of its message")]
    Fragment {
        /// Bytes of the message in this packet.
        here: usize,
        /// Bytes of the message.
        whole: usize,
    },
}

/// The message in `packet`.
///
/// # Errors
///
/// If the packet is anything else than one whole message of at most [`MAX_FRAME`] bytes.
pub fn message(packet: &[u8]) -> Result<&[u8], PacketError> {
    let came = packet.len();
    let short = PacketError::Short(came);
    let (first, rest) = packet.split_first_chunk::<WORD>().ok_or(short)?;
    let (second, message) = rest.split_first_chunk::<WORD>().ok_or(short)?;
    let (announced, whole) = (usize::from_ne_bytes(*first), usize::from_ne_bytes(*second));
    if whole > MAX_FRAME {
        return Err(PacketError::TooLarge(whole));
    }
    if announced != came {
        return Err(PacketError::Length { came, announced });
    }
    if whole != message.len() {
        let here = message.len();
        return Err(PacketError::Fragment { here, whole });
    }
    Ok(message)
}
