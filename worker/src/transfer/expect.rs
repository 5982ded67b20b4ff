//! What the list says of a file, held against what arrives.
//!
//! A file that is not the one that the list names is a permanent failure: the server has another
//! one, and would send it again. (A body that is cut off is seen as such before, and one that was
//! put together from two answers is asked for in one piece.) It must not touch the file.

use data_encoding::HEXLOWER;
use protocol::{Expect, FailureKind};

use crate::fault::Fault;

/// A body is going to be, or already is, `size` bytes long: as the server announces, or so far.
/// `is_more` tells whether it can still grow.
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

/// The whole file arrived, and has this SHA-256.
pub(super) fn check_sha256(expect: &Expect, sha256: &[u8; 32]) -> Result<(), Fault> {
    match expect.sha256 {
        Some(expected) if expected != *sha256 => Err(Fault::permanent(
            FailureKind::ChecksumMismatch,
            format!(
                "the file has the SHA-256 {}, and the list says {}",
                HEXLOWER.encode(sha256),
                HEXLOWER.encode(&expected)
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// A body is larger than `limit` allows.
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
            sha256: None,
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
    fn both_hashes_are_named() {
        let expect = Expect {
            size: None,
            sha256: Some([0xAB; 32]),
        };
        assert_eq!(check_sha256(&expect, &[0xAB; 32]), Ok(()));
        let fault = check_sha256(&expect, &[0x01; 32]).expect_err("another file");
        assert_eq!(fault.kind, FailureKind::ChecksumMismatch);
        assert!(
            fault.message.contains(&"ab".repeat(32)),
            "{}",
            fault.message
        );
        assert!(
            fault.message.contains(&"01".repeat(32)),
            "{}",
            fault.message
        );
        assert_eq!(check_sha256(&Expect::default(), &[0; 32]), Ok(()));
    }
}
