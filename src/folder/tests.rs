//! Tests with prepared folders on a real file system.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::*;

/// Returns a folder for both ways of walking.
fn both(path: &Path) -> [Folder; 2] {
    [How::AtOnce, How::InSteps].map(|how| {
        let folder = Folder::named(path).expect("a folder");
        Folder { how, ..folder }
    })
}

fn errno(result: io::Result<impl std::fmt::Debug>) -> Errno {
    let error = result.expect_err("it is refused");
    Errno::from_io_error(&error).expect("by the system")
}

fn mkfifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.expect("mkfifo(1) runs").success());
}

#[test]
fn no_link_is_followed_below_a_folder_and_no_path_leads_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let top = dir.path().join("top");
    fs::create_dir_all(top.join("a/b")).expect("create");
    fs::write(dir.path().join("secret"), "s").expect("write");
    fs::write(top.join("a/b/file"), "f").expect("write");
    symlink("../secret", top.join("out")).expect("link");
    symlink("b", top.join("a/inner")).expect("link");
    for folder in both(&top) {
        let open = |path: &str| folder.open(path, OFlags::RDONLY, Mode::empty());
        open("a/b/file").expect("it is below");
        for link in ["out", "a/inner/file"] {
            let refused = errno(open(link));
            assert!([Errno::LOOP, Errno::NOTDIR].contains(&refused), "{link}");
        }
        let refused = errno(folder.folder("a/inner"));
        assert!([Errno::LOOP, Errno::NOTDIR].contains(&refused));
        for path in [
            "",
            ".",
            "..",
            "/etc",
            "a//b",
            "a/../b",
            "a/",
            "../secret",
            "a\0b",
        ] {
            assert_eq!(errno(open(path)), Errno::INVAL, "{path:?}");
            assert_eq!(errno(folder.make_folders(path, Mode::RWXU)), Errno::INVAL);
        }
        for path in ["a/b", "..", ""] {
            assert_eq!(errno(folder.remove_file(path)), Errno::INVAL, "{path:?}");
        }
        assert!(folder.remove("a/b").is_err());
        let link = folder.look("a/inner").expect("the link itself");
        let kind = rustix::fs::FileType::from_raw_mode(link.st_mode);
        assert_eq!(kind, rustix::fs::FileType::Symlink);
    }
}

#[test]
fn nothing_that_is_opened_is_waited_for() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    mkfifo(&dir.path().join("fifo"));
    for folder in both(dir.path()) {
        let open = |flags| folder.open("fifo", flags, Mode::empty());
        open(OFlags::RDONLY).expect("opened without a writer");
        assert_eq!(errno(open(OFlags::WRONLY)), Errno::NXIO);
        let error = folder.read("fifo").expect_err("it is no file");
        assert!(error.to_string().contains("is not a file, but a fifo"));
    }
}

#[test]
fn missing_folders_are_made_on_the_way() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (number, folder) in both(dir.path()).iter().enumerate() {
        let path = format!("{number}/b/c");
        let made = folder.make_folders(&path, Mode::RWXU).expect("made");
        assert_eq!(made.path(), dir.path().join(&path));
        assert!(dir.path().join(&path).is_dir());
        folder.make_folders(&path, Mode::RWXU).expect("it is there");
    }
}

#[test]
fn a_rename_replaces_only_if_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::named(dir.path()).expect("a folder");
    let [one, two] =
        ["one", "two"].map(|name| folder.make_folders(name, Mode::RWXU).expect("made"));
    let write = |path: &str| fs::write(dir.path().join(path), path).expect("write");
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).expect("read");
    write("one/a");
    write("two/b");
    let refused = one.rename("a", &two, "b", Replace::No);
    assert_eq!(errno(refused), Errno::EXIST);
    assert_eq!(
        (read("one/a"), read("two/b")),
        ("one/a".to_owned(), "two/b".to_owned())
    );
    one.rename("a", &two, "c", Replace::No).expect("it is free");
    two.rename("c", &two, "b", Replace::Yes)
        .expect("it may be replaced");
    assert_eq!(read("two/b"), "one/a");
    assert_eq!(two.names().expect("listed"), ["b"]);
}

