//! `coordinator fleet`: from the command line to the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use super::{SET_UP, USAGE, fail, log_to, log_to_stderr};
use crate::cli::fleet::{FeedArgs, FleetCommand, JoinArgs, QueueArgs};
use crate::cli::list::ListArgs;
use crate::config::{RunConfig, list_options};
use crate::fleet::{self, Drain, Feed, FeedEnding, Join, Place, Results};
use crate::input::Source;
use crate::run;

/// Exit code: some lines cannot be used, or some URLs failed. Same as for a run.
const INCOMPLETE: u8 = 1;

/// Runs a fleet command.
pub(super) fn command(command: FleetCommand) -> ExitCode {
    match command {
        FleetCommand::Join(args) => join(*args),
        FleetCommand::Feed(args) => {
            log_to_stderr(0);
            feed(*args)
        }
        FleetCommand::Results(args) => {
            log_to_stderr(0);
            let results = Results {
                place: place(args.queue),
                json: args.json,
                export: args.export,
                missing: args.missing,
            };
            match fleet::results(&results) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => INCOMPLETE.into(),
                Err(error) => fail(SET_UP, &error),
            }
        }
        FleetCommand::Status(args) => {
            log_to_stderr(0);
            done(fleet::status(&place(args.queue), args.watch))
        }
        FleetCommand::Drain(args) => {
            log_to_stderr(0);
            done(fleet::drain(&Drain {
                place: place(args.queue),
                machines: args.machines,
                undo: args.undo,
            }))
        }
    }
}

fn feed(args: FeedArgs) -> ExitCode {
    if let Some(note) = &args.file.note {
        // Nobody to tell it to if that fails.
        let _ = writeln!(io::stderr(), "{note}");
    }
    let list = ListArgs {
        format: args.format,
        // Members name the files.
        naming: None,
        remote_header_name: false,
    };
    let lists = match list_options(list, false) {
        Ok(lists) => Arc::new(lists),
        Err(error) => return fail(USAGE, &error),
    };
    let sources = match Source::from_arguments(args.urls) {
        Ok(sources) => sources,
        Err(error) => return fail(USAGE, &error),
    };
    let ending = fleet::feed(&Feed {
        place: place(args.queue),
        sources,
        lists,
        reconcile: args.reconcile,
        send_secrets: args.send_secrets,
    });
    let FeedEnding {
        targets,
        earlier,
        duplicates,
        done,
        unusable,
    } = match ending {
        Ok(ending) => ending,
        Err(error) => return fail(SET_UP, &error),
    };
    // If standard error cannot be written, nothing else can report it.
    let _ = writeln!(
        io::stderr(),
        "fed {targets} URLs ({earlier} of them earlier), {duplicates} named twice, {done} done \
         already, {unusable} unusable"
    );
    match unusable {
        0 => ExitCode::SUCCESS,
        _ => INCOMPLETE.into(),
    }
}

fn join(args: JoinArgs) -> ExitCode {
    if let Some(list) = args.own.urls.first() {
        let list = list.display();
        return fail(
            USAGE,
            &format!("a member reads no list of its own ({list}); give it to fleet feed"),
        );
    }
    if args.own.dry_run {
        return fail(USAGE, &"--dry-run has no meaning for a member of a fleet");
    }
    log_to(run::LogLines::default, args.own.verbose, args.own.color);
    let config = match RunConfig::new(args.own) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let joined = fleet::join(Join {
        place: place(args.queue),
        machine: args.machine.unwrap_or_else(this_machine),
        config,
        lease: args.lease,
    });
    match joined {
        Ok(outcome) => outcome.code().into(),
        Err(error) => fail(SET_UP, &error),
    }
}

/// Returns the name of this machine, reduced to the characters that other names allow.
fn this_machine() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    let name: String = name.chars().filter(is_part).take(64).collect();
    if name.is_empty() {
        "member".to_owned()
    } else {
        name
    }
}

fn place(args: QueueArgs) -> Place {
    Place {
        servers: args.queue,
        run: args.run,
        creds: args.creds,
        nkey: args.nkey,
        ca: args.queue_ca,
        monitor: args.queue_monitor,
        replicas: args.replicas.into(),
    }
}

fn done(done: Result<(), fleet::FleetError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(SET_UP, &error),
    }
}
