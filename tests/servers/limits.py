#!/usr/bin/env python3
"""Five servers with limits, and how programs cope with them by default.

    cargo build && tests/servers/limits.py [PROGRAM...]

Prints a table in Markdown: for each server and program, the number of stored files, the time, and the
number of refused requests. Needs nginx, and runs those programs that are installed.
"""
import collections
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
OWN = os.environ.get("COORDINATOR", str(ROOT / "target/debug/coordinator"))
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
SECONDS = 300

Kind = collections.namedtuple("Kind", "name files best http location")
KINDS = [
    Kind("`limit_req` 20/s", 199, 9.9, "limit_req_zone $host zone=z:1m rate=20r/s;", "limit_req zone=z;"),
    Kind("`limit_req` 20/s, `burst=10 nodelay`", 199, 9.4, "limit_req_zone $host zone=z:1m rate=20r/s;",
         "limit_req zone=z burst=10 nodelay;"),
    Kind("`limit_req` 20/s, `burst=4`", 199, 9.9, "limit_req_zone $host zone=z:1m rate=20r/s;",
         "limit_req zone=z burst=4;"),
    Kind("`limit_conn` 2, two seconds each", 40, 40, "limit_conn_zone $host zone=z:1m;",
         "limit_conn z 2; limit_rate 5k;"),
    Kind("two connections, the third is closed", 60, 1.5, None, None),
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Nginx:
    def __init__(self, kind):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="limits-"))
        www = self.folder / "www"
        www.mkdir()
        for number in range(kind.files):
            (www / f"{number}").write_bytes(os.urandom(10000))
        self.port = free_port()
        temporary = " ".join(
            f"{name}_temp_path {self.folder}/tmp;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error.log;"
            "events { worker_connections 512; }"
            f"http {{ access_log {self.folder}/access.log; {temporary} {kind.http}"
            f"server {{ listen 127.0.0.1:{self.port}; root {www}; {kind.location} }} }}")
        self.process = subprocess.Popen(
            [NGINX, "-p", self.folder, "-e", self.folder / "error.log", "-c", self.folder / "nginx.conf"])
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit((self.folder / "error.log").read_text())

    def refused(self):
        return sum(" 503 " in line for line in (self.folder / "access.log").read_text().splitlines())

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


class TwoConnections:
    def __init__(self, _):
        self.open, self.count, self.lock = 0, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                admitted = self.open < 2
                self.open += admitted
                self.count += not admitted
            if admitted:
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()
            else:
                connection.close()

    def serve(self, connection):
        try:
            with connection:
                head = b""
                while received := connection.recv(65536):
                    head += received
                    while b"\r\n\r\n" in head:
                        _, _, head = head.partition(b"\r\n\r\n")
                        time.sleep(0.05)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + bytes(10000))
        except OSError:
            pass
        with self.lock:
            self.open -= 1

    def refused(self):
        return self.count

    def stop(self):
        self.listener.close()


def commands(urls, folder):
    (folder / "urls").write_text("".join(f"{url}\n" for url in urls))
    (folder / "curl").write_text("".join(f'url = "{url}"\noutput = "{folder}/out/{n}"\n' for n, url in enumerate(urls)))
    return {
        "coordinator": [OWN, folder / "urls", "--output", folder / "out"],
        "curl -Z": ["curl", "-sfZ", "-K", folder / "curl"],
        "wget2": ["wget2", "-q", "-i", folder / "urls", "-P", folder / "out"],
        "aria2c": ["aria2c", "-q", "-i", folder / "urls", "-d", folder / "out"],
    }


def stored(folder):
    """Returns the number of whole files. Partial ones are smaller."""
    out = folder / "out"
    return sum(path.is_file() and path.stat().st_size == 10000 and ".coordinator" not in path.parts
               for path in out.rglob("*"))


def main():
    wanted = sys.argv[1:]
    print("| server | program | stored | time | refused |\n| --- | --- | --- | --- | --- |")
    for kind in KINDS:
        for name in commands([], pathlib.Path(tempfile.mkdtemp(prefix="limits-"))):
            if wanted and name not in wanted:
                continue
            server = (Nginx if kind.http else TwoConnections)(kind)
            folder = pathlib.Path(tempfile.mkdtemp(prefix="limits-"))
            (folder / "out").mkdir()
            urls = [f"http://127.0.0.1:{server.port}/{number}" for number in range(kind.files)]
            begun = time.monotonic()
            try:
                subprocess.run(commands(urls, folder)[name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               timeout=SECONDS)
            except FileNotFoundError:
                continue
            except subprocess.TimeoutExpired:
                pass
            took = time.monotonic() - begun
            print(f"| {kind.name} (best {kind.best} s) | {name} | {stored(folder)} of {kind.files} | {took:.1f} s | "
                  f"{server.refused()} |", flush=True)
            server.stop()
            shutil.rmtree(folder)


main()
