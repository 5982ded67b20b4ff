//! How a group takes what it is asked: what it served, what it refused, and what it may be asked
//! for that reason.

use std::time::{Duration, Instant};

use protocol::TaskId;

use super::{Group, Groups};
use crate::dispatch::event::GroupId;
use crate::dispatch::pressure::{Asked, Pressure, Span};

/// A refusal is not of one task alone if another one was refused within so many answers.
const RECENT: u64 = 64;
/// Others served since a task was refused, after which another refusal is its own.
const OTHERS: u64 = 8;
/// Refusals in a row of tasks that were not refused before, after which the group is closed.
const CLOSED: u32 = 3;
/// Unfinished tasks of a group that are too many to be all bad.
const MANY: u32 = 8;
/// How long a group that may as well be open may serve nothing.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a group's manners.
#[derive(Debug, Default)]
pub(super) struct Manners {
    pressure: Option<Box<Pressure>>,
    /// When it was first asked for anything.
    asked: Option<Instant>,
    served: u64,
    /// When it last served anything.
    served_at: Option<Instant>,
    /// Answers so far: served and refused.
    answers: u64,
    refusal: Option<Refusal>,
}

/// The latest refusal, and what came before it.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    task: TaskId,
    /// In which way ([`JobFailure::refusal`](protocol::JobFailure::refusal)).
    way: u32,
    /// Which answer it was.
    answer: u64,
    /// Which answer the latest refusal of another task was, of the same kind.
    other: Option<u64>,
    /// When the first of those refusals came between which nothing was served.
    since: Instant,
    /// They were of more than one task.
    unanimous: bool,
    /// So many of them were the first of their task.
    fresh: u32,
    /// Something that was asked for after that was served.
    is_over: bool,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Meaning {
    /// Several tasks were refused one after the other, and nothing was served between.
    pub(in crate::dispatch) is_unanimous: bool,
    /// The task is not to blame: the attempt does not count.
    pub(in crate::dispatch) excused: bool,
    /// How often the group had served when it refused.
    pub(in crate::dispatch) served: u64,
}

impl Groups {
    /// Most load of a group.
    pub(super) fn most_load(&self, entry: &Group) -> u32 {
        let cap = self.cap.unwrap_or(u32::MAX);
        let pressure = &entry.manners.pressure;
        pressure.as_ref().map_or(cap, |own| own.window().min(cap))
    }

    /// Whether `group` pushes back: it is to be asked only as it can be at the moment.
    pub(in crate::dispatch) fn is_under_pressure(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|entry| entry.manners.pressure.is_some())
    }

    /// Whether `group` has ever served anything.
    pub(in crate::dispatch) fn has_served(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|entry| entry.manners.served > 0)
    }

    /// A task of `group`, whose load includes it, is handed out.
    pub(in crate::dispatch) fn ask(&mut self, now: Instant, group: GroupId) -> Asked {
        let entry = self.groups.entry(group).or_default();
        entry.manners.asked.get_or_insert(now);
        let asked = Asked {
            at: now,
            load: entry.load,
        };
        let rest = entry.manners.pressure.as_mut().map(|own| own.ask(now));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            self.rest(group, now + rest);
        }
        asked
    }

    /// `group` answered what it was asked for, whatever the answer is worth. `most` is the most load
    /// that it could have, if nothing held it back.
    pub(in crate::dispatch) fn serve(
        &mut self,
        now: Instant,
        group: GroupId,
        asked: Asked,
        most: u32,
    ) {
        let was = self.standing(group);
        let most = self.cap.map_or(most, |cap| cap.min(most));
        let Some(Group { manners, load, .. }) = self.groups.get_mut(&group) else {
            return;
        };
        manners.served += 1;
        manners.answers += 1;
        manners.served_at = Some(now);
        if let Some(refusal) = &mut manners.refusal
            && asked.at >= refusal.since
        {
            refusal.is_over = true;
        }
        if let Some(pressure) = &mut manners.pressure
            && !pressure.serve(now, asked, *load, most)
        {
            manners.pressure = None;
        }
        self.update(group, was);
    }

    /// `group` refused to serve `task` now, in this way. `before` is how often it had served when it
    /// refused that earlier, and `patience` for how long it may be closed.
    pub(in crate::dispatch) fn refuse(
        &mut self,
        now: Instant,
        (group, task, way): (GroupId, TaskId, u32),
        asked: Asked,
        before: Option<u64>,
        patience: Duration,
    ) -> Meaning {
        let was = self.standing(group);
        let Some(Group {
            manners,
            load,
            unfinished,
            ..
        }) = self.groups.get_mut(&group)
        else {
            return Meaning {
                is_unanimous: false,
                excused: false,
                served: 0,
            };
        };
        manners.answers += 1;
        let refusal = manners.refuse(now, task, way, before.is_none());
        let patience = match refusal.fresh >= CLOSED || *unfinished >= MANY {
            true => patience,
            false => patience.min(SHORT_PATIENCE),
        };
        let since = manners.served_at.or(manners.asked).unwrap_or(now);
        let is_patient = now.saturating_duration_since(since) < patience;
        if is_patient {
            let past = Span {
                since: manners.asked.unwrap_or(now),
                served: u32::try_from(manners.served).unwrap_or(u32::MAX),
            };
            let pressure = manners
                .pressure
                .get_or_insert_with(|| Box::new(Pressure::new(now, past, *load)));
            pressure.refuse(now, asked, *load);
        } else {
            // It has had its time: it is asked for the rest as any other group, and serves or not.
            manners.pressure = None;
        }
        let others = before.map_or(0, |before| manners.served - before);
        let is_own = others >= OTHERS && !refusal.unanimous;
        let is_shared = refusal
            .other
            .is_some_and(|other| manners.answers - other <= RECENT);
        let meaning = Meaning {
            is_unanimous: refusal.unanimous,
            excused: is_patient && manners.served > 0 && is_shared && !is_own,
            served: manners.served,
        };
        self.update(group, was);
        meaning
    }
}

impl Manners {
    /// Takes note of the refusal of `task`, the first one of it or not.
    fn refuse(&mut self, now: Instant, task: TaskId, way: u32, is_first: bool) -> Refusal {
        let mut refusal = Refusal {
            task,
            way,
            answer: self.answers,
            other: None,
            since: now,
            unanimous: false,
            fresh: u32::from(is_first),
            is_over: false,
        };
        if let Some(earlier) = self.refusal {
            let is_other = earlier.task != task;
            if earlier.way == way {
                refusal.other = match is_other {
                    true => Some(earlier.answer),
                    false => earlier.other,
                };
            }
            if !earlier.is_over {
                refusal.since = earlier.since;
                refusal.unanimous = earlier.unanimous || is_other;
                refusal.fresh += earlier.fresh;
            }
        }
        self.refusal = Some(refusal);
        refusal
    }
}
