//! The address of a watched run: the value of `--listen`.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const EXPECTED: &str = "expected a port (9000), ADDRESS:PORT (127.0.0.1:9000, [::1]:9000, NAME:9000) \
                        or unix:PATH";

/// The address at which a run can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of an address, or of a name of this machine.
    Tcp {
        /// The address or name, without brackets.
        host: String,
        /// The port. 0 selects a free one.
        port: u16,
    },
    /// A socket in the file system, for this user only.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(EXPECTED),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let (host, port) = match text.rsplit_once(':') {
            None => (Ipv4Addr::LOCALHOST.to_string(), text),
            Some((host, port)) => (unbracketed(host).ok_or(EXPECTED)?, port),
        };
        // `parse` would accept a plus sign.
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or(EXPECTED)?;
        Ok(Self::Tcp { host, port })
    }
}

/// Returns the address or name before a port, or `None` if it is neither.
fn unbracketed(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner
            .parse::<std::net::Ipv6Addr>()
            .ok()
            .map(|_| inner.to_owned());
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
    (!host.is_empty() && host.chars().all(fits)).then(|| host.to_ascii_lowercase())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Placed),
}

/// The socket file of a listener, removed with it.
#[derive(Debug)]
pub(super) struct Placed(PathBuf);

impl Drop for Placed {
    fn drop(&mut self) {
        // If the file stays, the next run replaces it.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Address {
    pub(super) fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port))?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(listener))
            }
            Self::Unix(path) => {
                let listener = bind_privately(path)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(listener, Placed(path.clone())))
            }
        }
    }

    /// Returns whether a request for this host (`Host:`) is meant for this address. A page of
    /// another site can make its own name resolve to this address and would then read the responses
    /// (DNS rebinding). It cannot do that with an address.
    pub(super) fn is_named_by(&self, host: &str) -> bool {
        let own = match self {
            // Browsers do not connect to a socket file.
            Self::Unix(_) => return true,
            Self::Tcp { host, .. } => host,
        };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case(own)
            || name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok()
    }

    /// Returns whether other machines cannot reach it.
    pub(super) fn is_local(&self, bound: Option<IpAddr>) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { .. } => bound.is_some_and(|address| address.is_loopback()),
        }
    }
}

/// Creates a socket that no other user can connect to at any time. Replaces that of a dead run.
fn bind_privately(path: &Path) -> io::Result<UnixListener> {
    match path.symlink_metadata() {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file of that name",
            ));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(_) | Err(_) => {}
    }
    let beside = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    // A new socket has the permissions of the umask for a moment, but others cannot enter this
    // folder.
    let folder = tempfile::Builder::new().prefix(".").tempdir_in(beside)?;
    let hidden = folder.path().join("s");
    let listener = UnixListener::bind(&hidden)?;
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
    std::fs::rename(&hidden, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_port_alone_is_one_of_the_loopback_address() {
        assert_eq!("9000".parse(), Ok(tcp("127.0.0.1", 9000)));
        assert_eq!("[::1]:0".parse(), Ok(tcp("::1", 0)));
        assert_eq!("Build-Box:80".parse(), Ok(tcp("build-box", 80)));
        assert_eq!("unix:a b".parse(), Ok(Address::Unix("a b".into())));
        for text in [
            "", "x", ":1", "+1", "65536", "1:2:3", "[::1]", "[x]:1", "a/b:1", "unix:",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["127.0.0.1:9000", "[::1]:9000", "unix:/x"] {
            let address: Address = text.parse().expect("well-formed");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_name_that_the_user_has_not_given_does_not_lead_here() {
        let address = tcp("build-box", 9000);
        for host in [
            "127.0.0.1:9000",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "Build-Box:9000",
            "10.0.0.1",
        ] {
            assert!(address.is_named_by(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:9000",
            "localhost.evil.example",
        ] {
            assert!(!address.is_named_by(host), "{host}");
        }
    }
}
