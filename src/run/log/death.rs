//! One line of the log of deaths: its keys, their order, their form.
//!
//! The same guarantee as for the run log: keys are only ever added, and absent values are null.

use protocol::{Phase, TaskId, Timestamp};
use serde::Serialize;

use super::RecordedWorker;
use super::form::{FormatVersion, Moment};
use crate::dispatch::{Exit, MemoryCause};
use pool::EXIT_OUT_OF_MEMORY;

/// A worker that died unexpectedly. Fields are in the order of the keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeathRecord {
    /// Version of the format.
    pub v: FormatVersion,
    /// When the coordinator noticed it.
    pub time: Moment,
    pub worker: RecordedWorker,
    /// How it ended.
    pub exit: RecordedExit,
    /// Why the coordinator ended it, if it did.
    pub killed: Option<String>,
    /// The tasks that it was running.
    pub running: Vec<RecordedRunning>,
    /// Tasks that it held and had not started. They were assigned to other workers.
    pub queued: usize,
    /// The last lines it wrote to standard error.
    pub stderr: Vec<String>,
    /// Its maximum resident memory in bytes.
    pub peak_memory: Option<u64>,
    /// Whether the kernel's out-of-memory killer ended it.
    pub oom: Option<bool>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedExit {
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its exit code.
    pub code: Option<i32>,
    /// The name of the signal.
    pub name: Option<&'static str>,
    /// The same as text.
    pub text: String,
}

/// A task that a worker was running when it died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedRunning {
    /// Its number.
    pub task: TaskId,
    /// Its URL.
    pub url: String,
    /// The phase in the last heartbeat, if there was one since the task was started.
    pub phase: Option<Phase>,
    /// Bytes of body that were received by then.
    pub bytes: Option<u64>,
}

impl RecordedExit {
    /// Creates the record of how a worker ended.
    #[must_use]
    pub fn new(exit: &Exit) -> Self {
        let (signal, code) = match exit {
            Exit::Code(code) => (None, Some(*code)),
            Exit::Signal(signal) => (Some(*signal), None),
            Exit::OutOfMemory {
                by: MemoryCause::Kernel,
            } => (Some(signal_hook::consts::SIGKILL), None),
            Exit::OutOfMemory {
                by: MemoryCause::Limit,
            } => (None, Some(EXIT_OUT_OF_MEMORY)),
            Exit::NotStarted(_) | Exit::Unknown => (None, None),
        };
        Self {
            signal,
            code,
            name: signal.and_then(signal_hook::low_level::signal_name),
            text: exit_text(exit),
        }
    }
}

/// Returns how a worker ended, as text: as the pool reports it, with the option that set a limit.
#[must_use]
pub fn exit_text(exit: &Exit) -> String {
    match exit {
        Exit::OutOfMemory {
            by: MemoryCause::Limit,
        } => "out of memory (over --worker-memory)".to_owned(),
        Exit::OutOfMemory {
            by: MemoryCause::Kernel,
        }
        | Exit::Code(_)
        | Exit::Signal(_)
        | Exit::NotStarted(_)
        | Exit::Unknown => exit.to_string(),
    }
}

/// Returns the current time of the system clock.
#[must_use]
pub fn now() -> Moment {
    Moment::from(Timestamp(jiff::Timestamp::now().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use protocol::{Epoch, SlotId};

    use super::*;

    fn death(exit: &Exit) -> DeathRecord {
        DeathRecord {
            v: FormatVersion,
            time: Moment::from(Timestamp(1_769_860_800_123_999)),
            worker: RecordedWorker {
                slot: SlotId(2),
                pid: 4711,
                epoch: Epoch(5),
            },
            exit: RecordedExit::new(exit),
            killed: None,
            running: vec![
                RecordedRunning {
                    task: TaskId(17),
                    url: "https://h/a".into(),
                    phase: Some(Phase::Receiving),
                    bytes: Some(5120),
                },
                RecordedRunning {
                    task: TaskId(18),
                    url: "https://h/b".into(),
                    phase: None,
                    bytes: None,
                },
            ],
            queued: 3,
            stderr: vec!["one".into(), "\"two\"".into()],
            peak_memory: Some(9_437_184),
            oom: Some(false),
        }
    }

    #[test]
    fn a_line_reads_as_documented() {
        let line = serde_json::to_string(&death(&Exit::Signal(11))).expect("it is JSON");
        let expected = concat!(
            r#"{"v":1,"time":"2026-01-31T12:00:00.123Z","worker":{"slot":2,"pid":4711,"epoch":5},"#,
            r#""exit":{"signal":11,"code":null,"name":"SIGSEGV","text":"signal 11 (SIGSEGV)"},"#,
            r#""killed":null,"running":[{"task":17,"url":"https://h/a","phase":"receiving","#,
            r#""bytes":5120},{"task":18,"url":"https://h/b","phase":null,"bytes":null}],"#,
            r#""queued":3,"stderr":["one","\"two\""],"peak_memory":9437184,"oom":false}"#,
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn every_kind_of_end_is_told_in_numbers_and_words() {
        let memory = |by| Exit::OutOfMemory { by };
        let table = [
            (Exit::Code(7), None, Some(7), "exit code 7"),
            (Exit::Signal(9), Some(9), None, "signal 9 (SIGKILL)"),
            (
                memory(MemoryCause::Kernel),
                Some(9),
                None,
                "out of memory (killed by the kernel)",
            ),
            (
                memory(MemoryCause::Limit),
                None,
                Some(77),
                "out of memory (over --worker-memory)",
            ),
            (
                Exit::NotStarted("why".into()),
                None,
                None,
                "not started: why",
            ),
            (Exit::Unknown, None, None, "unknown end"),
        ];
        for (exit, signal, code, text) in table {
            let recorded = RecordedExit::new(&exit);
            assert_eq!((recorded.signal, recorded.code), (signal, code), "{exit:?}");
            assert_eq!(recorded.text, text);
            assert_eq!(recorded.name.is_some(), signal.is_some());
        }
    }
}
