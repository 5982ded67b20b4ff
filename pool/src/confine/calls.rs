//! Limits the system calls of a confined worker to a list. All others are refused.
//!
//! | call | result |
//! | --- | --- |
//! | on the list, with arguments that the list allows | allowed |
//! | on the list, with other arguments; or known and not on the list | `EPERM` |
//! | newer than the list, or `clone3` (a filter cannot see its arguments) | `ENOSYS`, so that libraries fall back to older calls |
//! | of another ABI of the processor (32-bit, x32) | the process ends |
//!
//! The list contains what workers do on both engines, and what glibc and musl do to look up names.
//! A filter sees numbers and not memory: it cannot check a path or an address.
//!
//! This module knows what a worker needs from the kernel. It must not know which files this
//! concerns: that is the task of Landlock.

use libc::c_long;
use rustix::process::getpid;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// The first number without a call in Linux 6.17, on which the list is based. From 424 up, numbers
/// are the same on all processors.
const FIRST_UNKNOWN: u32 = 470;

/// The bit that is set in the numbers of calls of the x32 ABI. It is also set in -1, which a tracer
/// writes in place of a call that it skips.
const X32: u32 = 0x4000_0000;
const SKIPPED: u32 = u32::MAX;

/// Calls that are allowed with all arguments.
const ANY: &[c_long] = &[
    // Files, as far as Landlock allows opening them, and their metadata.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_unlinkat,
    libc::SYS_getdents64,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_dup,
    // Open sockets. New ones are TCP or UDP, if they are allowed: see `socket` below.
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    // Memory. New mappings are private: see `mmap` below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads. They are started with `clone`: see below.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals to itself.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    // Information about the process and the system.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrandom,
];

/// The same calls by their older numbers, which some libraries use where they exist.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_time,
    libc::SYS_getrlimit,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[c_long] = &[];

/// musl's resolver binds the socket that it sends its queries from, and its abort(3) signals a
/// thread by thread id alone.
#[cfg(target_env = "musl")]
const LIBRARY: &[c_long] = &[libc::SYS_bind, libc::SYS_tkill];
#[cfg(not(target_env = "musl"))]
const LIBRARY: &[c_long] = &[];

/// Allowed sockets: domain, type and protocol. Protocol 0 is TCP or UDP as well.
const SOCKETS: [(i32, i32, i32); 8] = [
    (libc::AF_INET, libc::SOCK_STREAM, 0),
    (libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::AF_INET, libc::SOCK_DGRAM, 0),
    (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    (libc::AF_INET6, libc::SOCK_STREAM, 0),
    (libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP),
    (libc::AF_INET6, libc::SOCK_DGRAM, 0),
    (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDP),
];

/// Allowed options of sockets: level and name.
const SET_OPTIONS: [(i32, i32); 10] = [
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_IP, libc::IP_RECVERR),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];
const GET_OPTIONS: [(i32, i32); 4] = [
    (libc::SOL_SOCKET, libc::SO_ERROR),
    (libc::SOL_SOCKET, libc::SO_TYPE),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
];

/// Allowed requests of `ioctl`: non-blocking mode, readable bytes, close-on-exec, and isatty(3).
#[allow(
    clippy::unnecessary_cast,
    reason = "they are numbers of another type in musl"
)]
const IOCTLS: [u64; 4] = [
    libc::FIONBIO as u64,
    libc::FIONREAD as u64,
    libc::FIOCLEX as u64,
    libc::TCGETS as u64,
];

/// Allowed commands of `fcntl`, in addition to `F_SETFL`.
const FCNTLS: [i32; 4] = [
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_DUPFD_CLOEXEC,
];

/// Allowed operations of `prctl`: a thread's name, names of mappings, and the auxiliary vector.
const PRCTLS: [i32; 3] = [libc::PR_SET_NAME, libc::PR_SET_VMA, PR_GET_AUXV];

/// prctl(2); libc has no name for it.
const PR_GET_AUXV: i32 = 0x4155_5856;

