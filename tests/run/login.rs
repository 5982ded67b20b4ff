//! Logging in: which host receives which secret, and that no secret leaks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;

use crate::modes::MODES;
use crate::support::{Answer, Run, Server, server};

/// The header for user `u` with password `p`.
const BASIC: &str = "Basic dTpw";

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value)
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn moved(to: &str, cookie: &str) -> Vec<u8> {
    response(302, &format!("Location: {to}\r\n{cookie}"), b"")
}

/// Answers like NASA's Earthdata: `data.test` redirects clients without a session to `login.test`,
/// which requires Basic and redirects back. A host that receives another host's secret answers 410.
fn earthdata(head: &str) -> Vec<u8> {
    let (host, port) = header(head, "host").split_once(':').unwrap();
    let (cookie, authorization) = (header(head, "cookie"), header(head, "authorization"));
    match host {
        "data.test" if !authorization.is_empty() || cookie.contains("sso") => {
            response(410, "", b"not for this host")
        }
        "data.test" if cookie.contains("session=") => response(200, "", &server::body(path(head))),
        "data.test" => match path(head).split_once("?to=") {
            Some((_, to)) => moved(to, "Set-Cookie: session=1; Path=/\r\n"),
            None => moved(
                &format!("http://login.test:{port}/oauth?to={}", path(head)),
                "",
            ),
        },
        _ if cookie.contains("session") => response(410, "", b"not for this host"),
        _ if authorization == BASIC || cookie.contains("sso=") => {
            let (_, to) = path(head).split_once("?to=").unwrap();
            let back = format!("http://data.test:{port}/back?to={to}");
            moved(&back, "Set-Cookie: sso=2; HttpOnly; Max-Age=3600\r\n")
        }
        _ => response(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", b""),
    }
}

/// A run over `count` URLs of `data.test`, with its own home directory.
fn earthdata_run(server: &Server, count: usize) -> (Run, Vec<String>) {
    let port = server.addr.port();
    let urls: Vec<_> = (0..count)
        .map(|number| format!("http://data.test:{port}/{number}"))
        .collect();
    let run = Run::new().list(&urls).with(&format!(
        "--retry 0 --resolve data.test:{port}:127.0.0.1 --resolve login.test:{port}:127.0.0.1"
    ));
    let home = run.path("home");
    fs::create_dir(&home).unwrap();
    (run.env("HOME", home), urls)
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

const NETRC: &str =
    "machine login.test login u password p\nmachine other.test login x password y\n";

#[test]
fn a_redirect_to_a_login_host_gets_what_netrc_has_for_it_in_every_mode() {
    for mode in MODES {
        let server = Server::start().answer("*", [Answer::By(earthdata)]);
        let (run, urls) = earthdata_run(&server, 12);
        write_private(&run.path("home/.netrc"), NETRC);
        let run = run.with(mode);
        let ended = run.finish().code(0);
        ended.says(&["data.test redirects to login.test: its downloads log in there"]);
        assert_eq!(ended.summary("stored"), 12, "{mode}: {}", ended.text());
        for url in &urls {
            // The request for a login does not count as an attempt.
            assert_eq!(run.log().one(url).attempts, 1, "{mode}");
        }
    }
}

#[test]
fn without_netrc_the_login_host_refuses_and_the_line_says_what_it_asks_for() {
    let server = Server::start().answer("*", [Answer::By(earthdata)]);
    let (run, urls) = earthdata_run(&server, 1);
    write_private(&run.path("home/.netrc"), NETRC);
    let run = run.with("--no-netrc");
    run.finish()
        .code(1)
        .says(&[&urls[0], "401", "asks for Basic"]);
}

#[test]
fn cookies_are_shared_and_kept_with_a_jar_and_only_then() {
    let server = Server::start().answer("*", [Answer::By(earthdata)]);
    let (run, urls) = earthdata_run(&server, 5);
    let logins = || {
        (0..5)
            .map(|number| server.requests(&format!("/oauth?to=/{number}")))
            .sum::<usize>()
    };
    write_private(&run.path("netrc"), NETRC);
    let run = run.with("--netrc-file netrc -w 1");
    run.finish().code(0);
    assert_eq!(logins(), 5, "each URL has its own");

    let fresh = run.with("--output fresh --cookie-jar jar");
    fresh.finish().code(0);
    // The first task logs in. Tasks that were assigned at the same time may do so too.
    assert!(logins() < 10, "{}", logins());
    let jar = fs::read_to_string(fresh.path("jar")).unwrap();
    assert!(jar.starts_with("# Netscape HTTP Cookie File\n"), "{jar}");
    assert!(
        jar.contains("data.test\tFALSE\t/\tFALSE\t0\tsession\t1\n"),
        "{jar}"
    );
    assert!(jar.contains("#HttpOnly_login.test\tFALSE\t"), "{jar}");
    let mode = fs::metadata(fresh.path("jar"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // With the cookies of the jar, no task has to log in.
    let before = logins();
    let again = fresh
        .without_arguments()
        .with(&format!(
            "--resolve data.test:{}:127.0.0.1",
            server.addr.port()
        ))
        .with("--output again --cookie jar");
    let ended = again.finish().code(0);
    assert_eq!(
        ended.summary("stored"),
        urls.len() as u64,
        "{}",
        ended.text()
    );
    assert_eq!(logins(), before);
}

/// Requires the password `pN` for the host `hN.localhost`, for any user.
fn by_host(head: &str) -> Vec<u8> {
    let host = header(head, "host");
    let number = host
        .trim_start_matches('h')
        .split('.')
        .next()
        .unwrap_or_default();
    let pair = format!("user:p{number}");
    let expected = format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    match header(head, "authorization") == expected {
        true => response(200, "", b"inside"),
        false => response(410, "", b"not for this host"),
    }
}

#[test]
fn each_of_many_hosts_gets_its_own_password() {
    for mode in ["-w 2", "-w 2 -c 8", "--mode threads", "--mode async"] {
        let server = Server::start().answer("*", [Answer::By(by_host)]);
        let port = server.addr.port();
        let hosts = 0..400;
        let netrc: String = hosts
            .clone()
            .map(|number| format!("machine h{number}.localhost login user password p{number}\n"))
            .collect();
        let urls = hosts.map(|number| format!("http://h{number}.localhost:{port}/"));
        let run = Run::new()
            .list(urls)
            .with(mode)
            .with("--netrc-file netrc --retry 0");
        write_private(&run.path("netrc"), &netrc);
        let ended = run.finish().code(0);
        assert_eq!(ended.summary("stored"), 400, "{mode}: {}", ended.text());
        assert_eq!(
            ended.summary("worker deaths"),
            0,
            "{mode}: {}",
            ended.text()
        );
    }
}

#[test]
fn what_others_may_read_is_refused_where_it_is_named_and_left_alone_where_it_is_not() {
    let server = Server::start();
    let run = Run::new().list([server.url("/a")]);
    let home = run.path("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".netrc"), NETRC).unwrap();
    fs::set_permissions(home.join(".netrc"), fs::Permissions::from_mode(0o644)).unwrap();
    let run = run.env("HOME", &home);
    let ended = run.finish().code(0);
    ended.says(&["warning", ".netrc is not used", "mode is 644"]);
    for named in ["--netrc", "--netrc-file home/.netrc"] {
        let run = Run::new()
            .list([server.url("/b")])
            .env("HOME", &home)
            .with(named);
        let run = match named {
            "--netrc" => run,
            _ => run
                .without_arguments()
                .arg("--netrc-file")
                .arg(home.join(".netrc")),
        };
        run.finish().code(2).says(&["mode is 644", "chmod 600"]);
    }
    assert_eq!(server.requests("/b"), 0);
}

#[test]
fn files_that_cannot_be_used_end_it_before_anything_is_started() {
    let server = Server::start();
    let cases = [
        ("--netrc-file", "machine a.test\nlogin", "line 2"),
        ("--cookie", "a=b\n", "line 1"),
        ("--oauth2-bearer", "", "--oauth2-bearer"),
        ("--cert", "no pem", "--cert"),
    ];
    for (option, text, expected) in cases {
        let run = Run::new().list([server.url("/a")]);
        write_private(&run.path("file"), text);
        let at = if option == "--oauth2-bearer" { "@" } else { "" };
        let run = run.with(&format!("{option} {at}file"));
        let ended = run.finish().code(2);
        ended.says(&[option, expected]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    let run = Run::new()
        .list([server.url("/a")])
        .with("--cookie-jar no/such/folder/jar");
    run.finish().code(3).says(&["--cookie-jar"]);
    assert_eq!(server.total(), 0);
}

/// Answers 401 without credentials, and 500 with a cookie otherwise.
fn held(head: &str) -> Vec<u8> {
    match header(head, "authorization") {
        "" => response(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", b""),
        _ => response(500, "Set-Cookie: s=c00k1e\r\n", b""),
    }
}

#[test]
fn nothing_secret_is_in_files_messages_or_the_list_of_processes() {
    let server = Server::start()
        .answer("*", [Answer::By(held)])
        .answer("/held", [Answer::Held]);
    let host = server.addr;
    let secrets = ["s3cr3t1", "s3cr3t2", "s3cr3t3", "s3cr3t4", "c00k1e"];
    let run = Run::new()
        .list([
            format!("http://{host}/netrc"),
            format!("http://u:{}@{host}/url", secrets[1]),
            format!("http://{host}/held"),
        ])
        .with(
            "--netrc-file netrc --cookie cookies --cookie-jar jar --retry 1 --retry-delay 1ms -vvv",
        )
        .with("-w 2 --parallel-max-host 0");
    write_private(
        &run.path("netrc"),
        &format!("machine 127.0.0.1 login u password {}", secrets[0]),
    );
    let cookie = format!("127.0.0.1\tFALSE\t/\tFALSE\t0\tn\t{}\n", secrets[2]);
    write_private(&run.path("cookies"), &cookie);
    let job = run.start();
    server.wait_for("/held", 1);
    for process in job.processes() {
        let line = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let leaks = secrets.iter().any(|secret| line.contains(secret));
        assert!(!leaks, "{line}");
    }
    let running = server.requests("/held");
    for worker in job.workers() {
        worker.signal(Signal::KILL);
    }
    server.wait_for("/held", running + 1);
    server.release_all();
    let ended = job.finish();
    let head = server.head("/netrc");
    assert!(
        header(&head, "authorization").starts_with("Basic "),
        "it was used: {head}"
    );
    assert!(header(&head, "cookie").contains(secrets[2]), "{head}");
    let run = run.with("-n");
    let dry = run.finish();
    for text in [&ended.text(), &dry.text()] {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let mut files = 0;
    check_files(&run.path("downloads"), &mut |path, bytes| {
        files += 1;
        for secret in secrets {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    });
    assert!(files >= 2, "the run log and the log of deaths are there");
    let jar = fs::read_to_string(run.path("jar")).unwrap();
    assert!(jar.contains(secrets[4]), "{jar}");
}

fn check_files(folder: &Path, check: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_files(&path, check);
        } else if let Ok(bytes) = fs::read(&path) {
            check(&path, &bytes);
        }
    }
}
