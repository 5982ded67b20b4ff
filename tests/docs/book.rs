//! Builds the manual as a book without dead links.

use std::fs;
use std::path::Path;

use mdbook_driver::MDBook;

use super::pages;

/// Returns the values of `href` and `src` in a page.
fn links(html: &str) -> impl Iterator<Item = &str> {
    let values = |name| html.split(name).skip(1);
    let values = values("href=\"").chain(values("src=\""));
    values.filter_map(|rest| Some(rest.split_once('"')?.0))
}

#[test]
fn the_manual_becomes_a_book_whose_links_lead_to_its_pages() {
    let docs = pages::root().join("docs");
    let folder = tempfile::tempdir().unwrap();
    let mut book = MDBook::load(&docs).unwrap();
    book.config.build.build_dir = folder.path().to_owned();
    book.build().unwrap();

    let sources = pages::below(&docs, "md");
    let made = pages::below(folder.path(), "html");
    for source in &sources {
        let page = source.strip_prefix(&docs).unwrap().with_extension("html");
        let is_there =
            page == Path::new("SUMMARY.html") || made.contains(&folder.path().join(&page));
        assert!(is_there, "{} is no page of the book", source.display());
    }
    let mut checked = 0;
    let mut broken = Vec::new();
    for page in &made {
        let html = fs::read_to_string(page).unwrap();
        for link in links(&html) {
            let path = link.split(['#', '?']).next().unwrap();
            if path.is_empty() || path.contains(':') || path.starts_with('/') {
                continue;
            }
            checked += 1;
            if !page.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > sources.len(), "{checked} links");
}
