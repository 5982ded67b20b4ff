//! `coordinator chaos --fleet`: no URL may be lost when members, the feeder and the queue die.

use serde_json::Value;

use crate::queue;
use crate::support::Run;

fn chaos(arguments: &str) -> Run {
    let server = queue::program();
    let run = Run::new()
        .with("chaos --json --time-limit 2m")
        .with(arguments)
        .with(&format!("--nats-server {}", server.display()));
    std::fs::create_dir(run.path("tmp")).unwrap();
    let tmp = run.path("tmp");
    run.env("TMPDIR", tmp)
}

#[test]
fn nothing_is_lost_whoever_of_a_fleet_dies() {
    let run = chaos(
        "--fleet 3 --workers 2 --urls 900 --seed 1 --faults all,kill=5/s,coordinator=2,server=1,cut=1,\
         suspend=1,feeder=2,hang=0,stop=0,eat=0,stall=0,slow=0,endless=0,poison=0",
    );
    let ended = run.finish().code(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["verdict"], "clean", "{report:#}");
    let found = &report["found"];
    assert_eq!(found["stored"], 900, "{report:#}");
    assert!(found["of"].as_object().unwrap().len() >= 2, "{report:#}");
    for (injection, least) in [
        ("coordinator", 2),
        ("cut", 1),
        ("feeder", 2),
        ("suspend", 1),
    ] {
        assert!(
            report["injections"][injection].as_u64() >= Some(least),
            "{report:#}"
        );
    }
    assert!(report["server_starts"].as_u64() >= Some(2), "{report:#}");
    assert!(report["worker_deaths"].as_u64() >= Some(5), "{report:#}");
    let left: Vec<_> = std::fs::read_dir(run.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "nothing is kept of a clean run: {left:?}");
}

#[test]
fn faults_of_a_fleet_befall_a_fleet_only() {
    Run::new()
        .with("chaos --faults cut=1")
        .finish()
        .code(2)
        .says(&["--faults", "cut applies only to a fleet", "--fleet"]);
}
