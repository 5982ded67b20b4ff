//! One body in pieces over several connections (`--split`).
//!
//! The first connection receives the body from its start, as it would without pieces. Other
//! connections request the following pieces in order. Their answers count only if they are exactly
//! such a piece of the same body. At the end of a piece the first connection continues with the
//! next one, unless another connection receives it already.
//!
//! Must not touch a file or wait.

use std::time::SystemTime;

use http::Version;
use http::header::ACCEPT_RANGES;
use protocol::{ByteRange, FailureKind, PartialNote, Severity};

use super::resume::{brings, misfit, text};
use super::{Head, Next, Transfer, request, retry};
use crate::fault::Fault;

/// Smallest piece, in bytes. A smaller one is not worth a request.
const MIN_PIECE: u64 = 1024 * 1024;

/// Largest piece, in bytes. Data after a gap is lost with the worker, so pieces are kept smaller
/// than they could be.
const MAX_PIECE: u64 = 16 * 1024 * 1024;

/// Number of pieces for each connection at equal speed. Keeps the wait for the last one short.
const ROUNDS: u64 = 4;

/// Largest number of pieces of one body, whatever its length.
const MOST_PIECES: u64 = 64 * 1024;

/// A piece that is requested.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Description of the whole body.
    pub(super) note: PartialNote,
    pub(super) range: ByteRange,
}

/// Returns whether the server of a whole body accepts requests for pieces. Several streams of one
/// HTTP/2 connection would gain nothing.
pub(super) fn are_offered(head: &Head<'_>) -> bool {
    head.version != Version::HTTP_2
        && text(head.headers, &ACCEPT_RANGES).is_some_and(|unit| unit.eq_ignore_ascii_case("bytes"))
}

impl Transfer<'_> {
    /// Returns the pieces of the body that follows, if it may be split: the server vouches for it,
    /// and it is large enough.
    pub(crate) fn pieces(&self) -> Option<Pieces> {
        let note = self.note()?;
        if !self.divisible || request::has_own_range(self.options, self.headers) {
            return None;
        }
        Pieces::new(self.received, note.length?, self.options.split)
    }

    /// Records that the body consists of several answers, if `pieces` say so.
    pub(crate) fn put_together(&mut self, pieces: &Pieces) {
        self.resumed |= pieces.helped;
    }

    /// Creates a transfer for pieces of this body, from the current URL.
    pub(crate) fn of_pieces(&self) -> Self {
        Self {
            piece: self.note.clone().map(|note| Piece {
                note,
                range: ByteRange { first: 0, last: 0 },
            }),
            offer: None,
            condition: None,
            paced: None,
            ..self.clone()
        }
    }

    /// Makes the next request ask for the piece of `claim`.
    pub(crate) fn ask_for(&mut self, claim: &Claim) {
        let range = ByteRange {
            first: claim.first,
            last: claim.end.saturating_sub(1),
        };
        if let Some(piece) = &mut self.piece {
            piece.range = range;
        }
        self.receiving = false;
        self.received = 0;
        self.expected = Some(range.bytes());
    }

    /// Handles the head of an answer to a request for a piece.
    pub(super) fn on_piece(&mut self, head: &Head<'_>, now: SystemTime) -> Result<Next, Fault> {
        let Some(piece) = &self.piece else {
            return Ok(Next::Follow);
        };
        if !head.status.is_success() {
            return Err(retry::status_fault(head, now));
        }
        if !brings(head, piece.range, &piece.note) {
            let wanted = format!("the range {} of the body", piece.range);
            return Err(misfit(head, FailureKind::Protocol, &wanted));
        }
        self.receiving = true;
        Ok(Next::Receive)
    }

    /// Converts the failure of a piece to one of the whole body. Another attempt can continue with
    /// what is there, or request the whole body.
    pub(crate) fn without_piece(&self, fault: Fault) -> Fault {
        match fault.severity {
            Severity::Transient { .. } | Severity::Fatal | Severity::Unprepared => fault,
            Severity::Permanent => Fault::transient(fault.kind, fault.message),
        }
    }

    /// Records that `received` bytes of all pieces together are there.
    ///
    /// # Errors
    ///
    /// As for [`on_chunk`](Self::on_chunk).
    pub(crate) fn has(&mut self, received: u64) -> Result<(), Fault> {
        self.on_chunk(received.saturating_sub(self.received))
    }
}

/// State of the pieces of a body.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Start of the first piece.
    first: u64,
    /// Length of the whole body.
    length: u64,
    size: u64,
    pieces: Vec<Progress>,
    /// How many pieces are whole, counted from the first without a gap.
    whole: usize,
    /// Bytes received of all pieces together.
    got: u64,
    claims: u64,
    /// Whether another connection than the first received some of it.
    helped: bool,
    connections: usize,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    got: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No connection receives it.
    Free,
    /// Requested under the claim with this number.
    Claimed(u64),
    /// A connection receives it.
    Held,
}

