//! The sandbox of a worker process: limits its access to the file system and to the kernel.
//!
//! It consists of Landlock (landlock(7)), a list of system calls (seccomp(2)), no capabilities and
//! `no_new_privs`. All of them belong to a thread and are inherited by what it starts, so they are
//! set before a worker starts another thread. Only this module knows which files a name lookup
//! needs. It must not decide whether there is a sandbox.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
    make_bitflags,
};
use rustix::fs::Access as Permission;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, capabilities, set_no_new_privs};

use super::{ConfineError, Network, Sandbox, calls, rights};

/// What a strict sandbox requires (Linux 6.2): files can be moved between two writable folders (ABI
/// 2), and cannot be truncated elsewhere (ABI 3).
pub(super) const NEEDED: ABI = ABI::V3;

/// What is used if the kernel has it (Linux 6.12): limits on device ioctls, listening on TCP ports,
/// signals and abstract sockets. Later additions to Landlock are not listed until they are tested.
const USED: ABI = ABI::V6;

/// What a limit on the ports to connect to requires (Linux 6.7).
pub(super) const PORTS: ABI = ABI::V4;

/// Port of name servers, which send long answers over TCP (RFC 7766).
const DOMAIN: u16 = 53;

/// Rights to write files, to read the existing part of them, and to remove them.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | WriteFile | Truncate | MakeReg | RemoveFile
});

/// Files that the C library reads to look up a name: resolv.conf(5), nsswitch.conf(5), hosts(5),
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

/// Folders of these modules (ld.so(8)). They may be read; Landlock does not control mapping them.
const LIBRARY_FOLDERS: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// The parts of a sandbox that are in force. Displayed as text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// The version of Landlock.
    landlock: Option<i32>,
    /// The only folders that may be written to.
    write: Vec<PathBuf>,
    /// Whether connections are allowed.
    network: bool,
    /// Whether system calls are limited to a list.
    seccomp: bool,
    /// What is left of the capabilities: none, or one if files cannot be reached without it. `None`
    /// if they could not be dropped.
    capabilities: Option<Kept>,
    /// Whether executing a program can never add privileges.
    no_new_privs: bool,
    /// Whether a sandbox was requested.
    wanted: bool,
}

/// Whether the right to override permissions was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Nothing,
    Override,
}

impl InForce {
    /// Returns whether a worker in a sandbox could open the memory of other processes as files:
    /// only Landlock prevents this.
    #[must_use]
    pub const fn reaches_memory_of_others(&self) -> bool {
        self.wanted && self.landlock.is_none()
    }

