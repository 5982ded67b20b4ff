//! Every timed run as a line (RFC 4180).

use crate::shootout::result::{Scenario, Shootout, Standing};

const HEADER: &str = "scenario,in_flight,name,round,wall_s,user_s,system_s,\
     voluntary_switches,involuntary_switches,files,bytes,origin_cpu_s";

pub(super) fn text(shootout: &Shootout) -> String {
    let mut lines = vec![HEADER.to_owned()];
    for scenario in &shootout.scenarios {
        for standing in &scenario.standings {
            lines.extend(rows(scenario, scenario.in_flight, standing));
        }
        for point in &scenario.scan {
            for standing in &point.standings {
                lines.extend(rows(scenario, point.in_flight, standing));
            }
        }
    }
    lines.push(String::new());
    lines.join("\r\n")
}

/// Whoever failed has no time, and so no line.
fn rows(scenario: &Scenario, in_flight: u16, standing: &Standing) -> Vec<String> {
    if standing.measured().is_none() {
        return Vec::new();
    }
    let runs = standing.runs.iter();
    runs.map(|run| {
        [
            quoted(&scenario.name),
            in_flight.to_string(),
            quoted(&standing.name),
            run.round.to_string(),
            run.wall_s.to_string(),
            run.user_s.to_string(),
            run.system_s.to_string(),
            run.voluntary.to_string(),
            run.involuntary.to_string(),
            run.files.to_string(),
            run.bytes.to_string(),
            run.origin_cpu_s
                .map_or_else(String::new, |cpu| cpu.to_string()),
        ]
        .join(",")
    })
    .collect()
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
