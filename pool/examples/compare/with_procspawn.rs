//! The comparison's run with procspawn's pool.

use std::error::Error;

use procspawn::Pool;

use crate::job::{JOBS, square};

pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(4)?;
    let handles: Vec<_> = (0..JOBS).map(|number| pool.spawn(number, square)).collect();
    for (number, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(square) => println!("{number} {square}"),
            Err(error) => println!("{number} lost: {error}"),
        }
    }
    Ok(())
}
