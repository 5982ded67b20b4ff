//! The page as markup; that a browser shows it is tested with a browser.

use super::*;
use crate::shootout::result::{About, Figures, Run, Scenario, Standing, State};
use crate::shootout::timeline::{Lane, Span, Task, Timeline};
use crate::shootout::tree::{Counted, Memory};

fn standing(place: usize, name: &str) -> Standing {
    let run = |round: u32| Run {
        round,
        wall_s: 0.5 + f64::from(round) / 100.0,
        user_s: 0.1,
        system_s: 0.05,
        voluntary: 100,
        involuntary: 3,
        files: 30,
        bytes: 30 << 16,
        origin_cpu_s: Some(0.01),
    };
    let runs: Vec<Run> = (1..=3).map(run).collect();
    Standing {
        name: name.to_owned(),
        summary: "a way".to_owned(),
        place,
        command: format!("coordinator --mode {name}"),
        state: State::Measured,
        ideal_s: Some(0.5),
        figures: Figures::of(&runs),
        runs,
        memory: Some(Memory {
            bytes: 12 << 20,
            largest: 9 << 20,
            processes: 2,
            counted: Counted::Proportional,
        }),
        timeline: Some(timeline()),
    }
}

fn timeline() -> Timeline {
    let task = |number: u32, url: &str| Task {
        task: u64::from(number),
        url: url.to_owned(),
        outcome: "stored".to_owned(),
        start_us: f64::from(number) * 1e5,
        end_us: f64::from(number + 1) * 1e5,
        spans: vec![Span {
            phase: "first_byte".to_owned(),
            start_us: f64::from(number) * 1e5,
            wall_us: 1e5,
            cpu_us: 1e3,
        }],
    };
    let lane = |slot: u32| Lane {
        slot,
        place: 0,
        tasks: vec![task(0, "https://h/<script>"), task(1, "https://h/b")],
    };
    Timeline {
        length_us: 5e5,
        lanes: vec![lane(0), lane(1), lane(2)],
    }
}

fn shootout(standings: Vec<Standing>) -> Shootout {
    Shootout {
        about: About {
            begun: "2026-01-31T12:00:00Z".to_owned(),
            command: "coordinator shootout '<b>'".to_owned(),
            facts: vec![("kernel".to_owned(), "Linux".to_owned())],
            rounds: 3,
            warm_up: 2,
            caveats: vec!["A caveat & more.".to_owned()],
        },
        scenarios: vec![Scenario {
            name: "I/O-bound".to_owned(),
            simulate: None,
            latency_s: Some(0.1),
            cpu_per_task_s: 0.0,
            in_flight: 6,
            urls: 30,
            rewritten: false,
            standings,
            scan: Vec::new(),
            notes: Vec::new(),
        }],
        interrupted: false,
    }
}

fn render(standings: Vec<Standing>) -> String {
    page(&shootout(standings)).expect("the template fits the model")
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

#[test]
fn there_is_a_bar_for_each_time_and_a_lane_for_each_worker() {
    let page = render(vec![standing(0, "threads"), standing(1, "async")]);
    // Time and memory have one each, CPU has two.
    assert_eq!(count(&page, "<rect class=\"bar "), 2 + 4 + 2);
    assert_eq!(count(&page, "<g class=\"lane\">"), 2 * 3);
    assert_eq!(count(&page, "<g class=\"task\""), 2 * 3 * 2);
    assert_eq!(
        count(&page, "tabindex=\"0\"><title>")
            + count(&page, "<g class=\"task\" role=\"img\" tabindex=\"0\">"),
        2
    );
}

#[test]
fn what_has_no_data_has_no_chart() {
    let mut failed = standing(1, "async");
    failed.state = State::Failed("exit code 7 & <no> reason".to_owned());
    let mut bare = standing(0, "threads");
    bare.memory = None;
    bare.timeline = None;
    let page = render(vec![bare, failed]);
    assert_eq!(count(&page, "data-chart=\"speed\""), 1);
    assert_eq!(
        count(&page, "<rect class=\"bar "),
        1 + 2,
        "none for who failed"
    );
    for absent in [
        "data-chart=\"memory\"",
        "data-chart=\"curve\"",
        "data-strip=",
    ] {
        assert_eq!(count(&page, absent), 0, "{absent}");
    }
    assert!(page.contains("failed: exit code 7 &amp; &lt;no&gt; reason"));
}

#[test]
fn nothing_measured_is_a_page_as_well() {
    let mut nobody = standing(0, "fibers");
    nobody.state = State::Failed("there is no such approach".to_owned());
    let page = render(vec![nobody]);
    assert_eq!(count(&page, "<rect class=\"bar "), 0);
    assert_eq!(count(&page, "data-chart=\""), 0);
    assert!(page.contains("there is no such approach"));
}

#[test]
fn whatever_comes_from_outside_is_escaped() {
    let page = render(vec![standing(0, "<img src=x>")]);
    for raw in ["<img", "/<script>", "'<b>'", "& more"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("&lt;img src=x&gt;"));
}

#[test]
fn the_page_needs_no_other_file() {
    let page = render(vec![standing(0, "threads")]);
    for part in ["src=\"", "@import", "url(", "<link rel=\"stylesheet\""] {
        assert_eq!(count(&page, part), 0, "{part}");
    }
    assert_eq!(count(&page, "href=\""), count(&page, "href=\"data:,\""));
}
