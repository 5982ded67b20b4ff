//! What every engine must do alike: each case runs on each of them, against servers of raw bytes.

#[path = "../support/mod.rs"]
mod support;

/// Makes a test for each engine of each case, which is a function of the engine.
macro_rules! on_every_engine {
    ($($case:ident),* $(,)?) => {
        mod blocking {
            $(#[test]
            fn $case() {
                super::$case(protocol::Engine::Blocking);
            })*
        }

        mod event {
            $(#[test]
            fn $case() {
                super::$case(protocol::Engine::Async);
            })*
        }
    };
}
use on_every_engine;

mod http;
mod odd;
mod spans;
mod tls;
