//! Compressed lists: gzip and zstd, recognised by their first bytes, so that pipes work too.
//!
//! Nothing is read before the first byte is requested. Memory stays bounded for every list.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

/// First bytes of a gzip member (RFC 1952 section 2.3.1) and of a zstd frame (RFC 8878 section
/// 3.1.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest window of zstd, as a power of two: 128 MiB, the default limit of `zstd` itself. A list
/// compressed with a level up to 19 needs 8 MiB.
const WINDOW: u32 = 27;

type Source = Box<dyn Read + Send>;

/// A reader that unpacks compressed input, and passes other input through.
pub(super) struct Unpacked {
    state: State,
    packed: Arc<AtomicU64>,
}

enum State {
    /// Nothing has been read yet.
    New(Counted),
    Plain(io::Chain<Cursor<Vec<u8>>, Counted>),
    Packed(&'static str, Source),
    /// An earlier read failed.
    Broken,
}

impl Unpacked {
    pub(super) fn new(source: Source) -> Self {
        let packed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&packed);
        Self {
            state: State::New(Counted { source, count }),
            packed,
        }
    }

    /// Returns the number of bytes read of the source, if it is compressed.
    pub(super) fn packed(&self) -> Option<u64> {
        match self.state {
            State::Packed(..) => Some(self.packed.load(Ordering::Relaxed)),
            State::New(_) | State::Plain(_) | State::Broken => None,
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let State::New(_) = self.state
            && let State::New(source) = std::mem::replace(&mut self.state, State::Broken)
        {
            self.state = look(source)?;
        }
        let (kind, error) = match &mut self.state {
            State::Plain(source) => return source.read(out),
            State::Packed(kind, source) => match source.read(out) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => (kind, error),
                result => return result,
            },
            State::New(_) | State::Broken => {
                return Err(io::Error::other("an earlier read failed"));
            }
        };
        let text = format!("it is damaged or cut off as {kind}: {error}");
        self.state = State::Broken;
        Err(io::Error::new(error.kind(), text))
    }
}

fn look(mut source: Counted) -> io::Result<State> {
    let mut start = Vec::with_capacity(ZSTD.len());
    // Reads as few bytes as possible, so that a list that is typed is processed line by line.
    while start.len() < ZSTD.len()
        && (GZIP.starts_with(&start) || ZSTD.starts_with(&start))
        && start != GZIP
    {
        let mut byte = [0];
        match source.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => start.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (is_gzip, is_zstd) = (start == GZIP, start == ZSTD);
    let source = Cursor::new(start).chain(source);
    Ok(if is_gzip {
        State::Packed("gzip", Box::new(MultiGzDecoder::new(source)))
    } else if is_zstd {
        let mut decoder = zstd::stream::read::Decoder::new(source)?;
        decoder.window_log_max(WINDOW)?;
        State::Packed("zstd", Box::new(decoder))
    } else {
        State::Plain(source)
    })
}

/// Counts the bytes that are read.
struct Counted {
    source: Source,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(out)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpack(data: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Unpacked::new(Box::new(Cursor::new(data.to_vec())))
            .read_to_end(&mut out)
            .map(|_| out)
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("a level");
        // The program `zstd` does the same.
        encoder.include_checksum(true).expect("an option");
        encoder.write_all(data).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    #[test]
    fn what_is_packed_is_unpacked_also_in_several_pieces() {
        let text = b"http://h/\n".repeat(100_000);
        for pack in [gzip, zstd] {
            let pieces = [pack(&text), pack(b""), pack(b"more")].concat();
            let expected = [&text[..], b"more"].concat();
            assert_eq!(unpack(&pieces).expect("sound"), expected);
        }
    }

    #[test]
    fn what_is_not_packed_stays_as_it_is() {
        for data in [
            &b""[..],
            b"h",
            b"http://h/",
            b"\x1f",
            b"\x1f\x8c",
            b"\x28\xb5\x2f",
            b"\x28\xb5\x2f\xfe",
        ] {
            assert_eq!(unpack(data).expect("plain"), data);
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error_that_says_so() {
        for (kind, packed) in [("gzip", gzip(b"http://h/")), ("zstd", zstd(b"http://h/"))] {
            let short = &packed[..packed.len() - 1];
            let mut flipped = packed.clone();
            let last = flipped.len() - 5;
            flipped[last] ^= 0xFF;
            for wrong in [short, &flipped] {
                let error = unpack(wrong).expect_err(kind).to_string();
                let expected = format!("damaged or cut off as {kind}: ");
                assert!(error.contains(&expected), "{error}");
            }
        }
    }

    #[test]
    fn an_error_does_not_become_an_end() {
        let mut reader = Unpacked::new(Box::new(Cursor::new(gzip(b"x")[..9].to_vec())));
        let mut out = [0; 8];
        reader.read(&mut out).expect_err("cut off");
        reader.read(&mut out).expect_err("still cut off");
    }
}