/// The right to request a piece, or the missing part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    piece: usize,
    number: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Pieces {
    /// Creates the pieces of a body of `length` bytes after its first `first` bytes, for at most
    /// `connections` connections. The first piece is held. Returns `None` unless there would be
    /// two.
    pub(crate) fn new(first: u64, length: u64, connections: u16) -> Option<Self> {
        let left = length.checked_sub(first)?;
        let shares = ROUNDS * u64::from(connections);
        let size = (left / shares.max(1))
            .clamp(MIN_PIECE, MAX_PIECE)
            .max(left.div_ceil(MOST_PIECES));
        let count = usize::try_from(left.div_ceil(size)).ok()?;
        let connections = usize::from(connections).min(count);
        if connections < 2 {
            return None;
        }
        let free = Progress {
            got: 0,
            state: State::Free,
        };
        let mut pieces = vec![free; count];
        pieces[0].state = State::Held;
        Some(Self {
            first,
            length,
            size,
            pieces,
            whole: 0,
            got: 0,
            claims: 0,
            helped: false,
            connections,
        })
    }

    /// Returns how many connections are worthwhile, including the first.
    pub(crate) const fn connections(&self) -> usize {
        self.connections
    }

    /// Claims the first piece that no connection receives.
    pub(crate) fn claim(&mut self) -> Option<Claim> {
        let is_free = |piece: usize| {
            self.pieces[piece].state == State::Free && self.pieces[piece].got < self.size_of(piece)
        };
        let piece = (self.whole..self.pieces.len()).find(|piece| is_free(*piece))?;
        self.claims += 1;
        self.pieces[piece].state = State::Claimed(self.claims);
        Some(Claim {
            piece,
            number: self.claims,
            first: self.begin(piece) + self.pieces[piece].got,
            end: self.begin(piece) + self.size_of(piece),
        })
    }

    /// Marks a claimed piece as being received. Returns whether the claim is still valid.
    pub(crate) fn hold(&mut self, claim: &Claim) -> bool {
        let piece = &mut self.pieces[claim.piece];
        let counts = piece.state == State::Claimed(claim.number);
        if counts {
            piece.state = State::Held;
            self.helped = true;
        }
        counts
    }

    /// Frees a claimed or held piece, the rest of which will not come.
    pub(crate) fn release(&mut self, claim: &Claim, held: bool) {
        let piece = &mut self.pieces[claim.piece];
        if held || piece.state == State::Claimed(claim.number) {
            piece.state = State::Free;
        }
    }

    /// Adds `bytes` of a held piece, written to the file from byte `at` on.
    pub(crate) fn add(&mut self, at: u64, bytes: u64) {
        let Some(piece) = self.at(at) else { return };
        self.pieces[piece].got += bytes;
        self.got += bytes;
        while self.whole < self.pieces.len()
            && self.pieces[self.whole].got == self.size_of(self.whole)
        {
            self.whole += 1;
        }
    }

    /// Returns how many bytes from `at` on belong to the piece that the first connection holds. At
    /// the end of a piece that connection continues with the next one. If some of that has been or
    /// is being received, or at the end of the body, returns 0.
    pub(crate) fn left(&mut self, at: u64) -> u64 {
        let Some(piece) = self.at(at) else { return 0 };
        let begin = self.begin(piece);
        if at == begin && at > self.first {
            let next = &mut self.pieces[piece];
            if next.state == State::Held || next.got > 0 {
                return 0;
            }
            next.state = State::Held;
        }
        (begin + self.size_of(piece)).saturating_sub(at)
    }

    /// Returns how many bytes of the body are there without gaps.
    pub(crate) fn front(&self) -> u64 {
        let begun = self.pieces.get(self.whole).map_or(0, |piece| piece.got);
        self.begin(self.whole).min(self.length) + begun
    }

    /// Returns how many bytes of the body are there.
    pub(crate) const fn received(&self) -> u64 {
        self.first + self.got
    }

    /// Returns whether the body ends before byte `at`.
    pub(crate) const fn ends_at(&self, at: u64) -> bool {
        at >= self.length
    }

    /// Returns whether the whole body is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole == self.pieces.len()
    }

    fn begin(&self, piece: usize) -> u64 {
        self.first + self.size.saturating_mul(piece as u64)
    }

    fn size_of(&self, piece: usize) -> u64 {
        self.size.min(self.length.saturating_sub(self.begin(piece)))
    }

    fn at(&self, at: u64) -> Option<usize> {
        let piece = usize::try_from(at.checked_sub(self.first)? / self.size).ok()?;
        (at < self.length).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_body_is_divided_so_that_each_connection_has_several_pieces() {
        for (length, connections, expect) in [
            (256 * MIB, 8, Some((8, 8 * MIB))),
            (256 * MIB, 16, Some((16, 4 * MIB))),
            (100_000 * MIB, 4, Some((4, MAX_PIECE))),
            (3 * MIB, 8, Some((3, MIB))),
            (MIB + 1, 8, Some((2, MIB))),
            (MIB, 8, None),
            (0, 8, None),
            (256 * MIB, 1, None),
            (256 * MIB, 0, None),
        ] {
            let found = Pieces::new(0, length, connections);
            let found = found.map(|pieces| (pieces.connections(), pieces.size));
            assert_eq!(found, expect, "{length} {connections}");
        }
        // A length that a server announces costs no more memory than this.
        let longest = Pieces::new(0, i64::MAX as u64, 64).expect("pieces");
        assert!(longest.pieces.len() as u64 <= MOST_PIECES);
        assert!(Pieces::new(5, 4, 8).is_none());
    }

    #[test]
    fn the_first_connection_takes_what_is_not_coming_and_late_answers_count_no_more() {
        let mut pieces = Pieces::new(0, 4 * MIB, 4).expect("pieces");
        assert_eq!(pieces.left(0), MIB);
        let [second, third] = [(); 2].map(|()| pieces.claim().expect("a piece"));
        assert_eq!((second.first, third.first), (MIB, 2 * MIB));
        pieces.add(0, MIB);
        // The second piece is claimed but not being received.
        assert_eq!(pieces.left(MIB), MIB);
        assert!(!pieces.hold(&second));
        pieces.release(&second, false);
        assert!(pieces.hold(&third));
        pieces.add(MIB, MIB);
        assert_eq!(pieces.left(2 * MIB), 0);
        // A new claim of the same piece has a new number.
        pieces.release(&third, true);
        let again = pieces.claim().expect("what was given back");
        assert_eq!(again.first, 2 * MIB);
        assert!(!pieces.hold(&third) && pieces.hold(&again));
    }

    /// Connections come and go at random. The file contains exactly what they count.
    #[test]
    fn whatever_fails_each_byte_is_written_once_and_the_front_has_no_gap() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (first, length) = (random.u64(0..3 * MIB), random.u64(5 * MIB..20 * MIB));
            let mut pieces = Pieces::new(first, length, random.u16(2..8)).expect("pieces");
            // Bytes that arrive at a time; the last time they may be fewer.
            const STEP: u64 = 64 * 1024;
            let mut written: Vec<(u64, u64)> = Vec::new();
            let mut lead = Some((first, pieces.left(first)));
            let mut claimed: Vec<Claim> = Vec::new();
            let mut coming: Vec<(Claim, u64)> = Vec::new();
            let mut steps = 0;
            while !pieces.is_whole() {
                steps += 1;
                assert!(steps < 100_000, "seed {seed}: it does not end");
                match random.u8(0..10) {
                    0..4 => {
                        if let Some((at, left)) = lead {
                            let bytes = STEP.min(left);
                            pieces.add(at, bytes);
                            written.push((at, bytes));
                            let at = at + bytes;
                            let left = match left - bytes {
                                0 => pieces.left(at),
                                left => left,
                            };
                            lead = (left > 0).then_some((at, left));
                        }
                    }
                    4 => claimed.extend(pieces.claim()),
                    5 if !claimed.is_empty() => {
                        let claim = claimed.swap_remove(random.usize(..claimed.len()));
                        match random.bool() {
                            true if pieces.hold(&claim) => coming.push((claim, claim.first)),
                            true => {}
                            false => pieces.release(&claim, false),
                        }
                    }
                    6..9 if !coming.is_empty() => {
                        let number = random.usize(..coming.len());
                        let (claim, at) = &mut coming[number];
                        let bytes = STEP.min(claim.end - *at);
                        pieces.add(*at, bytes);
                        written.push((*at, bytes));
                        *at += bytes;
                        if *at == claim.end {
                            coming.swap_remove(number);
                        }
                    }
                    9 if !coming.is_empty() && random.u8(0..4) == 0 => {
                        let (claim, _) = coming.swap_remove(random.usize(..coming.len()));
                        pieces.release(&claim, true);
                    }
                    _ => {}
                }
                if steps % 64 == 0 {
                    check(&pieces, first, &mut written);
                }
            }
            check(&pieces, first, &mut written);
            assert_eq!((pieces.front(), pieces.received()), (length, length));
            assert_eq!(pieces.claim(), None);
        }
    }

    fn check(pieces: &Pieces, first: u64, written: &mut [(u64, u64)]) {
        written.sort_unstable();
        let (mut front, mut total, mut end) = (first, first, first);
        for (at, bytes) in written {
            assert!(*at >= end, "{at} was written twice");
            if *at == front {
                front += *bytes;
            }
            end = *at + *bytes;
            total += *bytes;
        }
        assert_eq!(pieces.received(), total);
        // The file may have more bytes without a gap than are counted, but never fewer.
        assert!(pieces.front() <= front, "{} of {front}", pieces.front());
    }
}
