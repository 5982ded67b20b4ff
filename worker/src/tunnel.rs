//! Requests for a connection through a proxy: `CONNECT` (RFC 9110 section 9.3.6) and SOCKS 5 (RFC
//! 1928, RFC 1929), as a state machine that does no I/O, so that all engines behave alike.
//!
//! Must not choose a proxy or connect to one.

use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use http::StatusCode;
use protocol::{Proxy, ProxyScheme};

use crate::route::bare;
use crate::transfer::TransportError;

/// Largest answer to `CONNECT`, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Largest number of headers in it.
const MAX_HEADERS: usize = 64;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;

/// Destination that the proxy connects to.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// The host as written in URLs.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Its address, for a proxy that receives an address instead of a name.
    pub(crate) addr: Option<SocketAddr>,
}

/// Next step of the caller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Send these bytes.
    Write(Vec<u8>),
    /// Read at most this many bytes, and pass them to [`Tunnel::feed`].
    Read(usize),
    /// The connection is established.
    Done,
}

/// One conversation with a proxy.
#[derive(Debug)]
pub(crate) struct Tunnel<'p> {
    proxy: &'p Proxy,
    destination: Destination,
    state: State,
    read: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    /// Waiting for the answer to `CONNECT`.
    Answer,
    /// Waiting for the authentication method that the SOCKS proxy chooses.
    Method,
    /// Waiting for the result of the password check.
    Password,
    Request,
    /// Waiting for the reply to the request, with its length in bytes as far as it is known.
    Reply(usize),
    Done,
}

impl<'p> Tunnel<'p> {
    pub(crate) const fn new(proxy: &'p Proxy, destination: Destination) -> Self {
        Self {
            proxy,
            destination,
            state: State::Begin,
            read: Vec::new(),
        }
    }

    /// Takes the bytes that were read; an empty slice means the end of the connection.
    ///
    /// # Errors
    ///
    /// Fails if the proxy closed the connection.
    pub(crate) fn feed(&mut self, data: &[u8]) -> Result<(), TransportError> {
        if data.is_empty() {
            return Err(self.failed("it closed the connection", false));
        }
        self.read.extend_from_slice(data);
        Ok(())
    }

    /// Returns the next step.
    ///
    /// # Errors
    ///
    /// Fails if the proxy does not establish the connection.
    pub(crate) fn next(&mut self) -> Result<Want, TransportError> {
        loop {
            match self.state {
                State::Begin => return self.begin(),
                State::Answer => match self.answer()? {
                    Some(want) => return Ok(want),
                    None => self.state = State::Done,
                },
                State::Method => {
                    let Some([version, method]) = self.take() else {
                        return Ok(Want::Read(2 - self.read.len()));
                    };
                    self.check(version == VERSION, "it does not speak SOCKS 5")?;
                    match (method, &self.proxy.credentials) {
                        (NO_AUTHENTICATION, _) => self.state = State::Request,
                        (PASSWORD, Some((user, password))) => {
                            self.state = State::Password;
                            return Ok(Want::Write(password_message(user, password)));
                        }
                        (_, _) => return Err(self.failed("it wants another login", true)),
                    }
                }
                State::Password => {
                    let Some([_, status]) = self.take() else {
                        return Ok(Want::Read(2 - self.read.len()));
                    };
                    self.check(status == 0, "it refused user name and password")?;
                    self.state = State::Request;
                }
                State::Request => {
                    self.state = State::Reply(5);
                    return Ok(Want::Write(self.request()));
                }
                State::Reply(length) if self.read.len() < length => {
                    return Ok(Want::Read(length - self.read.len()));
                }
                State::Reply(length) => match self.reply()? {
                    whole if whole > length => self.state = State::Reply(whole),
                    _ => self.state = State::Done,
                },
                State::Done => return Ok(Want::Done),
            }
        }
    }

