//! The tables as Markdown, for a README or an issue.

use std::fmt::Write as _;

use crate::format;
use crate::shootout::result::{Scenario, Shootout, Standing};
use crate::shootout::terminal::title;

const HEADER: &str = "\
| | median | mean ± sd | min – max | ideal | files/s | MiB/s | CPU user + system | peak memory | context switches |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
";

/// Writing to a string never fails.
pub(super) fn text(shootout: &Shootout) -> String {
    let mut text = String::new();
    for scenario in &shootout.scenarios {
        let _ = writeln!(
            text,
            "### {}\n\n{HEADER}{}",
            title(scenario),
            rows(scenario)
        );
        for note in &scenario.notes {
            let _ = writeln!(text, "{}\n", escaped(note));
        }
    }
    let _ = writeln!(
        text,
        "`{}`, {}\n",
        shootout.about.command, shootout.about.begun
    );
    for (name, value) in &shootout.about.facts {
        let _ = writeln!(text, "- {}: {}", escaped(name), escaped(value));
    }
    text
}

fn rows(scenario: &Scenario) -> String {
    let mut text = String::new();
    for standing in &scenario.standings {
        let _ = writeln!(
            text,
            "| {} | {} |",
            escaped(&standing.name),
            cells(standing).join(" | ")
        );
    }
    text
}

fn cells(standing: &Standing) -> Vec<String> {
    let Some(figures) = standing.measured() else {
        let (what, reason) = standing.problem().unwrap_or(("not measured", ""));
        let mut cells = vec![format!("{what}: {}", escaped(reason))];
        cells.resize(9, String::new());
        return cells;
    };
    let wall = &figures.wall;
    let deviation = wall.deviation.map(format::seconds).unwrap_or_default();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let memory = standing
        .memory
        .map(|memory| format::bytes(memory.bytes as f64));
    vec![
        format!("**{}**", format::seconds(wall.median)),
        format!("{} ± {deviation}", format::seconds(wall.mean)),
        format!(
            "{} – {}",
            format::seconds(wall.min),
            format::seconds(wall.max)
        ),
        standing.ideal_s.map(format::seconds).unwrap_or_default(),
        format::number(figures.files_per_s.median),
        format::number(figures.bytes_per_s.median / f64::from(1 << 20)),
        format!(
            "{} + {}",
            format::seconds(figures.user.median),
            format::seconds(figures.system.median)
        ),
        memory.unwrap_or_default(),
        format::number(figures.voluntary.median + figures.involuntary.median),
    ]
}

/// A cell is one line, and a bar would end it.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}
