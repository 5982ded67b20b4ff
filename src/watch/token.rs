//! A secret at the start of every path, for machines with other users.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use data_encoding::HEXLOWER;

use crate::whole_file::WholeFile;

/// Number of random bytes in a generated token.
const BYTES: usize = 16;

/// Maximum length of a token in bytes.
const LONGEST: u64 = 200;

/// Returns the token in the file at `path`. If the file does not exist, creates it with a random
/// token, readable only by its owner.
pub(super) fn in_file(path: &Path) -> io::Result<String> {
    let text = match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(LONGEST + 2).read_to_string(&mut text)?;
            text
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(path),
        Err(error) => return Err(error),
    };
    let token = text.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if token.len() < BYTES || token.len() as u64 > LONGEST || !token.bytes().all(fits) {
        let problem =
            "expected 16 to 200 letters, digits, - and _; remove the file to have one made";
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(token.to_owned())
}

fn make(path: &Path) -> io::Result<String> {
    let mut bytes = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let token = HEXLOWER.encode(&bytes);
    let mut file = WholeFile::create_private(path)?;
    writeln!(file, "{token}")?;
    file.finish()?;
    Ok(token)
}
