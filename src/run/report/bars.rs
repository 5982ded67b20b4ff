//! Progress on a terminal: draws the lines of a [`Screen`] and keeps all other output above them.
//!
//! Lines end with a line end before the last column, so that the terminal wraps none of them.
//! indicatif is not used because it fills lines up to the last column, and a terminal that is
//! resized breaks such lines.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::screen::{Screen, View};
use crate::terminal;

/// Size of a terminal that does not report one.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// The drawn lines, for output from any thread; `None` if nothing draws.
static DRAWN: Mutex<Option<Drawn>> = Mutex::new(None);

/// Lines on the terminal. The cursor is at the end of the last one.
#[derive(Debug, Default)]
struct Drawn {
    lines: Vec<String>,
}

/// Draws the lines of progress.
#[derive(Debug)]
pub(super) struct Bars {
    color: bool,
    ascii: bool,
    keys: Keys,
}

impl Bars {
    pub(super) fn new(color: bool) -> Self {
        *drawn() = Some(Drawn::default());
        Self {
            color,
            ascii: terminal::is_ascii(),
            keys: Keys::hide(),
        }
    }

    pub(super) fn line(&self, text: &str) {
        // A lost terminal is no reason to stop.
        let _ = write_above(format!("{text}\n").as_bytes());
    }

    pub(super) fn update(&self, view: &View<'_>) {
        let (rows, columns) = size();
        let screen = Screen {
            columns,
            rows,
            ascii: self.ascii,
            color: self.color,
        };
        if let Some(drawn) = &mut *drawn() {
            let lines = screen.lines(view, drawn.lines.len());
            let text = drawn.erasing(columns) + HIDE_CURSOR + &lines.join("\r\n");
            drawn.lines = lines;
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// Erases the lines while `what` runs, which stops this process.
    pub(super) fn suspend<T>(&mut self, what: impl FnOnce() -> T) -> T {
        self.erase();
        self.keys.show();
        let done = what();
        self.keys = Keys::hide();
        done
    }

    fn erase(&self) {
        if let Some(drawn) = &mut *drawn() {
            let text = drawn.erasing(size().1) + SHOW_CURSOR;
            drawn.lines.clear();
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Restores the terminal, however the run ends.
impl Drop for Bars {
    fn drop(&mut self) {
        self.erase();
        *drawn() = None;
    }
}

impl Drawn {
    /// Returns the text that erases the lines on a terminal with this number of columns. Lines that
    /// were drawn on a wider terminal occupy more rows.
    fn erasing(&self, columns: usize) -> String {
        let rows = |line: &String| width(line).div_ceil(columns).max(1);
        let rows: usize = self.lines.iter().map(rows).sum();
        let mut text = "\r".to_owned();
        if rows > 1 {
            // Writing to a String does not fail.
            let _ = write!(text, "\x1b[{}A", rows - 1);
        }
        text + "\x1b[J"
    }
}

/// Writes log lines to standard error, above the drawn lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_above(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Writes whole lines.
fn write_above(bytes: &[u8]) -> io::Result<()> {
    let drawn = drawn();
    let Some(drawn) = drawn.as_ref().filter(|drawn| !drawn.lines.is_empty()) else {
        return io::stderr().write_all(bytes);
    };
    let mut text = drawn.erasing(size().1).into_bytes();
    text.extend_from_slice(bytes);
    text.extend_from_slice(drawn.lines.join("\r\n").as_bytes());
    io::stderr().write_all(&text)
}

fn drawn() -> MutexGuard<'static, Option<Drawn>> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the number of rows and columns.
fn size() -> (usize, usize) {
    let (rows, columns) = match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        Ok(_) | Err(_) => (ROWS, COLUMNS),
    };
    (rows.into(), columns.into())
}

/// Returns the width of a line in columns, without its colours.
fn width(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let plain = parts.next().unwrap_or_default().chars().count();
    let rest = parts.map(|part| part.split_once('m').map_or("", |(_, text)| text));
    plain + rest.map(|text| text.chars().count()).sum::<usize>()
}

/// The terminal's echo of control keys: without this, `^C` would stay behind the last line.
#[derive(Debug)]
struct Keys {
    hidden: bool,
}

impl Keys {
    /// A background process must not change the terminal.
    fn hide() -> Self {
        let is_ours = tcgetpgrp(io::stderr()).is_ok_and(|group| group == getpgrp());
        Self {
            hidden: is_ours && set(false),
        }
    }

    fn show(&mut self) {
        if std::mem::take(&mut self.hidden) {
            set(true);
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.show();
    }
}

/// Sets the echo, and returns whether that changed anything.
fn set(shown: bool) -> bool {
    let Ok(mut modes) = tcgetattr(io::stderr()) else {
        return false;
    };
    if modes.local_modes.contains(LocalModes::ECHOCTL) == shown {
        return false;
    }
    modes.local_modes.set(LocalModes::ECHOCTL, shown);
    tcsetattr(io::stderr(), OptionalActions::Now, &modes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_a_narrower_terminal_breaks_take_more_rows() {
        let drawn = Drawn {
            lines: vec!["x".repeat(77), terminal::red("y"), String::new()],
        };
        assert_eq!(drawn.erasing(80), "\r\x1b[2A\x1b[J");
        assert_eq!(drawn.erasing(40), "\r\x1b[3A\x1b[J");
        assert_eq!(Drawn::default().erasing(80), "\r\x1b[J");
        assert_eq!(width(&format!("{} a", terminal::red("é"))), 3);
    }
}
