//! Coded bodies: stored as sent, or decoded if a coding was requested.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::{Assignment, Engine, FailureKind, HttpOptions, Known, Severity, Validators};

use crate::support::{Bench, Server, TRANSIENT, options};

const TEXT: &[u8] = b"the same words again, the same words again, the same words again";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(data, 3).expect("into memory")
}

/// Encodes `data` as Brotli.
fn brotli(data: &[u8]) -> Vec<u8> {
    // A window of 16 bits.
    brotli_with(vec![false], data)
}

/// Encodes `data` as Brotli. The bits of `window` come first and give the window size.
fn brotli_with(window: Vec<bool>, data: &[u8]) -> Vec<u8> {
    // A stream of uncompressed blocks (RFC 7932 section 9.2): the window, then the length and the
    // bytes of each block, then an empty last block.
    let mut bits = window;
    for block in data.chunks(1 << 16) {
        let length = block.len() - 1;
        bits.extend([false, false, false]);
        bits.extend((0..16).map(|bit| length >> bit & 1 == 1));
        bits.push(true);
        bits.resize(bits.len().next_multiple_of(8), false);
        let bytes = block.iter();
        bits.extend(bytes.flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)));
    }
    bits.extend([true, true]);
    let byte = |bits: &[bool]| {
        let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0, |byte, (at, _)| byte | 1 << at)
    };
    bits.chunks(8).map(byte).collect()
}

fn compressed() -> HttpOptions {
    let mut options = options();
    options.compressed = true;
    options
}

fn server(coding: &str, body: Vec<u8>) -> Server {
    let head = format!(
        "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Server::answering(move |_| [head.as_bytes(), &body].concat())
}

fn check(engine: Engine, coding: &str, body: Vec<u8>, expect: &[u8]) {
    let server = server(coding, body);
    let mut bench = Bench::new(engine, compressed());
    let stored = bench.get(&server.url("/")).expect(coding);
    assert!(bench.stored_bytes() == expect, "{coding}");
    assert_eq!(stored.bytes, expect.len() as u64, "{coding}");
}

fn a_coded_body_is_stored_as_sent_unless_codings_were_asked_for(engine: Engine) {
    let sent = gzip(TEXT);
    let server = server("gzip", sent.clone());
    let mut bench = Bench::new(engine, options());
    bench.get(&server.url("/")).expect("stored");
    assert_eq!(bench.stored_bytes(), sent);
}

fn every_coding_and_chains_of_them_are_decoded(engine: Engine) {
    check(engine, "gzip", gzip(TEXT), TEXT);
    check(engine, "x-gzip", gzip(TEXT), TEXT);
    check(engine, "zstd", zstd(TEXT), TEXT);
    check(engine, "br", brotli(TEXT), TEXT);
    check(engine, "identity", TEXT.to_vec(), TEXT);
    check(engine, "gzip, zstd", zstd(&gzip(TEXT)), TEXT);
    check(engine, "br, gzip", gzip(&brotli(TEXT)), TEXT);
    check(
        engine,
        "gzip",
        [gzip(TEXT), gzip(TEXT)].concat(),
        &[TEXT, TEXT].concat(),
    );
    let large: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 999) as u8).collect();
    check(engine, "gzip", gzip(&large), &large);
    check(engine, "zstd", zstd(&large), &large);
    check(engine, "br", brotli(&large), &large);
}

fn nothing_has_no_coding(engine: Engine) {
    for coding in ["gzip", "br", "zstd"] {
        check(engine, coding, Vec::new(), b"");
    }
}

fn a_coded_body_that_ends_too_early_is_cut_off(engine: Engine) {
    for (coding, body) in [
        ("gzip", gzip(TEXT)),
        ("br", brotli(TEXT)),
        ("zstd", zstd(TEXT)),
    ] {
        for end in [1, body.len() / 2, body.len() - 1] {
            let server = server(coding, body[..end].to_vec());
            let mut bench = Bench::new(engine, compressed());
            let url = server.url("/");
            let failure = bench.get(&url).expect_err(coding);
            // A checksum that is cut off looks the same as a wrong one.
            let kinds = [FailureKind::Truncated, FailureKind::Encoding];
            assert!(kinds.contains(&failure.kind), "{failure}");
            assert_eq!(failure.severity, TRANSIENT, "{failure}");
            assert_eq!(
                bench.left(),
                [""; 0],
                "{coding}: what is decoded is not resumed"
            );
        }
    }
}

fn a_body_that_is_not_what_it_says_is_not_stored(engine: Engine) {
    let mut broken = gzip(TEXT);
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    for (coding, body) in [
        ("gzip", TEXT.to_vec()),
        ("gzip", broken),
        ("zstd", TEXT.to_vec()),
        ("br", vec![0xff; 50]),
        ("deflate", TEXT.to_vec()),
        ("compress", TEXT.to_vec()),
        ("gzip, gzip, gzip, gzip", TEXT.to_vec()),
    ] {
        let server = server(coding, body);
        let mut bench = Bench::new(engine, compressed());
        let url = server.url("/");
        let failure = bench.get(&url).expect_err(coding);
        assert_eq!(failure.kind, FailureKind::Encoding, "{coding}: {failure}");
    }
}

