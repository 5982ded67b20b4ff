//! Logging in: reads the files that options name, once and before the run starts.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use protocol::{Bearer, Identity, LoginOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::cli::file::HostArgs;
use crate::cli::login::LoginArgs;
use crate::login::{FileError, Jar, Logins, Netrc, read_private};

/// Most text of certificates and key together, in bytes. Every worker receives it when it starts.
const MAX_IDENTITY: usize = 24 * 1024;

/// The same limit for the certificate of a single host. A worker receives it together with
/// everything else for its hosts, and has little room for messages that it has not read.
const MAX_OF_HOST: usize = 12 * 1024;

/// Why the login settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A file that cannot be used.
    #[error("cannot use {path} ({option}): {error}")]
    File {
        /// The option that names it.
        option: String,
        path: PathBuf,
        error: FileError,
    },
    /// The location of the user's netrc file is not known.
    #[error("cannot find ~/.netrc (--netrc): HOME is not set; name the file with --netrc-file")]
    NoHome,
    /// The token of --oauth2-bearer cannot be sent.
    #[error(
        "cannot use the token of --oauth2-bearer: it is empty or has characters that no token has"
    )]
    Token,
    /// A certificate and its key cannot be used.
    #[error("cannot use {path} as a client certificate ({option}): {problem}")]
    Identity {
        /// The option that names it.
        option: String,
        /// The file with the certificate.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The validated login settings.
#[derive(Debug)]
pub(super) struct Login {
    /// Sent to every worker.
    pub(super) options: LoginOptions,
    /// Sent to each worker for the hosts that it needs.
    pub(super) logins: Logins,
    /// Why the user's netrc file is not used, if the user may expect it to be.
    pub(super) note: Option<String>,
}

/// Validates `args`. `home` is the user's folder, and `now` is in seconds since 1970.
pub(super) fn login(
    args: &LoginArgs,
    hosts: &[HostArgs],
    home: Option<PathBuf>,
    now: i64,
) -> Result<Login, LoginError> {
    let (netrc, note) = netrc(args, home)?;
    let jar = match &args.cookie {
        Some(path) => Jar::load(path, now).map_err(refused("--cookie", path))?,
        None => Jar::default(),
    };
    let logins = Logins {
        netrc,
        jar,
        identities: identities(hosts)?,
        shared: args.cookie_jar.is_some(),
    };
    let none = PathBuf::new();
    let largest = args.cookie.as_ref().or(args.netrc_file.as_ref());
    let hosts = logins.hosts();
    Ok(Login {
        options: LoginOptions {
            credentials: args.user.clone(),
            bearer: args.oauth2_bearer.as_ref().map(bearer).transpose()?,
            digest_only: args.digest,
            hosts: hosts.map_err(refused("--cookie", largest.unwrap_or(&none)))?,
            report_cookies: args.cookie_jar.is_some(),
            identity: args
                .cert
                .as_deref()
                .map(|cert| identity(cert, args.key.as_deref(), "--cert, --key", MAX_IDENTITY))
                .transpose()?,
        },
        logins,
        note,
    })
}

/// Reads the certificates for single hosts.
fn identities(hosts: &[HostArgs]) -> Result<HashMap<String, Identity>, LoginError> {
    let identities = hosts.iter().map(|HostArgs { host, cert, key }| {
        let option = format!("host.\"{host}\" of the config file");
        let identity = identity(cert, key.as_deref(), &option, MAX_OF_HOST)?;
        Ok((host.clone(), identity))
    });
    identities.collect()
}

fn refused<'p>(option: &'p str, path: &'p Path) -> impl FnOnce(FileError) -> LoginError + 'p {
    move |error| LoginError::File {
        option: option.to_owned(),
        path: path.to_owned(),
        error,
    }
}

/// Returns the netrc file to use, and why the user's own file is not used. A run that does not
/// require the file continues without it.
fn netrc(args: &LoginArgs, home: Option<PathBuf>) -> Result<(Netrc, Option<String>), LoginError> {
    if let Some(path) = &args.netrc_file {
        let loaded = Netrc::load(path).map_err(refused("--netrc-file", path))?;
        return Ok((loaded, None));
    }
    if args.no_netrc {
        return Ok((Netrc::default(), None));
    }
    let Some(path) = home.map(|home| home.join(".netrc")) else {
        return match args.netrc {
            true => Err(LoginError::NoHome),
            false => Ok((Netrc::default(), None)),
        };
    };
    match Netrc::load(&path) {
        Ok(loaded) => Ok((loaded, None)),
        Err(error) if args.netrc => Err(refused("--netrc", &path)(error)),
        Err(FileError::Read(error)) if is_absent(&error) => Ok((Netrc::default(), None)),
        Err(error) => {
            let path = path.display();
            let note = format!("warning: {path} is not used: {error} (--no-netrc hides this)");
            Ok((Netrc::default(), Some(note)))
        }
    }
}

/// Returns whether the file does not exist. The home of a service can be `/dev/null`.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Returns the token, which may be in a file.
fn bearer(given: &Bearer) -> Result<Bearer, LoginError> {
    let text = match given.0.strip_prefix('@') {
        Some(file) => {
            let path = Path::new(file);
            read_private(path).map_err(refused("--oauth2-bearer", path))?
        }
        None => given.0.clone(),
    };
    let token = text.trim();
    // RFC 6750 section 2.1, and the other characters that are in use.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(LoginError::Token);
    }
    Ok(Bearer(token.to_owned()))
}

/// Reads and checks certificates and key, so that no worker has to fail because of them.
fn identity(
    cert: &Path,
    key: Option<&Path>,
    option: &str,
    most: usize,
) -> Result<Identity, LoginError> {
    let key = key.unwrap_or(cert);
    let text = read_private(key).map_err(refused(option, key))?;
    let certificates = match key == cert {
        true => text.clone(),
        false => crate::login::read(cert).map_err(refused(option, cert))?,
    };
    let wrong = |problem: String| LoginError::Identity {
        option: option.to_owned(),
        path: cert.to_owned(),
        problem,
    };
    let shown = CertificateDer::pem_slice_iter(certificates.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if shown.is_empty() {
        return Err(wrong(
            "nothing between BEGIN and END CERTIFICATE".to_owned(),
        ));
    }
    let secret = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        wrong(
            "no private key that can be read in PEM; an encrypted one has to be decrypted"
                .to_owned(),
        )
    })?;
    CertifiedKey::from_der(shown, secret, &rustls::crypto::ring::default_provider())
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.len() + text.len() > most {
        return Err(wrong(format!("more than {most} bytes of PEM")));
    }
    Ok(Identity {
        certificates,
        key: text,
    })
}
