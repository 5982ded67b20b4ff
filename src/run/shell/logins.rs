//! Logins: sends workers the logins that they need, and processes the cookies that they return.
//!
//! Before a worker gets a task, it gets the login for the task's host, once. If a server redirects
//! to another host, the worker asks for the login of that host: the task comes back, and is
//! assigned again after the login. Later tasks of the same host get both logins from the beginning.
//!
//! If a worker has not read its logins yet, it gets no more. It then asks for them.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use protocol::codec::EncodeError;
use protocol::{
    Assigned, Assignment, Cookie, Exchange, Failure, Login, Notice, Report, Severity, TaskId,
    WorkerId,
};
use url::Url;

use super::Shell;
use super::input::size_in_channel;
use super::placing::Told;

/// Maximum space in a worker's socket for logins that it may not have read. Together with the tasks
/// that the core assigns ahead, this is well below the size of a socket buffer.
const MAX_UNREAD: u32 = 32 * 1024;

/// How often one task may ask.
const MOST_QUESTIONS: u8 = 16;

/// Maximum number of redirect hosts that are remembered for one host.
const MOST_BEHIND: usize = 32;

/// The logins that were sent to each worker.
#[derive(Debug, Default)]
pub(super) struct Desk {
    workers: HashMap<WorkerId, Known>,
    /// The hosts that were asked for, by the host of the task.
    behind: HashMap<String, Vec<String>>,
    /// Hosts whose logins were sent to tasks of other hosts. The user is told once.
    announced: HashSet<String>,
}

/// The logins that one worker has.
#[derive(Debug, Default)]
struct Known {
    /// Hash of the login that was sent for each host.
    hosts: HashMap<String, u64>,
    /// Space in its socket for logins that it may not have read.
    unread: u32,
    /// A task that was sent after all of them. A report about it shows that the logins were read.
    behind: Option<TaskId>,
}

impl Desk {
    /// Forgets a worker that has exited.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    /// Notes that `worker` has read `task`, because it reported on it.
    fn heard_of(&mut self, worker: WorkerId, task: TaskId) {
        if let Some(known) = self.workers.get_mut(&worker)
            && known.behind == Some(task)
        {
            known.behind = None;
            known.unread = 0;
        }
    }
}

impl Shell {
    /// Sends `worker` the logins that `tasks` need.
    pub(super) fn tell_logins(
        &mut self,
        worker: WorkerId,
        tasks: &[Assigned<Assignment>],
    ) -> Result<(), EncodeError> {
        if self.parts.logins.is_empty() {
            return Ok(());
        }
        let now = seconds();
        let mut told: Vec<Login> = Vec::new();
        let known = self.desk.workers.entry(worker).or_default();
        for assignment in tasks {
            let Some(entry) = self.tasks.get(&assignment.task) else {
                continue;
            };
            let Some(home) = host_of(entry.url()) else {
                continue;
            };
            let behind = self.desk.behind.get(&home).into_iter().flatten();
            let behind = behind.map(|host| (host.as_str(), true));
            for (host, asked) in std::iter::once((home.as_str(), false)).chain(behind) {
                if told.iter().any(|login| login.host == host) {
                    continue;
                }
                let login = self.parts.logins.of(host, host == home, now);
                let before = known.hosts.get(host).copied();
                // An empty login is sent only if it was asked for, or if it replaces another.
                if !asked && before.is_none() && is_nothing(&login) {
                    continue;
                }
                let said = hash(&login);
                let room = size_in_channel(login.text_bytes());
                // A login that was asked for must get through eventually.
                let most = if entry.questions > 1 {
                    MAX_UNREAD * 3 / 2
                } else {
                    MAX_UNREAD
                };
                if before != Some(said) && known.unread.saturating_add(room) <= most {
                    known.unread += room;
                    known.hosts.insert(host.to_owned(), said);
                    told.push(login);
                }
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        known.behind = tasks.last().map(|assignment| assignment.task);
        self.tell(worker, Told::Notice(Notice::Logins(told)))
    }

    /// Processes the parts of a report that concern logins, and removes them from it.
    pub(super) fn on_logins(&mut self, worker: WorkerId, report: &mut Report) {
        match report {
            Report::Started { task, .. } | Report::Released { task } => {
                self.desk.heard_of(worker, *task);
            }
            Report::Finished {
                task,
                output: stored,
            } => {
                self.on_cookies(worker, *task, &mut stored.exchange);
            }
            Report::Nacked { task, failure } => {
                self.on_cookies(worker, *task, &mut failure.exchange);
                self.on_question(worker, *task, failure);
            }
        }
    }

    fn on_cookies(&mut self, worker: WorkerId, task: TaskId, exchange: &mut Exchange) {
        let cookies = std::mem::take(&mut exchange.cookies);
        if cookies.is_empty() || !self.parts.logins.shared || !self.parts.core.holds(worker, task) {
            return;
        }
        self.take_in(task, cookies);
    }

    fn take_in(&mut self, task: TaskId, cookies: Vec<Cookie>) {
        let Some(home) = self.tasks.get(&task).and_then(|entry| host_of(entry.url())) else {
            return;
        };
        let behind = self.desk.behind.get(&home).into_iter().flatten();
        let hosts: Vec<_> = behind.map(String::as_str).chain([home.as_str()]).collect();
        self.parts.logins.take_in(cookies, &hosts, seconds());
    }

    /// Processes a question of `worker` for the login of a redirect's target, or of the task's
    /// host. A task that asks too often fails.
    fn on_question(&mut self, worker: WorkerId, task: TaskId, failure: &mut Failure) {
        if failure.severity != Severity::Unprepared || !self.parts.core.holds(worker, task) {
            return;
        }
        let answered = self.tasks.get_mut(&task).and_then(|entry| {
            entry.questions = entry.questions.saturating_add(1);
            let home = host_of(entry.url())?;
            let at = failure.exchange.final_url.as_deref();
            let host = at.map_or_else(|| Some(home.clone()), host_of)?;
            (entry.questions <= MOST_QUESTIONS).then_some((home, host))
        });
        let Some((home, host)) = answered else {
            failure.severity = Severity::Permanent;
            return;
        };
        // The worker does not have what was sent to it.
        if let Some(known) = self.desk.workers.get_mut(&worker) {
            known.hosts.remove(&host);
        }
        let is_stranger = home != host;
        let login = self.parts.logins.of(&host, !is_stranger, seconds());
        if is_stranger && !is_nothing(&login) && self.desk.announced.insert(host.clone()) {
            self.parts.console.line(&format!(
                "{home} redirects to {host}: its downloads log in there"
            ));
        }
        let behind = self.desk.behind.entry(home).or_default();
        if !behind.contains(&host) {
            if behind.len() >= MOST_BEHIND {
                behind.remove(0);
            }
            behind.push(host);
        }
    }
}

fn is_nothing(login: &Login) -> bool {
    login.credentials.is_none() && login.cookies.is_empty() && login.identity.is_none()
}

/// Returns the host of a URL without its port.
fn host_of(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.host_str()?.to_owned())
}

fn hash(login: &Login) -> u64 {
    let mut hasher = DefaultHasher::new();
    login.credentials.hash(&mut hasher);
    login.identity.hash(&mut hasher);
    for cookie in &login.cookies {
        (&cookie.domain, &cookie.path, &cookie.name, &cookie.value).hash(&mut hasher);
        (cookie.host_only, cookie.secure).hash(&mut hasher);
    }
    hasher.finish()
}

/// Returns the current time in seconds since 1970.
fn seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}
