//! Config files through the built program: which are read, and what they may do.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Run, Server};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns the lines of a dry run that name the origins of values, with single spaces.
fn origins(run: &Run) -> Vec<String> {
    let ended = run.finish().code(0);
    let lines = ended.stderr.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ")
    });
    lines.collect()
}

#[test]
fn a_dry_run_says_where_each_value_comes_from_and_what_is_typed_wins() {
    let run = Run::new()
        .list_bytes("")
        .with("lists/urls.txt -n --retry 4 --no-robots");
    write(&run.path("lists/urls.txt"), "http://h.example/a\n");
    let beside = "workers = 3\nretry = 1\nrobots = true\nrate = 5\n";
    write(&run.path("lists/coordinator.toml"), beside);
    let own = run.path(".config/coordinator/config.toml");
    write(&own, "rate = 1\nproxy = \"p.example\"\n");
    let said = origins(&run);
    let own = own.display();
    for line in [
        "workers 3 (lists/coordinator.toml:1)".to_owned(),
        "retry 4 (command line)".to_owned(),
        "rate 5 (lists/coordinator.toml:4)".to_owned(),
        format!("proxy p.example ({own}:2)"),
        format!("config files: lists/coordinator.toml, {own}"),
    ] {
        assert!(said.contains(&line), "{line}: {said:?}");
    }
    assert!(
        !said.iter().any(|line| line.starts_with("robots")),
        "{said:?}"
    );

    let other = run.path("other.toml");
    write(&other, "workers = 2\n");
    let named = origins(&run.with("--config other.toml"));
    assert!(
        named.contains(&"workers 2 (other.toml:1)".to_owned()),
        "{named:?}"
    );
    assert!(
        !named.iter().any(|line| line.starts_with("proxy")),
        "{named:?}"
    );
}

#[test]
fn values_of_a_file_take_effect_and_the_run_says_that_it_was_found() {
    let server = Server::start();
    let run = Run::new().list([server.url("/a")]);
    write(&run.path("coordinator.toml"), "naming = \"{name}.x\"\n");
    let ended = run.finish().code(0);
    ended.says(&["settings are read from coordinator.toml"]);
    assert!(run.path("downloads/a.x").exists());
    let without = Run::new().list([server.url("/a")]).with("--no-config");
    write(&without.path("coordinator.toml"), "naming = \"{name}.x\"\n");
    without.finish().code(0);
    assert!(!without.path("downloads/a.x").exists());
}

#[test]
fn a_file_beside_a_list_runs_no_program_and_one_that_is_named_does() {
    let server = Server::start();
    let run = Run::new().list([server.url("/a")]);
    write(&run.path("coordinator.toml"), "exec = \"touch ran\"\n");
    let ended = run.finish().code(3);
    ended.says(&[
        "coordinator.toml:1:1: exec",
        "--config coordinator.toml",
        "--no-config",
    ]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    assert_eq!(server.total(), 0, "nothing is started");
    let run = run.with("--config coordinator.toml");
    run.finish().code(0);
    assert!(run.path("downloads/ran").exists() || run.path("ran").exists());
}

#[test]
fn a_file_that_cannot_be_used_is_one_line_and_nothing_is_started() {
    let server = Server::start();
    for (text, expected) in [
        (
            "\n wrkers = 3\n",
            "coordinator.toml:2:2: there is no option wrkers; did you mean workers?",
        ),
        (
            "workers = \"many\"\n",
            "coordinator.toml:1:1: workers: expected a number from 1 to 65535",
        ),
        ("workers = [\n", "coordinator.toml:1:"),
    ] {
        let run = Run::new().list([server.url("/a")]);
        write(&run.path("coordinator.toml"), text);
        let ended = run.finish().code(3);
        ended.says(&[expected]);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
    }
    let missing = Run::new()
        .list([server.url("/a")])
        .with("--config none.toml");
    missing.finish().code(3).says(&["none.toml", "--no-config"]);
    assert_eq!(server.total(), 0);
}

/// A server on `listener` that accepts only clients with the certificate `client`, for one request.
/// Returns its own certificate in PEM.
fn guarded(client: &rcgen::Certificate, listener: TcpListener) -> String {
    let made = rcgen::generate_simple_self_signed(["data.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(client.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(session, stream.unwrap()));
            let mut line = String::new();
            while let Ok(2..) = stream.read_line(&mut line) {
                if line.ends_with("\r\n\r\n") {
                    let answer =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nin";
                    let _ = stream.get_mut().write_all(answer);
                    stream.get_mut().conn.send_close_notify();
                    let _ = stream.get_mut().flush();
                    break;
                }
            }
        }
    });
    made.cert.pem()
}

#[test]
fn a_host_is_shown_the_certificate_that_the_config_file_has_for_it() {
    let made = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pem = guarded(&made.cert, listener);
    let run = Run::new()
        .list([format!("https://data.test:{port}/a")])
        .with("--cacert server.pem --retry 0 --naming {name}")
        .with(&format!("--resolve data.test:{port}:127.0.0.1"));
    write(&run.path("server.pem"), &pem);
    write(&run.path("client.pem"), &made.cert.pem());
    write(&run.path("client.key"), &made.signing_key.serialize_pem());
    let table = "[host.\"Data.Test\"]\ncert = \"client.pem\"\nkey = \"client.key\"\n";
    run.finish().code(1).says(&["data.test"]);
    write(&run.path(".config/coordinator/config.toml"), table);
    run.finish().code(0);
    assert_eq!(fs::read(run.path("downloads/a")).unwrap(), b"in");
    write(&run.path("client.key"), "no key");
    run.finish()
        .code(2)
        .says(&["host.\"data.test\" of the config file", "no private key"]);
}
