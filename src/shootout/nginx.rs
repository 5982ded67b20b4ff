//! nginx as the server of a preset, if it is installed.
//!
//! The files are created before the first run. This module does not know which entrants request
//! them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lab::origin::{ServerCertificate, Spec, body};
use url::Url;

/// Time limit for nginx to accept connections.
const START: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Number of attempts with other ports: another program can take a free port before nginx does.
const TRIES: usize = 20;

/// A running nginx process.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    root: PathBuf,
    /// Address for http.
    pub http: SocketAddr,
    /// Address for https.
    pub https: SocketAddr,
    /// The CA to trust for https, as PEM text.
    pub ca_pem: String,
}

impl Nginx {
    /// Starts nginx in one process, with its files in `folder`. Returns `None` if it is not
    /// installed.
    ///
    /// # Errors
    ///
    /// Fails if nginx does not start.
    pub fn start(folder: &Path) -> io::Result<Option<Self>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian installs it in a folder that is not on the `PATH` of users.
        let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let mut programs = folders.map(|folder| folder.join("nginx"));
        let Some(program) = programs.find(|program| program.is_file()) else {
            return Ok(None);
        };
        let certificate =
            ServerCertificate::new(&[Ipv4Addr::LOCALHOST.into()]).map_err(io::Error::other)?;
        let folder = folder.join("nginx");
        let root = folder.join("www");
        fs::create_dir_all(&root)?;
        fs::write(folder.join("certificate.pem"), &certificate.pem)?;
        fs::write(folder.join("key.pem"), &certificate.key_pem)?;
        for _ in 0..TRIES {
            let ports = [free_port()?, free_port()?];
            if let Some(child) = serve(&program, &folder, ports)? {
                let [http, https] = ports.map(|port| (Ipv4Addr::LOCALHOST, port).into());
                return Ok(Some(Self {
                    child,
                    root,
                    http,
                    https,
                    ca_pem: certificate.ca_pem,
                }));
            }
        }
        let log = fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        Err(io::Error::other(format!("nginx does not start: {log}")))
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Creates the files of these URLs, with the bodies that the built-in origin would send.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be written.
    pub fn fill(&self, spec: &Spec, urls: &[String]) -> io::Result<()> {
        for url in urls {
            let url = Url::parse(url).map_err(io::Error::other)?;
            let mut file = File::create(self.root.join(url.path().trim_start_matches('/')))?;
            io::copy(
                &mut body::Content::new(spec, &body::identity(&url)),
                &mut file,
            )?;
            file.flush()?;
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // This fails only if nginx has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a port that was free a moment ago. nginx cannot choose any free port.
fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Starts nginx on these ports, and waits until it accepts connections. Returns `None` if it exits
/// before that.
fn serve(program: &Path, folder: &Path, ports: [u16; 2]) -> io::Result<Option<Child>> {
    let dir = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {dir}/tmp; "))
        .collect();
    let [http, https] = ports;
    let configuration = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
         events {{ worker_connections 1024; }}
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
                 open_file_cache max=20000; {temporary}
                 server {{ listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl; root {dir}/www;
                           ssl_certificate {dir}/certificate.pem;
                           ssl_certificate_key {dir}/key.pem; }} }}"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, configuration)?;
    let mut child = Command::new(program)
        .arg("-p")
        .arg(folder)
        .arg("-e")
        .arg(folder.join("error.log"))
        .arg("-c")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = Instant::now();
    let answers = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    while child.try_wait()?.is_none() {
        if ports.into_iter().all(answers) {
            return Ok(Some(child));
        }
        if begun.elapsed() > START {
            child.kill()?;
            child.wait()?;
            break;
        }
        sleep(LOOK_EVERY);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};

    use super::*;

    #[test]
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn it_serves_its_files_over_http_and_tls() {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(nginx) = Nginx::start(folder.path()).expect("it starts") else {
            eprintln!("skipped: nginx is not installed");
            return;
        };
        let spec: Spec = "size=100000B".parse().expect("a spec");
        let urls = [("http", nginx.http), ("https", nginx.https)]
            .map(|(scheme, address)| format!("{scheme}://{address}/{scheme}.bin"));
        nginx.fill(&spec, &urls).expect("there is room");
        let ca = Certificate::from_pem(nginx.ca_pem.as_bytes()).expect("a certificate");
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca]));
        let config = ureq::Agent::config_builder().tls_config(tls.build());
        let agent = config.build().new_agent();
        for url in urls {
            let mut response = agent.get(&url).call().expect("it answers");
            let found = response.body_mut().read_to_vec().expect("a body");
            let mut expected = Vec::new();
            let identity = body::identity(&Url::parse(&url).expect("a URL"));
            io::copy(&mut body::Content::new(&spec, &identity), &mut expected).expect("endless");
            assert!(found == expected, "{url}: {} bytes", found.len());
        }
    }
}
