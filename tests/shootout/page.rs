//! The page of a real shootout in a real browser: its content, its requests, its keys, and that
//! every export has the same figures.

use std::path::Path;

use serde_json::Value;

use crate::held::{Held, Set};
use crate::support::browser::{Browser, chromium};

fn lanes(standing: &Value) -> u64 {
    let lanes = &standing["timeline"]["lanes"];
    lanes.as_array().map_or(0, |lanes| lanes.len() as u64)
}

#[test]
fn a_browser_shows_every_bar_and_lane_and_asks_for_nothing() {
    let Some(program) = chromium() else { return };
    let set = Set::with(12);
    let (csv, markdown) = (set.path("figures.csv"), set.path("figures.md"));
    let held = set.hold(&[
        "--simulate",
        "latency=20ms,size=1KiB",
        "--workers",
        "3",
        "--rounds",
        "2",
        "--scan-workers",
        "1,2",
        "--contestant",
        "broken=false {urls} {out}",
        "--export-csv",
        csv.to_str().expect("UTF-8"),
        "--export-markdown",
        markdown.to_str().expect("UTF-8"),
    ]);
    assert_eq!(held.output.status.code(), Some(1), "{}", held.table());
    let timed = |standing: &&Value| standing["state"]["state"] == "measured";
    let standings: Vec<&Value> = held.standings().iter().filter(timed).collect();
    assert_eq!(standings.len(), 6, "{}", held.table());

    let mut browser = Browser::start(program);
    browser.screen(1280, "light");
    browser.open(&format!("file://{}", set.path("report.html").display()));
    assert_eq!(browser.count("[data-chart=speed] rect.bar"), 6);
    let rows = browser.count("[data-chart=cpu] .row:not(.foot)");
    assert_eq!(rows, 6);
    assert_eq!(browser.count("[data-chart=memory] rect.bar"), 6);
    assert_eq!(browser.count("[data-chart=speed] circle.dot"), 12);
    assert_eq!(browser.count("[data-chart=curve] [data-line]"), 5);
    assert_eq!(browser.count("[data-strip]"), 6);
    for standing in &standings {
        let name = standing["name"].as_str().expect("a name");
        let expected = lanes(standing);
        let limit = if name == "sequential" { 1 } else { 3 };
        assert!((1..=limit).contains(&expected), "{name}: {expected} lanes");
        let lane = format!("[data-strip='{name}'] .lane");
        assert_eq!(browser.count(&lane), expected, "{name}");
        assert_eq!(browser.count(&format!("{lane} .task")), 12, "{name}");
    }
    lengths_are_true(&mut browser, &standings);
    keys_reach_every_download(&mut browser);
    every_export_says_the_same(&mut browser, &held, &csv, &markdown);
    stays_by_itself(&browser);
}

/// Checks that bars start at zero and have lengths in proportion to the times.
fn lengths_are_true(browser: &mut Browser, standings: &[&Value]) {
    let script = "[...document.querySelectorAll('[data-chart=speed] rect.bar')]
        .map(bar => bar.getBoundingClientRect().width)";
    let widths = browser.evaluate(script);
    let widths: Vec<f64> = serde_json::from_value(widths).expect("numbers");
    assert!(widths.is_sorted(), "the fastest is first: {widths:?}");
    let median = |standing: &&Value| standing["figures"]["wall"]["median"].as_f64();
    let medians: Vec<f64> = standings.iter().filter_map(median).collect();
    for (width, median) in widths.iter().zip(&medians) {
        let (drawn, true_share) = (width / widths[0], median / medians[0]);
        assert!(
            (drawn - true_share).abs() < 0.01,
            "{drawn} for {true_share}"
        );
    }
}

