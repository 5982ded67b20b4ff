//! Facts about the machine, for the reader of a report.
//!
//! This module must not judge them, and nothing may depend on them. Unknown facts are left out.

use std::fs;
use std::path::Path;

use rustix::system::uname;

/// Returns facts as name and value.
#[must_use]
pub fn facts() -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut tell = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            facts.push((name.to_owned(), value));
        }
    };
    tell("processor", processor());
    tell("processors usable", Some(cores().to_string()));
    tell("memory", memory());
    let system = uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    tell(
        "kernel",
        Some(format!(
            "{} {} {}",
            text(system.sysname()),
            text(system.release()),
            text(system.machine())
        )),
    );
    tell(
        "frequency governor",
        line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    );
    tell(
        "load before the start",
        line("/proc/loadavg").map(|text| {
            let averages: Vec<_> = text.split_whitespace().take(3).collect();
            format!("{} (over 1, 5 and 15 minutes)", averages.join(", "))
        }),
    );
    tell(
        "coordinator",
        Some(format!(
            "{}, {} build",
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
        )),
    );
    facts
}

/// Returns the number of processors that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Returns the one-minute load average, if the kernel reports it.
#[must_use]
pub fn load() -> Option<f64> {
    line("/proc/loadavg")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn processor() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

fn memory() -> Option<String> {
    let text = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some(indicatif::HumanBytes(kib * 1024).to_string())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(path)).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}
