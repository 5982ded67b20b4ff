//! One body in pieces, over several connections (`--split`).
//!
//! The first connection brings the body from its beginning, as it would without pieces. Others ask
//! for the pieces that follow, in order, and only answers that are exactly such a piece of the same
//! body count. At the end of a piece the first connection goes on with the next, unless that is
//! coming already.
//!
//! It must not touch a file, or wait.

use std::time::SystemTime;

use http::Version;
use http::header::ACCEPT_RANGES;
use protocol::{ByteRange, FailureKind, PartialNote, Severity};

use super::resume::{brings, misfit, text};
use super::{Head, Next, Transfer, request, retry};
use crate::fault::Fault;

/// Smallest piece: less is not worth a request.
const MIN_PIECE: u64 = 1024 * 1024;

/// Largest piece. What is ahead of a gap is lost with the worker, so pieces are not as large as they
/// could be.
const MAX_PIECE: u64 = 16 * 1024 * 1024;

/// How many pieces each connection gets, if they are of one speed: enough that none waits long for
/// the last.
const ROUNDS: u64 = 4;

/// Most pieces of one body, however long it is.
const MOST_PIECES: u64 = 64 * 1024;

/// A piece that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// What the whole body is.
    pub(super) note: PartialNote,
    pub(super) range: ByteRange,
}

/// Whether the server of a whole body says that pieces of it can be asked for. The streams of one
/// HTTP/2 connection gain nothing.
pub(super) fn are_offered(head: &Head<'_>) -> bool {
    head.version != Version::HTTP_2
        && text(head.headers, &ACCEPT_RANGES).is_some_and(|unit| unit.eq_ignore_ascii_case("bytes"))
}

impl Transfer<'_> {
    /// The pieces of the body that follows, if it may come in several: the server vouches for it, and
    /// it is large enough.
    pub(crate) fn pieces(&self) -> Option<Pieces> {
        let note = self.note()?;
        if !self.divisible || request::has_own_range(self.options, self.headers) {
            return None;
        }
        Pieces::new(self.received, note.length?, self.options.split)
    }

    /// As far as `pieces` know, the body is put together from several answers.
    pub(crate) fn put_together(&mut self, pieces: &Pieces) {
        self.resumed |= pieces.helped;
    }

    /// A transfer of pieces of this body, from where this one came to.
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

    /// The next request is for the piece of `claim`.
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

    /// The head of an answer to a request for a piece.
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

    /// What a failure to get a piece means for the body as a whole: another attempt can go on with
    /// what is there, or ask for all.
    pub(crate) fn without_piece(&self, fault: Fault) -> Fault {
        match fault.severity {
            Severity::Transient { .. } | Severity::Fatal | Severity::Unprepared => fault,
            Severity::Permanent => Fault::transient(fault.kind, fault.message),
        }
    }

    /// `received` bytes are there, of all pieces together.
    ///
    /// # Errors
    ///
    /// As [`on_chunk`](Self::on_chunk).
    pub(crate) fn has(&mut self, received: u64) -> Result<(), Fault> {
        self.on_chunk(received.saturating_sub(self.received))
    }
}

/// Which pieces of a body are there, and which are on their way.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// Where the first piece begins.
    first: u64,
    /// Length of the whole body.
    length: u64,
    size: u64,
    pieces: Vec<Progress>,
    /// How many of them are whole, from the first on.
    whole: usize,
    /// Bytes of all pieces together.
    got: u64,
    claims: u64,
    /// Some of it came over another connection than the first.
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
    /// Nobody gets it.
    Free,
    /// It is asked for, by whoever has the claim of this number.
    Claimed(u64),
    /// It is coming.
    Held,
}

/// The right to ask for a piece, or for what is missing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    piece: usize,
    number: u64,
    pub(crate) first: u64,
    pub(crate) end: u64,
}

impl Pieces {
    /// Those of a body of `length` bytes, of which the first `first` are there, for at most so many
    /// `connections`; the first piece is held. Nothing if there would not be two.
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

    /// Connections that it is worth, the first included.
    pub(crate) const fn connections(&self) -> usize {
        self.connections
    }

    /// The first piece that nobody gets.
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

    /// What was claimed is coming. Whether the claim still counts.
    pub(crate) fn hold(&mut self, claim: &Claim) -> bool {
        let piece = &mut self.pieces[claim.piece];
        let counts = piece.state == State::Claimed(claim.number);
        if counts {
            piece.state = State::Held;
            self.helped = true;
        }
        counts
    }

    /// What was claimed does not come, or no more of it.
    pub(crate) fn release(&mut self, claim: &Claim, held: bool) {
        let piece = &mut self.pieces[claim.piece];
        if held || piece.state == State::Claimed(claim.number) {
            piece.state = State::Free;
        }
    }

    /// `bytes` more of a piece that is held are in the file, from byte `at` on.
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

    /// How many bytes from `at` on are of the piece that the first connection holds. At the end of
    /// one it goes on with the next, unless some of that is there, or coming: then it is 0, as at the
    /// end of the body.
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

    /// How many bytes of the body are there without gaps.
    pub(crate) fn front(&self) -> u64 {
        let begun = self.pieces.get(self.whole).map_or(0, |piece| piece.got);
        self.begin(self.whole).min(self.length) + begun
    }

    /// How many bytes of the body are there.
    pub(crate) const fn received(&self) -> u64 {
        self.first + self.got
    }

    /// Whether the body ends before byte `at`.
    pub(crate) const fn ends_at(&self, at: u64) -> bool {
        at >= self.length
    }

    /// Whether all of the body is there.
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
        // What a server announces costs no more memory than that.
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
        // The second was claimed, and is not coming yet.
        assert_eq!(pieces.left(MIB), MIB);
        assert!(!pieces.hold(&second));
        pieces.release(&second, false);
        assert!(pieces.hold(&third));
        pieces.add(MIB, MIB);
        assert_eq!(pieces.left(2 * MIB), 0);
        // Another claim of the same piece is another one.
        pieces.release(&third, true);
        let again = pieces.claim().expect("what was given back");
        assert_eq!(again.first, 2 * MIB);
        assert!(!pieces.hold(&third) && pieces.hold(&again));
    }

    /// Connections that come and go at random: what is in the file is what they count.
    #[test]
    fn whatever_fails_each_byte_is_written_once_and_the_front_has_no_gap() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (first, length) = (random.u64(0..3 * MIB), random.u64(5 * MIB..20 * MIB));
            let mut pieces = Pieces::new(first, length, random.u16(2..8)).expect("pieces");
            // In units of this many bytes, of which the last may be shorter.
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
        // The file may have more without a gap than is counted, and never less.
        assert!(pieces.front() <= front, "{} of {front}", pieces.front());
    }
}