    fn begin(&mut self) -> Result<Want, TransportError> {
        match self.proxy.scheme {
            ProxyScheme::Http | ProxyScheme::Https => {
                self.state = State::Answer;
                let Destination { host, port, .. } = &self.destination;
                let mut request =
                    format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
                if let Some(value) = authorization(self.proxy) {
                    request.push_str("Proxy-Authorization: ");
                    request.push_str(&value);
                    request.push_str("\r\n");
                }
                request.push_str("\r\n");
                Ok(Want::Write(request.into_bytes()))
            }
            ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                self.state = State::Method;
                let host = bare(&self.destination.host);
                self.check(host.len() <= 255, "the host's name is too long for SOCKS")?;
                Ok(Want::Write(match self.proxy.credentials {
                    None => vec![VERSION, 1, NO_AUTHENTICATION],
                    Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, PASSWORD],
                }))
            }
        }
    }

    /// Returns the next step for the answer to `CONNECT`, or `None` once the answer is good.
    fn answer(&self) -> Result<Option<Want>, TransportError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.read) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => {
                self.check(self.read.len() < MAX_ANSWER, "its answer has no end")?;
                return Ok(Some(Want::Read(MAX_ANSWER - self.read.len())));
            }
            Err(error) => {
                return Err(self.failed(&format!("its answer is not http: {error}"), true));
            }
        };
        let status = response.code.unwrap_or_default();
        if !(200..300).contains(&status) {
            let reason = StatusCode::from_u16(status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or_default();
            // Any other status that a gateway sends is caused by the host behind it.
            let lasting = !matches!(status, 429 | 500 | 502..=504);
            let what = format!("it answered {status} {reason}");
            return Err(self.failed(what.trim_end(), lasting));
        }
        // In a tunnel the server waits for our handshake, so it sends nothing first.
        self.check(length == self.read.len(), "it talks before it is asked")?;
        Ok(None)
    }

    fn request(&self) -> Vec<u8> {
        let mut request = vec![VERSION, CONNECT, 0];
        let host = bare(&self.destination.host);
        let addr = self.destination.addr.map(|addr| addr.ip());
        match addr.or_else(|| host.parse().ok()) {
            Some(IpAddr::V4(addr)) => {
                request.push(1);
                request.extend(addr.octets());
            }
            Some(IpAddr::V6(addr)) => {
                request.push(4);
                request.extend(addr.octets());
            }
            None => {
                request.push(3);
                request.push(u8::try_from(host.len()).unwrap_or(u8::MAX));
                request.extend(host.bytes());
            }
        }
        request.extend(self.destination.port.to_be_bytes());
        request
    }

    /// Returns the length of the reply, in bytes.
    fn reply(&self) -> Result<usize, TransportError> {
        let [version, reply, _, kind, first, ..] = self.read[..] else {
            return Ok(5);
        };
        self.check(version == VERSION, "it does not speak SOCKS 5")?;
        // RFC 1928 section 6.
        let (what, lasting) = match reply {
            0 => ("", false),
            2 => ("its rules forbid the connection", true),
            3 => ("network unreachable", false),
            4 => ("host unreachable", false),
            5 => ("connection refused", false),
            6 => ("the connection took too long", false),
            7 | 8 => ("it cannot do what was asked", true),
            _ => ("it failed", false),
        };
        if reply != 0 {
            return Err(self.failed(what, lasting));
        }
        match kind {
            1 => Ok(4 + 4 + 2),
            4 => Ok(4 + 16 + 2),
            3 => Ok(4 + 1 + usize::from(first) + 2),
            _ => Err(self.failed("it names an address of no kind", true)),
        }
    }

    fn take(&mut self) -> Option<[u8; 2]> {
        let found = <[u8; 2]>::try_from(&self.read[..]).ok()?;
        self.read.clear();
        Some(found)
    }

    fn check(&self, sound: bool, what: &str) -> Result<(), TransportError> {
        if sound {
            Ok(())
        } else {
            Err(self.failed(what, true))
        }
    }

    fn failed(&self, what: &str, lasting: bool) -> TransportError {
        let Proxy { host, port, .. } = self.proxy;
        TransportError::Proxy {
            cause: format!("{host}:{port}: {what}"),
            lasting,
        }
    }
}

/// Returns the value of `Proxy-Authorization` (RFC 7617), if the proxy has credentials.
pub(crate) fn authorization(proxy: &Proxy) -> Option<String> {
    let (user, password) = proxy.credentials.as_ref()?;
    let pair = BASE64.encode(format!("{user}:{password}").as_bytes());
    Some(format!("Basic {pair}"))
}

