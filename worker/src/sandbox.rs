//! The sandbox of a worker process: what it may touch of the file system, and what it may ask of
//! the kernel.
//!
//! Made of Landlock (landlock(7)), a list of system calls (seccomp(2)), no capabilities and
//! `no_new_privs`. All of them belong to a thread and are inherited by what it starts, so this
//! comes before any other thread of a worker. Which files it takes to look up a name is known here
//! and nowhere else. It must not decide whether there is to be a sandbox.

mod calls;
mod rights;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    Scope, make_bitflags,
};
use protocol::{Sandbox, Setup, Trust};
use rustix::fs::Access as Permission;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, capabilities, set_no_new_privs};

/// What `--sandbox on` insists on (Linux 6.2): files can be moved between folders that may both be
/// written to (ABI 2), and not be truncated elsewhere (ABI 3).
const NEEDED: ABI = ABI::V3;

/// What is used where the kernel has it (Linux 6.12): ioctls on devices, listening on TCP ports,
/// signals and abstract sockets. Landlock's later additions are not listed until they are tried.
const USED: ABI = ABI::V6;

/// What it takes to limit the ports that may be connected to (Linux 6.7).
const PORTS: ABI = ABI::V4;

/// Of name servers, which are asked over TCP for answers that are long (RFC 7766).
const DOMAIN: u16 = 53;

/// What it takes to write a body, to read what is there of one, and to take one away.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | Truncate | MakeReg | RemoveFile
});

/// What the C library reads to look up a name: resolv.conf(5), nsswitch.conf(5), hosts(5),
/// host.conf(5), gai.conf(5), and the cache of ld.so(8), for the modules of nsswitch.conf.
const LOOKUP_FILES: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ld.so.cache",
];

/// Where distributions put the certificates that they trust, and what links in there lead to. Keys
/// are elsewhere.
const CERTIFICATE_PLACES: [&str; 11] = [
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/var/lib/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki",
];

/// Where these modules are (ld.so(8)). They may be read; Landlock has no say in mapping them.
const LIBRARY_FOLDERS: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel cannot do it.
    #[error(
        "this kernel cannot confine workers (--sandbox on): it takes Landlock ABI {} (Linux 6.2), \
         enabled (lsm=landlock); use --sandbox best-effort to take what there is", NEEDED as i32
    )]
    Unsupported(#[source] RulesetError),
    /// The kernel cannot keep a worker to some ports.
    #[error(
        "this kernel cannot limit the ports that workers connect to (--connect-ports): it takes \
         Landlock ABI {} (Linux 6.7), enabled (lsm=landlock)", PORTS as i32
    )]
    Ports(#[source] RulesetError),
    /// The folder that may be written to is not there.
    #[error("cannot open the folder {} for the sandbox: {cause}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        cause: landlock::PathFdError,
    },
    /// The kernel has Landlock, and refused.
    #[error("cannot confine workers with Landlock (--sandbox): {0}")]
    Refused(#[from] RulesetError),
    /// The kernel does not filter system calls.
    #[error(
        "this kernel cannot limit the system calls of workers (--sandbox on): {0}; it takes seccomp \
         filters; use --sandbox best-effort to take what there is"
    )]
    Seccomp(#[from] seccompiler::Error),
    /// The kernel does not take capabilities away.
    #[error(
        "cannot give up the capabilities of workers (--sandbox on): {0}; use --sandbox best-effort \
         to take what there is"
    )]
    Capabilities(#[source] io::Error),
    /// The kernel does not take this from a process.
    #[error(
        "cannot give up new privileges (--sandbox on): {0}; use --sandbox best-effort to take what \
         there is"
    )]
    Privileges(#[source] io::Error),
}

/// What is in force, in words for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The version of Landlock, and the only folder that may be written to.
    landlock: Option<(i32, PathBuf)>,
    /// Only the system calls of a list can be made.
    seccomp: bool,
    /// There are no capabilities; one is left if files are out of reach without it.
    capabilities: Option<Kept>,
    /// No program could give the worker rights that it lacks.
    no_new_privs: bool,
    /// There is to be a sandbox.
    wanted: bool,
}

/// Whether the right to pass over permissions was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Nothing,
    Override,
}

impl InForce {
    /// Whether a worker that is to be confined could open the memory of other processes as files:
    /// nothing but Landlock keeps it from that.
    #[must_use]
    pub const fn reaches_memory_of_others(&self) -> bool {
        self.wanted && self.landlock.is_none()
    }