/// A stream declares how much memory its decoder needs, which is limited.
fn a_window_larger_than_the_web_allows_is_refused(engine: Engine) {
    // Bits that RFC 7932 section 9.1 calls invalid, and that decoders accept as an extension: a
    // window of 30 bits, a gigabyte.
    let marker = [true, false, false, false, true, false, false, false];
    let size = [false, true, true, true, true, false];
    let large = brotli_with([&marker[..], &size].concat(), TEXT);
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).expect("an encoder");
    let window = ::zstd::zstd_safe::CParameter::WindowLog(27);
    encoder.set_parameter(window).expect("a window");
    encoder.write_all(TEXT).expect("into memory");
    let far = encoder.finish().expect("into memory");
    for (coding, body) in [
        ("br", large.clone()),
        ("br, gzip", gzip(&large)),
        ("zstd", far),
    ] {
        let server = server(coding, body);
        let mut bench = Bench::new(engine, compressed());
        let url = server.url("/");
        let failure = bench.get(&url).expect_err(coding);
        assert_eq!(failure.kind, FailureKind::Encoding, "{coding}: {failure}");
    }
}

fn what_comes_behind_a_coding_or_never_ends_before_it_is_refused(engine: Engine) {
    // A header with a file name of a megabyte (RFC 1952 section 2.3.1).
    let name = [&b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"[..], &vec![b'x'; 1 << 20]].concat();
    for (coding, body) in [
        (
            "gzip",
            [&gzip(TEXT)[..], b"garbage that is as long as a header"].concat(),
        ),
        ("zstd", [&zstd(TEXT)[..], b"garbage"].concat()),
        ("br", [&brotli(TEXT)[..], b"garbage"].concat()),
        ("gzip", name),
    ] {
        let server = server(coding, body);
        let mut bench = Bench::new(engine, compressed());
        let url = server.url("/");
        let failure = bench.get(&url).expect_err(coding);
        assert_eq!(failure.kind, FailureKind::Encoding, "{coding}: {failure}");
    }
}

fn codings_on_top_of_each_other_are_limited(engine: Engine) {
    for codings in [
        vec!["gzip"; 90].join(", "),
        vec!["gzip"; 90].join("\r\nContent-Encoding: "),
    ] {
        let server = server(&codings, gzip(TEXT));
        let mut bench = Bench::new(engine, compressed());
        let url = server.url("/");
        bench.fails(&url, FailureKind::Encoding, Severity::Permanent);
    }
}

/// Fifty million zeros.
const BROTLI_BOMB: &[u8] = b"\xcf\xff\xff\x7f\x00\x24\x00\xe2\xb1\x40\x72\xef\xff\xf9\xff\xff\x0f\x80\x04\x40\x1c\x16\x80\xee\xfd\x7f\xfe\xc1\xeb\x03\x90\x00\x88\xc3\x02\xd0\x41\xd7\x07";

fn a_bomb_is_stopped_by_the_limit_on_files(engine: Engine) {
    let large = vec![0; 50_000_000];
    let twice = gzip(&gzip(&large));
    for (coding, body) in [
        ("gzip", gzip(&large)),
        ("zstd", zstd(&large)),
        ("gzip, gzip", twice),
        ("br", BROTLI_BOMB.to_vec()),
    ] {
        assert!(body.len() < 100_000, "{coding}");
        let server = server(coding, body);
        let mut options = compressed();
        options.max_filesize = Some(100_000);
        let mut bench = Bench::new(engine, options);
        let url = server.url("/");
        bench.fails(&url, FailureKind::TooLarge, Severity::Permanent);
    }
    // A body that is larger coded than decoded is not a bomb.
    let server = server("gzip", gzip(b"tiny"));
    let mut options = compressed();
    options.max_filesize = Some(4);
    assert_eq!(Bench::new(engine, options).body(&server.url("/")), "tiny");
}

fn a_coded_body_has_the_size_and_hash_of_what_it_decodes_to(engine: Engine) {
    let server = server("gzip", gzip(TEXT));
    let url = server.url("/");
    let mut bench = Bench::new(engine, compressed());
    let first = bench.get(&url).expect("stored");
    assert_eq!(first.validators.etag.as_deref(), Some("\"x\""));
    let known = Known {
        url: url.clone(),
        validators: Validators::default(),
        bytes: first.bytes,
        sha256: first.sha256,
        content_type: None,
    };
    let assignment = Assignment {
        known: Some(Box::new(known)),
        ..Assignment::new(url, "file")
    };
    // The coordinator detects by size and hash that the file is the same.
    let again = bench.download(&assignment).expect("stored");
    assert_eq!((again.bytes, again.sha256), (first.bytes, first.sha256));
    assert_eq!(bench.stored_bytes(), TEXT);
}

crate::on_every_engine![
    a_coded_body_has_the_size_and_hash_of_what_it_decodes_to,
    a_coded_body_is_stored_as_sent_unless_codings_were_asked_for,
    every_coding_and_chains_of_them_are_decoded,
    nothing_has_no_coding,
    a_coded_body_that_ends_too_early_is_cut_off,
    a_body_that_is_not_what_it_says_is_not_stored,
    a_bomb_is_stopped_by_the_limit_on_files,
    a_window_larger_than_the_web_allows_is_refused,
    what_comes_behind_a_coding_or_never_ends_before_it_is_refused,
    codings_on_top_of_each_other_are_limited,
];
