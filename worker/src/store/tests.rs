//! Tests of the store: what is on disk, at every step.

use protocol::{Severity, TaskId, Validator};

use super::*;

fn note() -> PartialNote {
    PartialNote {
        v: PartialNote::VERSION,
        boot: String::new(),
        url: "http://a.test/".to_owned(),
        validator: Validator::Etag("\"1\"".to_owned()),
        length: Some(6),
        content_type: None,
    }
}

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let partial = folder.path().join(".partial");
    std::fs::create_dir(&partial).expect("a folder for partials");
    let store = Store::new(folder.path(), &partial, Some("boot".to_owned()), false)
        .expect("both folders exist");
    (folder, Arc::new(store))
}

fn assignment(path: &str) -> Assignment {
    // The coordinator gives each task a name that is good for any file system.
    let mut assignment = Assignment::new(TaskId(1), "http://a.test/", path);
    assignment.partial = "partial".to_owned();
    assignment
}

fn site(store: &Arc<Store>, path: &str) -> Site {
    store.site(&assignment(path)).expect("a good path")
}

fn begin(store: &Arc<Store>, path: &str) -> Result<Partial, Fault> {
    store.site(&assignment(path))?.begin()
}

fn partials(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path().join(".partial"))
        .expect("the folder is there")
        .count()
}

#[test]
fn a_file_appears_whole_with_its_size_and_hash() {
    let (folder, store) = store();
    let mut partial = begin(&store, "a.txt").expect("a file");
    partial.write(b"ab").expect("written");
    assert!(!folder.path().join("a.txt").exists(), "not before commit");
    partial.write(b"c").expect("written");
    let file = partial.commit(None, |_| Ok(())).expect("in place");
    assert_eq!(file.bytes, 3);
    assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abc")));
    let stored = std::fs::read(folder.path().join("a.txt")).expect("the file is there");
    assert_eq!(stored, b"abc");
    assert_eq!(partials(&folder), 0);
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
    for path in ["a", "x/a", &"n".repeat(250)] {
        let mut left = begin(&store, path).expect("a file");
        left.write(b"longer than what follows").expect("written");
        // As a kill would: nothing is cleaned up.
        std::mem::forget(left);
        let mut partial = begin(&store, path).expect("the same file");
        assert_eq!(partials(&folder), 1);
        partial.write(b"whole").expect("written");
        partial.commit(None, |_| Ok(())).expect("in place");
        let stored = std::fs::read(folder.path().join(path)).expect("the file is there");
        assert_eq!((stored.as_slice(), partials(&folder)), (&b"whole"[..], 0));
    }
}

#[test]
fn missing_parent_folders_are_made() {
    let (folder, store) = store();
    let partial = begin(&store, "x/y/a").expect("a file");
    partial.commit(None, |_| Ok(())).expect("in place");
    assert!(folder.path().join("x/y/a").is_file());
}

#[test]
fn a_link_on_the_way_is_not_followed_and_one_in_the_place_is_replaced() {
    let (folder, store) = store();
    let elsewhere = tempfile::tempdir().expect("another folder");
    let link = |name: &str| {
        let path = folder.path().join(name);
        std::os::unix::fs::symlink(elsewhere.path(), &path).expect("a link");
        path
    };
    link("out");
    for path in ["out/a", "out/x/a"] {
        let partial = begin(&store, path).expect("the partial is elsewhere");
        let fault = partial.commit(None, |_| Ok(())).expect_err(path);
        assert_eq!(
            (fault.kind, fault.severity),
            (FailureKind::Store, Severity::Permanent)
        );
    }
    let replaced = link("a");
    let partial = begin(&store, "a").expect("a file");
    partial.commit(None, |_| Ok(())).expect("in place");
    assert!(!replaced.is_symlink());
    let entries = std::fs::read_dir(elsewhere.path()).expect("still there");
    assert_eq!((entries.count(), partials(&folder)), (0, 0));
}

#[test]
fn a_file_that_is_refused_is_not_put_in_place() {
    let (folder, store) = store();
    let mut partial = begin(&store, "a").expect("a file");
    partial.write(b"abc").expect("written");
    let refused = partial.commit(None, |file| {
        assert_eq!(file.bytes, 3);
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abc")));
        Err(Fault::permanent(FailureKind::ChecksumMismatch, "no"))
    });
    assert_eq!(refused.expect_err("no").kind, FailureKind::ChecksumMismatch);
    assert!(!folder.path().join("a").exists());
    assert_eq!(partials(&folder), 0);
}

#[test]
fn a_path_out_of_the_folder_is_refused() {
    let (folder, store) = store();
    for path in ["", "/etc/a", "../a", "a/../../b", "a//b", "a/", ".", "a\0b"] {
        let fault = begin(&store, path).expect_err(path);
        assert_eq!(
            (fault.kind, fault.severity),
            (FailureKind::Store, Severity::Permanent)
        );
    }
    assert_eq!(partials(&folder), 0);
}

#[test]
fn what_cannot_be_put_in_place_is_removed_and_permanent() {
    let (folder, store) = store();
    std::fs::create_dir(folder.path().join("folder")).expect("a folder in the way");
    std::fs::write(folder.path().join("file"), "").expect("a file in the way");
    let long = "n".repeat(256);
    for path in ["folder", "file/below", long.as_str()] {
        let fault = begin(&store, path)
            .expect("the partial's name is short")
            .commit(None, |_| Ok(()))
            .expect_err(path);
        assert_eq!(
            (fault.kind, fault.severity),
            (FailureKind::Store, Severity::Permanent),
            "{}",
            fault.message
        );
    }
    assert_eq!(partials(&folder), 0);
}

#[test]
fn a_file_that_may_not_be_replaced_stays() {
    let (folder, store) = store();
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).expect("a link");
    std::fs::write(folder.path().join("file"), "mine").expect("a file");
    let commit = |path: &str| {
        let mut assignment = assignment(path);
        assignment.replace = false;
        let partial = store.site(&assignment).expect("a good path").begin();
        partial.expect("a file").commit(None, |_| Ok(()))
    };
    for path in ["file", "link"] {
        let fault = commit(path).expect_err("it is there");
        assert_eq!(
            (fault.kind, fault.severity),
            (FailureKind::Store, Severity::Permanent)
        );
        assert!(fault.message.contains("--force"), "{}", fault.message);
    }
    let stays = std::fs::read(folder.path().join("file")).expect("it is there");
    assert_eq!((stays.as_slice(), partials(&folder)), (&b"mine"[..], 0));
    assert!(folder.path().join("link").is_symlink());
    commit("new/file").expect("nothing is there");
    assert!(folder.path().join("new/file").is_file());
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
    for path in ["a", "x/a"] {
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
        let file = partial.commit(None, |_| Ok(())).expect("in place");
        assert_eq!(file.sha256, <[u8; 32]>::from(Sha256::digest(b"abcdef")));
        let stored = std::fs::read(folder.path().join(path)).expect("the file is there");
        assert_eq!((stored.as_slice(), partials(&folder)), (&b"abcdef"[..], 0));
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
        output: store.output.try_clone().expect("a descriptor"),
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
    let path = folder.path().join(".partial/partial~note");
    let text = std::fs::read(&path).expect("there is a note");
    for torn in [&b""[..], &text[..text.len() / 2], b"{}", b"\0\0"] {
        std::fs::write(&path, torn).expect("written");
        assert_eq!(site(&store, "a").left(), None);
    }
    leave(&store);
    std::fs::remove_file(folder.path().join(".partial/partial")).expect("removed");
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