    /// What a sandbox should have and this one lacks, and what that means, if anything is missing:
    /// a part of a sentence.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        if !self.wanted {
            return None;
        }
        let mut missing = Vec::new();
        match &self.landlock {
            None => missing.push(format!(
                "no Landlock ABI {} (Linux 6.2, enabled with lsm=landlock), so they can read and \
                 write all that this user can",
                NEEDED as i32
            )),
            Some((abi, _)) if *abi < NEEDED as i32 => missing.push(format!(
                "Landlock ABI {abi} and not {} (Linux 6.2), so they can cut off any file that this \
                 user can write to",
                NEEDED as i32
            )),
            Some(_) => {}
        }
        if !self.seccomp {
            missing.push(
                "no seccomp filters, so they can reach other processes and sockets".to_owned(),
            );
        }
        if self.capabilities.is_none() {
            missing.push("capabilities cannot be given up".to_owned());
        }
        if !self.no_new_privs {
            missing.push("no no_new_privs (Linux 3.5)".to_owned());
        }
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut means, mut effects) = (Vec::new(), Vec::new());
        if let Some((abi, own)) = &self.landlock {
            means.push(format!("Landlock ABI {abi}"));
            effects.push(format!("writes below {} only", own.display()));
            effects.push("reads what name resolution takes".to_owned());
        }
        if self.seccomp {
            means.push("seccomp".to_owned());
            effects.push("starts no process, reaches none, and opens TCP and UDP only".to_owned());
        }
        match self.capabilities {
            None => {}
            Some(Kept::Nothing) => means.push("no capabilities".to_owned()),
            Some(Kept::Override) => {
                means.push("no capabilities but CAP_DAC_OVERRIDE".to_owned());
                effects.push("passes over permissions, to work in a folder of others".to_owned());
            }
        }
        if self.no_new_privs {
            means.push("no_new_privs".to_owned());
        }
        if means.is_empty() {
            return f.write_str("off");
        }
        f.write_str(&means.join(", "))?;
        if !effects.is_empty() {
            write!(f, "; {}", effects.join(", "))?;
        }
        Ok(())
    }
}

/// Whom a sandbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// This process, whose only thread calls: it is a worker.
    Process,
    /// The calling thread, to try it.
    Thread,
}

/// Confines the calling thread, and what it will start, as `setup` says; what is in force then
/// comes back.
///
/// # Errors
///
/// If `setup` insists on a sandbox and it cannot be had in full.
pub(crate) fn enter(setup: &Setup, extent: Extent) -> Result<InForce, SandboxError> {
    let no_new_privs =
        || set_no_new_privs(true).map_err(|errno| SandboxError::Privileges(errno.into()));
    // Filters come last: what the others take is not on the list.
    match setup.limits.sandbox {
        Sandbox::Off => Ok(InForce::default()),
        Sandbox::On => {
            no_new_privs()?;
            let landlock = Some(restrict_files(setup, AccessFs::from_all(NEEDED))?);
            let capabilities = Some(drop_capabilities(setup)?);
            restrict_calls()?;
            Ok(InForce {
                landlock,
                seccomp: true,
                capabilities,
                no_new_privs: true,
                wanted: true,
            })
        }
        Sandbox::BestEffort => {
            let no_new_privs = had(no_new_privs()).is_some();
            // Landlock without ABI 2 refuses every move between folders, and so every file.
            let files = restrict_files(setup, AccessFs::Refer.into());
            let landlock = match files {
                // Who names ports means that nothing else is connected to.
                Err(error) if !setup.limits.connect_ports.is_empty() => return Err(error),
                files => had(files),
            };
            let capabilities = had(drop_capabilities(setup));
            if landlock.is_none() && extent == Extent::Process {
                // Then this is what keeps other workers from the memory of this one.
                let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
                tracing::debug!(?hidden, "not dumpable");
            }
            let seccomp = had(restrict_calls()).is_some();
            Ok(InForce {
                landlock,
                seccomp,
                capabilities,
                no_new_privs,
                wanted: true,
            })
        }
    }
}

fn had<T>(result: Result<T, SandboxError>) -> Option<T> {
    result
        .inspect_err(|error| tracing::debug!(%error, "a part of the sandbox is missing"))
        .ok()
}

/// Landlock knows files by their place in the file system, and nothing else that a process could
/// do harm with: that is what the list of system calls is for.
fn restrict_calls() -> Result<(), SandboxError> {
    let program = calls::filter().map_err(|error| SandboxError::Seccomp(error.into()))?;
    Ok(seccompiler::apply_filter(&program)?)
}

