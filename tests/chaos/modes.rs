//! What isolation is for: one bad URL in every mode.

use serde_json::Value;

use crate::support::Run;

#[test]
fn only_mode_processes_survives_crashes_and_hangs() {
    let run = Run::new().with("chaos --compare-modes --urls 60 --json");
    let ended = run.finish().code(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let modes = report["modes"].as_array().unwrap();
    let names: Vec<_> = modes
        .iter()
        .map(|mode| mode["mode"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["processes", "threads", "async", "sequential"]);
    for mode in modes {
        let processes = mode["mode"] == "processes";
        assert_eq!(mode["survived"], processes, "{report:#}");
        assert_eq!(mode["lost"].as_u64().unwrap() == 0, processes, "{report:#}");
        assert!(mode["memory"]["bytes"].as_u64().unwrap() > 0, "{report:#}");
        assert!(mode["cpu_s"].as_f64().unwrap() > 0.0, "{report:#}");
    }
    assert_eq!(modes[0]["runs"], 1, "{report:#}");
    assert!(modes[0]["recovered_s"].as_f64().is_some(), "{report:#}");
}
