//! Only the system calls of a list of downloads: no program can be faster on this machine.
//!
//! Each of several processes has its share of the list and one connection. It sends, receives,
//! opens, writes, closes and renames. It does not check bodies or retry. It understands only plain
//! http, and responses with a `Content-Length`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use httparse::Status;

use crate::cli::shootout::BareArgs;

/// The hidden command of this program that makes the calls.
pub(super) const COMMAND: &str = "bare-calls";

/// Bytes received at a time.
const BUFFER: usize = 64 * 1024;

/// Downloads the list, or the share of one process.
///
/// # Errors
///
/// Fails if a process cannot be started, a call fails, or a response is not as expected.
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
    // Waits for all processes, so that their times count.
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
            if let Some(found) = Head::parse(&self.buffer[..filled])? {
                break found;
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
    /// Whether the server closes the connection after the body.
    closes: bool,
}

impl Head {
    /// Returns the head at the start of `seen` and its length, or `None` if it is incomplete.
    fn parse(seen: &[u8]) -> io::Result<Option<(usize, Self)>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let Status::Complete(end) = response.parse(seen).map_err(io::Error::other)? else {
            return Ok(None);
        };
        if response.code != Some(200) {
            let code = response.code.unwrap_or_default();
            return Err(io::Error::other(format!("the server answered {code}")));
        }
        let value = |name: &str| {
            let mut headers = response.headers.iter();
            let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let length = value("Content-Length").and_then(|text| text.parse().ok());
        let head = Self {
            length: length.ok_or_else(|| io::Error::other("there is no Content-Length"))?,
            closes: value("Connection").is_some_and(|text| text.eq_ignore_ascii_case("close")),
        };
        Ok(Some((end, head)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_long_the_body_is_and_whether_the_connection_stays() {
        let parse = |head: &str| Head::parse(format!("{head}\r\n\r\n").as_bytes());
        let whole = |head: &str| parse(head).expect(head).expect("it is whole");
        let (end, head) = whole("HTTP/1.1 200 OK\r\ncontent-length: 7\r\nX: y");
        assert_eq!((end, head.length, head.closes), (44, 7, false));
        assert!(
            whole("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0")
                .1
                .closes
        );
        let torn = Head::parse(b"HTTP/1.1 200 OK\r\nContent-Le").expect("a beginning");
        assert!(torn.is_none());
        for wrong in [
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7",
            "HTTP/1.1 200 OK",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
