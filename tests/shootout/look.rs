//! How the page looks in a real browser: whether it fits, is legible for everyone, and has colours
//! that distinguish families.

use std::collections::BTreeMap;

use coordinator::shootout::report;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::sample::sixteen;
use crate::support::browser::{Browser, chromium};

const SCHEMES: [&str; 2] = ["light", "dark"];

/// Opens the page with every contestant. Returns the browser and the page's folder.
fn open() -> Option<(Browser, TempDir)> {
    let program = chromium()?;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.html");
    let page = report::page(&sixteen()).expect("the template fits the model");
    std::fs::write(&path, page).expect("writable");
    let mut browser = Browser::start(program);
    browser.screen(1280, "light");
    browser.open(&format!("file://{}", path.display()));
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)");
    Some((browser, folder))
}

#[test]
fn nothing_is_wider_than_the_screen_and_what_scrolls_says_so() {
    let Some((mut browser, _folder)) = open() else {
        return;
    };
    for width in [80, 240, 320, 400, 768, 1280] {
        for scheme in SCHEMES {
            browser.screen(width, scheme);
            browser.settle();
            browser.keep(&format!("{width}-{scheme}"));
            let wide = browser.number("document.documentElement.scrollWidth");
            assert!(
                wide <= f64::from(width),
                "{wide} pixels on a screen of {width}"
            );
        }
        for place in ["table", "svg.curve"] {
            let hint =
                format!("document.querySelector('.box:has({place}) + .hint').checkVisibility()");
            let over = browser.number(&format!(
                "(box => box.scrollWidth - box.clientWidth)(document.querySelector('.box:has({place})'))"
            ));
            assert_eq!(browser.evaluate(&hint), over > 0.0, "{place} at {width}");
            match width {
                1280 => assert!(over <= 0.0, "{place} fits a desktop: {over}"),
                400 => assert!(over > 0.0, "{place} stays readable on a phone"),
                _ => {}
            }
        }
        // The part of the table that does not scroll leaves room for the part that does.
        let fixed = browser.number(
            "(first => getComputedStyle(first).position === 'sticky'
                ? first.offsetWidth / first.closest('.box').clientWidth : 0)
             (document.querySelector('tbody th'))",
        );
        assert!(fixed < 0.5, "{fixed} of the table's width at {width}");
    }
}

#[test]
fn paper_is_white_and_holds_the_whole_table() {
    let Some((mut browser, _folder)) = open() else {
        return;
    };
    for scheme in SCHEMES {
        // A4 portrait, without margins.
        browser.paper(718, scheme);
        browser.settle();
        browser.keep(&format!("paper-{scheme}"));
        assert_eq!(background(&mut browser), "rgb(255, 255, 255)");
        for wide in [
            "document.documentElement",
            "document.querySelector('table')",
        ] {
            let width = browser.number(&format!("{wide}.scrollWidth"));
            assert!(width <= 718.0, "{wide}: {width}");
        }
        let hints = "[...document.querySelectorAll('.hint')].some(hint => hint.checkVisibility())";
        assert_eq!(browser.evaluate(hints), false, "paper does not scroll");
        everything_can_be_seen(&mut browser, &format!("paper, {scheme}"));
    }
}

fn background(browser: &mut Browser) -> String {
    let style = "getComputedStyle(document.documentElement).backgroundColor";
    let colour = browser.evaluate(style);
    colour.as_str().expect("a colour").to_owned()
}

