//! Decoding of bodies on their way to the disk, and the limit on file size.
//!
//! Decoders write into each other and finally into the file, a small piece at a time. So a few
//! bytes that decode to gigabytes take no memory, and the limit stops them as soon as the file is
//! too large. This module must not decide whether a body is decoded.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use protocol::{FailureKind, PartialNote};
use zstd::stream::raw;
use zstd::stream::zio::Writer;

use crate::fault::Fault;
use crate::store::Partial;
use crate::transfer::{Coding, too_large};

/// Bytes that a decoder passes on at once.
const PIECE: usize = 32 * 1024;

/// Largest window of Zstandard, as a power of two: the limit of RFC 9659 section 3 for the web.
const WINDOW_LOG: u32 = 23;

/// First bits of a Brotli stream with a larger window than RFC 7932 permits, up to a gigabyte.
/// Section 9.1 calls these bits invalid; the decoder takes them for an extension of the format.
const LARGE_WINDOW: u8 = 0b001_0001;

/// Limit on the size of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// No limit.
    Any,
    /// At most this many bytes; a larger file is a failure.
    AtMost(u64),
    /// Keep this many bytes of a larger file. The same failure reports that it is cut there.
    Cut(u64),
}

/// A body that is being written to a file.
#[derive(Debug)]
pub(crate) struct Body {
    /// Target of the next piece of body; none if a decoder could not be created.
    layer: Option<Layer>,
    /// Codings without a decoder yet. Some servers declare a coding even for an empty body, which
    /// is then not coded, so decoders are created with the first piece.
    codings: Vec<Coding>,
}

enum Layer {
    File(Sink),
    Gzip(Box<MultiGzDecoder<Layer>>),
    Brotli(Box<Brotli>),
    Zstd(Box<Writer<Layer, raw::Decoder<'static>>>),
    /// The file was taken out. Bytes still in decoders are discarded.
    Spent,
}

/// A Brotli decoder, limited to the windows of its RFC.
struct Brotli {
    decoder: DecompressorWriter<Layer>,
    begun: bool,
}

/// The file and the limit on its size.
#[derive(Debug)]
struct Sink {
    partial: Partial,
    room: Room,
}

/// A fault that passes through a decoder as an I/O error.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message)]
struct Carried(Fault);

impl Body {
    /// Creates a body with `codings` in the order in which they were applied.
    pub(crate) fn new(partial: Partial, codings: &[Coding], room: Room) -> Self {
        Self {
            layer: Some(Layer::File(Sink { partial, room })),
            codings: codings.to_vec(),
        }
    }

    /// Writes more of the body.
    ///
    /// # Errors
    ///
    /// Fails if the body cannot be decoded, is too large, or cannot be written.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), Fault> {
        if !self.codings.is_empty()
            && let Some(layer) = self.layer.take()
        {
            let codings = std::mem::take(&mut self.codings);
            self.layer = Some(codings.into_iter().try_fold(layer, wrap)?);
        }
        match &mut self.layer {
            Some(Layer::File(sink)) => sink.take(data),
            Some(layer) => layer.write_all(data).map_err(fault),
            None => Err(lost()),
        }
    }

    /// Ends the body and all its codings.
    ///
    /// # Errors
    ///
    /// Fails if a coding is incomplete.
    pub(crate) fn finish(self) -> Result<Partial, Fault> {
        let mut layer = self.layer.ok_or_else(lost)?;
        loop {
            layer = match layer {
                Layer::File(sink) => return Ok(sink.partial),
                Layer::Gzip(decoder) => decoder.finish().map_err(unfinished)?,
                Layer::Brotli(mut brotli) => {
                    brotli.decoder.close().map_err(|_| incomplete())?;
                    match brotli.decoder.into_inner() {
                        Ok(layer) | Err(layer) => layer,
                    }
                }
                Layer::Zstd(mut decoder) => {
                    decoder.finish().map_err(fault)?;
                    decoder.into_inner().0
                }
                Layer::Spent => return Err(lost()),
            };
        }
    }

    /// Returns the file, cut at its limit. The rest of the body and of its codings is not checked.
    ///
    /// # Errors
    ///
    /// Fails if a decoder could not be created.
    pub(crate) fn into_cut(mut self) -> Result<Partial, Fault> {
        let sink = self.layer.as_mut().and_then(Layer::take_sink);
        sink.map(|sink| sink.partial).ok_or_else(lost)
    }

