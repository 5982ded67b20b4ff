//! Runs a parser in C that crashes on one input in a thousand. All other inputs are parsed, and the
//! program prints which input crashed the parser and how.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use pool::{Context, Failed, Outcome, Pool, Work};
use signal_hook::low_level::emulate_default_handler;

/// Counts words, and imitates a library with a bug.
struct Parser;

impl Work for Parser {
    type Setup = ();
    type Job = String;
    type Output = usize;

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, text: String, _: &Context) -> Result<usize, Failed> {
        if text.contains("777") {
            eprintln!("parser.c:42: read beyond the end of {text:?}");
            // The effect of an invalid pointer.
            emulate_default_handler(libc::SIGSEGV)?;
        }
        Ok(text.split_whitespace().count())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pool::init::<Parser>();
    let pool = Pool::<Parser>::builder(())
        .workers(4)
        .on_line(|_| {})
        .start()?;
    let texts: Vec<_> = (0..1000).map(|number| format!("text {number}")).collect();
    for (number, outcome) in pool.run(texts.iter().cloned()) {
        if let Outcome::Quarantined(deaths) = outcome {
            println!("{:?} ended {} workers", texts[number], deaths.len());
            for death in deaths {
                println!("  {}: {}", death.exit, death.last_words.join(" "));
            }
        }
    }
    let ended = pool.finish();
    println!("{} of {} parsed", ended.counts.done, texts.len());
    Ok(())
}
