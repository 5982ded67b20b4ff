//! Exports every record as a line of CSV (RFC 4180), with the keys of the run log in their order.
//!
//! A key with several values has a column for each. Of a task's deaths, only the number is
//! exported.

use std::borrow::Cow;
use std::io;

use super::Out;
use crate::results::ResultsError;
use crate::run::log::{Millis, Record, RecordedTiming};

const HEADER: [&str; 39] = [
    "v",
    "task",
    "url",
    "final_url",
    "outcome",
    "status",
    "path",
    "bytes",
    "sha256",
    "content_type",
    "attempts",
    "deliveries",
    "worker_slot",
    "worker_pid",
    "worker_epoch",
    "started",
    "queue_ms",
    "resolve_ms",
    "connect_ms",
    "tls_ms",
    "first_byte_ms",
    "body_ms",
    "store_ms",
    "exec_ms",
    "error_kind",
    "error_message",
    "out",
    "deaths",
    "exec_left",
    "etag",
    "last_modified",
    "simulated",
    "md5",
    "sha1",
    "sha512",
    "crc32c",
    "range",
    "suggested_name",
    "server_named",
];

/// Writes records as CSV.
pub struct Csv {
    writer: csv::Writer<Out>,
}

impl std::fmt::Debug for Csv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Csv").finish_non_exhaustive()
    }
}

impl Csv {
    /// Writes the header.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be written.
    pub fn begin(out: Out) -> Result<Self, ResultsError> {
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .from_writer(out);
        match writer.write_record(HEADER) {
            Ok(()) => Ok(Self { writer }),
            Err(error) => Err(writer.get_ref().failed(io_error(error))),
        }
    }

    pub(super) fn add(&mut self, record: &Record) -> Result<(), ResultsError> {
        let written = cells(record).and_then(|cells| {
            let cells = cells.iter().map(|cell| harmless(cell));
            let cells = cells.map(|cell| cell.into_owned());
            self.writer.write_record(cells).map_err(io_error)
        });
        written.map_err(|error| self.writer.get_ref().failed(error))
    }

    pub(super) fn finish(self) -> Result<(), ResultsError> {
        let name = self.writer.get_ref().name.clone();
        match self.writer.into_inner() {
            Ok(out) => out.finish(),
            Err(error) => Err(ResultsError::Write {
                what: name,
                source: error.into_error(),
            }),
        }
    }
}

/// Returns the error of the underlying writer, which distinguishes a closed pipe from a full disk.
fn io_error(error: csv::Error) -> io::Error {
    let said = error.to_string();
    let csv::ErrorKind::Io(error) = error.into_kind() else {
        return io::Error::other(said);
    };
    error
}

/// Names every field, so that a new key of the run log does not compile until it has a column.
fn cells(record: &Record) -> io::Result<[String; HEADER.len()]> {
    let Record {
        v,
        task,
        url,
        final_url,
        outcome,
        status,
        path,
        bytes,
        sha256,
        content_type,
        attempts,
        deliveries,
        worker,
        started,
        timing_ms,
        error,
        out,
        deaths,
        exec,
        etag,
        last_modified,
        simulated,
        md5,
        sha1,
        sha512,
        crc32c,
        range,
        suggested_name,
        server_named,
        // Only members of a fleet have this key; `fleet results` reports it.
        fleet: _,
    } = record;
    let RecordedTiming {
        queue,
        resolve,
        connect,
        tls,
        first_byte,
        body,
        store,
        exec: exec_time,
    } = timing_ms;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let worker = |part: fn(&crate::run::log::RecordedWorker) -> u32| {
        worker
            .as_ref()
            .map(part)
            .map_or_else(String::new, |n| n.to_string())
    };
    Ok([
        as_in_log(v)?,
        task.0.to_string(),
        url.clone(),
        text(final_url),
        as_in_log(outcome)?,
        as_in_log(status)?,
        text(path),
        as_in_log(bytes)?,
        as_in_log(sha256)?,
        text(content_type),
        attempts.to_string(),
        deliveries.to_string(),
        worker(|worker| worker.slot.0.into()),
        worker(|worker| worker.pid),
        worker(|worker| worker.epoch.0),
        as_in_log(started)?,
        millis(*queue)?,
        millis(*resolve)?,
        millis(*connect)?,
        millis(*tls)?,
        millis(*first_byte)?,
        millis(*body)?,
        millis(*store)?,
        millis(*exec_time)?,
        error
            .as_ref()
            .map_or_else(String::new, |error| error.kind.to_string()),
        error
            .as_ref()
            .map_or_else(String::new, |error| error.message.clone()),
        text(out),
        deaths.len().to_string(),
        exec.map_or_else(String::new, |exec| {
            exec.left
                .map_or_else(|| "gone".to_owned(), |left| left.to_string())
        }),
        text(etag),
        text(last_modified),
        as_in_log(simulated)?,
        text(md5),
        text(sha1),
        text(sha512),
        text(crc32c),
        text(range),
        text(suggested_name),
        as_in_log(server_named)?,
    ])
}

fn millis(millis: Millis) -> io::Result<String> {
    as_in_log(&millis)
}

/// Returns a single value as the run log writes it, without quotes. An absent value is empty.
fn as_in_log(value: &impl serde::Serialize) -> io::Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(match text.trim_matches('"') {
        "null" => String::new(),
        value => value.to_owned(),
    })
}

/// Spreadsheets treat text that starts like this as a formula, and servers choose some of the text.
/// The usual remedy is a quote before it.
fn harmless(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}
