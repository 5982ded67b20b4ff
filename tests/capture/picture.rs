//! Draws terminal screens as SVG, one below the other.

use std::fmt::Write as _;

use vt100::{Cell, Color, Screen};

/// The size of a character, in the units of the picture.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;

/// The space around the text.
const MARGIN: f32 = 14.0;

/// The default colours of background and text.
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d6d9e0";

/// The first 16 colours of a terminal.
const COLOURS: [&str; 16] = [
    "#3b4048", "#ff7b72", "#7ee787", "#e3b341", "#79b8ff", "#d2a8ff", "#76e3ea", "#d6d9e0",
    "#7d8590", "#ffa198", "#a5f0b0", "#f0cf65", "#a5d0ff", "#e2c5ff", "#a3f0f5", "#ffffff",
];

/// Draws the command and each screen up to its last line, with text as `called` returns it.
pub fn draw(
    title: &str,
    command: &str,
    screens: &[Screen],
    called: impl Fn(&str) -> String,
) -> String {
    let mut text = String::new();
    let mut row = 0;
    put(
        &mut text,
        row,
        0,
        &format!("$ {command}"),
        "font-weight=\"bold\"",
    );
    let columns = screens
        .iter()
        .map(|screen| screen.size().1)
        .max()
        .unwrap_or(0);
    for screen in screens {
        row += 1;
        if row > 1 {
            put(&mut text, row, 0, "⋮", "opacity=\"0.5\"");
            row += 1;
        }
        for line in 0..rows(screen) {
            for (column, run, style) in runs(screen, line) {
                put(&mut text, row, column, &called(&run), &style);
            }
            row += 1;
        }
        row -= 1;
    }
    let width = f32::from(columns) * WIDTH + 2.0 * MARGIN;
    let height = f32::from(row + 1) * HEIGHT + 2.0 * MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\" \
         fill=\"{FOREGROUND}\">\n{text}</g>\n</svg>\n",
        title = escape(title),
    )
}

/// Returns the lines of a screen that [`draw`] draws, without trailing blanks.
pub fn lines(screen: &Screen) -> Vec<String> {
    let lines = screen.rows(0, screen.size().1);
    let lines = lines.take(rows(screen).into());
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// Returns the lines in a picture.
pub fn text(svg: &str) -> Vec<String> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for element in svg.lines().filter(|line| line.starts_with("<text ")) {
        let attribute = |name: &str| {
            let value = element
                .split_once(&format!(" {name}=\""))
                .expect("it is there")
                .1;
            value.split('"').next().expect("it ends").to_owned()
        };
        let content = element.split_once('>').expect("it is closed").1;
        let content = unescape(content.trim_end_matches("</text>"));
        let x: f32 = attribute("x").parse().expect("a number");
        let column = ((x - MARGIN) / WIDTH).round();
        let y = attribute("y");
        if lines.last().is_none_or(|(of, _)| *of != y) {
            lines.push((y, String::new()));
        }
        let (_, line) = lines.last_mut().expect("there is one");
        while line.chars().map(|_| 1.0).sum::<f32>() < column {
            line.push(' ');
        }
        line.push_str(&content);
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Returns the number of rows to draw: all except empty ones at the end.
fn rows(screen: &Screen) -> u16 {
    let (rows, columns) = screen.size();
    let empty = screen.rows(0, columns).collect::<Vec<_>>();
    let empty = empty.iter().rev().take_while(|line| line.trim().is_empty());
    rows - u16::try_from(empty.count()).expect("no more than there are")
}

/// Returns the parts of a row with one style: the column of each, its text, and its attributes.
fn runs(screen: &Screen, row: u16) -> Vec<(u16, String, String)> {
    let mut runs: Vec<(u16, String, String)> = Vec::new();
    for column in 0..screen.size().1 {
        let cell = screen.cell(row, column).expect("it is on the screen");
        if cell.is_wide_continuation() {
            continue;
        }
        let (shown, style) = match cell.has_contents() {
            true => (cell.contents(), style(cell)),
            false => (" ", String::new()),
        };
        match runs.last_mut() {
            Some((_, text, known)) if *known == style => text.push_str(shown),
            _ => runs.push((column, shown.to_owned(), style)),
        }
    }
    runs.retain(|(_, text, _)| !text.trim().is_empty());
    runs
}

/// Returns the attributes for the style of a character.
fn style(cell: &Cell) -> String {
    let mut style = String::new();
    if let Color::Idx(index @ 0..16) = cell.fgcolor() {
        let _ = write!(style, "fill=\"{}\"", COLOURS[usize::from(index)]);
    }
    if cell.bold() {
        style.push_str(" font-weight=\"bold\"");
    }
    if cell.dim() {
        style.push_str(" opacity=\"0.6\"");
    }
    style
}

/// Adds text at a position. Its fixed length keeps columns aligned in any font.
fn put(to: &mut String, row: u16, column: u16, text: &str, style: &str) {
    let text = text.trim_end();
    let length = u16::try_from(text.chars().count()).expect("a line");
    let _ = writeln!(
        to,
        "<text x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\" xml:space=\"preserve\" {}>{}</text>",
        MARGIN + f32::from(column) * WIDTH,
        MARGIN + f32::from(row + 1) * HEIGHT - 4.0,
        f32::from(length) * WIDTH,
        style.trim(),
        escape(text),
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