/// Builds the message of RFC 1929 section 2. The configuration ensures that neither is too long.
fn password_message(user: &str, password: &str) -> Vec<u8> {
    let mut message = vec![1];
    for text in [user, password] {
        let text = &text.as_bytes()[..text.len().min(255)];
        message.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        message.extend(text);
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(scheme: ProxyScheme, login: bool) -> Proxy {
        Proxy {
            scheme,
            host: "p.test".to_owned(),
            port: 1080,
            credentials: login.then(|| ("me".to_owned(), "pw".to_owned())),
        }
    }

    fn destination(host: &str) -> Destination {
        Destination {
            host: host.to_owned(),
            port: 443,
            addr: None,
        }
    }

    /// Runs a tunnel with `answers`, one for each read, and returns what it wrote.
    fn play(tunnel: &mut Tunnel<'_>, answers: &[&[u8]]) -> Result<Vec<Vec<u8>>, TransportError> {
        let mut written = Vec::new();
        let mut answers = answers.iter();
        loop {
            match tunnel.next()? {
                Want::Write(data) => written.push(data),
                Want::Read(most) => {
                    let answer = answers.next().copied().unwrap_or_default();
                    assert!(answer.len() <= most, "{answer:?} {most}");
                    tunnel.feed(answer)?;
                }
                Want::Done => return Ok(written),
            }
        }
    }

    #[test]
    fn connect_names_host_and_port_and_the_login() {
        let proxy = proxy(ProxyScheme::Http, true);
        let mut tunnel = Tunnel::new(&proxy, destination("[::1]"));
        let answers: [&[u8]; 2] = [b"HTTP/1.1 200 Conn", b"ection established\r\n\r\n"];
        let written = play(&mut tunnel, &answers).expect("made");
        let text = String::from_utf8(written.concat()).expect("text");
        let expect = "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\
                      Proxy-Authorization: Basic bWU6cHc=\r\n\r\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn socks_logs_in_and_names_the_host_or_its_address() {
        let proxy = proxy(ProxyScheme::Socks5h, true);
        let mut tunnel = Tunnel::new(&proxy, destination("a.test"));
        let answers: [&[u8]; 5] = [&[5], &[2], &[1, 0], &[5, 0, 0, 1, 127], &[0, 0, 1, 0, 80]];
        let written = play(&mut tunnel, &answers).expect("made");
        assert_eq!(written[0], [5, 2, 0, 2]);
        assert_eq!(written[1], b"\x01\x02me\x02pw");
        assert_eq!(written[2], b"\x05\x01\x00\x03\x06a.test\x01\xbb");
        let addr = "127.0.0.1:443".parse().expect("valid");
        let told = Destination {
            addr: Some(addr),
            ..destination("a.test")
        };
        let mut tunnel = Tunnel::new(&proxy, told);
        let answers: [&[u8]; 3] = [&[5, 0], &[5, 0, 0, 3, 1], &[b'x', 0, 80]];
        let written = play(&mut tunnel, &answers).expect("made");
        assert_eq!(written[1], [5, 1, 0, 1, 127, 0, 0, 1, 1, 187]);
    }

    #[test]
    fn a_proxy_that_makes_no_connection_says_why() {
        let check = |scheme, login, answers: &[&[u8]], word: &str, lasts: bool| {
            let proxy = proxy(scheme, login);
            let mut tunnel = Tunnel::new(&proxy, destination("a.test"));
            let error = play(&mut tunnel, answers).expect_err(word);
            let TransportError::Proxy { cause, lasting } = &error else {
                panic!("{error:?}");
            };
            assert!(cause.contains(word), "{cause}");
            assert_eq!(*lasting, lasts, "{cause}");
        };
        let (http, socks) = (ProxyScheme::Http, ProxyScheme::Socks5);
        check(http, false, &[b"HTTP/1.1 407 x\r\n\r\n"], "407", true);
        check(http, false, &[b"HTTP/1.1 503 x\r\n\r\n"], "503", false);
        check(http, false, &[b"HTTP/1.1 200 x\r\n\r\nx"], "before", true);
        check(http, false, &[b"SSH-2.0\r\n"], "not http", true);
        check(http, false, &[], "closed", false);
        check(socks, false, &[b"HT"], "does not speak", true);
        check(socks, false, &[&[5, 255]], "another login", true);
        check(socks, true, &[&[5, 2], &[1, 1]], "refused user", true);
        check(socks, false, &[&[5, 0], &[5, 2, 0, 1, 0]], "rules", true);
        check(socks, false, &[&[5, 0], &[5, 5, 0, 1, 0]], "refused", false);
        check(socks, false, &[&[5, 0], &[5, 0, 0, 9, 0]], "no kind", true);
    }

    proptest! {
        #[test]
        fn nothing_that_a_proxy_says_panics(
            socks: bool,
            login: bool,
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let scheme = if socks { ProxyScheme::Socks5 } else { ProxyScheme::Http };
            let proxy = proxy(scheme, login);
            let mut tunnel = Tunnel::new(&proxy, destination("a.test"));
            let mut rest = &bytes[..];
            while let Ok(want) = tunnel.next() {
                match want {
                    Want::Write(_) => {}
                    Want::Read(most) => {
                        let (now, later) = rest.split_at(most.min(rest.len()));
                        rest = later;
                        if tunnel.feed(now).is_err() {
                            break;
                        }
                    }
                    Want::Done => break,
                }
            }
        }
    }
}
