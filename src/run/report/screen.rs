//! The terminal display of a run: a line for the whole, and one for each of the oldest downloads.
//!
//! It composes lines that fit the given rows and columns, and does not draw them.

use std::time::Duration;

use protocol::Phase;
use url::Url;

use super::pace::Rates;
use super::text::RunningLine;
use crate::format;
use crate::run::stats::Stats;
use crate::terminal;

/// Free columns at the end of each line, for the terminal's echo of a key.
const MARGIN: usize = 3;

/// Minimum and maximum width of the bar, in columns.
const BAR: std::ops::RangeInclusive<usize> = 10..=40;

/// Maximum width of a host name, in columns.
const HOST: usize = 24;

/// Columns of the figures after a path: size, share, speed and time, with a space before each.
const FIGURES: usize = 9 + 5 + 12 + 8;

/// The properties of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Screen {
    /// Characters on a line.
    pub(super) columns: usize,
    /// Lines.
    pub(super) rows: usize,
    /// Whether it may support only ASCII.
    pub(super) ascii: bool,
    /// Whether it shows colours.
    pub(super) color: bool,
}

/// The data to display.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) stats: &'a Stats,
    pub(super) rates: Rates,
    /// The time left, if it is known.
    pub(super) left: Option<Duration>,
    /// The running downloads.
    pub(super) running: &'a [RunningLine],
}

impl Screen {
    /// Returns the lines, at most a third of the rows. `least` is their minimum, so that nothing
    /// jumps.
    pub(super) fn lines(self, view: &View<'_>, least: usize) -> Vec<String> {
        let width = self.columns.saturating_sub(MARGIN).max(1);
        let room = (self.rows / 3).max(2) - 1;
        let mut lines = vec![self.total(view, width)];
        let mut oldest: Vec<&RunningLine> = view.running.iter().collect();
        oldest.sort_by_key(|line| std::cmp::Reverse(line.elapsed));
        let shown = match oldest.len() > room {
            true => room - 1,
            false => oldest.len(),
        };
        lines.extend(
            oldest[..shown]
                .iter()
                .map(|line| self.download(line, width)),
        );
        if shown < oldest.len() {
            let more = format!("  and {} more", oldest.len() - shown);
            let more: String = more.chars().take(width).collect();
            lines.push(more.trim_end().to_owned());
        }
        let least = least.min(room + 1);
        lines.resize(lines.len().max(least), String::new());
        lines
    }