#[test]
fn each_scale_has_its_axis_once() {
    let Some((mut browser, _folder)) = open() else {
        return;
    };
    for chart in ["speed", "cpu", "memory"] {
        assert_eq!(
            browser.count(&format!("[data-chart={chart}] .axis")),
            1,
            "{chart}"
        );
    }
    for panel in ["common", "own"] {
        assert_eq!(
            browser.count(&format!("[data-panel={panel}] .axis")),
            1,
            "{panel}"
        );
        assert_eq!(
            browser.count(&format!("[data-panel={panel}] .strip text")),
            0,
            "{panel}"
        );
    }
    // The common scale ends with the slowest run, the other with the slowest parallel run.
    let ends = |browser: &mut Browser, panel: &str| -> Vec<f64> {
        let script = format!(
            "[...document.querySelectorAll('[data-panel={panel}] .strip')].map(strip =>
                parseFloat(strip.querySelector('.end').getAttribute('x1')))"
        );
        serde_json::from_value(browser.evaluate(&script)).expect("numbers")
    };
    let common = ends(&mut browser, "common");
    assert_eq!(common.len(), 6);
    assert!(common[..5].iter().all(|end| *end < 20.0), "{common:?}");
    assert!((common[5] - 100.0).abs() < 1e-6, "{common:?}");
    let own = ends(&mut browser, "own");
    assert_eq!(own.len(), 5);
    assert!(own.iter().all(|end| *end > 95.0), "{own:?}");
}

/// Elements with too little contrast, and the number of elements checked.
#[derive(Debug, Deserialize)]
struct Contrast {
    texts: usize,
    marks: usize,
    faint: Vec<Value>,
}

/// WCAG 2.2, level AA: text has a contrast of 4.5 to its background (1.4.3), and a mark that
/// carries a figure has one of 3 (1.4.11).
const CONTRAST: &str = r#"(() => {
  const colour = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    const rgb = numbers.slice(0, 3).map((part) => (text.startsWith("color(") ? part : part / 255));
    return [...rgb, numbers[3] ?? 1];
  };
  const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = colour(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reduceRight((below, layer) => over(layer, below), [1, 1, 1]);
  };
  const opacity = (element) => {
    let product = 1;
    for (let at = element; at; at = at.parentElement) product *= getComputedStyle(at).opacity;
    return product;
  };
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ratio = (element, paint, back) => {
    const top = colour(paint);
    top[3] *= opacity(element);
    const [one, other] = [luminance(over(top, back)), luminance(back)];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  };
  const faint = [];
  const check = (element, paint, back, least, what) => {
    const found = ratio(element, paint, back);
    if (!(found >= least)) faint.push([what, found, paint]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, title") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const paint = element instanceof SVGElement ? style.fill : style.color;
    texts += 1;
    check(element, paint, behind(element), 4.5, node.textContent.trim());
  }
  const marks = {
    fill: ".bar:not(.system), .wait:not(i), .work:not(i), circle.dot:not(.far)",
    stroke: ".bar.system, .range:not(i), .mark:not(i), .far:not(i), polyline.line, .leader, .point, .end, .start",
    backgroundColor: "tbody .sw, .families .sw",
  };
  let count = 0;
  for (const [property, selector] of Object.entries(marks)) {
    for (const element of document.querySelectorAll(selector)) {
      if (!element.checkVisibility()) continue;
      count += 1;
      check(element, getComputedStyle(element)[property], behind(element.parentElement), 3, element.outerHTML.slice(0, 80));
    }
  }
  return { texts, marks: count, faint };
})()"#;

fn everything_can_be_seen(browser: &mut Browser, how: &str) {
    let contrast = browser.evaluate(CONTRAST);
    let contrast: Contrast = serde_json::from_value(contrast).expect("figures");
    assert!(contrast.texts > 300, "{how}: {} texts", contrast.texts);
    assert!(contrast.marks > 300, "{how}: {} marks", contrast.marks);
    assert!(contrast.faint.is_empty(), "{how}: {:?}", contrast.faint);
}

#[test]
fn everyone_can_read_it_in_the_light_and_in_the_dark() {
    let Some((mut browser, _folder)) = open() else {
        return;
    };
    for scheme in SCHEMES {
        browser.screen(1280, scheme);
        browser.settle();
        let dark = background(&mut browser) == "rgb(20, 23, 26)";
        assert_eq!(dark, scheme == "dark");
        everything_can_be_seen(&mut browser, scheme);
    }
}

