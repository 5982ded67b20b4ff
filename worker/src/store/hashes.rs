//! Hashes of a body, computed as it is written.

use md5::Md5;
use protocol::{Algorithm, Checksum};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// SHA-256 and any other hashes that are needed.
#[derive(Debug)]
pub(super) struct Hashes {
    sha256: Sha256,
    others: Vec<Running>,
}

/// A hash that is being computed.
#[derive(Debug)]
enum Running {
    Md5(Md5),
    Sha1(Sha1),
    Sha512(Box<Sha512>),
    Crc32c(u32),
}

impl Hashes {
    /// Starts SHA-256 and the hashes of `algorithms`.
    pub(super) fn new(algorithms: &[Algorithm]) -> Self {
        let running = |algorithm: &Algorithm| match algorithm {
            Algorithm::Md5 => Some(Running::Md5(Md5::new())),
            Algorithm::Sha1 => Some(Running::Sha1(Sha1::new())),
            Algorithm::Sha256 => None,
            Algorithm::Sha512 => Some(Running::Sha512(Box::default())),
            Algorithm::Crc32c => Some(Running::Crc32c(0)),
        };
        Self {
            sha256: Sha256::new(),
            others: algorithms.iter().filter_map(running).collect(),
        }
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.sha256.update(data);
        for running in &mut self.others {
            match running {
                Running::Md5(hash) => hash.update(data),
                Running::Sha1(hash) => hash.update(data),
                Running::Sha512(hash) => hash.update(data),
                Running::Crc32c(sum) => *sum = crc32c::crc32c_append(*sum, data),
            }
        }
    }

    /// Returns the SHA-256 and the other checksums.
    pub(super) fn finish(self) -> ([u8; 32], Vec<Checksum>) {
        let finished = |running| {
            let (algorithm, digest): (_, Box<[u8]>) = match running {
                Running::Md5(hash) => (Algorithm::Md5, hash.finalize().as_slice().into()),
                Running::Sha1(hash) => (Algorithm::Sha1, hash.finalize().as_slice().into()),
                Running::Sha512(hash) => (Algorithm::Sha512, hash.finalize().as_slice().into()),
                Running::Crc32c(sum) => (Algorithm::Crc32c, sum.to_be_bytes().into()),
            };
            Checksum { algorithm, digest }
        };
        let others = self.others.into_iter().map(finished).collect();
        (self.sha256.finalize().into(), others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_is_that_of_all_pieces_together() {
        // Computed by md5sum, sha1sum, sha256sum and sha512sum of coreutils; the CRC is the check
        // value of RFC 3720.
        let mut hashes = Hashes::new(&Algorithm::ALL);
        for piece in ["12345", "", "6789"] {
            hashes.update(piece.as_bytes());
        }
        let (sha256, others) = hashes.finish();
        assert_eq!(sha256[..4], [0x15, 0xe2, 0xb0, 0xd3]);
        let others = others.iter();
        let told: Vec<_> = others
            .map(|checksum| (checksum.algorithm, checksum.hex()))
            .collect();
        let expected = [
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (
                Algorithm::Sha512,
                "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274a\
                 d27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
            ),
            (Algorithm::Crc32c, "e3069283"),
        ];
        assert_eq!(told, expected.map(|(a, hex)| (a, hex.to_owned())));
    }
}
