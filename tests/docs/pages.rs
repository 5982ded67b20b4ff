//! The pages of the manual and their parts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page.
pub struct Page {
    /// Its path relative to the repository.
    pub path: PathBuf,
    text: String,
}

/// A fenced block of code.
pub struct Block {
    /// The text after the fence.
    pub info: String,
    pub text: String,
}

/// Returns the folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all pages: those at the top of the repository, and the manual.
pub fn all() -> Vec<Page> {
    let mut paths = Vec::new();
    markdown_in(root(), &mut paths);
    for folder in ["docs", "docs/decisions"] {
        markdown_in(&root().join(folder), &mut paths);
    }
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

fn markdown_in(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    paths.extend(files.filter(|path| path.extension().is_some_and(|name| name == "md")));
}

/// Returns the files with this extension below a folder, except build output.
pub fn below(folder: &Path, ending: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                if path.extension().is_some_and(|name| name == ending) {
                    found.insert(path);
                }
            } else if !path.ends_with("target") {
                folders.push(path);
            }
        }
    }
    found
}

impl Page {
    fn read(path: PathBuf) -> Self {
        Self {
            text: fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(root()).unwrap().to_owned(),
        }
    }

    fn events(&self) -> Parser<'_> {
        Parser::new_ext(&self.text, Options::ENABLE_TABLES)
    }

    /// Returns the targets of links and pictures, as written.
    pub fn links(&self) -> Vec<String> {
        self.events()
            .filter_map(|event| match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    Some(dest_url.into_string())
                }
                _ => None,
            })
            .collect()
    }

    /// Returns the anchors of the headings, as mdbook and GitHub make them.
    pub fn anchors(&self) -> Vec<String> {
        let mut anchors = Vec::new();
        let mut heading = None;
        for event in self.events() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take().map(anchor)),
                _ => {}
            }
        }
        anchors
    }

    /// Returns the fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut is_in = false;
        for event in self.events() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    is_in = true;
                    blocks.push(Block {
                        info: info.into_string(),
                        text: String::new(),
                    });
                }
                Event::Text(text) if is_in => blocks.last_mut().unwrap().text.push_str(&text),
                Event::End(TagEnd::CodeBlock) => is_in = false,
                _ => {}
            }
        }
        blocks
    }

    /// Returns the inline code.
    pub fn code(&self) -> Vec<String> {
        self.events()
            .filter_map(|event| match event {
                Event::Code(text) => Some(text.into_string()),
                _ => None,
            })
            .collect()
    }
}

fn anchor(heading: String) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter_map(|c| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    });
    kept.collect()
}
