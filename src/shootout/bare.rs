//! The bare system calls of a list of downloads: the time that no program can beat on this machine.
//!
//! Each of several processes has its share of the list and one connection. It sends, receives, opens,
//! writes, closes and renames, and does nothing else: it checks no byte and tries nothing again. It
//! understands plain http, and responses with a `Content-Length`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cli::shootout::BareArgs;

/// The hidden command of this program that makes the calls.
pub(super) const COMMAND: &str = "bare-calls";

/// Bytes received at a time.
const BUFFER: usize = 64 * 1024;

/// Downloads the list, or one process's share of it.
///
/// # Errors
///
/// If anything is not as it should be.
pub fn run(args: &BareArgs) -> io::Result<()> {
    if let Some(share) = args.share {
        return download(args, share);
    }
    let children: Vec<io::Result<Child>> = (0..args.processes.get())
        .map(|share| {
            Command::new("/proc/self/exe")
                .args([COMMAND, "--processes", &args.processes.to_string()])
                .args(["--share", &share.to_string()])
                .args([&args.list, &args.out])
                .stdin(Stdio::null())
                .spawn()
        })
        .collect();
    // All are waited for, so that their times count.
    let mut done = Ok(());
    for child in children {
        let status = child.and_then(|mut child| child.wait());
        let succeeded = status.and_then(|status| match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("a process failed: {status}"))),
        });
        done = done.and(succeeded);
    }
    done
}

fn download(args: &BareArgs, share: u16) -> io::Result<()> {
    let list = fs::read_to_string(&args.list)?;
    let every = usize::from(args.processes.get());
    let mut bare = Bare {
        connection: None,
        buffer: vec![0; BUFFER],
    };
    let lines = list.lines().enumerate();
    for (number, url) in lines.skip(share.into()).step_by(every) {
        let (part, name) = (format!("{number}.part"), number.to_string());
        bare.download(url, &args.out.join(&part))
            .map_err(|error| io::Error::new(error.kind(), format!("{url}: {error}")))?;
        fs::rename(args.out.join(&part), args.out.join(&name))?;
    }
    Ok(())
}

struct Bare {
    connection: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Bare {
    fn download(&mut self, url: &str, path: &Path) -> io::Result<()> {
        let rest = url.strip_prefix("http://");
        let (host, target) = rest
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(|| io::Error::other("it is no http URL"))?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None if host.contains(':') => TcpStream::connect(host)?,
            None => TcpStream::connect((host, 80))?,
        };
        let request = format!("GET /{target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut filled = 0;
        let (start, head) = loop {
            let read = connection.read(&mut self.buffer[filled..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            let seen = &self.buffer[..filled];
            if let Some(end) = memchr::memmem::find(seen, b"\r\n\r\n") {
                break (end + 4, Head::parse(&seen[..end])?);
            }
        };
        let mut file = File::create(path)?;
        file.write_all(&self.buffer[start..filled])?;
        let mut received = (filled - start) as u64;
        while received < head.length {
            let read = connection.read(&mut self.buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all(&self.buffer[..read])?;
            received += read as u64;
        }
        if !head.closes {
            self.connection = Some(connection);
        }
        Ok(())
    }
}

struct Head {
    length: u64,
    /// The server closes the connection behind the body.
    closes: bool,
}

impl Head {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            return Err(io::Error::other(format!("the server answered {status}")));
        }
        let (mut length, mut closes) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.eq_ignore_ascii_case("close");
            }
        }
        let length = length.ok_or_else(|| io::Error::other("there is no Content-Length"))?;
        Ok(Self { length, closes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_the_body_is_and_whether_the_connection_stays() {
        let parse = |head: &str| Head::parse(head.as_bytes());
        let head = parse("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nX: y").expect("a head");
        assert_eq!((head.length, head.closes), (7, false));
        let head = parse("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0");
        assert!(head.expect("a head").closes);
        for wrong in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7",
            "HTTP/1.1 200 OK",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
