//! The origin as its clients see it: real sockets, real TLS, and two clients that are not ours.

mod answers;
mod faults;
mod journal;
mod lifetime;
mod support;
mod tls;
mod validators;
