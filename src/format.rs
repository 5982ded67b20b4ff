//! Formats quantities for people: the same text in every terminal, in Markdown and on a page.
//!
//! This module must not decide what is shown.

use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// Formats seconds with three significant digits: `512 ms`, `3.01 s`, `2 min 5 s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds.abs() >= 120.0 {
        let whole = seconds.round();
        return format!("{} min {} s", (whole / 60.0).floor(), whole % 60.0);
    }
    match seconds.abs() {
        size if size >= 99.95 => format!("{seconds:.0} s"),
        size if size >= 9.995 => format!("{seconds:.1} s"),
        size if size >= 0.9995 => format!("{seconds:.2} s"),
        size if size >= 0.09995 => format!("{:.0} ms", seconds * 1e3),
        size if size >= 0.009_995 => format!("{:.1} ms", seconds * 1e3),
        size if size >= 0.000_999_5 => format!("{:.2} ms", seconds * 1e3),
        0.0 => "0 s".to_owned(),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

/// Formats bytes in binary units: `64.0 KiB`, `12.3 MiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    let mut size = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 999.5 {
            return match unit {
                "B" => format!("{size:.0} {unit}"),
                _ if size >= 99.95 => format!("{size:.0} {unit}"),
                _ => format!("{size:.1} {unit}"),
            };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// Formats a count or a rate: `7.3`, `58.6`, `1,234`.
#[must_use]
pub fn number(value: f64) -> String {
    if value < 9.95 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let text = format!("{value:.0}");
    let mut grouped = String::new();
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && (text.len() - place) % 3 == 0 && digit != '-' {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a duration: `8 s`, `3 min 5 s`, `2 h 10 min`.
#[must_use]
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded"
    )]
    let seconds = seconds as u64;
    let (whole, unit, part, smaller) = match seconds {
        0..60 => (seconds, "s", 0, ""),
        60..3600 => (seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => (seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => (seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    };
    match part {
        0 => format!("{whole} {unit}"),
        part => format!("{whole} {unit} {part} {smaller}"),
    }
}

/// Formats a count of something with a regular plural: `1 URL`, `30 URLs`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn count(so_many: usize, what: &str) -> String {
    let plural = if so_many == 1 { "" } else { "s" };
    format!("{} {what}{plural}", number(so_many as f64))
}

/// Formats the ratio of `other` to `one`: `6.1×`.
#[must_use]
pub fn factor(one: f64, other: f64) -> String {
    match other / one {
        factor if !factor.is_finite() => "–".to_owned(),
        factor if factor >= 99.5 => format!("{factor:.0}×"),
        factor if factor >= 9.95 => format!("{factor:.1}×"),
        factor => format!("{factor:.2}×"),
    }
}

/// Returns a table of counts, one on each line: the name, the count, and a note.
#[must_use]
pub fn counts(rows: impl IntoIterator<Item = [String; 3]>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_rows(rows);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns [`counts`] as text without trailing blanks, and without notes that exceed `width`
/// columns.
#[must_use]
pub fn counts_within(mut rows: Vec<[String; 3]>, width: Option<u16>) -> String {
    let text = counts(rows.clone()).trim_fmt();
    let Some(width) = width else { return text };
    for ([.., note], line) in rows.iter_mut().zip(text.lines()) {
        if line.chars().count() > usize::from(width) {
            note.clear();
        }
    }
    counts(rows).trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_enough() {
        for (value, expected) in [
            (0.0, "0 s"),
            (0.000_012, "12 µs"),
            (0.001_234, "1.23 ms"),
            (0.0512, "51.2 ms"),
            (0.512, "512 ms"),
            (0.9999, "1.00 s"),
            (3.014, "3.01 s"),
            (30.14, "30.1 s"),
            (125.2, "2 min 5 s"),
        ] {
            assert_eq!(seconds(value), expected);
        }
        assert_eq!(bytes(65_536.0), "64.0 KiB");
        assert_eq!(bytes(1_048_576.0 * 640.0), "640 MiB");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(7.25), "7.2");
        assert_eq!(number(3.0), "3");
        assert_eq!(count(1, "URL"), "1 URL");
        assert_eq!(count(10_000, "URL"), "10,000 URLs");
        assert_eq!(factor(0.5, 3.0), "6.00×");
    }

    #[test]
    fn times_are_rounded_to_what_matters() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (185, "3 min 5 s"),
            (3600, "1 h"),
            (7800, "2 h 10 min"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), expected);
        }
    }
}
