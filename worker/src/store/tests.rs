//! Tests of the store: what is on disk at each step.

use protocol::{Severity, Validator};

use sha2::{Digest, Sha256};

use super::*;

fn note() -> PartialNote {
    PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: "http://a.test/".to_owned(),
        validator: Validator::Etag("\"1\"".to_owned()),
        length: Some(6),
        content_type: None,
        whole: None,
    }
}

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let partial = folder.path().join(".partial");
    std::fs::create_dir(&partial).expect("a folder for partials");
    let store = Store::new(&partial, Some("boot".to_owned()), false).expect("the folder exists");
    (folder, Arc::new(store))
}

fn assignment(name: &str) -> Assignment {
    Assignment::new("http://a.test/", name)
}

fn site(store: &Arc<Store>, name: &str) -> Site {
    store.site(&assignment(name)).expect("a good name")
}

fn begin(store: &Arc<Store>, name: &str) -> Result<Partial, Fault> {
    store.site(&assignment(name))?.begin()
}

fn body(folder: &tempfile::TempDir, name: &str) -> Vec<u8> {
    std::fs::read(folder.path().join(".partial").join(name)).expect("the body is there")
}

fn partials(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path().join(".partial"))
        .expect("the folder is there")
        .count()
}

#[test]
fn a_body_is_told_with_its_size_and_hash_and_stays_in_the_folder() {
    let (folder, store) = store();
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"ab").expect("written");
    partial.note(&note());
    partial.write(b"c").expect("written");
    let file = partial.commit(|_| Ok(())).expect("whole");
    assert_eq!(file.bytes, 3);
    assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abc")));
    assert_eq!(body(&folder, "a"), b"abc");
    assert_eq!(partials(&folder), 1, "the note is gone");
}

#[test]
fn a_dropped_partial_leaves_nothing() {
    let (folder, store) = store();
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"x").expect("written");
    assert_eq!(partials(&folder), 1);
    drop(partial);
    assert_eq!(partials(&folder), 0);
}

#[test]
fn what_a_killed_worker_left_is_taken_over() {
    let (folder, store) = store();
    for path in ["a", &"n".repeat(250)] {
        let mut left = begin(&store, path).expect("a file");
        left.write(b"longer than what follows").expect("written");
        // Like a kill: nothing is cleaned up.
        std::mem::forget(left);
        let mut partial = begin(&store, path).expect("the same file");
        assert_eq!(partials(&folder), 1);
        partial.write(b"whole").expect("written");
        partial.commit(|_| Ok(())).expect("whole");
        assert_eq!(body(&folder, path), b"whole");
        let path = folder.path().join(".partial").join(path);
        std::fs::remove_file(path).expect("removed");
    }
}

#[test]
fn a_body_that_is_refused_is_removed() {
    let (folder, store) = store();
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"abc").expect("written");
    let refused = partial.commit(|file| {
        assert_eq!(file.bytes, 3);
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abc")));
        Err(Fault::permanent(FailureKind::ChecksumMismatch, "no"))
    });
    assert_eq!(refused.expect_err("no").kind, FailureKind::ChecksumMismatch);
    assert_eq!(partials(&folder), 0);
}

#[test]
fn a_name_out_of_the_folder_is_refused() {
    let (folder, store) = store();
    for path in ["", "/etc/a", "../a", "a/b", "a/", ".", "..", "a\0b"] {
        let fault = begin(&store, path).expect_err(path);
        assert_eq!(
            (fault.kind, fault.severity),
            (FailureKind::Store, Severity::Permanent)
        );
    }
    assert_eq!(partials(&folder), 0);
}

#[test]
fn a_vanished_folder_stops_the_run() {
    let (folder, store) = store();
    std::fs::remove_dir(folder.path().join(".partial")).expect("removed");
    let fault = begin(&store, "a").expect_err("nowhere to write");
    assert_eq!(fault.severity, Severity::Fatal);
}

#[test]
fn a_full_disk_stops_the_run() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let (_folder, store) = store();
    let mut partial = begin(&store, "a").expect("a file");
    partial.file = Some(full);
    let fault = partial.write(b"x").expect_err("no space");
    assert_eq!(
        (fault.kind, fault.severity),
        (FailureKind::DiskFull, Severity::Fatal)
    );
}

#[test]
fn a_noted_partial_is_kept_and_the_file_is_hashed_as_a_whole() {
    let (folder, store) = store();
    for path in ["a", "b"] {
        let mut partial = begin(&store, path).expect("a file");
        partial.write(b"abcdxx").expect("written");
        partial.note(&note());
        drop(partial);
        assert_eq!(partials(&folder), 2, "the body and its note");
        let site = site(&store, path);
        let (found, have) = site.left().expect("it is kept");
        assert_eq!((found.url.as_str(), have), ("http://a.test/", 6));
        assert_eq!(found.boot, "boot");
        let mut partial = site.resume(4).expect("it is there");
        while !partial.rehash().expect("it can be read") {}
        partial.write(b"ef").expect("written");
        let file = partial.commit(|_| Ok(())).expect("whole");
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abcdef")));
        assert_eq!(body(&folder, path), b"abcdef");
        let path = folder.path().join(".partial").join(path);
        std::fs::remove_file(path).expect("removed");
    }
}

