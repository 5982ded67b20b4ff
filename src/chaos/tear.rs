//! Tears the end of a run log, as a crash of the machine during a write would leave it.
//!
//! Call this only while no run uses the log. It must not do more damage than a crash could.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Cuts the last line after `share` of 256 of it. At least one byte of it is removed.
///
/// # Errors
///
/// Fails if the file cannot be read or cut.
pub fn cut(log: &Path, share: u8) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(log)?;
    let (start, line) = last_line(&file)?;
    file.set_len(start + part(&line, share) as u64)
}

/// Appends the beginning of a line: `share` of 256 of a copy of the last line, without its end.
///
/// # Errors
///
/// Fails if the file cannot be read or written.
pub fn append_half(log: &Path, share: u8) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(log)?;
    let (_, line) = last_line(&file)?;
    file.write_all(&line[..part(&line, share)])
}

fn part(line: &[u8], share: u8) -> usize {
    line.len().saturating_sub(1) * usize::from(share) / 256
}

/// Returns where the last line begins, and its bytes, including its line feed if it has one.
fn last_line(mut file: &std::fs::File) -> io::Result<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut all)?;
    let whole = all.strip_suffix(b"\n").unwrap_or(&all);
    let start = whole.iter().rposition(|&byte| byte == b'\n');
    let start = start.map_or(0, |at| at + 1);
    Ok((start as u64, all.split_off(start)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn torn(text: &str, tear: impl FnOnce(&Path) -> io::Result<()>) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("writable");
        tear(file.path()).expect("it can be torn");
        fs::read_to_string(file.path()).expect("readable")
    }

    #[test]
    fn a_cut_leaves_a_part_of_the_last_line() {
        assert_eq!(torn("one\n12345678\n", |log| cut(log, 128)), "one\n1234");
        assert_eq!(torn("one\n12345678\n", |log| cut(log, 255)), "one\n1234567");
        assert_eq!(torn("one\n12345678\n", |log| cut(log, 0)), "one\n");
        assert_eq!(torn("", |log| cut(log, 9)), "");
    }

    #[test]
    fn half_a_line_is_appended_without_an_end() {
        let text = torn("one\n12345678\n", |log| append_half(log, 128));
        assert_eq!(text, "one\n12345678\n1234");
    }
}