    fn total(self, view: &View<'_>, width: usize) -> String {
        let mut parts = vec![files(view.stats)];
        let failed = view.stats.failures() + view.stats.quarantined;
        if failed > 0 {
            parts.push(format!("{failed} failed"));
        }
        parts.push(format!("ETA {}", eta(view)));
        // These are dropped first if there is little room.
        let optional = [
            format!("{}/s", format::bytes(view.rates.bytes)),
            #[allow(clippy::cast_precision_loss, reason = "for people")]
            format::bytes(bytes(view) as f64),
        ];
        for part in optional {
            let length: usize = parts.iter().map(|part| part.len() + 2).sum();
            if length + part.len() <= width {
                parts.insert(1, part);
            }
        }
        let mut text = parts.join(", ");
        if text.len() > width {
            text.truncate(width);
            text.truncate(text.trim_end().len());
        }
        let bar = width.saturating_sub(text.len() + 1).min(*BAR.end());
        let bar = match view.stats.expected() {
            Some(expected) if bar >= *BAR.start() => {
                format!("{} ", self.bar(view.stats.finished(), expected, bar))
            }
            Some(_) | None => String::new(),
        };
        if self.color && failed > 0 {
            let part = format!("{failed} failed");
            text = text.replacen(&part, &terminal::red(&part), 1);
        }
        format!("{bar}{text}")
    }

    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "columns of a bar"
    )]
    fn bar(self, done: u64, all: u64, width: usize) -> String {
        let share = done as f64 / all.max(1) as f64;
        let filled = ((share * width as f64) as usize).min(width);
        let (full, empty) = match self.ascii {
            true => ("#", "."),
            false => ("━", "─"),
        };
        format!("{}{}", full.repeat(filled), empty.repeat(width - filled))
    }

    fn download(self, line: &RunningLine, width: usize) -> String {
        let (host, path) = host_and_path(&line.url);
        let figures = figures(line);
        let indent = 2;
        // The path gets at least half of the room that the figures leave.
        let room = width.saturating_sub(indent + FIGURES);
        let (room, figures) = match room >= 12 {
            true => (room, figures),
            false => (width.saturating_sub(indent), String::new()),
        };
        let host_room = HOST.min(room * 2 / 5);
        let host = self.cut_start(&host, host_room);
        let path = self.cut_middle(&path, room.saturating_sub(host_room + 1));
        let path_room = room.saturating_sub(host_room + 1);
        let text = format!("  {host:<host_room$} {path:<path_room$}{figures}");
        text.trim_end().to_owned()
    }

    const fn mark(self) -> &'static str {
        match self.ascii {
            true => "...",
            false => "…",
        }
    }

    /// Returns the end of a text. The end of a host name matters most: it says who owns the host.
    fn cut_start(self, text: &str, width: usize) -> String {
        let length = text.chars().count();
        if length <= width {
            return text.to_owned();
        }
        let mark = self.mark();
        let kept = width.saturating_sub(mark.chars().count());
        let end: String = text.chars().skip(length - kept).collect();
        format!("{mark}{end}").chars().take(width).collect()
    }

    /// Returns a text without its middle. Most of what remains is its end.
    fn cut_middle(self, text: &str, width: usize) -> String {
        let length = text.chars().count();
        if length <= width {
            return text.to_owned();
        }
        let mark = self.mark();
        let kept = width.saturating_sub(mark.chars().count());
        let (front, back) = (kept / 3, kept - kept / 3);
        let start: String = text.chars().take(front).collect();
        let end: String = text.chars().skip(length - back).collect();
        format!("{start}{mark}{end}").chars().take(width).collect()
    }
}

/// Returns the number of finished files and of all files as text.
pub(super) fn files(stats: &Stats) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let number = |count: u64| format::number(count as f64);
    let finished = stats.finished();
    let noun = |count: u64| if count == 1 { "file" } else { "files" };
    match stats.expected() {
        Some(expected) if stats.is_counted() => {
            format!(
                "{} of {} {}",
                number(finished),
                number(expected),
                noun(expected)
            )
        }
        Some(expected) => format!(
            "{} of about {} {}",
            number(finished),
            number(expected.max(finished)),
            noun(expected)
        ),
        None => format!("{} {}", number(finished), noun(finished)),
    }
}

/// Returns the number of bytes stored, plus those received by running downloads.
pub(super) fn bytes(view: &View<'_>) -> u64 {
    let heard = view.running.iter().filter_map(|line| line.heard.as_ref());
    let running: u64 = heard.map(|heard| heard.bytes).sum();
    view.stats.bytes.saturating_add(running)
}

