//! The jobs on some pages of `docs/`, as written, with servers that answer like the real ones.
//!
//! The hosts of a page resolve to a server of the test: `https://` becomes `http://`, and a config
//! file has the address of each host.

use std::fs;

use super::commands::{Shell, can_run, commands};
use super::pages;
use super::support::{Answer, Server, server};

/// Creates a shell in which these hosts resolve to `server`.
fn shell(server: &Server, hosts: &[&str]) -> Shell {
    let port = server.addr.port();
    let places = hosts
        .iter()
        .map(|host| format!("\"{host}:{port}:127.0.0.1\""));
    let places: Vec<String> = places.collect();
    let shell = Shell::new();
    let config = format!("resolve = [{}]\nretry-delay = 0\n", places.join(", "));
    shell.write("config/coordinator/config.toml", &config);
    shell
}

/// Runs the commands of a page, with `server` as its hosts.
fn follow(page: &str, shell: &Shell, server: &Server, hosts: &[&str]) {
    let pages = pages::all();
    let page = pages
        .iter()
        .find(|known| known.path.ends_with(page))
        .unwrap();
    let mut script = commands(page).join("\n").replace("https://", "http://");
    for host in hosts {
        let place = format!("{host}:{}", server.addr.port());
        // In a netrc file, hosts have no ports.
        script = script.replace(&format!("http://{host}"), &format!("http://{place}"));
    }
    shell.run(&script);
}

/// Returns a response for [`Answer::By`].
fn response(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Returns the value of a request header, or an empty text.
fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value)
}

#[test]
fn an_image_set_is_downloaded_made_smaller_and_packed() {
    let server = Server::start().answer("/gone.jpg", [Answer::Status(404)]);
    let hosts = ["img.example"];
    let shell = shell(&server, &hosts);
    let url = |path: &str| format!("http://img.example:{}{path}", server.addr.port());
    let rows = ["/cat.jpg", "/gone.jpg", "/text.html", "/dog.jpg"];
    let rows = rows.map(|path| format!("{},\"a caption, of {path}\"\n", url(path)));
    shell.write("pairs.csv", &format!("URL,TEXT\n{}", rows.concat()));
    // Replaces ImageMagick: shortens the file, and fails if it is not an image.
    shell.program("mogrify", "! grep -q html \"$3\" && truncate -s 100 \"$3\"");
    follow("image-sets.md", &shell, &server, &hosts);
    let captions = fs::read_to_string(shell.path("captions.csv")).unwrap();
    assert_eq!(captions.lines().count(), 2, "{captions}");
    assert!(
        captions.contains("\"a caption, of /dog.jpg\""),
        "{captions}"
    );
    let packed = shell.run("tar -tvf shard-aa.tar");
    let is_small = |line: &str| line.split_whitespace().any(|word| word == "100");
    assert_eq!(
        packed.lines().filter(|line| is_small(line)).count(),
        2,
        "{packed}"
    );
}

/// Redirects clients without a session to the login host, which requires Basic.
fn archive(head: &str) -> Vec<u8> {
    let (host, port) = header(head, "host").split_once(':').unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let (cookie, login) = (header(head, "cookie"), header(head, "authorization"));
    let moved =
        |to: &str, headers: &str| response(302, &format!("Location: {to}\r\n{headers}"), b"");
    let data = format!("http://data.example:{port}");
    match (host, path.split_once("?to=")) {
        ("data.example", _) if login == "Bearer TOKEN" || cookie.contains("session=") => {
            response(200, "", &server::body(path))
        }
        ("data.example", Some((_, to))) => moved(to, "Set-Cookie: session=1; Path=/\r\n"),
        ("data.example", None) => moved(
            &format!("http://urs.earthdata.nasa.gov:{port}/oauth?to={path}"),
            "",
        ),
        // NAME:PASSWORD
        (_, Some((_, to))) if login == "Basic TkFNRTpQQVNTV09SRA==" => {
            moved(&format!("{data}/back?to={to}"), "Set-Cookie: sso=1\r\n")
        }
        _ => response(401, "WWW-Authenticate: Basic realm=\"x\"\r\n", b""),
    }
}

#[test]
fn earth_data_is_downloaded_from_behind_a_login() {
    let server = Server::start().answer("*", [Answer::By(archive)]);
    let hosts = ["data.example", "urs.earthdata.nasa.gov"];
    let shell = shell(&server, &hosts);
    let urls =
        [1, 2, 3].map(|number| format!("http://data.example:{}/{number}.nc\n", server.addr.port()));
    shell.write("granules.txt", &urls.concat());
    shell.write("token", "TOKEN\n");
    follow("earth-data.md", &shell, &server, &hosts);
    let stored = shell.run("coordinator results granules --stored");
    assert_eq!(stored.lines().count(), 3, "{stored}");
    let session = fs::read_to_string(shell.path("session.txt")).unwrap();
    assert!(session.contains("session"), "{session}");
    assert!(!session.contains("PASSWORD"), "{session}");
    assert_eq!(fs::read_to_string(shell.path("missing.txt")).unwrap(), "");
}

