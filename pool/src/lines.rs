//! Lines that a program writes to standard error: few, short and safe to print.
//!
//! The memory in use is bounded for any input. This module must not read or print anything.

use std::collections::VecDeque;

/// Maximum length of a line, in bytes. The rest of the line is dropped.
pub const MAX_LINE: usize = 1024;

/// Number of lines that are kept: the last ones.
pub const KEPT: usize = 20;

/// Replaces the rest of a line that was cut.
const CUT: char = '\u{2026}';

/// Splits bytes into lines and keeps the last ones. Blank lines are ignored.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of an unfinished line.
    open: Vec<u8>,
    /// Whether bytes of this line were dropped.
    cut: bool,
    last: VecDeque<String>,
}

impl Lines {
    /// Adds `bytes`, and calls `each` with every line that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&str)) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            self.extend(&bytes[..at]);
            self.end_line(&mut each);
            bytes = &bytes[at + 1..];
        }
        self.extend(bytes);
    }

    /// Ends the input, which completes a last line without a newline. Returns the last lines.
    pub fn finish(mut self, mut each: impl FnMut(&str)) -> Vec<String> {
        self.end_line(&mut each);
        self.last.into()
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.open.len();
        self.cut |= bytes.len() > room;
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, each: &mut impl FnMut(&str)) {
        if !self.cut && self.open.iter().all(u8::is_ascii_whitespace) {
            self.open.clear();
            return;
        }
        // The oldest line's memory is reused, so that a flood of lines allocates nothing.
        let mut line = match self.last.len() {
            KEPT => self.last.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        line.clear();
        clean(self.whole_characters(), &mut line);
        if std::mem::take(&mut self.cut) {
            line.push(CUT);
        }
        self.open.clear();
        each(&line);
        self.last.push_back(line);
    }

    /// Returns the line without a character that was cut in the middle.
    fn whole_characters(&self) -> &[u8] {
        match std::str::from_utf8(&self.open) {
            Err(error) if self.cut && error.error_len().is_none() => {
                &self.open[..error.valid_up_to()]
            }
            Ok(_) | Err(_) => &self.open,
        }
    }
}

/// Replaces everything that is not text or could command a terminal.
fn clean(bytes: &[u8], line: &mut String) {
    for chunk in bytes.trim_ascii_end().utf8_chunks() {
        line.extend(chunk.valid().chars().map(|character| match character {
            '\t' => ' ',
            harmful if protocol::is_harmful(harmful) => char::REPLACEMENT_CHARACTER,
            other => other,
        }));
        if !chunk.invalid().is_empty() {
            line.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns all lines and the kept lines of `bytes`, added in pieces of `piece` bytes.
    fn lines(bytes: &[u8], piece: usize) -> (Vec<String>, Vec<String>) {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(piece) {
            lines.feed(piece, |line| seen.push(line.to_owned()));
        }
        let kept = lines.finish(|line| seen.push(line.to_owned()));
        (seen, kept)
    }

    #[test]
    fn lines_are_cut_at_newlines_and_the_last_needs_none() {
        let (seen, kept) = lines(b"one\r\n\n  \ntwo\tthree\nfour", 3);
        assert_eq!(seen, ["one", "two three", "four"]);
        assert_eq!(kept, seen);
    }

    #[test]
    fn what_could_command_a_terminal_or_is_no_text_is_replaced() {
        let (seen, _) = lines(b"\x1b[2Ja\x07\xffb\xc2\x9bc\xe2\x82\n", 1);
        assert_eq!(seen, ["\u{fffd}[2Ja\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"]);
    }

    #[test]
    fn of_many_lines_the_last_are_kept() {
        let text: String = (0..100).map(|n| format!("{n}\n")).collect();
        let (seen, kept) = lines(text.as_bytes(), 7);
        assert_eq!(seen.len(), 100);
        assert_eq!(kept, seen[80..]);
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters() {
        let mut text = vec![b'x'];
        text.extend("\u{20ac}".repeat(100_000).bytes());
        let (seen, kept) = lines(&text, 4096);
        // 1 + 341 × 3 bytes are 1024 bytes.
        assert_eq!(seen, [format!("x{}\u{2026}", "\u{20ac}".repeat(341))]);
        assert_eq!(kept, seen);
        text.insert(0, b'x');
        let (seen, _) = lines(&text, 4096);
        assert_eq!(seen, [format!("xx{}\u{2026}", "\u{20ac}".repeat(340))]);
    }

    proptest! {
        #[test]
        fn whatever_is_written_lines_are_bounded_and_harmless_however_it_is_read(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'a')], 0..5000),
            piece in 1_usize..3000,
        ) {
            let (seen, kept) = lines(&bytes, piece);
            prop_assert_eq!(&lines(&bytes, 1).0, &seen);
            prop_assert!(kept.len() <= KEPT);
            prop_assert_eq!(&kept[..], &seen[seen.len() - kept.len()..]);
            for line in seen {
                prop_assert!(!line.contains(char::is_control), "{line:?}");
                prop_assert!(line.len() <= MAX_LINE * 3 + CUT.len_utf8());
            }
        }
    }
}
