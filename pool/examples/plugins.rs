//! Runs untrusted plug-ins in a sandbox that can read only one folder: `plugins FOLDER`.
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use pool::{Context, Failed, Network, Outcome, Pool, Sandbox, Work};

type Plugin = fn(&Path) -> Result<String, Failed>;

/// Stands in for third-party libraries.
const PLUGINS: [(&str, Plugin); 4] = [
    ("counts lines", |folder| {
        let text = fs::read_to_string(folder.join("data.txt"))?;
        Ok(format!("{} lines", text.lines().count()))
    }),
    ("reads secrets", |_| Ok(fs::read_to_string("/etc/passwd")?)),
    ("calls home", |_| {
        TcpStream::connect("127.0.0.1:80")?;
        Ok("connected".to_owned())
    }),
    ("starts a shell", |_| {
        Command::new("/bin/sh").arg("-c").arg("id").output()?;
        Ok("started".to_owned())
    }),
];

/// Runs the plug-in with the given number.
struct Host {
    folder: PathBuf,
}

impl Work for Host {
    type Setup = PathBuf;
    type Job = usize;
    type Output = String;

    fn start(folder: PathBuf) -> Result<Self, Failed> {
        Ok(Self { folder })
    }

    fn run(&mut self, number: usize, _: &Context) -> Result<String, Failed> {
        let (_, plugin) = PLUGINS[number];
        plugin(&self.folder)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pool::init::<Host>();
    let folder = std::env::args().nth(1).ok_or("usage: plugins FOLDER")?;
    let folder = PathBuf::from(folder);
    let sandbox = Sandbox {
        read: vec![folder.clone()],
        network: Network::None,
        ..Sandbox::default()
    };
    let pool = Pool::<Host>::builder(folder)
        .workers(1)
        .sandbox(sandbox)
        .start()?;
    for ((name, _), outcome) in PLUGINS.iter().zip(pool.run_ordered(0..PLUGINS.len())) {
        match outcome {
            Outcome::Done(text) => println!("{name}: {text}"),
            Outcome::Failed(failed) => println!("{name}: {failed}"),
            other => println!("{name}: {other:?}"),
        }
    }
    Ok(())
}