#[test]
fn a_note_does_not_outlive_the_bytes_it_speaks_of() {
    let (folder, store) = store();
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"abcd").expect("written");
    partial.note(&note());
    drop(partial);
    let again = site(&store, "a").begin().expect("a file");
    assert_eq!(partials(&folder), 1, "only the new body");
    drop(again);
    assert_eq!(partials(&folder), 0);
}

#[test]
fn only_a_good_note_of_this_boot_counts() {
    let (folder, store) = store();
    let other = Store {
        boot: Some("other".to_owned()),
        fsync: false,
        partial: store.partial.try_clone().expect("a descriptor"),
    };
    let other = Arc::new(other);
    let leave = |store: &Arc<Store>| {
        let mut partial = begin(store, "a").expect("a file");
        partial.write(b"abcd").expect("written");
        partial.note(&note());
    };
    leave(&other);
    assert_eq!(site(&store, "a").left(), None, "another boot");
    drop(begin(&store, "a").expect("a file"));
    assert_eq!(partials(&folder), 0, "the note is gone");
    leave(&store);
    let path = folder.path().join(".partial/a~note");
    let text = std::fs::read(&path).expect("there is a note");
    for torn in [&b""[..], &text[..text.len() / 2], b"{}", b"\0\0"] {
        std::fs::write(&path, torn).expect("written");
        assert_eq!(site(&store, "a").left(), None);
    }
    leave(&store);
    std::fs::remove_file(folder.path().join(".partial/a")).expect("removed");
    assert_eq!(site(&store, "a").left(), None, "no body");
}

#[test]
fn what_failed_for_good_is_not_kept() {
    let (folder, store) = store();
    for (fault, kept) in [
        (Fault::transient(FailureKind::Truncated, "x"), 2),
        (Fault::permanent(FailureKind::TooLarge, "x"), 0),
        (Fault::fatal(FailureKind::DiskFull, "x"), 0),
    ] {
        for early in [false, true] {
            let mut partial = begin(&store, "a").expect("a file");
            partial.write(b"abcd").expect("written");
            if early {
                partial.note(&note());
            }
            partial.abandon(&fault, Some(&note()));
            assert_eq!(partials(&folder), kept, "{fault:?}");
        }
    }
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"abcd").expect("written");
    partial.abandon(&Fault::transient(FailureKind::Stalled, "x"), None);
    assert_eq!(partials(&folder), 0, "there is nothing to note");
}

#[test]
fn what_is_written_ahead_of_a_gap_is_not_vouched_for() {
    let (folder, store) = store();
    let whole_of = |bytes| {
        let text = body(&folder, "a~note");
        let note: PartialNote = serde_json::from_slice(&text).expect("JSON");
        assert_eq!((note.v, note.whole), (2, Some(protocol::Whole(bytes))));
        text.len()
    };
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"ab").expect("written");
    partial.note(&note());
    assert!(partial.spread(&note()));
    let length = whole_of(2);
    partial
        .ahead()
        .expect("a file")
        .write(b"ef", 4)
        .expect("written");
    partial.vouch(Duration::ZERO);
    whole_of(2);
    partial
        .ahead()
        .expect("a file")
        .write(b"cd", 2)
        .expect("written");
    partial.grow(5);
    partial.vouch(Duration::ZERO);
    assert_eq!(
        whole_of(5),
        length,
        "a note is written over, and must not grow"
    );
    // Like a kill: nothing is cleaned up.
    std::mem::forget(partial);
    let mut next = assignment("a");
    next.begun = true;
    let site = store.site(&next).expect("a good name");
    let (note, have) = site.left().expect("something is left");
    assert_eq!(have, 5);
    // The next attempt continues to record how much is whole.
    let mut partial = site.resume(have).expect("a file");
    assert_eq!(body(&folder, "a"), b"abcde");
    while !partial.rehash().expect("read") {}
    partial.write(b"f").expect("written");
    partial.vouch(Duration::ZERO);
    whole_of(6);
    partial.abandon(&Fault::transient(FailureKind::Truncated, "x"), Some(&note));
    assert_eq!(
        store
            .site(&next)
            .expect("a good name")
            .left()
            .expect("left")
            .1,
        6
    );
    let site = store.site(&next).expect("a good name");
    let mut partial = site.resume(6).expect("a file");
    while !partial.rehash().expect("read") {}
    let file = partial.commit(|_| Ok(())).expect("whole");
    assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abcdef")));
    assert_eq!(partials(&folder), 1, "the note is gone");
}
