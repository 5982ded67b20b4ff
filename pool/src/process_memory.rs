//! Memory use of a process, as the kernel reports it in `/proc`.
//!
//! Must not decide when to look, or at which process.

use std::fs;

/// Returns the value of a line of `/proc/PROCESS/status` such as `VmRSS:`, in bytes.
#[must_use]
pub fn in_status(process: &str, key: &str) -> Option<u64> {
    kib(
        &fs::read_to_string(format!("/proc/{process}/status")).ok()?,
        key,
    )
}

/// Returns the value of a line such as `Pss:    123 kB`, in bytes.
#[must_use]
pub fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_kib() {
        let text = "Rss:     9 kB\nPss:    123 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(kib(text, "Pss:"), Some(123 * 1024));
        assert_eq!(kib(text, "Swap:"), None);
    }
}
