//! Frames: a message as bytes. The one place that knows the encoding.
//!
//! A frame is the bincode form (standard configuration: little endian, variable-length integers)
//! of a [`Message`]. Frames are at most [`MAX_FRAME`] bytes, for two reasons:
//! a larger one would be split by ipc-channel over a second socket that is read in blocking mode,
//! so that a peer frozen halfway would freeze its reader; and a decoder with a limit cannot be
//! made to allocate what a corrupt length claims.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::SizeWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{FromWorker, ToWorker};

/// The largest frame, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

type Config = Configuration<LittleEndian, Varint, Limit<MAX_FRAME>>;

const CONFIG: Config = bincode::config::standard().with_limit::<MAX_FRAME>();

/// A message that can travel as a frame.
pub trait Message: Serialize + DeserializeOwned {}

impl<S, N, J> Message for ToWorker<S, N, J> where Self: Serialize + DeserializeOwned {}
impl<P, O, F> Message for FromWorker<P, O, F> where Self: Serialize + DeserializeOwned {}

/// Why a message did not become a frame.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It would be larger than [`MAX_FRAME`].
    #[error("message of {size} bytes exceeds the frame limit of {MAX_FRAME}")]
    TooLarge {
        /// Bytes the message would take.
        size: usize,
    },
    /// The encoder refused it.
    #[error("message cannot be encoded: {0}")]
    Encoder(#[from] bincode::error::EncodeError),
}

/// Why bytes are not a frame. Whoever sent them broke the protocol.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than any frame has.
    #[error("frame of {size} bytes exceeds the limit of {MAX_FRAME}")]
    TooLarge {
        /// Bytes received.
        size: usize,
    },
    /// Bytes are left over behind the message.
    #[error("frame has {extra} bytes behind its message")]
    Trailing {
        /// Bytes left over.
        extra: usize,
    },
    /// The bytes are not a message.
    #[error("frame cannot be decoded: {0}")]
    Decoder(#[from] bincode::error::DecodeError),
}

/// Encodes `message` as one frame.
///
/// # Errors
///
/// If the frame would be larger than [`MAX_FRAME`].
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EncodeError> {
    let frame = bincode::serde::encode_to_vec(message, CONFIG)?;
    if frame.len() > MAX_FRAME {
        return Err(EncodeError::TooLarge { size: frame.len() });
    }
    Ok(frame)
}

/// Bytes that `part` of a message takes in a frame; as many as can be, if it cannot be encoded.
#[must_use]
pub fn size_of(part: &impl Serialize) -> usize {
    let mut writer = SizeWriter::default();
    match bincode::serde::encode_into_writer(part, &mut writer, bincode::config::standard()) {
        Ok(()) => writer.bytes_written,
        Err(_) => usize::MAX,
    }
}

/// Encodes a `part` of a message by itself.
///
/// # Errors
///
/// If the encoder refuses it.
pub fn encode_part(part: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    Ok(bincode::serde::encode_to_vec(part, CONFIG)?)
}

/// Decodes what [`encode_part`] has encoded.
///
/// # Errors
///
/// If it is not exactly that.
pub fn decode_part<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (part, used) = bincode::serde::decode_from_slice(bytes, CONFIG)?;
    if used < bytes.len() {
        return Err(DecodeError::Trailing {
            extra: bytes.len() - used,
        });
    }
    Ok(part)
}

/// Decodes one frame.
///
/// # Errors
///
/// If `frame` is not exactly one message; no more than a small multiple of [`MAX_FRAME`] is
/// allocated in finding out.
pub fn decode<M: Message>(frame: &[u8]) -> Result<M, DecodeError> {
    if frame.len() > MAX_FRAME {
        return Err(DecodeError::TooLarge { size: frame.len() });
    }
    decode_part(frame)
}
