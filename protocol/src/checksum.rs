//! Checksums that a list may specify for a file.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// Algorithms for checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1 (FIPS 180-4).
    Sha1,
    /// SHA-256 (FIPS 180-4). It is computed for every file.
    Sha256,
    /// SHA-512 (FIPS 180-4).
    Sha512,
    /// CRC-32C (RFC 3720 appendix B.4), with the most significant byte first.
    Crc32c,
}

impl Algorithm {
    /// All algorithms, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
        Self::Crc32c,
    ];

    /// Returns the name used in lists and in the run log.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Crc32c => "crc32c",
        }
    }

    /// Returns the length of a checksum in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Crc32c => 4,
        }
    }
}

/// Writes the name used in messages.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::Crc32c => "CRC-32C",
        })
    }
}

/// A checksum of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The checksum, with the length that belongs to the algorithm.
    pub digest: Box<[u8]>,
}

impl Checksum {
    /// Parses `text`: hexadecimal digits in any case, or Base64, which object stores use. No text
    /// has both forms: if the lengths are equal, Base64 ends with `=`.
    #[must_use]
    pub fn parse(algorithm: Algorithm, text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let decoded = HEXLOWER_PERMISSIVE
            .decode(text)
            .ok()
            .filter(|digest| digest.len() == algorithm.bytes())
            .or_else(|| BASE64.decode(text).ok());
        let digest = decoded.filter(|digest| digest.len() == algorithm.bytes())?;
        Some(Self {
            algorithm,
            digest: digest.into(),
        })
    }

    /// Returns the checksum as lower-case hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_hexadecimal_in_any_case_or_base64_and_nothing_else() {
        // Checksums of an empty input from RFC 1321, and of "123456789" from RFC 3720 for its CRC.
        for (algorithm, text, hex) in [
            (
                Algorithm::Md5,
                "D41D8CD98F00b204e9800998ecf8427e",
                Some("d41d8cd98f00b204e9800998ecf8427e"),
            ),
            (
                Algorithm::Md5,
                "1B2M2Y8AsgTpgAmY7PhCfg==",
                Some("d41d8cd98f00b204e9800998ecf8427e"),
            ),
            (Algorithm::Crc32c, "E3069283", Some("e3069283")),
            (Algorithm::Crc32c, "4waSgw==", Some("e3069283")),
            (Algorithm::Crc32c, "4waSgw", None),
            (Algorithm::Crc32c, "0xE3069283", None),
            (Algorithm::Md5, "E3069283", None),
            (Algorithm::Sha1, "1B2M2Y8AsgTpgAmY7PhCfg==", None),
            (Algorithm::Sha256, "", None),
        ] {
            let found = Checksum::parse(algorithm, text).map(|checksum| checksum.hex());
            assert_eq!(found.as_deref(), hex, "{text}");
        }
        for algorithm in Algorithm::ALL {
            let digits = "0f".repeat(algorithm.bytes());
            let found = Checksum::parse(algorithm, &digits).expect("hexadecimal");
            assert_eq!((found.hex(), found.algorithm), (digits, algorithm));
        }
    }
}
