//! Every link within the repository has a target, and the table of contents has every page of the
//! manual.

use std::fs;
use std::path::{Path, PathBuf};

use super::pages::{self, Page};

/// Returns what is wrong with a link of a page.
fn problem(page: &Page, link: &str, pages: &[Page]) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.path.clone(),
        path => page.path.parent().unwrap().join(path),
    };
    let Ok(target) = pages::root().join(target).canonicalize() else {
        return Some(format!("{link}: there is no such file"));
    };
    if anchor.is_empty() {
        return None;
    }
    let named = |page: &&Page| pages::root().join(&page.path).canonicalize().unwrap() == target;
    let anchors = pages.iter().find(named).map(Page::anchors);
    let anchors = anchors.unwrap_or_default();
    let is_there = anchors.iter().any(|known| known == anchor);
    (!is_there).then(|| format!("{link}: there is no such heading, but {anchors:?}"))
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages::all();
    let mut problems = Vec::new();
    for page in &pages {
        for link in page.links() {
            let problem = problem(page, &link, &pages);
            problems.extend(problem.map(|text| format!("{}: {text}", page.path.display())));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn every_page_of_the_manual_is_in_its_table_of_contents() {
    let pages = pages::all();
    let summary = Path::new("docs/SUMMARY.md");
    let contents = pages.iter().find(|page| page.path == summary).unwrap();
    let linked: Vec<PathBuf> = contents.links().iter().map(PathBuf::from).collect();
    for page in &pages {
        let Ok(path) = page.path.strip_prefix("docs") else {
            continue;
        };
        let is_listed = page.path == summary || linked.iter().any(|link| link == path);
        assert!(
            is_listed,
            "docs/SUMMARY.md does not name {}",
            path.display()
        );
    }
}

#[test]
fn pages_that_comments_name_are_there() {
    let files = pages::below(pages::root(), "rs");
    assert!(files.len() > 100, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        let words = text.split(|c| !is_path(c));
        for word in words.map(|word| word.trim_end_matches('.')) {
            let is_page = word.starts_with("docs/") && word.ends_with(".md");
            let is_there = pages::root().join(word).exists();
            assert!(!is_page || is_there, "{} names {word}", file.display());
        }
    }
}
