//! `coordinator help TOPIC` and `--help-all`: the long help, in whole or in part.

use clap::{Command, CommandFactory as _};

use super::visible;
use crate::cli::Cli;
use crate::hints;

/// Groups of options, by the topic that shows them.
const GROUPS: [(&str, &str); 9] = [
    ("lists", "Lists"),
    ("exec", "Each file"),
    ("http", "HTTP"),
    ("login", "Logging in"),
    ("retries", "Retries"),
    ("workers", "Workers"),
    ("crashes", "Crashes"),
    ("watching", "Watching"),
    ("comparison", "Comparison"),
];

/// There is no help on the topic.
#[derive(Debug, thiserror::Error)]
#[error("there is no help on {topic}{}; topics are {topics}", .meant.as_ref().map_or_else(String::new, |meant| format!(" (did you mean {meant}?)")))]
pub struct NoTopic {
    topic: String,
    meant: Option<String>,
    topics: String,
}

/// Returns the help on every option of a run.
#[must_use]
pub fn whole() -> String {
    let mut command = visible();
    command.render_long_help().to_string()
}

/// Returns the help on a topic, or the short help without a topic.
///
/// # Errors
///
/// Returns [`NoTopic`] if there is no such topic.
pub fn on(topic: Option<&str>) -> Result<String, NoTopic> {
    let Some(topic) = topic else {
        return Ok(Cli::command().render_help().to_string());
    };
    let lower = topic.to_ascii_lowercase();
    if lower == "all" {
        return Ok(whole());
    }
    if let Some((_, heading)) = GROUPS.iter().find(|(name, _)| *name == lower) {
        return Ok(group(heading));
    }
    let mut command = visible();
    command.build();
    if let Some(sub) = command.find_subcommand_mut(&lower) {
        return Ok(sub.render_long_help().to_string());
    }
    let notes = command.get_after_help().map(ToString::to_string);
    let notes = notes.unwrap_or_default();
    if let Some(section) = section(&notes, &lower) {
        return Ok(section);
    }
    let mut topics: Vec<String> = vec!["all".to_owned()];
    topics.extend(GROUPS.iter().map(|(name, _)| (*name).to_owned()));
    topics.extend(sections(&notes).map(|(heading, _)| name_of(heading)));
    let subcommands = command.get_subcommands();
    topics.extend(subcommands.map(|sub| sub.get_name().to_owned()));
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    Err(NoTopic {
        topic: topic.escape_debug().to_string(),
        meant: hints::nearest(&lower, &names).map(str::to_owned),
        topics: topics.join(", "),
    })
}

/// Returns the help on the options below one heading.
fn group(heading: &str) -> String {
    let whole = visible();
    // All options must be present, because some refer to others.
    let options = whole.get_arguments().cloned().map(|argument| {
        let is_other = argument.get_help_heading() != Some(heading);
        argument.hide(is_other)
    });
    let mut command = Command::new(env!("CARGO_PKG_NAME"))
        .args(options)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .help_template("{all-args}\n");
    command.render_long_help().to_string()
}

/// Returns the section of the notes with the heading `topic`.
fn section(notes: &str, topic: &str) -> Option<String> {
    let mut all = sections(notes);
    let (heading, text) = all.find(|(heading, _)| name_of(heading) == topic)?;
    Some(format!("{heading}:\n{text}\n"))
}

fn sections(notes: &str) -> impl Iterator<Item = (&str, &str)> {
    notes
        .split("\n\n")
        .filter_map(|part| part.split_once(":\n"))
}

/// Returns the topic for a heading: `exit-status` for `Exit status`.
fn name_of(heading: &str) -> String {
    heading.to_ascii_lowercase().replace(' ', "-")
}
