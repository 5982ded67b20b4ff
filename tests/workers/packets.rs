//! Packets that ipc-channel never sends.

use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};

use coordinator::cli::worker::WorkerArgs;
use coordinator::isolation::attempts::link::send_descriptors;
use protocol::handshake::Hello;
use protocol::{FromWorker, codec, packet};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};

use crate::misbehave::sleep;

/// The environment variable that makes this program a stranger. It names the socket.
pub const STRANGER: &str = "COORDINATOR_TEST_STRANGER";

/// Connects to the coordinator without ipc-channel.
pub fn raw_socket(arguments: &WorkerArgs) -> OwnedFd {
    connected(&arguments.socket)
}

fn connected(path: &std::path::Path) -> OwnedFd {
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    let addr = SocketAddrUnix::new(path).expect("a path");
    connect(&socket, &addr).expect("the coordinator listens");
    socket
}

/// A packet whose header announces these sizes for itself and for the message.
fn packet(announced: usize, whole: usize, message: &[u8]) -> Vec<u8> {
    let words = [announced.to_ne_bytes(), whole.to_ne_bytes()].concat();
    [&words[..], message].concat()
}

fn hello(pid: u32) -> Vec<u8> {
    let hello = Hello::new(pid, "x/socket".to_owned(), [1; 16]);
    let frame = codec::encode(&FromWorker::Hello(hello)).expect("it fits");
    [&packet::header(frame.len())[..], &frame].concat()
}

/// Sends packets that ipc-channel never sends, in place of a greeting.
pub fn raw(arguments: &WorkerArgs, kind: &str) -> ExitCode {
    let socket = raw_socket(arguments);
    let packets = match kind {
        "short" => vec![b"abc".to_vec()],
        "text" => vec![b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()],
        "noise" => vec![vec![0xff; 5000]; 3],
        "nothing" => vec![vec![]],
        "empty" => vec![packet(16, 0, &[])],
        "fragment" => vec![packet(16, 1 << 20, &[])],
        "2-gib" => vec![packet(16 + 1000, 2 << 30, &[0; 1000])],
        "64-tib" => vec![packet(16 + 1000, 1 << 46, &[0; 1000])],
        "overflow" => vec![packet(16, usize::MAX, &[])],
        "too-long" => vec![packet(100_000, 100_000 - 16, &vec![0; 100_000 - 16])],
        "not-a-message" => vec![packet(24, 8, &[7; 8])],
        "descriptors" => {
            for _ in 0..100 {
                send_descriptors(&socket, &hello(std::process::id()), 200);
            }
            vec![b"abc".to_vec()]
        }
        _ => panic!("no such kind: {kind}"),
    };
    for packet in packets {
        // The coordinator may no longer read.
        let _ = send(&socket, &packet, SendFlags::NOSIGNAL);
    }
    sleep()
}

/// Starts another process, which connects to the coordinator, greets in this one's place and stays.
#[allow(clippy::zombie_processes, reason = "it dies before its child")]
pub fn let_a_stranger_connect(arguments: &WorkerArgs) {
    let mut stranger = Command::new("/proc/self/exe")
        .env(STRANGER, &arguments.socket)
        .arg(std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program is there");
    let mut connected = [0];
    let stdout = stranger.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(stdout, &mut connected).expect("it says so");
}

/// Connects, greets as the parent, and sleeps.
pub fn be_a_stranger(socket: &std::path::Path) -> ! {
    let parent = std::env::args().nth(1).and_then(|pid| pid.parse().ok());
    let socket = connected(socket);
    let _ = send(
        &socket,
        &hello(parent.expect("a process")),
        SendFlags::NOSIGNAL,
    );
    // Standard output is flushed at the end of a line.
    std::io::Write::write_all(&mut std::io::stdout(), b"\n").expect("somebody reads");
    sleep()
}