#[test]
fn clearing_removes_whatever_is_there_and_nothing_elsewhere() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let [outside, top] = ["outside", "top"].map(|name| dir.path().join(name));
    fs::create_dir_all(&outside).expect("create");
    fs::write(outside.join("file"), "x").expect("write");
    // Nested too deeply for recursion or for one descriptor per level.
    fs::create_dir(&top).expect("create");
    let mut deep = Folder::named(&top).expect("a folder");
    for _ in 0..3000 {
        deep = deep.make_folders("d", Mode::RWXU).expect("made");
    }
    fs::create_dir_all(top.join(".removed-1/x")).expect("create");
    fs::write(top.join(".removed-2"), "x").expect("write");
    fs::write(top.join("kept"), "x").expect("write");
    symlink(&outside, top.join("link")).expect("link");
    symlink(&outside, top.join(".removed-1/x/link")).expect("link");
    mkfifo(&top.join("fifo"));
    for folder in both(&top) {
        folder.clear(|name| name == "kept").expect("cleared");
        assert_eq!(folder.names().expect("listed"), ["kept"]);
    }
    assert!(outside.join("file").exists(), "what a link leads to stays");
}

fn own(parent: &Path, holds: &[(&str, Kind)]) -> Result<OwnFolder, StateError> {
    let parent = Folder::named(parent).expect("a folder");
    let owner = Owner::probe(&parent).expect("it can be written to");
    OwnFolder::make(&parent, "own", owner, holds)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

#[test]
fn others_are_kept_out_of_a_folder_and_its_files() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("own");
    let made = own(dir.path(), &[]).expect("made");
    assert_eq!((mode(&path), made.was_open()), (0o700, false));
    made.open("file", OFlags::APPEND).expect("made");
    assert_eq!(mode(&path.join("file")), 0o600);
    for (before, was_open) in [(0o755, false), (0o775, true), (0o757, true), (0o1777, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).expect("chmod");
        let file = fs::Permissions::from_mode(0o666);
        fs::set_permissions(path.join("file"), file).expect("chmod");
        let opened = own(dir.path(), &[]).expect("opened");
        assert_eq!((mode(&path), opened.was_open()), (0o700, was_open));
        assert_eq!(opened.folder("inner").expect("made").was_open(), was_open);
        opened.open("file", OFlags::APPEND).expect("opened");
        assert_eq!(mode(&path.join("file")), 0o600);
    }
}

#[test]
fn what_a_state_file_must_not_be_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("own");
    fs::create_dir(&path).expect("create");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").expect("write");
    let file = path.join("file");
    let prepare: [(&str, &dyn Fn()); 5] = [
        ("a symbolic link", &|| {
            symlink(&victim, &file).expect("link")
        }),
        ("2 names (hard links)", &|| {
            fs::hard_link(&victim, &file).expect("link")
        }),
        ("a fifo", &|| mkfifo(&file)),
        ("a folder", &|| fs::create_dir(&file).expect("create")),
        ("a socket", &|| {
            std::os::unix::net::UnixListener::bind(&file).expect("a socket");
        }),
    ];
    for (what, make) in prepare {
        make();
        let told = own(dir.path(), &[("file", Kind::File)])
            .expect_err(what)
            .to_string();
        assert!(told.starts_with(&file.display().to_string()), "{told}");
        assert!(told.contains(what), "{told}");
        assert_eq!(mode(&path), 0o755, "nothing was changed");
        // The same if the folder is not checked as a whole.
        let opened = OwnFolder::named(&path)
            .expect("a folder")
            .open("file", OFlags::APPEND);
        assert_eq!(opened.expect_err(what).to_string(), told);
        assert_eq!(fs::read(&victim).expect("read"), b"precious");
        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
    }
    fs::write(&file, "").expect("write");
    let error = own(dir.path(), &[("file", Kind::Folder)]).expect_err("it is a file");
    assert!(
        error.to_string().contains("is not a folder, but a file"),
        "{error}"
    );
}