#[test]
fn each_family_has_one_colour_that_every_eye_tells_from_the_others() {
    let Some((mut browser, _folder)) = open() else {
        return;
    };
    for scheme in SCHEMES {
        browser.screen(1280, scheme);
        browser.settle();
        let script = r#"["ours", "outside", "python"].map((family) => [family, [...new Set(
            [...document.querySelectorAll(`.${family} :is(.bar, .wait, .work, polyline.line, .sw)`)].map((mark) => {
              const style = getComputedStyle(mark);
              if (!(mark instanceof SVGElement)) return style.backgroundColor;
              return mark.matches(".system, .line") ? style.stroke : style.fill;
            }))]])"#;
        let families: Vec<(String, Vec<String>)> =
            serde_json::from_value(browser.evaluate(script)).expect("colours");
        let mut colours = BTreeMap::new();
        for (family, found) in families {
            assert_eq!(found.len(), 1, "{family} has {found:?}");
            colours.insert(family, rgb(&found[0]));
        }
        for (name, eye) in EYES {
            let seen: Vec<_> = colours
                .iter()
                .map(|(family, rgb)| (family, oklab(eye, *rgb)))
                .collect();
            for (place, (one, here)) in seen.iter().enumerate() {
                for (other, there) in &seen[place + 1..] {
                    let distance = distance(*here, *there);
                    // A difference of 0.02 is just visible.
                    assert!(
                        distance > 0.08,
                        "{scheme}, {name}: {one} and {other} differ by {distance}"
                    );
                }
            }
        }
    }
}

type Matrix = [[f64; 3]; 3];

/// How eyes see linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
const EYES: [(&str, Matrix); 4] = [
    (
        "most eyes",
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ),
    (
        "protanopia",
        [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ],
    ),
    (
        "deuteranopia",
        [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ],
    ),
    (
        "tritanopia",
        [
            [1.255_528, -0.076_749, -0.178_779],
            [-0.078_411, 0.930_809, 0.147_602],
            [0.004_733, 0.691_367, 0.303_900],
        ],
    ),
];

fn rgb(text: &str) -> [f64; 3] {
    let inner = text.trim_start_matches("rgb(").trim_end_matches(')');
    let parts: Vec<f64> = inner
        .split(", ")
        .map(|part| {
            part.parse()
                .unwrap_or_else(|_| panic!("{text} is no plain colour"))
        })
        .collect();
    <[f64; 3]>::try_from(parts)
        .expect("three parts")
        .map(|part| {
            let part = part / 255.0;
            match part <= 0.04045 {
                true => part / 12.92,
                false => ((part + 0.055) / 1.055).powf(2.4),
            }
        })
}

fn times(matrix: Matrix, vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(one, other)| one * other).sum())
}

/// Returns the colour in Oklab (Ottosson, 2020), where distances match what people see.
fn oklab(eye: Matrix, linear: [f64; 3]) -> [f64; 3] {
    let seen = times(eye, linear).map(|part| part.clamp(0.0, 1.0));
    let cones = times(
        [
            [0.412_221_470_8, 0.536_332_536_3, 0.051_445_992_9],
            [0.211_903_498_2, 0.680_699_545_1, 0.107_396_956_6],
            [0.088_302_461_9, 0.281_718_837_6, 0.629_978_700_5],
        ],
        seen,
    );
    times(
        [
            [0.210_454_255_3, 0.793_617_785_0, -0.004_072_046_8],
            [1.977_998_495_1, -2.428_592_205_0, 0.450_593_709_9],
            [0.025_904_037_1, 0.782_771_766_2, -0.808_675_766_0],
        ],
        cones.map(f64::cbrt),
    )
}

fn distance(one: [f64; 3], other: [f64; 3]) -> f64 {
    let squares = one
        .iter()
        .zip(other)
        .map(|(one, other)| (one - other).powi(2));
    squares.sum::<f64>().sqrt()
}
