//! Downloads as the jobs of a pool.

use std::time::SystemTime;

use pool::{Broken, Job};
use protocol::{
    Assignment, Exchange, Failure, FailureKind, HeardError, Notice, Progress, Report, Setup,
    Stored, check_report,
};

use crate::engine::timestamp;
use crate::fault::Fault;

/// Job type of this crate: one task is one download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {}

impl Job for Download {
    type Setup = Setup;
    type Notice = Notice;
    type Task = Assignment;
    type Progress = Progress;
    type Output = Stored;
    type Failure = Failure;

    fn broken(why: Broken, begun: SystemTime) -> Failure {
        let fault = Fault::permanent(FailureKind::Internal, why.to_string());
        let exchange = Exchange {
            started: timestamp(begun),
            ..Exchange::default()
        };
        Failure {
            exchange,
            kind: fault.kind,
            message: fault.message,
            severity: fault.severity,
        }
    }

    fn group(task: &Assignment) -> &str {
        origin_of(&task.url)
    }

    fn weight(report: &Report) -> usize {
        weight(report)
    }

    fn check(report: &mut Report) -> Result<(), HeardError> {
        check_report(report)
    }
}

/// Receiving side of a worker process's link.
pub type IpcInbox = pool::link::IpcInbox<Download>;

/// Sending side of a worker process's link.
pub type IpcOutbox = pool::link::IpcOutbox<Download>;

/// Returns the scheme and the authority of an absolute URL.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']);
    end.map_or(url, |length| &url[..authority + length])
}

/// Returns an upper bound for the bytes of `report` in a frame.
fn weight(report: &Report) -> usize {
    // Ids and times, each at its largest.
    const BARE: usize = 24;
    // Sizes, hash and lengths in addition.
    const FIXED: usize = 256;
    const SPAN: usize = 40;
    const COOKIE: usize = 32;
    let exchange = |exchange: &Exchange| {
        let cookies = exchange.cookies.iter();
        let cookies: usize = cookies.map(|one| one.text_bytes() + COOKIE).sum();
        exchange.final_url.as_ref().map_or(0, String::len) + exchange.spans.len() * SPAN + cookies
    };
    match report {
        Report::Started { .. } | Report::Released { .. } => BARE,
        Report::Finished { output: stored, .. } => {
            FIXED
                + exchange(&stored.exchange)
                + stored.content_type.as_ref().map_or(0, String::len)
                + stored.suggested_name.as_ref().map_or(0, String::len)
                + stored.validators.text_bytes()
        }
        Report::Nacked { failure, .. } => {
            FIXED + exchange(&failure.exchange) + failure.message.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{
        Cookie, FromWorker, MAX_SPANS, MonotonicNanos, Severity, Span, SpanPhase, TaskId,
        Timestamp, Timing, codec,
    };

    use super::*;

    /// Returns the largest possible failure.
    fn largest() -> Report {
        let longest = Duration::MAX;
        let span = Span {
            phase: SpanPhase::Store,
            start: MonotonicNanos(u64::MAX),
            wall: longest,
            cpu: longest,
        };
        let timing = Timing {
            resolve: longest,
            connect: longest,
            tls: longest,
            first_byte: longest,
            body: longest,
            store: longest,
            exec: longest,
        };
        let cookie = Cookie {
            domain: "d".repeat(250),
            host_only: true,
            path: "/".repeat(250),
            secure: true,
            http_only: true,
            expires: Some(i64::MIN),
            name: "n".repeat(250),
            value: "v".repeat(250),
        };
        let failure = Box::new(Failure {
            exchange: Exchange {
                started: Timestamp(i64::MIN),
                timing,
                status: Some(u16::MAX),
                final_url: Some("u".repeat(16 * 1024)),
                spans: vec![span; MAX_SPANS],
                cookies: vec![cookie; 8],
            },
            kind: FailureKind::Internal,
            message: "m".repeat(1024),
            severity: Severity::Transient {
                retry_after: Some(longest),
            },
        });
        Report::Nacked {
            task: TaskId(u64::MAX),
            failure,
        }
    }

    #[test]
    fn a_report_is_never_heavier_than_its_weight() {
        let (task, at) = (TaskId(u64::MAX), MonotonicNanos(u64::MAX));
        for report in [
            largest(),
            Report::Started { task, at },
            Report::Released { task },
        ] {
            let limit = weight(&report);
            let frame = codec::encode(&FromWorker::Reports(vec![report])).expect("it fits");
            assert!(frame.len() <= limit, "{} > {limit}", frame.len());
        }
    }

    #[test]
    fn a_host_is_told_by_the_beginning_of_its_urls() {
        for (url, place) in [
            ("http://a.example/x/y", "http://a.example"),
            ("https://a.example:8/", "https://a.example:8"),
            ("http://a.example?x=/", "http://a.example"),
            ("http://a.example", "http://a.example"),
            ("no URL", "no URL"),
        ] {
            assert_eq!(origin_of(url), place);
        }
    }
}
