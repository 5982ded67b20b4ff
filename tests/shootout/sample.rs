//! Results of every shape with invented figures. The types are the real ones of a shootout.

use coordinator::shootout::result::{
    About, Family, Figures, Run, ScanPoint, Scenario, Shootout, Standing, State,
};
use coordinator::shootout::timeline::{Lane, Span, Task, Timeline};
use coordinator::shootout::tree::{Counted, Memory};

/// A contestant with rounds of `walls` seconds, and `cpu` seconds in user and in kernel mode.
pub fn measured(name: &str, walls: &[f64], cpu: (f64, f64), mib: f64) -> Standing {
    let runs: Vec<Run> = (1..)
        .zip(walls)
        .map(|(round, wall)| Run {
            round,
            wall_s: *wall,
            user_s: cpu.0,
            system_s: cpu.1,
            voluntary: 100,
            involuntary: 3,
            files: 30,
            bytes: 30 << 16,
            origin_cpu_s: Some(0.01),
        })
        .collect();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small"
    )]
    let bytes = (mib * f64::from(1 << 20)) as u64;
    Standing {
        name: name.to_owned(),
        summary: "a way of downloading".to_owned(),
        family: family(name),
        command: format!("{name} LIST"),
        state: State::Measured,
        ideal_s: Some(0.5),
        figures: Figures::of(&runs),
        runs,
        memory: Some(Memory {
            bytes,
            processes: 2,
            counted: Counted::Proportional,
        }),
        timeline: None,
    }
}

fn family(name: &str) -> Family {
    const OURS: [&str; 6] = [
        "sequential",
        "threads",
        "processes-shared",
        "processes-chunked",
        "async",
        "hybrid",
    ];
    match name {
        name if OURS.contains(&name) => Family::Ours,
        name if name.starts_with("python-") => Family::Python,
        _ => Family::Outside,
    }
}

/// Three rounds of about `wall`, with the same CPU time and memory for every contestant.
pub fn about(name: &str, wall: f64) -> Standing {
    let walls = [wall * 0.999, wall, wall * 1.001];
    measured(name, &walls, (0.01, 0.01), 8.0)
}

pub fn failed(name: &str, reason: &str) -> Standing {
    Standing {
        state: State::Failed(reason.to_owned()),
        ..about(name, 1.0)
    }
}

/// Adds lanes of five downloads each.
pub fn with_lanes(standing: Standing, lanes: u32) -> Standing {
    let length_us = standing.runs[0].wall_s * 1e6;
    let each = length_us / 5.2;
    let task = |number: u32| {
        let start_us = f64::from(number) * each + length_us * 0.03;
        Task {
            task: number.into(),
            url: format!("https://host.example/<script>{number}"),
            outcome: "stored".to_owned(),
            start_us,
            end_us: start_us + each * 0.97,
            spans: vec![Span {
                phase: "first_byte".to_owned(),
                start_us,
                wall_us: each * 0.97,
                cpu_us: each * 0.02,
            }],
        }
    };
    let lane = |slot| Lane {
        slot,
        place: 0,
        tasks: (0..5).map(task).collect(),
    };
    Standing {
        timeline: Some(Timeline {
            length_us,
            lanes: (0..lanes).map(lane).collect(),
        }),
        ..standing
    }
}

pub fn scenario(standings: Vec<Standing>) -> Scenario {
    let mut scenario = Scenario {
        name: "I/O-bound".to_owned(),
        simulate: None,
        latency_s: Some(0.1),
        cpu_per_task_s: 0.0,
        in_flight: 6,
        urls: 30,
        rewritten: false,
        tls: false,
        standings,
        scan: Vec::new(),
        notes: Vec::new(),
    };
    scenario.sort();
    scenario
}

pub fn shootout(scenario: Scenario) -> Shootout {
    Shootout {
        about: About {
            begun: "2026-01-31T12:00:00Z".to_owned(),
            command: "coordinator shootout '<b>'".to_owned(),
            facts: vec![("kernel".to_owned(), "Linux".to_owned())],
            rounds: 3,
            warm_up: 2,
            load: Some(4.73),
            processors: 2,
            caveats: vec!["A caveat & more.".to_owned()],
        },
        scenarios: vec![scenario],
        interrupted: false,
    }
}

/// The most contestants that can take part when everything is installed. One of them fails.
pub fn sixteen() -> Shootout {
    let walls = |wall: f64| [wall, wall * 1.004, wall * 1.012, wall * 1.003, wall * 1.2];
    let one = |name: &str, wall: f64, cpu: f64, mib: f64| Standing {
        ideal_s: Some(if wall > 3.0 { 3.0 } else { 0.5 }),
        ..measured(name, &walls(wall), (cpu * 0.7, cpu * 0.3), mib)
    };
    let mut scenario = scenario(vec![
        with_lanes(one("sequential", 3.06, 0.0204, 3.2), 1),
        with_lanes(one("threads", 0.515, 0.0112, 4.3), 6),
        with_lanes(one("processes-shared", 0.52, 0.0576, 9.9), 6),
        with_lanes(one("processes-chunked", 0.521, 0.0253, 9.8), 6),
        with_lanes(one("async", 0.516, 0.009, 3.9), 6),
        with_lanes(one("hybrid", 0.517, 0.0172, 6.2), 6),
        one("curl", 0.518, 0.0107, 9.0),
        one("wget2", 0.5185, 0.0125, 5.4),
        one("aria2c", 0.538, 0.0251, 16.6),
        one("xargs+wget", 0.544, 0.0973, 7.2),
        one("python-sequential", 3.12, 0.0852, 18.7),
        one("python-threads", 0.578, 0.0766, 19.8),
        one("python-processes-queue", 0.592, 0.117, 51.7),
        one("python-processes-pool", 0.7, 0.123, 48.0),
        one("python-event-loop", 0.607, 0.0973, 23.9),
        failed(
            "a-contestant-with-a-long-name",
            "exit code 7; it said: no luck",
        ),
    ]);
    let scales = |standing: &&Standing| !standing.name.ends_with("sequential");
    let point = |in_flight: u16| ScanPoint {
        in_flight,
        standings: scenario
            .standings
            .iter()
            .filter(scales)
            .map(|standing| {
                let wall = standing.runs[0].wall_s * 6.0 / f64::from(in_flight);
                Standing {
                    state: standing.state.clone(),
                    ideal_s: Some(3.0 / f64::from(in_flight)),
                    ..about(&standing.name, wall)
                }
            })
            .collect(),
    };
    scenario.scan = [1, 2, 4, 8].map(point).into();
    shootout(scenario)
}
