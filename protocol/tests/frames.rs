//! Frames: decoding returns what was encoded, and refuses everything else.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol::codec::{self, DecodeError, EncodeError, MAX_FRAME};
use protocol::handshake::Hello;
use protocol::robots::ObeyRobots;
use protocol::{
    Algorithm, Assigned, Assignment, Bearer, ByteRange, Checksum, Cookie, Credentials, Engine,
    Exchange, Executed, Exemption, Expect, Failure, FailureKind, Family, Faults, FromWorker,
    HttpOptions, Identity, Known, LimitRate, Login, LoginHosts, LoginOptions, MAX_POISON_TEXT,
    MAX_POISONS, MonotonicNanos, Notice, Phase, Poison, Progress, Proxies, Proxy, ProxyScheme,
    Report, ResolveOverride, Running, Sandbox, Setup, Severity, Share, Simulated, Span, SpanPhase,
    Stored, TaskFault, TaskId, TaskKind, Timestamp, Timing, ToWorker, Trust, Validators,
    WorkerLimits,
};

fn task() -> impl Strategy<Value = TaskId> {
    any::<u64>().prop_map(TaskId)
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn os_string() -> impl Strategy<Value = OsString> {
    // Any bytes, because a path on Unix need not be text.
    vec(any::<u8>(), 0..50).prop_map(OsString::from_vec)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

prop_compose! {
    fn timing()(times in prop::array::uniform7(duration())) -> Timing {
        let [resolve, connect, tls, first_byte, body, store, exec] = times;
        Timing { resolve, connect, tls, first_byte, body, store, exec }
    }
}

fn span() -> impl Strategy<Value = Span> {
    let phase = prop::sample::select(SpanPhase::ALL.as_slice());
    (phase, any::<u64>(), duration(), duration()).prop_map(|(phase, start, wall, cpu)| Span {
        phase,
        start: MonotonicNanos(start),
        wall,
        cpu,
    })
}

prop_compose! {
    fn cookie()(
        [domain, path, name, value] in prop::array::uniform4(".{0,20}"),
        [host_only, secure, http_only] in any::<[bool; 3]>(),
        expires in option::of(any::<i64>()),
    ) -> Cookie {
        Cookie { domain, host_only, path, secure, http_only, expires, name, value }
    }
}

prop_compose! {
    fn credentials()([user, password] in prop::array::uniform2(".{0,20}")) -> Credentials {
        Credentials { user, password }
    }
}

prop_compose! {
    fn login()(
        host in ".{0,20}",
        credentials in option::of(credentials()),
        cookies in vec(cookie(), 0..3),
        identity in option::of((".{0,20}", ".{0,20}")),
    ) -> Login {
        let identity = identity.map(|(certificates, key)| Identity { certificates, key });
        Login { host, credentials, cookies, identity }
    }
}

prop_compose! {
    fn login_options()(
        credentials in option::of(credentials()),
        bearer in option::of(".{0,20}"),
        [digest_only, report_cookies, any] in any::<[bool; 3]>(),
        hosts in vec("[a-z.]{1,9}", 0..4),
        identity in option::of((".{0,20}", ".{0,20}")),
    ) -> LoginOptions {
        LoginOptions {
            credentials,
            bearer: bearer.map(Bearer),
            digest_only,
            hosts: LoginHosts::new(hosts.iter().map(String::as_str), any),
            report_cookies,
            identity: identity.map(|(certificates, key)| Identity { certificates, key }),
        }
    }
}

prop_compose! {
    fn exchange()(
        started in any::<i64>(),
        timing in timing(),
        status in option::of(any::<u16>()),
        final_url in option::of(".{0,80}"),
        spans in vec(span(), 0..4),
        cookies in vec(cookie(), 0..3).boxed(),
    ) -> Exchange {
        Exchange { started: Timestamp(started), timing, status, final_url, spans, cookies }
    }
}

fn executed() -> impl Strategy<Value = Executed> {
    option::of(any::<u64>()).prop_map(|left| Executed { left })
}

prop_compose! {
    fn stored()(
        exchange in exchange(),
        bytes in any::<u64>(),
        sha256 in any::<[u8; 32]>(),
        content_type in option::of(".{0,40}"),
        (validators, unchanged) in (validators(), any::<bool>()),
        modified in option::of(any::<i64>().prop_map(Timestamp)),
        executed in option::of(executed()),
        suggested_name in option::of(".{0,40}"),
    ) -> Box<Stored> {
        Box::new(Stored {
            exchange, bytes, sha256, content_type, validators, modified, unchanged, executed, suggested_name,
        })
    }
}

prop_compose! {
    fn validators()(
        etag in option::of(".{0,40}"),
        last_modified in option::of(".{0,40}"),
    ) -> Validators {
        Validators { etag, last_modified }
    }
}

prop_compose! {
    fn known()(
        (url, content_type) in (".{0,40}", option::of(".{0,40}")),
        validators in validators(),
        bytes in any::<u64>(),
        sha256 in any::<[u8; 32]>(),
    ) -> Box<Known> {
        Box::new(Known { url, validators, bytes, sha256, content_type })
    }
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![
        Just(Severity::Permanent),
        Just(Severity::Fatal),
        Just(Severity::Unprepared),
        option::of(duration()).prop_map(|retry_after| Severity::Transient { retry_after }),
    ]
}

prop_compose! {
    fn failure()(
        exchange in exchange(),
        kind in prop::sample::select(FailureKind::ALL.as_slice()),
        message in ".{0,200}",
        severity in severity(),
    ) -> Box<Failure> {
        Box::new(Failure { exchange, kind, message, severity })
    }
}

fn report() -> impl Strategy<Value = Report> {
    prop_oneof![
        (task(), any::<u64>()).prop_map(|(task, at)| Report::Started {
            task,
            at: MonotonicNanos(at),
        }),
        task().prop_map(|task| Report::Released { task }),
        (task(), stored()).prop_map(|(task, stored)| Report::Finished {
            task,
            output: stored
        }),
        (task(), failure()).prop_map(|(task, failure)| Report::Nacked { task, failure }),
    ]
}

fn running() -> impl Strategy<Value = Running> {
    let phase = prop::sample::select(vec![
        Phase::Requesting,
        Phase::Receiving,
        Phase::Storing,
        Phase::Executing,
    ]);
    (task(), phase, any::<u64>(), any::<Option<u64>>()).prop_map(
        |(task, phase, bytes, expected)| Running {
            task,
            progress: Progress {
                phase,
                bytes,
                expected,
            },
        },
    )
}

prop_compose! {
    fn hello()(
        magic in any::<[u8; 8]>(),
        version in any::<u32>(),
        pid in any::<u32>(),
        server in ".{0,40}",
        secret in any::<[u8; 16]>(),
    ) -> Hello {
        Hello { magic, version, pid, server, secret }
    }
}

fn from_worker() -> impl Strategy<Value = FromWorker> {
    prop_oneof![
        hello().prop_map(FromWorker::Hello),
        Just(FromWorker::Ready),
        vec(report(), 0..8).prop_map(FromWorker::Reports),
        vec(running(), 0..8).prop_map(FromWorker::Heartbeat),
    ]
}

fn assignment() -> impl Strategy<Value = Assignment> {
    let checksum = prop::sample::select(&Algorithm::ALL).prop_flat_map(|algorithm| {
        let digest = vec(any::<u8>(), algorithm.bytes());
        digest.prop_map(move |digest| Checksum {
            algorithm,
            digest: digest.into(),
        })
    });
    let expect = (vec(checksum, 0..5), option::of(any::<u64>()))
        .prop_map(|(checksums, size)| Box::new(Expect { checksums, size }));
    let range = (any::<u64>(), any::<u64>()).prop_map(|(first, last)| ByteRange { first, last });
    let headers = vec((".{0,20}", ".{0,20}"), 0..3);
    let texts = (".{0,100}", ".{0,40}");
    let kind = prop::sample::select(vec![TaskKind::Listed, TaskKind::RobotsTxt]);
    let rest = (
        (option::of(expect), option::of(range)),
        headers,
        (any::<(u32, bool, bool)>(), kind),
        option::of(known()),
    );
    (texts, rest).prop_map(
        |((url, partial), ((expect, range), headers, ((delivery, begun, mirror), kind), known))| {
            Assignment {
                kind,
                url,
                mirror,
                partial,
                expect,
                range,
                headers,
                delivery,
                known,
                begun,
            }
        },
    )
}

fn fault() -> impl Strategy<Value = TaskFault> {
    prop::sample::select(TaskFault::ALL.as_slice())
}

fn faults() -> impl Strategy<Value = Faults> {
    let share = (0..=Share::WHOLE)
        .prop_map(|millionths| Share::from_millionths(millionths).expect("at most all"));
    let poison = (fault(), ".{1,40}").prop_map(|(fault, text)| Poison { fault, text });
    (
        any::<u64>(),
        prop::collection::btree_map(fault(), share, 0..6),
        vec(poison, 0..4),
    )
        .prop_map(|(seed, drawn, poisons)| Faults {
            seed,
            drawn,
            poisons,
        })
}

fn limits() -> impl Strategy<Value = WorkerLimits> {
    let sandbox = prop::sample::select(vec![Sandbox::Off, Sandbox::BestEffort, Sandbox::On]);
    (
        option::of(any::<u64>()),
        option::of(any::<i32>()),
        sandbox,
        vec(any::<u16>(), 0..4),
    )
        .prop_map(|(memory, nice, sandbox, connect_ports)| WorkerLimits {
            memory,
            nice,
            sandbox,
            connect_ports,
        })
}

prop_compose! {
    fn limit_rate()(bytes in 1_u64.., sharers in any::<u32>()) -> LimitRate {
        LimitRate { bytes_per_second: NonZeroU64::new(bytes).expect("at least 1"), sharers }
    }
}

prop_compose! {
    fn proxy()(
        scheme in prop::sample::select(vec![
            ProxyScheme::Http,
            ProxyScheme::Https,
            ProxyScheme::Socks5,
            ProxyScheme::Socks5h,
        ]),
        host in ".{0,20}",
        port in any::<u16>(),
        credentials in option::of((".{0,20}", ".{0,20}")),
    ) -> Proxy {
        Proxy { scheme, host, port, credentials }
    }
}

fn exemption() -> impl Strategy<Value = Exemption> {
    prop_oneof![
        Just(Exemption::All),
        (".{0,20}", option::of(any::<u16>()))
            .prop_map(|(name, port)| Exemption::Domain(name, port)),
        (any::<IpAddr>(), any::<u8>()).prop_map(|(addr, bits)| Exemption::Network(addr, bits)),
    ]
}

prop_compose! {
    fn setup()(
        partial in os_string(),
        concurrency in any::<u16>(),
        times in prop::array::uniform4(duration()),
        engine in prop::sample::select(vec![Engine::Blocking, Engine::Async]),
        (spans, fsync) in any::<(bool, bool)>(),
        (limits, limit_rate) in (limits(), option::of(limit_rate())),
        max_time in option::of(duration()),
        headers in vec((".{0,20}", ".{0,20}"), 0..4),
        resolve in vec((".{0,20}", any::<u16>(), any::<IpAddr>()), 0..4),
        trust in prop_oneof![
            Just(Trust::WebRoots),
            Just(Trust::System),
            os_string().prop_map(Trust::File),
            ".{0,300}".prop_map(Trust::Pem),
        ],
        simulated in option::of((address(), address())),
        max_filesize in option::of(any::<u64>()),
        boot in option::of(".{0,40}"),
        switches in any::<[bool; 4]>(),
        proxies in (option::of(proxy()), option::of(proxy()), vec(exemption(), 0..4)),
        (robots, faults) in (option::of((os_string(), ".{0,20}")), option::of(faults())),
        login in login_options().boxed(),
    ) -> Setup {
        let [insecure, compressed, retry_all_errors, block_private] = switches;
        let (http, https, exempt) = proxies;
        let [heartbeat, connect_timeout, stall_timeout, cpu_per_task] = times;
        Setup {
            partial,
            concurrency,
            heartbeat,
            engine,
            spans,
            cpu_per_task,
            boot,
            limits,
            limit_rate,
            fsync,
            http: HttpOptions {
                user_agent: "coordinator/0".to_owned(),
                headers,
                connect_timeout,
                stall_timeout,
                max_time,
                max_redirects: 10,
                max_filesize,
                split: 1,
                resolve: resolve
                    .into_iter()
                    .map(|(host, port, addr)| ResolveOverride { host, port, addr })
                    .collect(),
                trust,
                insecure,
                compressed,
                retry_all_errors,
                speed_limit: max_filesize,
                family: compressed.then_some(Family::V6),
                block_private,
                proxies: Proxies { http, https, exempt },
                login,
                simulated: simulated.map(|(http, https)| Simulated { http, https }),
            },
            robots: robots.map(|(folder, token)| ObeyRobots { folder, token }),
            faults,
        }
    }
}

fn to_worker() -> impl Strategy<Value = ToWorker> {
    let assigned = (task(), assignment()).prop_map(|(task, job)| Assigned { task, job });
    prop_oneof![
        setup().prop_map(|setup| ToWorker::Setup(Box::new(setup))),
        vec(assigned, 0..8).prop_map(ToWorker::Assign),
        vec(task(), 0..20).prop_map(ToWorker::Revoke),
        vec(login(), 0..4).prop_map(|logins| ToWorker::Notice(Notice::Logins(logins))),
        (1_u64..)
            .prop_map(|rate| NonZeroU64::new(rate).expect("at least 1"))
            .prop_map(|rate| ToWorker::Notice(Notice::LimitRate(rate))),
        Just(ToWorker::Dismiss),
    ]
}

proptest! {
    #[test]
    fn what_the_coordinator_says_comes_back(message in to_worker()) {
        let frame = codec::encode(&message).expect("small enough");
        prop_assert_eq!(codec::decode::<ToWorker>(&frame).expect("a message"), message);
    }

    #[test]
    fn what_a_worker_says_comes_back(message in from_worker()) {
        let frame = codec::encode(&message).expect("small enough");
        prop_assert_eq!(codec::decode::<FromWorker>(&frame).expect("a message"), message);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000)) {
        let _ = codec::decode::<ToWorker>(&bytes);
        let _ = codec::decode::<FromWorker>(&bytes);
    }

    #[test]
    fn a_frame_cut_short_is_refused(message in from_worker(), cut in any::<prop::sample::Index>()) {
        let frame = codec::encode(&message).expect("small enough");
        let short = &frame[..cut.index(frame.len())];
        prop_assert!(codec::decode::<FromWorker>(short).is_err());
    }

    #[test]
    fn a_frame_with_more_behind_it_is_refused(message in from_worker(), extra in 1..9_usize) {
        let mut frame = codec::encode(&message).expect("small enough");
        frame.resize(frame.len() + extra, 0);
        let refused = codec::decode::<FromWorker>(&frame);
        prop_assert!(matches!(refused, Err(DecodeError::Trailing { .. })), "{refused:?}");
    }

    #[test]
    fn a_flipped_bit_never_panics(
        message in from_worker(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut frame = codec::encode(&message).expect("small enough");
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        let _ = codec::decode::<FromWorker>(&frame);
    }
}

#[test]
fn a_message_beyond_the_frame_limit_is_not_sent() {
    let message = ToWorker::Assign(vec![Assigned {
        task: TaskId(1),
        job: Assignment::new("u".repeat(MAX_FRAME), ""),
    }]);
    let refused = codec::encode(&message);
    assert!(
        matches!(refused, Err(EncodeError::TooLarge { size }) if size > MAX_FRAME),
        "{refused:?}"
    );
}

#[test]
fn a_claimed_length_beyond_the_limit_allocates_nothing() {
    // `Reports` with 2^62 elements, as a corrupt frame may claim. An allocation of that size would
    // abort the process, so it is enough that the test survives.
    let mut frame = vec![2];
    frame.push(253);
    frame.extend((1_u64 << 62).to_le_bytes());
    assert!(codec::decode::<FromWorker>(&frame).is_err());
    let mut heartbeat = vec![3];
    heartbeat.push(253);
    heartbeat.extend(u64::MAX.to_le_bytes());
    assert!(codec::decode::<FromWorker>(&heartbeat).is_err());
}

#[test]
fn a_frame_beyond_the_limit_is_refused_unread() {
    let refused = codec::decode::<FromWorker>(&vec![0; MAX_FRAME + 1]);
    assert!(
        matches!(refused, Err(DecodeError::TooLarge { size }) if size == MAX_FRAME + 1),
        "{refused:?}"
    );
}

#[test]
fn every_kind_of_failure_has_the_name_that_the_run_log_uses() {
    let names: std::collections::BTreeSet<_> =
        FailureKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), FailureKind::ALL.len());
}

#[test]
fn the_largest_faults_leave_most_of_a_frame_to_the_rest_of_the_setup() {
    let poison = Poison {
        fault: TaskFault::Garbage,
        text: "t".repeat(MAX_POISON_TEXT),
    };
    let whole = Share::from_millionths(Share::WHOLE).expect("all");
    let faults = Faults {
        seed: u64::MAX,
        drawn: TaskFault::ALL.map(|fault| (fault, whole)).into(),
        poisons: vec![poison; MAX_POISONS],
    };
    let size = bincode::serde::encode_to_vec(&faults, bincode::config::standard())
        .expect("it is plain data")
        .len();
    assert!(size < MAX_FRAME / 4, "{size} bytes");
}