fn drop_capabilities(setup: &Setup) -> Result<Kept, SandboxError> {
    let write = Permission::WRITE_OK | Permission::EXEC_OK;
    let mut paths: Vec<(&OsStr, Permission)> = vec![(&setup.partial, write)];
    if let Some(robots) = &setup.robots {
        paths.push((&robots.folder, Permission::EXEC_OK));
    }
    if let Trust::File(file) = &setup.http.trust {
        paths.push((file, Permission::READ_OK));
    }
    match rights::drop_capabilities(&paths) {
        Ok(true) => Ok(Kept::Override),
        Ok(false) => Ok(Kept::Nothing),
        Err(errno) => Err(SandboxError::Capabilities(errno.into())),
    }
}

fn restrict_files(
    setup: &Setup,
    needed: BitFlags<AccessFs>,
) -> Result<(i32, PathBuf), SandboxError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(needed)
        .map_err(SandboxError::Unsupported)?;
    if !setup.limits.connect_ports.is_empty() {
        ruleset = ruleset
            .handle_access(AccessNet::ConnectTcp)
            .map_err(SandboxError::Ports)?;
    }
    let ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(USED))?
        // Nobody has to connect to a worker.
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?;
    let own = Path::new(&setup.partial);
    let status = permit(ruleset, setup, own)?.restrict_self()?;
    let abi = match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi.unwrap_or(effective_abi as i32),
        // Ruled out by what is needed.
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    Ok((abi, own.to_owned()))
}

/// Adds what is allowed. Nothing may be executed anywhere.
fn permit(
    mut ruleset: RulesetCreated,
    setup: &Setup,
    own: &Path,
) -> Result<RulesetCreated, SandboxError> {
    let folder = PathFd::new(own).map_err(|cause| SandboxError::Folder {
        folder: own.to_owned(),
        cause,
    })?;
    ruleset = ruleset.add_rule(PathBeneath::new(folder, WRITE))?;
    let ports = &setup.limits.connect_ports;
    if !ports.is_empty() {
        for &port in ports.iter().chain([&DOMAIN]) {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    // Where a redirect leads is held against what is there.
    if let Some(robots) = &setup.robots
        && let Ok(folder) = PathFd::new(&robots.folder)
    {
        ruleset = ruleset.add_rule(PathBeneath::new(folder, AccessFs::ReadFile))?;
    }
    if setup.http.trust == Trust::System {
        for path in certificate_places() {
            let how = if path.is_dir() {
                AccessFs::ReadFile | AccessFs::ReadDir
            } else {
                AccessFs::ReadFile.into()
            };
            if let Ok(place) = PathFd::new(path) {
                ruleset = ruleset.add_rule(PathBeneath::new(place, how))?;
            }
        }
    }
    for path in readable(setup) {
        // What is not there need not be read.
        if let Ok(place) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(place, AccessFs::ReadFile))?;
        }
    }
    Ok(ruleset)
}

/// What may be read, files and folders with all that is below.
fn readable(setup: &Setup) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = LOOKUP_FILES.iter().map(PathBuf::from).collect();
    paths.extend(LIBRARY_FOLDERS.iter().map(PathBuf::from));
    // A rule belongs to a file and not to its name, and a new network may come with a new
    // resolv.conf. Its folder may be read where it holds nothing else (/run/systemd/resolve), and
    // /etc by users who find no secrets of others there.
    let etc = Path::new("/etc");
    if let Ok(target) = Path::new(LOOKUP_FILES[0]).canonicalize()
        && let Some(folder) = target.parent()
        && folder != etc
    {
        paths.push(folder.to_owned());
    }
    if !reads_everything() {
        paths.push(etc.to_owned());
    }
    if let Trust::File(file) = &setup.http.trust {
        paths.push(PathBuf::from(file));
    }
    paths
}

/// Where the system's certificates are (SSL_CTX_load_verify_locations(3)), as far as they may be
/// read by everybody.
fn certificate_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = CERTIFICATE_PLACES.iter().map(PathBuf::from).collect();
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            places.extend(std::env::split_paths(&value));
        }
    }
    places
}

/// Whether permissions keep this process from reading nothing: it is root's, or as good as.
fn reads_everything() -> bool {
    let all = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rustix::process::geteuid().is_root()
        || capabilities(None).is_ok_and(|sets| sets.effective.intersects(all))
}
