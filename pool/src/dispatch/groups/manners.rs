//! How a group treats requests: what it served, what it refused, and how much load it may therefore
//! have.

use std::time::{Duration, Instant};

use protocol::TaskId;

use super::{Group, Groups};
use crate::dispatch::event::GroupId;
use crate::dispatch::pressure::{Asked, Pressure, Span};

/// A refusal concerns more than one task if another task was refused within this many answers.
const RECENT: u64 = 64;
/// If a group has served this many other tasks since it refused a task, the next refusal of that
/// task is the task's fault.
const OTHERS: u64 = 8;
/// Refusals in a row, each the first of its task, that show that the group is closed.
const CLOSED: u32 = 3;
/// Number of unfinished tasks of a group that are too many to be all bad.
const MANY: u32 = 8;
/// How long a group may serve nothing if it may be open, and only a few tasks bad.
const SHORT_PATIENCE: Duration = Duration::from_secs(10);

/// What is known of how a group treats requests.
#[derive(Debug, Default)]
pub(super) struct Manners {
    pressure: Option<Box<Pressure>>,
    /// When its first task was assigned.
    asked: Option<Instant>,
    served: u64,
    /// When it last served a task.
    served_at: Option<Instant>,
    /// Number of answers so far: served and refused.
    answers: u64,
    refusal: Option<Refusal>,
}

/// The latest refusal, and what came before it.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    task: TaskId,
    /// The kind of refusal ([`JobFailure::refusal`](protocol::JobFailure::refusal)).
    way: u32,
    /// The number of this answer.
    answer: u64,
    /// The number of the answer that was the latest refusal of another task, of the same kind.
    other: Option<u64>,
    /// The time of the first refusal in the present row, in which nothing was served.
    since: Instant,
    /// The row includes more than one task.
    unanimous: bool,
    /// How many refusals in the row were the first of their task.
    fresh: u32,
    /// The row has ended: something that was asked after it began was served.
    is_over: bool,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Meaning {
    /// Several tasks were refused in a row, and nothing was served in between.
    pub(in crate::dispatch) is_unanimous: bool,
    /// The task is not to blame: it spends no attempt.
    pub(in crate::dispatch) excused: bool,
    /// How often the group had served before it refused.
    pub(in crate::dispatch) served: u64,
}

impl Groups {
    /// Returns the most load that a group may have.
    pub(super) fn most_load(&self, entry: &Group) -> u32 {
        let cap = self.cap.unwrap_or(u32::MAX);
        let pressure = &entry.manners.pressure;
        pressure.as_ref().map_or(cap, |own| own.window().min(cap))
    }

    /// Returns whether `group` pushes back, so that it may get only as much as it can take at
    /// present.
    pub(in crate::dispatch) fn is_under_pressure(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|entry| entry.manners.pressure.is_some())
    }

    /// Returns whether `group` has ever served a task.
    pub(in crate::dispatch) fn has_served(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|entry| entry.manners.served > 0)
    }

    /// Notes that a task of `group`, whose load includes it, is assigned.
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

    /// Notes that `group` answered what was asked at `asked`, whatever the answer is. `most` is the
    /// most load that it could have without limits of its own.
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

    /// Notes that `group` refused `task` for now, in way `way`, and returns what that means.
    /// `before` is how often it had served when it refused this task earlier, and `patience` is how
    /// long it may be closed.
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
            // Its time has expired. It now gets the rest of its tasks as any other group, and
            // serves them or not.
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
    /// Notes the refusal of `task`, which is or is not the first of this task.
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