/// Returns the time left as text, or `--` if it is unknown.
pub(super) fn eta(view: &View<'_>) -> String {
    view.left.map_or_else(|| "--".to_owned(), format::duration)
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn figures(line: &RunningLine) -> String {
    let elapsed = short(line.elapsed);
    let Some(heard) = &line.heard else {
        return format!(" {:>26} {elapsed:>7}", "connecting");
    };
    if heard.phase != Phase::Receiving {
        let phase = match heard.phase {
            Phase::Requesting => "waiting",
            Phase::Receiving => "receiving",
            Phase::Storing => "storing",
            Phase::Executing => "executing",
        };
        return format!(" {phase:>26} {elapsed:>7}");
    }
    let share = match heard.expected {
        Some(expected) if expected > 0 => {
            format!("{}%", (heard.bytes * 100 / expected).min(100))
        }
        Some(_) | None => String::new(),
    };
    let speed = heard
        .speed
        .map_or_else(String::new, |speed| format!("{}/s", format::bytes(speed)));
    // The announced size, or else the bytes received.
    let size = heard.expected.unwrap_or(heard.bytes);
    format!(
        " {:>8} {share:>4} {speed:>11} {elapsed:>7}",
        format::bytes(size as f64)
    )
}

/// Returns a time in seven characters.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds / 60),
        6000..360_000 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn host_and_path(text: &str) -> (String, String) {
    match Url::parse(text) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default().to_owned();
            let query = url
                .query()
                .map_or_else(String::new, |query| format!("?{query}"));
            (host, format!("{}{query}", url.path()))
        }
        Err(_) => (String::new(), text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::text::Activity;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn screen(columns: usize, rows: usize) -> Screen {
        Screen {
            columns,
            rows,
            ascii: false,
            color: false,
        }
    }

    fn line(url: &str, seconds: u32, bytes: u64, expected: Option<u64>) -> RunningLine {
        RunningLine {
            url: url.to_owned(),
            elapsed: SECOND * seconds,
            heard: Some(Activity {
                phase: Phase::Receiving,
                bytes,
                expected,
                speed: Some(1_500_000.0),
            }),
        }
    }

    fn lines(screen: Screen, running: &[RunningLine]) -> Vec<String> {
        let stats = Stats {
            stored: 437,
            offered: 1200,
            bytes: 12_000_000,
            input_ended: true,
            failed: [(protocol::FailureKind::Status, 2)].into(),
            ..Stats::new(Instant::now())
        };
        let view = View {
            stats: &stats,
            rates: Rates {
                files: 5.0,
                bytes: 1_234_567.0,
                over: 10 * SECOND,
            },
            left: Some(185 * SECOND),
            running,
        };
        screen.lines(&view, 0)
    }

    #[test]
    fn a_line_for_the_whole_and_one_for_each_download() {
        let running = [
            line(
                "https://data.example.com/archive/2019/very/long/way/x.tar.gz",
                12,
                4 << 20,
                Some(16 << 20),
            ),
            line("https://h.example/y", 75, 1 << 20, None),
        ];
        assert_eq!(
            lines(screen(80, 24), &running),
            [
                "━━━━──────── 439 of 1,200 files, 16.4 MiB, 1.2 MiB/s, 2 failed, ETA 3 min 5 s",
                "  h.example        /y                        1.0 MiB        1.4 MiB/s    75 s",
                "  data.example.com /archiv…ong/way/x.tar.gz 16.0 MiB  25%   1.4 MiB/s    12 s",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_more_than_a_third_of_it_is_used() {
        let urls = (0..40).map(|n| {
            let path = "long/".repeat(n);
            line(
                &format!("https://host-{n}.example/{path}x.pdf"),
                100,
                5 << 30,
                Some(6 << 30),
            )
        });
        let running: Vec<_> = urls.collect();
        for columns in [1, 5, 20, 40, 60, 80, 120, 300] {
            for rows in [1, 5, 24, 40, 100] {
                for ascii in [false, true] {
                    let screen = Screen {
                        ascii,
                        ..screen(columns, rows)
                    };
                    let lines = lines(screen, &running);
                    assert!(lines.len() <= (rows / 3).max(2), "{rows}: {lines:#?}");
                    for line in &lines {
                        let width = line.chars().count();
                        assert!(width <= columns.max(4) - 3, "{columns}: {line}");
                        assert_eq!(line.trim_end(), line);
                        assert!(!ascii || line.is_ascii(), "{line}");
                    }
                }
            }
        }
        let shown = lines(screen(80, 24), &running);
        assert_eq!(shown.len(), 8);
        assert_eq!(shown[7], "  and 34 more");
    }
}
