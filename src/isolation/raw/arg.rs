//! Arguments of system calls, in the types of their callers.

use std::cell::Cell;
use std::ffi::CStr;

/// An argument of a system call.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// A number, or an address in another process.
    Number(i64),
    /// A text that ends with a nul byte.
    Text(&'a CStr),
    /// Memory that the call reads, at most all of it.
    Bytes(&'a [u8]),
    /// Memory that the call writes to, at most all of it.
    Room(&'a [Cell<u8>]),
}

impl From<i32> for Arg<'_> {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Arg<'_> {
    /// Returns the value for the register.
    pub(super) fn word(self) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text.as_ptr() as i64,
            Self::Bytes(bytes) => bytes.as_ptr() as i64,
            Self::Room(room) => room.as_ptr() as i64,
        }
    }
}
