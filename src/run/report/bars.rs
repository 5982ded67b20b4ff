//! Progress on a terminal: draws the lines of a [`Screen`], and keeps
//! everything else that is written above them.
//!
//! Lines end before the last column and with a line end, so that none is wrapped: a terminal whose
//! size changes would break the lines of indicatif anew, which are filled up to the last column.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::screen::{Screen, View};
use crate::terminal;

/// The size of a terminal that does not tell.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// What is on the terminal now, for lines from any thread; nothing if nothing is drawn.
static DRAWN: Mutex<Option<Drawn>> = Mutex::new(None);

/// Lines on the terminal; the cursor is behind the last of them.
#[derive(Debug, Default)]
struct Drawn {
    lines: Vec<String>,
}

/// See the module.
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
        // A terminal that is gone is no reason to stop.
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

    /// Takes the lines off the screen while something is done that stops this process.
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

/// However the run ends, the terminal is as it was.
impl Drop for Bars {
    fn drop(&mut self) {
        self.erase();
        *drawn() = None;
    }
}

impl Drawn {
    /// What takes the lines off a terminal that has so many columns now: lines that were drawn when
    /// it had more take more rows.
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

/// Writes lines of a log to standard error, above what is drawn there.
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

/// Rows and columns.
fn size() -> (usize, usize) {
    let (rows, columns) = match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        Ok(_) | Err(_) => (ROWS, COLUMNS),
    };
    (rows.into(), columns.into())
}

/// Columns of a line, which may have colours.
fn width(line: &str) -> usize {
    let mut parts = line.split('\x1b');
    let plain = parts.next().unwrap_or_default().chars().count();
    let rest = parts.map(|part| part.split_once('m').map_or("", |(_, text)| text));
    plain + rest.map(|text| text.chars().count()).sum::<usize>()
}

/// Whether a terminal shows control keys as they are pressed: `^C` behind the last line stays there.
#[derive(Debug)]
struct Keys {
    hidden: bool,
}

impl Keys {
    /// In the background a terminal is not this process's to change.
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

/// Sets it; whether that changed anything.
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
