//! Numbers with a few decimals, exact in text and in memory.

use std::fmt;

/// Reads a number with at most `decimals` decimals, in units of its smallest step: `1.5` with three
/// decimals is 1500. Returns `None` if `text` is anything else, or too large.
pub(super) fn read(text: &str, decimals: usize) -> Option<u32> {
    let (whole, part) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > decimals {
        return None;
    }
    format!("{whole}{part:0<decimals$}").parse().ok()
}

/// Writes `steps` so that [`read`] returns the same, without trailing zeros.
pub(super) fn write(f: &mut fmt::Formatter<'_>, steps: u32, decimals: usize) -> fmt::Result {
    let digits = format!("{steps:0>width$}", width = decimals + 1);
    let (whole, part) = digits.split_at(digits.len() - decimals);
    let part = part.trim_end_matches('0');
    f.write_str(whole)?;
    if !part.is_empty() {
        write!(f, ".{part}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Written(u32, usize);

    impl fmt::Display for Written {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write(f, self.0, self.1)
        }
    }

    #[test]
    fn only_plain_numbers_are_read() {
        assert_eq!(read("1.5", 3), Some(1500));
        assert_eq!(read("007", 3), Some(7000));
        for wrong in [
            "", ".", "1.", ".5", "-1", "+1", "1e3", "1.2345", "1,5", "99999999", "∞",
        ] {
            assert_eq!(read(wrong, 3), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(steps in any::<u32>(), decimals in 0..6_usize) {
            let text = Written(steps, decimals).to_string();
            prop_assert_eq!(read(&text, decimals), Some(steps), "{}", text);
        }
    }
}