#[test]
fn sequences_are_checked_against_the_sums_of_the_archive() {
    let genome = "/genomes/all/GCF/000/005/845/GCF_000005845.2_ASM584v2";
    let hosts = ["ftp.sra.ebi.ac.uk", "ftp.ncbi.nlm.nih.gov"];
    let made = Shell::new();
    let sum = |path: &str| {
        fs::write(made.path("body"), server::body(path)).unwrap();
        made.run("md5sum < body | cut -d ' ' -f 1")
            .trim()
            .to_owned()
    };
    let sums = ["report.txt", "fna/genome.fna.gz"]
        .map(|name| format!("{}  ./{name}\n", sum(&format!("{genome}/{name}"))));
    let list = format!("{genome}/md5checksums.txt");
    let server = Server::start().answer(&list, [Answer::Body(sums.concat().into_bytes())]);
    let shell = shell(&server, &hosts);
    let paths = ["/vol1/ERR1_1.fastq.gz", "/vol1/ERR1_2.fastq.gz"];
    let place = format!("{}:{}", hosts[0], server.addr.port());
    let report = format!(
        "run_accession\tfastq_bytes\tfastq_md5\tfastq_ftp\nERR1\t{};{}\t{};{}\t{place}{};{place}{}\n",
        server::body(paths[0]).len(),
        server::body(paths[1]).len(),
        sum(paths[0]),
        sum(paths[1]),
        paths[0],
        paths[1],
    );
    shell.write("filereport.tsv", &report);
    follow("sequence-archives.md", &shell, &server, &hosts);
    for path in paths {
        let file = shell
            .path("reads/ERR1")
            .join(path.rsplit('/').next().unwrap());
        assert_eq!(fs::read(file).unwrap(), server::body(path));
    }
    assert!(shell.path("genome/fna/genome.fna.gz").exists());
    // A file whose checksum differs from the list is not stored.
    shell.write(
        "filereport.tsv",
        &report.replace(&sum(paths[1]), &sum(paths[0])),
    );
    shell.run("rm -r reads");
    let pages = pages::all();
    let page = pages
        .iter()
        .find(|page| page.path.ends_with("sequence-archives.md"))
        .unwrap();
    shell.run(&commands(page)[0].replace("https://", "http://"));
    shell.run("! coordinator reads.tsv --output reads");
    let failed = shell.run("coordinator results reads --failed --kind checksum_mismatch");
    assert_eq!(failed.lines().count(), 1, "{failed}");
}

/// The server of the crawl has two records, each a gzip member of this many bytes.
const RECORD: usize = 1000;

/// Returns the requested part of the file.
fn part(head: &str) -> Vec<u8> {
    let range = header(head, "range").strip_prefix("bytes=").unwrap();
    let (first, last) = range.split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let file: Vec<u8> = (0..2 * RECORD).map(|at| (at / RECORD) as u8).collect();
    let content = format!("Content-Range: bytes {first}-{last}/{}\r\n", file.len());
    response(206, &content, &file[first..=last])
}

#[test]
fn records_and_captures_of_web_archives_are_downloaded() {
    if !can_run("jq") {
        return;
    }
    let server = Server::start().answer("/crawl-data/x.warc.gz", [Answer::By(part)]);
    let hosts = ["data.commoncrawl.org", "web.archive.org"];
    let shell = shell(&server, &hosts);
    let line = |number: usize| {
        let offset = number * RECORD;
        format!(
            "{{\"timestamp\": \"2026010100000{number}\", \"digest\": \"A{number}\", \"length\": \"{RECORD}\", \
             \"offset\": \"{offset}\", \"filename\": \"crawl-data/x.warc.gz\"}}\n"
        )
    };
    shell.write("index.jsonl", &[line(0), line(1)].concat());
    let capture =
        |time: &str| format!("example,a)/ {time} http://a.example/ text/html 200 AAAA 100\n");
    shell.write(
        "captures.cdx",
        &["20250101000000", "20260101000000"].map(capture).concat(),
    );
    follow("web-archives.md", &shell, &server, &hosts);
    let pages = fs::read(shell.path("pages.warc.gz")).unwrap();
    let zeros = pages.iter().filter(|byte| **byte == 0).count();
    assert_eq!((pages.len(), zeros), (2 * RECORD, RECORD));
    let captures = fs::read_to_string(shell.path("captures.tsv")).unwrap();
    assert_eq!(captures.lines().count(), 2, "{captures}");
    assert!(
        captures.contains("/web/20260101000000id_/http://a.example/\t"),
        "{captures}"
    );
}
