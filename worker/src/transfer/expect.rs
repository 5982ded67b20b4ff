//! Checks a file against what the list says about it.
//!
//! A file that differs is a permanent failure: the server has another one and would send it again.
//! (A truncated body is detected before this, and a body from two answers is requested again as a
//! whole.) This module must not touch the file.

use protocol::{Algorithm, Checksum, Expect, FailureKind};

use crate::fault::Fault;
use crate::store::Committed;

/// Checks the size of a body: its final size, as announced or received, or its size so far if
/// `is_more`, which means that it can still grow.
pub(super) fn check_size(expect: &Expect, size: u64, is_more: bool) -> Result<(), Fault> {
    match expect.size {
        Some(expected) if size > expected || (size < expected && !is_more) => {
            let size = if is_more {
                format!("more than {expected}")
            } else {
                size.to_string()
            };
            Err(Fault::permanent(
                FailureKind::SizeMismatch,
                format!("the file is {size} bytes long, and the list says {expected}"),
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks the whole file. The error names the first checksum that differs.
pub(super) fn check_sums(expect: &Expect, file: &Committed) -> Result<(), Fault> {
    for expected in &expect.checksums {
        let algorithm = expected.algorithm;
        let found = match algorithm {
            Algorithm::Sha256 => Some(Checksum {
                algorithm,
                digest: file.sha256.into(),
            }),
            Algorithm::Md5 | Algorithm::Sha1 | Algorithm::Sha512 | Algorithm::Crc32c => {
                let mut others = file.checksums.iter();
                others.find(|found| found.algorithm == algorithm).cloned()
            }
        };
        if found.as_ref() != Some(expected) {
            let found = found.map_or_else(|| "that nobody computed".to_owned(), |sum| sum.hex());
            return Err(Fault::permanent(
                FailureKind::ChecksumMismatch,
                format!(
                    "the file has the {algorithm} {found}, and the list says {}",
                    expected.hex()
                ),
            ));
        }
    }
    Ok(())
}

/// Creates the failure for a body larger than `limit`.
pub(crate) fn too_large(limit: u64) -> Fault {
    Fault::permanent(
        FailureKind::TooLarge,
        format!("body is larger than the limit of {limit} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_held_against_what_came_and_may_still_come() {
        let expect = Expect {
            size: Some(5),
            ..Expect::default()
        };
        let kind = |size, is_more| {
            let checked = check_size(&expect, size, is_more);
            checked.err().map(|fault| (fault.kind, fault.message))
        };
        assert_eq!(
            (kind(5, false), kind(5, true), kind(4, true)),
            (None, None, None)
        );
        for (size, is_more, part) in [
            (4, false, "is 4 bytes"),
            (6, false, "is 6 bytes"),
            (6, true, "more than 5 bytes"),
        ] {
            let (kind, message) = kind(size, is_more).expect("another size");
            assert_eq!(kind, FailureKind::SizeMismatch);
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(check_size(&Expect::default(), u64::MAX, false), Ok(()));
    }

    #[test]
    fn all_checksums_count_and_both_are_named() {
        let sum = |algorithm: Algorithm, byte| Checksum {
            algorithm,
            digest: vec![byte; algorithm.bytes()].into(),
        };
        let file = |byte| Committed {
            bytes: 1,
            sha256: [0xAB; 32],
            checksums: vec![sum(Algorithm::Crc32c, 3), sum(Algorithm::Md5, byte)],
            unchanged: false,
        };
        let expect = Expect {
            size: None,
            checksums: vec![sum(Algorithm::Sha256, 0xAB), sum(Algorithm::Md5, 1)],
        };
        assert_eq!(check_sums(&expect, &file(1)), Ok(()));
        let fault = check_sums(&expect, &file(2)).expect_err("another file");
        assert_eq!(fault.kind, FailureKind::ChecksumMismatch);
        assert_eq!(
            fault.message,
            format!(
                "the file has the MD5 {}, and the list says {}",
                "02".repeat(16),
                "01".repeat(16)
            )
        );
        assert_eq!(check_sums(&Expect::default(), &file(2)), Ok(()));
    }
}
