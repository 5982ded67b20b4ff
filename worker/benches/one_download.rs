//! Cost of one download in a worker: processes with one engine each and nothing else, compared with
//! processes that make only the system calls.
//!
//! `cargo bench -p coordinator-worker --bench one_download -- LIST [PROCESSES]`, where LIST is a
//! file with http URLs of one server, such as nginx with 10,000 files of 10 KB. Bodies go into new
//! folders in `$TMPDIR`, which should be on a tmpfs. Each contestant runs three times, in turn.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells what it measured"
)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pool::session::{Engine as _, EventEngine as _};
use protocol::Assignment;
use rustix::time::{ClockId, clock_gettime};
use worker::{Activity, AsyncEngine, BlockingEngine, Connections, SetupError, Shared};

#[path = "../tests/support/mod.rs"]
mod support;

const CONTESTANTS: [&str; 3] = ["bare", "blocking", "async"];

const ROUNDS: usize = 3;

/// First argument of a process that downloads a share.
const SHARE: &str = "share";

fn main() -> ExitCode {
    // Cargo adds its own flag.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words = arguments.iter().filter(|word| *word != "--bench");
    let words: Vec<&str> = words.map(String::as_str).collect();
    let done = match words[..] {
        [SHARE, contestant, number, processes, list, folder] => {
            share(contestant, (number, processes), list, Path::new(folder))
        }
        [list] => compare(list, 6),
        [list, processes] => processes
            .parse()
            .map_err(Into::into)
            .and_then(|processes| compare(list, processes)),
        _ => Err("it takes the name of a list of URLs, and how many processes".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("one_download: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(list: &str, processes: usize) -> Result<(), Box<dyn Error>> {
    let count = fs::read_to_string(list)?.lines().count();
    println!("{count} downloads, {processes} processes; microseconds for each download");
    println!("{:10} {:>8} {:>10}", "", "wall", "processor");
    for _ in 0..ROUNDS {
        for contestant in CONTESTANTS {
            let (wall, busy) = measure(contestant, list, processes)?;
            let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
            println!("{contestant:10} {:8.1} {:10.1}", each(wall), each(busy));
        }
    }
    Ok(())
}

/// Returns wall time and processor time of all processes, from the first request to the last body.
fn measure(
    contestant: &str,
    list: &str,
    processes: usize,
) -> Result<(Duration, Duration), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut running = Vec::new();
    for number in 0..processes {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SHARE, contestant, &number.to_string()]);
        command
            .args([&processes.to_string(), list])
            .arg(folder.path());
        let (input, output) = (Stdio::piped(), Stdio::piped());
        running.push(command.stdin(input).stdout(output).spawn()?);
    }
    let mut ready = [0];
    for child in &mut running {
        child
            .stdout
            .as_mut()
            .ok_or("no output")?
            .read_exact(&mut ready)?;
    }
    let begun = Instant::now();
    for child in &mut running {
        drop(child.stdin.take());
    }
    let mut busy = Duration::ZERO;
    for child in running {
        let output = child.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        busy += Duration::from_nanos(text.parse().map_err(|_| "a process failed")?);
    }
    Ok((begun.elapsed(), busy))
}

/// Downloads the file with this number and URL.
type Work<'f> = dyn FnMut(u64, &str) -> Result<(), Box<dyn Error>> + 'f;

/// Downloads one process's share once standard input closes, and writes the processor time used.
fn share(
    contestant: &str,
    (number, processes): (&str, &str),
    list: &str,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let list = fs::read_to_string(list)?;
    let (number, processes): (usize, usize) = (number.parse()?, processes.parse()?);
    let urls = list.lines().skip(number).step_by(processes);
    let folder = folder.join(number.to_string());
    fs::create_dir(&folder)?;
    let mut work: Box<Work<'_>> = match contestant {
        "bare" => {
            let mut bare = Bare::new(&folder);
            Box::new(move |task, url| bare.download(task, url))
        }
        "blocking" => {
            let mut engine = BlockingEngine::new(shared(&folder)?);
            let activity = Activity::default();
            Box::new(move |task, url| {
                let done = engine.run(&assignment(task, url), &activity);
                done.map(drop).map_err(|failure| failure.message.into())
            })
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let mut engine = AsyncEngine::new(Arc::new(Connections::new(shared(&folder)?, 1)));
            let activity = Activity::default();
            Box::new(move |task, url| {
                let assignment = assignment(task, url);
                let done = runtime.block_on(engine.run(&assignment, &activity));
                done.map(drop).map_err(|failure| failure.message.into())
            })
        }
    };
    let mut output = std::io::stdout();
    output.write_all(b".")?;
    output.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let before = processor_time()?;
    for (task, url) in urls.enumerate() {
        work(task as u64, url)?;
    }
    let busy = processor_time()? - before;
    write!(output, "{}", busy.as_nanos())?;
    Ok(())
}

fn processor_time() -> Result<Duration, Box<dyn Error>> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

fn shared(folder: &Path) -> Result<Arc<Shared>, SetupError> {
    let setup = support::setup(folder, 1, support::options());
    Ok(Arc::new(Shared::new(&setup, None)?))
}

fn assignment(task: u64, url: &str) -> Assignment {
    Assignment {
        begun: false,
        ..Assignment::new(url, task.to_string())
    }
}

/// Makes only the system calls: send, receive, open, write, close.
struct Bare<'f> {
    folder: &'f Path,
    connection: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl<'f> Bare<'f> {
    fn new(folder: &'f Path) -> Self {
        Self {
            folder,
            connection: None,
            buffer: vec![0; 64 * 1024],
        }
    }

    fn download(&mut self, task: u64, url: &str) -> Result<(), Box<dyn Error>> {
        let rest = url.strip_prefix("http://").ok_or("not an http URL")?;
        let (host, path) = rest.split_once('/').ok_or("no path")?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(TcpStream::connect(host)?),
        };
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut filled = 0;
        let (start, length) = loop {
            let read = connection.read(&mut self.buffer[filled..])?;
            filled += read;
            let seen = &self.buffer[..filled];
            if let Some(end) = memchr::memmem::find(seen, b"\r\n\r\n") {
                break (end + 4, length(&seen[..end])?);
            }
            if read == 0 {
                return Err("no response".into());
            }
        };
        let mut file = File::create(self.folder.join(task.to_string()))?;
        file.write_all(&self.buffer[start..filled])?;
        let mut left = length - (filled - start);
        while left > 0 {
            let most = left.min(self.buffer.len());
            let read = connection.read(&mut self.buffer[..most])?;
            if read == 0 {
                return Err("the body is cut off".into());
            }
            file.write_all(&self.buffer[..read])?;
            left -= read;
        }
        Ok(())
    }
}

fn length(head: &[u8]) -> Result<usize, Box<dyn Error>> {
    let head = std::str::from_utf8(head)?;
    let mut values = head
        .lines()
        .filter_map(|line| line.strip_prefix("Content-Length: "));
    Ok(values.next().ok_or("no length")?.trim().parse()?)
}
