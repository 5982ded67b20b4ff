//! Behaviour that all engines share: each case runs on each engine, against servers of raw bytes.

#[path = "../support/mod.rs"]
mod support;

use support::on_every_engine;

mod coding;
mod given;
mod hostile;
mod http;
mod http2;
mod http2_broken;
mod limit_rate;
mod login;
mod malice;
mod odd;
mod proxy;
mod refresh;
mod resume;
mod scripts;
mod spans;
mod split;
mod tls;