/// Flags for a thread of this process, without a new namespace.
const CLONE_NEEDED: i32 = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
const CLONE_REFUSED: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Mappings must count against `RLIMIT_DATA`: shared memory and growing stacks do not. (`MAP_TYPE`
/// in linux/mman.h; libc does not define it everywhere.)
const MAP_TYPE: i32 = 0x0f;
const MAP_REFUSED: i32 = libc::MAP_GROWSDOWN;

/// Creates the filter for a thread of this process and what it starts, with or without `network`.
pub(super) fn filter(network: bool) -> Result<BpfProgram, BackendError> {
    let own = getpid().as_raw_nonzero().get();
    let mut rules: Vec<(c_long, Vec<SeccompRule>)> = Vec::new();
    for calls in [ANY, OLDER, LIBRARY] {
        rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    }
    let kind = !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let sockets = SOCKETS.map(|(domain, kind_of_socket, protocol)| {
        vec![
            is(0, domain),
            masked(1, kind, kind_of_socket),
            is(2, protocol),
        ]
    });
    if network {
        rules.push((libc::SYS_socket, any_of(sockets)?));
        rules.push((libc::SYS_connect, Vec::new()));
    }
    let options = |(level, name)| vec![is(1, level), is(2, name)];
    rules.push((libc::SYS_setsockopt, any_of(SET_OPTIONS.map(options))?));
    rules.push((libc::SYS_getsockopt, any_of(GET_OPTIONS.map(options))?));
    let ioctls = IOCTLS.map(|request| vec![compare(1, SeccompCmpOp::Eq, request)]);
    rules.push((libc::SYS_ioctl, any_of(ioctls)?));
    let mut fcntls: Vec<_> = FCNTLS.map(|command| vec![is(1, command)]).into();
    // No signals when data can be read, because any process could receive them.
    fcntls.push(vec![is(1, libc::F_SETFL), masked(2, libc::O_ASYNC, 0)]);
    rules.push((libc::SYS_fcntl, any_of(fcntls)?));
    let prctls = PRCTLS.map(|operation| vec![is(0, operation)]);
    rules.push((libc::SYS_prctl, any_of(prctls)?));
    let thread = vec![masked(0, CLONE_NEEDED | CLONE_REFUSED, CLONE_NEEDED)];
    rules.push((libc::SYS_clone, any_of([thread])?));
    let private = vec![masked(3, MAP_TYPE | MAP_REFUSED, libc::MAP_PRIVATE)];
    rules.push((libc::SYS_mmap, any_of([private])?));
    // The limits of the process may be read, but not set.
    let read = [
        is(0, 0),
        SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
    ];
    rules.push((libc::SYS_prlimit64, any_of([read.into()])?));
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.push((call, any_of([vec![is(0, own)]])?));
    }
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let list = SeccompFilter::new(
        rules.into_iter().collect(),
        refused,
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    let mut program = what_is_not_there();
    program.extend(BpfProgram::try_from(list)?);
    Ok(program)
}

/// Returns the beginning of the program. It handles numbers without a call, as far as the list
/// knows, and numbers of x32. The rest follows it.
fn what_is_not_there() -> BpfProgram {
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    // Loads the number of the call, which is the first word of a filter's input.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    if cfg!(target_arch = "x86_64") {
        program.extend([
            jump(libc::BPF_JGE, X32, 0, 2),
            jump(libc::BPF_JEQ, SKIPPED, 1, 0),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        ]);
    }
    program.extend([
        jump(libc::BPF_JGE, FIRST_UNKNOWN, 1, 0),
        jump(libc::BPF_JEQ, clone3, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, absent),
    ]);
    program
}

/// Returns a step of a filter.
const fn statement(code: u32, operand: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: operand,
    }
}

/// Returns a step that skips `yes` steps if the comparison holds, and `no` steps otherwise.
const fn jump(comparison: u32, operand: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter {
        jt: yes,
        jf: no,
        ..statement(libc::BPF_JMP | comparison | libc::BPF_K, operand)
    }
}

type Condition = Result<SeccompCondition, BackendError>;

/// Compares 32 bits: the arguments of these calls are not wider, whatever a register holds above.
fn compare(argument: u8, operator: SeccompCmpOp, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn is(argument: u8, value: i32) -> Condition {
    compare(argument, SeccompCmpOp::Eq, bits(value))
}

fn masked(argument: u8, mask: i32, value: i32) -> Condition {
    compare(argument, SeccompCmpOp::MaskedEq(bits(mask)), bits(value))
}

fn bits(value: i32) -> u64 {
    value.cast_unsigned().into()
}

/// Returns rules of which at least one has to match.
fn any_of(
    sets: impl IntoIterator<Item = Vec<Condition>>,
) -> Result<Vec<SeccompRule>, BackendError> {
    sets.into_iter()
        .map(|set| SeccompRule::new(set.into_iter().collect::<Result<_, _>>()?))
        .collect()
}