    /// Returns what this sandbox lacks and the consequences, as part of a sentence, if anything.
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
            Some(abi) if *abi < NEEDED as i32 => missing.push(format!(
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
        if let Some(abi) = &self.landlock {
            means.push(format!("Landlock ABI {abi}"));
            let write: Vec<_> = self
                .write
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            effects.push(match write.as_slice() {
                [] => "writes nothing".to_owned(),
                write => format!("writes below {} only", write.join(", ")),
            });
            if self.network {
                effects.push("reads what name resolution takes".to_owned());
            }
        }
        if self.seccomp {
            means.push("seccomp".to_owned());
            let sockets = match self.network {
                true => "opens TCP and UDP only",
                false => "opens no socket",
            };
            effects.push(format!("starts no process, reaches none, and {sockets}"));
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

/// What is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// This process, a worker, whose only thread is the caller.
    Process,
    /// The calling thread, as a trial.
    Thread,
}

/// Confines the calling thread, and what it starts, to `sandbox`. Returns what is in force.
///
/// # Errors
///
/// Fails if `sandbox` is strict and the kernel cannot provide all of it, or if ports are to be
/// limited and the kernel cannot limit them.
pub(super) fn enter(sandbox: &Sandbox, extent: Extent) -> Result<InForce, ConfineError> {
    let no_new_privs =
        || set_no_new_privs(true).map_err(|errno| ConfineError::Privileges(errno.into()));
    let in_force = InForce {
        write: sandbox.write.clone(),
        network: sandbox.network != Network::None,
        wanted: true,
        ..InForce::default()
    };
    // Filters come last, because the other steps need system calls that are not on the list.
    if sandbox.strict {
        no_new_privs()?;
        let landlock = Some(restrict_files(sandbox, AccessFs::from_all(NEEDED))?);
        let capabilities = Some(drop_capabilities(sandbox)?);
        restrict_calls(sandbox)?;
        return Ok(InForce {
            landlock,
            seccomp: true,
            capabilities,
            no_new_privs: true,
            ..in_force
        });
    }
    let no_new_privs = had(no_new_privs()).is_some();
    // Landlock without ABI 2 refuses every move between folders, which every file needs.
    let files = restrict_files(sandbox, AccessFs::Refer.into());
    let landlock = match files {
        // A list of ports means that all other ports must be out of reach.
        Err(error) if matches!(sandbox.network, Network::Ports(_)) => return Err(error),
        files => had(files),
    };
    let capabilities = had(drop_capabilities(sandbox));
    if landlock.is_none() && extent == Extent::Process {
        // Without Landlock, this keeps other workers from the memory of this one.
        let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        tracing::debug!(?hidden, "not dumpable");
    }
    let seccomp = had(restrict_calls(sandbox)).is_some();
    Ok(InForce {
        landlock,
        seccomp,
        capabilities,
        no_new_privs,
        ..in_force
    })
}

fn had<T>(result: Result<T, ConfineError>) -> Option<T> {
    result
        .inspect_err(|error| tracing::debug!(%error, "a part of the sandbox is missing"))
        .ok()
}

/// Limits system calls. Landlock controls files by their place in the file system, and nothing else
/// that a process could do harm with.
fn restrict_calls(sandbox: &Sandbox) -> Result<(), ConfineError> {
    let program = calls::filter(sandbox.network != Network::None);
    let program = program.map_err(|error| ConfineError::Seccomp(error.into()))?;
    Ok(seccompiler::apply_filter(&program)?)
}

fn drop_capabilities(sandbox: &Sandbox) -> Result<Kept, ConfineError> {
    let write = sandbox.write.iter();
    let write = write.map(|path| (path, Permission::WRITE_OK | Permission::EXEC_OK));
    let read = sandbox.read.iter().map(|path| match path.is_dir() {
        true => (path, Permission::EXEC_OK),
        false => (path, Permission::READ_OK),
    });
    let paths: Vec<_> = write
        .chain(read)
        .map(|(path, access)| (path.as_os_str(), access))
        .collect();
    match rights::drop_capabilities(&paths) {
        Ok(true) => Ok(Kept::Override),
        Ok(false) => Ok(Kept::Nothing),
        Err(errno) => Err(ConfineError::Capabilities(errno.into())),
    }
}

/// Limits access to files and ports. Returns the version of Landlock in force.
fn restrict_files(sandbox: &Sandbox, needed: BitFlags<AccessFs>) -> Result<i32, ConfineError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(needed)
        .map_err(ConfineError::Unsupported)?;
    match sandbox.network {
        Network::Any => {}
        Network::Ports(_) => {
            ruleset = ruleset
                .handle_access(AccessNet::ConnectTcp)
                .map_err(ConfineError::Ports)?;
        }
        // The list of system calls allows no sockets.
        Network::None => {
            ruleset = ruleset
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessNet::ConnectTcp)?;
        }
    }
    let ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(USED))?
        // No process has to connect to a worker.
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?;
    let status = permit(ruleset, sandbox)?.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi.unwrap_or(effective_abi as i32),
        // Ruled out by the required rights above.
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}

/// Adds what is allowed. Nothing may be executed.
fn permit(mut ruleset: RulesetCreated, sandbox: &Sandbox) -> Result<RulesetCreated, ConfineError> {
    for folder in &sandbox.write {
        let place = PathFd::new(folder).map_err(|cause| ConfineError::Folder {
            folder: folder.clone(),
            cause,
        })?;
        ruleset = ruleset.add_rule(PathBeneath::new(place, WRITE))?;
    }
    if let Network::Ports(ports) = &sandbox.network {
        for &port in ports.iter().chain([&DOMAIN]) {
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    let lookups = match sandbox.network {
        Network::None => Vec::new(),
        Network::Any | Network::Ports(_) => read_by_lookups(),
    };
    for path in sandbox.read.iter().chain(&lookups) {
        // A path that does not exist does not have to be read.
        if let Ok(place) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(place, AccessFs::ReadFile))?;
        }
    }
    for path in &sandbox.read_public {
        let how = if path.is_dir() {
            AccessFs::ReadFile | AccessFs::ReadDir
        } else {
            AccessFs::ReadFile.into()
        };
        if let Ok(place) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(place, how))?;
        }
    }
    Ok(ruleset)
}

/// Returns the files and folders that are read to look up a name. Folders include everything below.
fn read_by_lookups() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = LOOKUP_FILES.iter().map(PathBuf::from).collect();
    paths.extend(LIBRARY_FOLDERS.iter().map(PathBuf::from));
    // A rule belongs to a file and not to its name, and a new network may come with a new
    // resolv.conf. Its folder may be read if it contains nothing else (/run/systemd/resolve), and
    // /etc may be read by users who cannot read secrets of others there.
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
    paths
}

/// Returns whether permissions do not limit what this process reads: it runs as root, or has
/// capabilities to the same effect.
fn reads_everything() -> bool {
    let all = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rustix::process::geteuid().is_root()
        || capabilities(None).is_ok_and(|sets| sets.effective.intersects(all))
}
