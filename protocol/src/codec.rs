//! Frames: messages as bytes. Only this module knows the encoding.
//!
//! A frame is the bincode encoding (standard configuration: little endian, variable-length
//! integers) of a [`Message`]. Frames are limited to [`MAX_FRAME`] bytes for two reasons.
//! ipc-channel would split a larger one and send the rest over a second socket, which is read in
//! blocking mode, so that a peer that freezes halfway would freeze its reader. And a decoder with a
//! limit cannot be made to allocate the size that a corrupt length claims.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::SizeWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{FromWorker, ToWorker};

/// Maximum length of a frame, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

type Config = Configuration<LittleEndian, Varint, Limit<MAX_FRAME>>;

const CONFIG: Config = bincode::config::standard().with_limit::<MAX_FRAME>();

/// A message that can be sent as a frame.
pub trait Message: Serialize + DeserializeOwned {}

impl<S, N, J> Message for ToWorker<S, N, J> where Self: Serialize + DeserializeOwned {}
impl<P, O, F> Message for FromWorker<P, O, F> where Self: Serialize + DeserializeOwned {}

/// Reasons why a message cannot be encoded as a frame.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The frame would be larger than [`MAX_FRAME`].
    #[error("message of {size} bytes exceeds the frame limit of {MAX_FRAME}")]
    TooLarge {
        /// Length of the encoded message, in bytes.
        size: usize,
    },
    /// The encoder refused the message.
    #[error("message cannot be encoded: {0}")]
    Encoder(#[from] bincode::error::EncodeError),
}

/// Reasons why bytes are not a frame. Their sender broke the protocol.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes exceed the maximum length of a frame.
    #[error("frame of {size} bytes exceeds the limit of {MAX_FRAME}")]
    TooLarge {
        /// Number of bytes received.
        size: usize,
    },
    /// Bytes follow the message.
    #[error("frame has {extra} bytes behind its message")]
    Trailing {
        /// Number of these bytes.
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
/// Fails if the frame would be larger than [`MAX_FRAME`].
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EncodeError> {
    let frame = bincode::serde::encode_to_vec(message, CONFIG)?;
    if frame.len() > MAX_FRAME {
        return Err(EncodeError::TooLarge { size: frame.len() });
    }
    Ok(frame)
}

/// Returns the bytes that `part` takes in a frame, or `usize::MAX` if it cannot be encoded.
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
/// Fails if the encoder refuses it.
pub fn encode_part(part: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    Ok(bincode::serde::encode_to_vec(part, CONFIG)?)
}

/// Decodes a part that [`encode_part`] encoded.
///
/// # Errors
///
/// Fails if `bytes` are anything else.
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
/// Fails if `frame` is not exactly one message. To find this out, at most a small multiple of
/// [`MAX_FRAME`] is allocated.
pub fn decode<M: Message>(frame: &[u8]) -> Result<M, DecodeError> {
    if frame.len() > MAX_FRAME {
        return Err(DecodeError::TooLarge { size: frame.len() });
    }
    decode_part(frame)
}