fn keys_reach_every_download(browser: &mut Browser) {
    browser.evaluate("document.querySelector('.task[tabindex=\"0\"]').focus()");
    let panel = "document.activeElement.closest('.strip').querySelector('.detail').textContent";
    let first = browser.evaluate(panel);
    let told = first.as_str().expect("a text");
    for part in [
        "http://127.0.0.1:",
        "stored",
        "first byte",
        "queue",
        "on a processor",
    ] {
        assert!(told.contains(part), "{told} lacks {part}");
    }
    browser.press("ArrowRight");
    assert_ne!(browser.evaluate(panel), first);
    browser.press("ArrowLeft");
    assert_eq!(browser.evaluate(panel), first);
    browser.press("End");
    assert_ne!(browser.evaluate(panel), first);
}

/// Checks that names, headings and figures are the same, in the same order, on the page, on the
/// terminal, in Markdown and in CSV.
fn every_export_says_the_same(browser: &mut Browser, held: &Held, csv: &Path, markdown: &Path) {
    let script = "[...document.querySelectorAll('table tr')].map(row =>
        [...row.children].map(cell => cell.textContent.trim()))";
    let on_page: Vec<Vec<String>> =
        serde_json::from_value(browser.evaluate(script)).expect("texts");
    assert_eq!(on_page.len(), 1 + 7, "{on_page:?}");

    let markdown = std::fs::read_to_string(markdown).expect("it is written");
    let in_markdown: Vec<Vec<&str>> = markdown
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let failed = |row: &[String]| row.get(1).is_some_and(|cell| cell.starts_with("failed"));
    for (page, markdown) in on_page.iter().zip(&in_markdown) {
        let same = if failed(page) { 2 } else { page.len() };
        assert_eq!(page[..same], markdown[..same]);
    }
    assert_eq!(in_markdown.len(), on_page.len());

    let terminal = held.table();
    let mut lines = terminal
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("entrant"));
    for row in &on_page {
        let line = lines.next().expect("a line for each row");
        let cells = if failed(row) { &row[..1] } else { &row[..] };
        let mut rest = line;
        for cell in cells {
            let (_, after) = rest
                .split_once(cell.as_str())
                .unwrap_or_else(|| panic!("{cell} is not where it should be in: {line}"));
            rest = after;
        }
    }
    let lead = browser.evaluate("document.querySelector('.lead').textContent");
    let lead = lead.as_str().expect("a text");
    for text in [&markdown, &terminal] {
        assert!(text.contains(lead), "{lead} is not in:\n{text}");
    }

    let text = std::fs::read_to_string(csv).expect("it is written");
    let csv: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let before = ["work", "in_flight", "entrant", "family"];
    let keys = csv[0]
        .strip_prefix(&before[..])
        .expect("what a line is about");
    for (key, heading) in keys.iter().zip(&on_page[0][1..]) {
        let word = heading.to_lowercase().replace('/', "_per_");
        assert!(key.starts_with(&word), "{key} for {heading}");
    }
    let names = |rows: &[Vec<&str>], place: usize| -> Vec<String> {
        rows.iter().map(|row| row[place].to_owned()).collect()
    };
    let shown: Vec<String> = on_page[1..].iter().map(|row| row[0].clone()).collect();
    assert_eq!(names(&csv[1..=7], 2), shown);
    for row in csv[1..=6].iter() {
        let median: f64 = row[4].parse().expect("a number");
        assert!((median - held.median(row[2])).abs() < 1e-12, "{row:?}");
    }
    // The last rows are two points of the scan, in which five contestants take part.
    assert_eq!(csv.len(), 1 + 7 + 2 * 5, "{text}");
}

fn stays_by_itself(browser: &Browser) {
    let requests = browser.events(&["Network.requestWillBeSent"]);
    assert!(!requests.is_empty(), "the page itself is one");
    for request in requests {
        let url = request["params"]["request"]["url"].as_str().expect("a URL");
        assert!(
            url.starts_with("file:") || url.starts_with("data:"),
            "{url}"
        );
    }
    let complaints = browser.events(&["Runtime.exceptionThrown", "Log.entryAdded"]);
    assert!(complaints.is_empty(), "{complaints:?}");
    let said = browser.events(&["Runtime.consoleAPICalled"]);
    assert!(said.is_empty(), "{said:?}");
}
