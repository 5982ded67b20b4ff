//! The markup of the page, for results of every shape. Other tests show it in a browser.

use coordinator::shootout::report::page;
use coordinator::shootout::result::Standing;

use crate::sample::{about, failed, measured, scenario, shootout, with_lanes};

fn render(standings: Vec<Standing>) -> String {
    page(&shootout(scenario(standings))).expect("the template fits the model")
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

/// Returns the part of the page from the start of a chart to the end of its figure.
fn chart<'a>(page: &'a str, kind: &str) -> &'a str {
    let (_, from) = page
        .split_once(&format!("data-chart=\"{kind}\""))
        .unwrap_or_else(|| panic!("no chart of {kind}"));
    from.split("</figure>")
        .next()
        .expect("there is a first part")
}

#[test]
fn there_is_a_bar_for_each_time_and_a_lane_for_each_worker() {
    let two = ["threads", "async"].map(|name| with_lanes(about(name, 0.5), 3));
    let page = render(two.into());
    for kind in ["speed", "cpu", "memory"] {
        assert_eq!(count(chart(&page, kind), "<rect class=\"bar "), 2, "{kind}");
    }
    assert_eq!(count(&page, "<g class=\"lane\">"), 2 * 3);
    assert_eq!(count(&page, "<g class=\"task\""), 2 * 3 * 5);
    let reached = "<g class=\"task\" role=\"img\" tabindex=\"0\">";
    assert_eq!(count(&page, reached), 2, "Tab stops once in each");
}

#[test]
fn little_cpu_time_is_not_split() {
    let page = render(vec![
        measured("threads", &[0.5], (0.03, 0.0199), 8.0),
        measured("async", &[0.6], (0.03, 0.0201), 8.0),
    ]);
    let cpu = chart(&page, "cpu");
    assert_eq!(count(cpu, "<rect class=\"bar whole\""), 1, "{cpu}");
    assert_eq!(count(cpu, "<rect class=\"bar user\""), 1, "{cpu}");
    assert_eq!(count(cpu, "<rect class=\"bar system\""), 1, "{cpu}");
    assert!(cpu.contains("threads: 49.9 ms of CPU time;"), "{cpu}");
    let none = render(vec![about("threads", 0.5)]);
    assert_eq!(count(chart(&none, "cpu"), "user mode"), 0);
}

#[test]
fn parallel_ones_have_their_own_scale_only_where_it_shows_more() {
    let panels = |longest: f64| {
        let page = render(vec![
            with_lanes(about("sequential", longest), 1),
            with_lanes(about("threads", 0.5), 3),
        ]);
        (
            count(&page, "data-panel=\"common\""),
            count(&page, "data-panel=\"own\""),
            count(&page, "data-strip=\"threads\""),
            count(&page, "data-outline=\"threads\""),
        )
    };
    assert_eq!(panels(3.0), (1, 1, 1, 1));
    assert_eq!(panels(0.6), (1, 0, 1, 0));
    let alone = render(vec![with_lanes(about("sequential", 3.0), 1)]);
    assert_eq!(count(&alone, "data-panel"), 1);
}

#[test]
fn what_has_no_data_has_no_chart() {
    let bare = Standing {
        memory: None,
        ..about("threads", 0.5)
    };
    let page = render(vec![bare, failed("async", "exit code 7 & <no> reason")]);
    let bars = count(chart(&page, "speed"), "<rect class=\"bar ");
    assert_eq!(bars, 1, "none for who failed");
    for absent in [
        "data-chart=\"memory\"",
        "data-chart=\"curve\"",
        "data-panel=",
    ] {
        assert_eq!(count(&page, absent), 0, "{absent}");
    }
    assert!(page.contains("failed: exit code 7 &amp; &lt;no&gt; reason"));
}

#[test]
fn nothing_measured_is_a_page_as_well() {
    let failure = render(vec![failed("fibers", "there is no such approach")]);
    assert_eq!(count(&failure, "data-chart=\""), 0);
    assert!(failure.contains("there is no such approach"));
    let mut nothing = shootout(scenario(Vec::new()));
    nothing.scenarios.clear();
    assert!(page(&nothing).is_ok());
}

#[test]
fn the_machine_is_told_of_beside_the_headline() {
    let told = |load| {
        let mut shootout = shootout(scenario(vec![about("threads", 0.5)]));
        shootout.about.load = load;
        let page = page(&shootout).expect("the template fits the model");
        let (header, _) = page.split_once("</header>").expect("a header");
        header.to_owned()
    };
    let busy = told(Some(4.73));
    assert!(busy.contains("machine warn\">Load average before the start: 4.73 on 2 processors; the machine was busy"), "{busy}");
    let idle = told(Some(0.1));
    assert!(
        idle.contains(
            "machine\">Load average before the start: 0.10 on 2 processors; the machine was idle."
        ),
        "{idle}"
    );
    assert!(!told(None).contains("Load"));
}

#[test]
fn whatever_comes_from_outside_is_escaped() {
    let page = render(vec![with_lanes(about("<img src=x>", 0.5), 2)]);
    for raw in ["<img", "/<script>", "'<b>'", "& more"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.contains("&lt;img src=x&gt;"));
}

#[test]
fn the_page_needs_no_other_file() {
    let page = render(vec![about("threads", 0.5)]);
    for part in ["src=\"", "@import", "url(", "<link rel=\"stylesheet\""] {
        assert_eq!(count(&page, part), 0, "{part}");
    }
    assert_eq!(count(&page, "href=\""), count(&page, "href=\"data:,\""));
}