    /// Ends the attempt with `fault`. Keeps what is on disk if another attempt can continue it.
    pub(crate) fn abandon(self, fault: &Fault, note: Option<&PartialNote>) {
        if let Some(Layer::File(sink)) = self.layer {
            sink.partial.abandon(fault, note);
        }
    }

    /// Returns the file, unless the body is decoded.
    pub(crate) fn plain(&mut self) -> Option<&mut Partial> {
        match &mut self.layer {
            Some(Layer::File(sink)) => Some(&mut sink.partial),
            Some(Layer::Gzip(_) | Layer::Brotli(_) | Layer::Zstd(_) | Layer::Spent) | None => None,
        }
    }
}

impl Layer {
    fn take_sink(&mut self) -> Option<Sink> {
        match self {
            Self::File(_) => match std::mem::replace(self, Self::Spent) {
                Self::File(sink) => Some(sink),
                Self::Gzip(_) | Self::Brotli(_) | Self::Zstd(_) | Self::Spent => None,
            },
            Self::Gzip(decoder) => decoder.get_mut().take_sink(),
            Self::Brotli(brotli) => brotli.decoder.get_mut().take_sink(),
            Self::Zstd(decoder) => decoder.writer_mut().take_sink(),
            Self::Spent => None,
        }
    }
}

impl Write for Layer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(sink) => sink.write(data),
            Self::Gzip(decoder) => decoder.write(data),
            Self::Brotli(brotli) => brotli.write(data),
            Self::Zstd(decoder) => decoder.write(data),
            Self::Spent => Ok(data.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Brotli {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if !self.begun
            && let Some(first) = data.first()
        {
            self.begun = true;
            if first & 0x7f == LARGE_WINDOW {
                let what = "its window is larger than RFC 7932 allows";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        self.decoder.write(data)
    }
}

impl Sink {
    fn take(&mut self, data: &[u8]) -> Result<(), Fault> {
        let bytes = self.partial.bytes();
        let size = bytes.saturating_add(data.len() as u64);
        match self.room {
            Room::AtMost(limit) if size > limit => Err(too_large(limit)),
            Room::Cut(limit) if size > limit => {
                let fits = usize::try_from(limit.saturating_sub(bytes)).unwrap_or(data.len());
                self.partial.write(&data[..fits.min(data.len())])?;
                Err(too_large(limit))
            }
            Room::Any | Room::AtMost(_) | Room::Cut(_) => self.partial.write(data),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.take(data) {
            Ok(()) => Ok(data.len()),
            Err(fault) => Err(io::Error::other(Carried(fault))),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Gzip(_) => "Gzip",
            Self::Brotli(_) => "Brotli",
            Self::Zstd(_) => "Zstd",
            Self::Spent => "Spent",
        })
    }
}

/// Creates a decoder for `coding` that writes into `layer`.
fn wrap(layer: Layer, coding: Coding) -> Result<Layer, Fault> {
    Ok(match coding {
        Coding::Gzip => Layer::Gzip(Box::new(MultiGzDecoder::new(layer))),
        Coding::Brotli => Layer::Brotli(Box::new(Brotli {
            decoder: DecompressorWriter::new(layer, PIECE),
            begun: false,
        })),
        Coding::Zstd => Layer::Zstd(Box::new(Writer::new(layer, zstd_decoder()?))),
    })
}

fn lost() -> Fault {
    Fault::permanent(FailureKind::Internal, "the file of a body is lost")
}

fn zstd_decoder() -> Result<raw::Decoder<'static>, Fault> {
    let made = raw::Decoder::new().and_then(|mut decoder| {
        decoder.set_parameter(raw::DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(decoder)
    });
    made.map_err(|error| Fault::transient(FailureKind::Store, format!("no decoder: {error}")))
}

/// Converts an error of a decoder.
fn fault(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return incomplete();
    }
    let text = error.to_string();
    match error.into_inner().map(|inner| inner.downcast::<Carried>()) {
        Some(Ok(carried)) => carried.0,
        Some(Err(_)) | None => Fault::permanent(
            FailureKind::Encoding,
            format!("body cannot be decoded: {text}"),
        ),
    }
}

/// Converts an error at the end of gzip. A wrong checksum and one that is cut off look the same
/// there, so another attempt may receive the rest.
fn unfinished(error: io::Error) -> Fault {
    let found = fault(error);
    if found.kind == FailureKind::Encoding {
        return Fault::transient(found.kind, found.message);
    }
    found
}

fn incomplete() -> Fault {
    Fault::transient(
        FailureKind::Truncated,
        "body ends before the end of its coding",
    )
}
