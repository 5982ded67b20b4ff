//! Messages between coordinator and worker.
//!
//! This crate contains the types that both sides share, and nothing that acts: ids ([`TaskId`],
//! [`WorkerId`]), the [messages](message) for any work, their types for downloads ([`ToWorker`],
//! [`FromWorker`]), outcomes of downloads ([`Stored`], [`Failure`]), the frame codec ([`codec`]),
//! the packets that contain frames ([`packet`]), how the two ends connect ([`handshake`]), and the
//! rules of a robots.txt ([`robots`]), which both sides check.
//!
//! This crate must not download, spawn, read a clock or know how tasks are dispatched.
#![warn(missing_docs)]

mod checksum;
pub mod codec;
mod download;
mod faults;
pub mod handshake;
mod id;
mod job;
mod login;
pub mod message;
mod outcome;
pub mod packet;
mod partial;
pub mod robots;
mod setup;
mod text;

pub use checksum::{Algorithm, Checksum};
pub use download::{
    Assignment, ByteRange, Expect, FromWorker, Known, Notice, Phase, Progress, Report, Running,
    TaskKind, ToWorker,
};
pub use faults::{Faults, MAX_POISON_TEXT, MAX_POISONS, Poison, Share, TaskFault};
pub use id::{Epoch, SlotId, TaskId, WorkerId};
pub use job::{JobFailure, Severity};
pub use login::{Cookie, Credentials, Login, LoginHosts, MAX_COOKIE, MAX_COOKIES, MAX_LOGIN_HOSTS};
pub use message::Assigned;
pub use outcome::{
    Exchange, Executed, Failure, FailureKind, MAX_SPANS, MonotonicNanos, Span, SpanPhase, Stored,
    Timestamp, Timing, Validators,
};
pub use partial::{NOTE_SUFFIX, PartialNote, Validator, Whole};
pub use setup::{
    Bearer, Engine, Exemption, Family, HttpOptions, Identity, LimitRate, LoginOptions, Proxies,
    Proxy, ProxyScheme, ResolveOverride, Sandbox, Setup, Simulated, Trust, WorkerLimits,
};
pub use text::{HeardError, check_report, is_harmful};
