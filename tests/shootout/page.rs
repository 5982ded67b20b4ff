//! The page in a real browser: what is there, what it asks for, how it looks and how keys reach
//! it.

use serde_json::Value;

use crate::browser::{Browser, chromium};
use crate::held::Set;

/// Set to a folder, pictures of the page are kept there for a person to look at.
const PICTURES: &str = "SHOOTOUT_PICTURES";

fn lanes(standing: &Value) -> u64 {
    let lanes = &standing["timeline"]["lanes"];
    lanes.as_array().map_or(0, |lanes| lanes.len() as u64)
}

#[test]
fn a_browser_shows_every_bar_and_lane_and_asks_for_nothing() {
    let Some(program) = chromium() else { return };
    let set = Set::with(12);
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
    ]);
    assert_eq!(held.output.status.code(), Some(1), "{}", held.table());
    let timed = |standing: &&Value| standing["state"]["state"] == "measured";
    let standings: Vec<&Value> = held.standings().iter().filter(timed).collect();
    assert_eq!(standings.len(), 6, "{}", held.table());

    let mut browser = Browser::start(program);
    browser.screen(1280, "light");
    browser.open(&format!("file://{}", set.path("report.html").display()));
    assert_eq!(browser.count("[data-chart=speed] rect.bar"), 6);
    assert_eq!(browser.count("[data-chart=cpu] rect.bar"), 12);
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
    fits_every_screen(&mut browser);
    stays_by_itself(&browser);
}

/// The bars are as long as the times say, from zero.
fn lengths_are_true(browser: &mut Browser, standings: &[&Value]) {
    let script = "[...document.querySelectorAll('[data-chart=speed] rect.bar')]
        .map(bar => bar.getBoundingClientRect().width)";
    let widths = browser.evaluate(script);
    let widths: Vec<f64> = serde_json::from_value(widths).expect("numbers");
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

fn fits_every_screen(browser: &mut Browser) {
    let folder = std::env::var_os(PICTURES);
    for (width, scheme) in [
        (390, "light"),
        (390, "dark"),
        (1280, "light"),
        (1280, "dark"),
    ] {
        browser.screen(width, scheme);
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert_eq!(
            wide.as_u64(),
            Some(u64::from(width)),
            "no sideways scroll at {width}"
        );
        let paper = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor");
        assert_eq!(paper == "rgb(20, 23, 26)", scheme == "dark", "{paper}");
        if let Some(folder) = &folder {
            let picture = browser.picture();
            let path = std::path::Path::new(folder).join(format!("{width}-{scheme}.png"));
            std::fs::write(path, picture).expect("the folder of pictures is there");
        }
    }
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
