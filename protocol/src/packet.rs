//! Packets: how ipc-channel sends a message over its socket.
//!
//! The crate's receiving code trusts its peer: it reserves the memory that a header announces,
//! accepts every descriptor, and waits for later fragments. The coordinator receives bytes from
//! workers that may be compromised, so it reads and writes these packets itself, and only whole
//! ones. The crate's version is pinned, and a test compares this module with it.
//!
//! A packet consists of two native-endian words and the message. The words are the length of the
//! packet, including the words, and the length of the whole message. A message that does not fit a
//! packet would continue on a second socket; a frame always fits.

use crate::codec::MAX_FRAME;

/// Length of a word, in bytes.
const WORD: usize = size_of::<usize>();

/// Number of bytes before the message.
pub const HEADER: usize = 2 * WORD;

/// Maximum length of a packet, in bytes.
pub const MAX_PACKET: usize = HEADER + MAX_FRAME;

/// Returns the header of a message of `length` bytes.
#[must_use]
pub fn header(length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let (packet, message) = header.split_at_mut(WORD);
    packet.copy_from_slice(&(HEADER + length).to_ne_bytes());
    message.copy_from_slice(&length.to_ne_bytes());
    header
}

/// Reasons why a packet contains no message. Its sender broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The packet is shorter than the two lengths.
    #[error("packet of {0} bytes is shorter than a header")]
    Short(usize),
    /// The message is longer than a frame.
    #[error("message of {0} bytes exceeds the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The header announces another length for the packet.
    #[error("packet of {came} bytes announces {announced}")]
    Length {
        /// Number of bytes received.
        came: usize,
        /// Number of bytes that the header announces for the packet.
        announced: usize,
    },
    /// The rest of the message is in further fragments.
    #[error("packet holds {here} of {whole} bytes of its message")]
    Fragment {
        /// Number of bytes of the message in this packet.
        here: usize,
        /// Number of bytes of the whole message.
        whole: usize,
    },
}

/// Returns the message in `packet`.
///
/// # Errors
///
/// Fails if the packet is not exactly one whole message of at most [`MAX_FRAME`] bytes.
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
