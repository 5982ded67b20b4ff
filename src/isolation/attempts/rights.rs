//! Rights that a worker has, or could gain.

use crate::isolation::attempt::Attempt;
use crate::isolation::ground::rest;
use crate::isolation::raw::{Arg, call};

/// A core size limit that nothing else sets.
const CORE: u64 = 7_654_321;

/// The user id that root switches to.
const USER: i32 = 12_345;

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "capabilities",
        "have capabilities",
        |_| Ok(()),
        |view| view.has_capabilities("CapEff") || view.has_capabilities("CapPrm"),
    ),
    Attempt::new(
        "capabilities-bounding",
        "get capabilities from a program",
        |_| Ok(()),
        |view| view.is_root() && view.has_capabilities("CapBnd"),
    ),
    Attempt::new(
        "new-privileges",
        "get rights from a set-uid program",
        |_| Ok(()),
        |view| view.status_of_attacker("NoNewPrivs").as_deref() == Some("0"),
    ),
    Attempt::new(
        "user",
        "become another user",
        |ground| {
            // As another user, the attacker could neither remove its bait nor work.
            ground.done();
            let became = call(libc::SYS_setuid, &[USER.into()]);
            tracing::debug!(?became, "another user");
            rest()
        },
        |view| {
            let users = view.status_of_attacker("Uid");
            users.is_some_and(|users| users.starts_with(&USER.to_string()))
        },
    )
    .ends_coordinator(),
    Attempt::new(
        "own-limits",
        "raise its own limits",
        |_| {
            let limit = [CORE, CORE].map(u64::to_ne_bytes).concat();
            let kind = i64::from(libc::RLIMIT_CORE);
            let words = [0.into(), kind.into(), Arg::Bytes(&limit), 0.into()];
            call(libc::SYS_prlimit64, &words).map(drop)
        },
        |view| view.has_core_limit(CORE),
    ),
];
