//! Encoded jobs and outputs.

use std::fmt;
use std::sync::Arc;

use protocol::codec::{self, DecodeError, EncodeError};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum length of an encoded job or output, in bytes. Leaves room for the rest of its frame.
pub(super) const MAX_BYTES: usize = 48 * 1024;

/// An encoded job or output. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(Arc<[u8]>);

impl Blob {
    pub(super) fn encode(value: &impl Serialize) -> Result<Self, EncodeError> {
        let bytes = codec::encode_part(value)?;
        match bytes.len() {
            0..=MAX_BYTES => Ok(Self(bytes.into())),
            size => Err(EncodeError::TooLarge { size }),
        }
    }

    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        codec::decode_part(&self.0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
