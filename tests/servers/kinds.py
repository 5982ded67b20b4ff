"""The tested servers and proxies: how each is configured and started.

Each is packaged by Debian, runs on loopback in its own folder, and serves the same site. This module
must not know the tests or the expected results."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

KEEP_ALIVE = 3  # Requests after which a server closes a connection, if it can be configured.


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Daemon:
    """A program in the foreground, in its own process group."""

    def __init__(self, folder):
        self.folder = Path(folder) / self.name
        self.folder.mkdir()
        self.folder.chmod(0o777)  # Some write here after they gave up root.
        self.log = self.folder / "access.log"
        self.process = None

    @classmethod
    def found(cls):
        return program(cls.program)

    def start(self):
        for _ in range(20):
            self.port, self.tls_port = self.ports()
            (self.folder / "conf").write_text(self.configuration())
            if self.spawn():
                return
        said = (self.folder / "output").read_text(errors="replace")
        raise SystemExit(f"{self.name} does not start: {said[-2000:]}")

    ports_kept = None

    def ports(self):
        """Returns new ports at first, then the same: a restarted server keeps its address."""
        return self.ports_kept or (free_port(), free_port())

    def spawn(self):
        with open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.folder, process_group=0, env=self.environment())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    self.ports_kept = (self.port, self.tls_port)
                    return True
            time.sleep(0.01)
        self.stop()
        return False

    def environment(self):
        return {"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(self.folder)}

    def stop(self):
        """Kills the process and its children by their process group."""
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None

    def logged(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Server(Daemon):
    http2 = True
    limits_keep_alive = True

    def __init__(self, folder, site, certificate, key):
        super().__init__(folder)
        self.site, self.certificate, self.key = site, certificate, key


class Nginx(Server):
    name = program = "nginx"

    def command(self):
        return [program("nginx"), "-p", str(self.folder), "-c", "conf", "-e", "error.log"]

    def configuration(self):
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        return f"""
            daemon off; worker_processes 1; pid {self.folder}/pid; {user}
            events {{}}
            http {{
                {temporary}
                types {{ text/plain txt; text/html html; }}
                log_format short '$server_protocol "$request_uri" $status range=$http_range';
                access_log {self.log} short;
                gzip on; gzip_types text/plain; keepalive_requests {KEEP_ALIVE};
                server {{
                    listen 127.0.0.1:{self.port};
                    listen 127.0.0.1:{self.tls_port} ssl http2;
                    ssl_certificate {self.certificate}; ssl_certificate_key {self.key};
                    root {self.site}; absolute_redirect off;
                    location = /moved {{ return 301 /small.bin; }}
                    location = /relative {{ return 302 folder/../small.bin; }}
                    location = /forbidden {{ deny all; }}
                    location = /error {{ return 500; }}
                }}
            }}"""


class Apache(Server):
    name, program = "apache", "apache2"

    def command(self):
        return [program("apache2"), "-DFOREGROUND", "-f", str(self.folder / "conf")]

    def configuration(self):
        modules = ("mpm_event authz_core dir alias mime filter deflate ssl socache_shmcb http2 "
                   "headers")
        load = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
                         for name in modules.split())
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        return f"""{load}
{user}
ServerRoot {self.folder}
ServerName localhost
TypesConfig /dev/null
PidFile {self.folder}/pid
DefaultRuntimeDir {self.folder}
Mutex file:{self.folder} default
ErrorLog {self.folder}/error.log
LogFormat "%H \\"%U%q\\" %>s range=%{{Range}}i" short
CustomLog {self.log} short
Listen 127.0.0.1:{self.port}
Listen 127.0.0.1:{self.tls_port}
MaxKeepAliveRequests {KEEP_ALIVE}
DocumentRoot {self.site}
AddType text/plain .txt
AddType text/html .html
AddOutputFilterByType DEFLATE text/plain
Redirect 301 /moved /small.bin
Redirect 302 /relative /folder/../small.bin
Redirect 500 /error
<Directory {self.site}>
    Require all granted
</Directory>
<Location /forbidden>
    Require all denied
</Location>
<VirtualHost 127.0.0.1:{self.tls_port}>
    Protocols h2 http/1.1
    SSLEngine on
    SSLCertificateFile {self.certificate}
    SSLCertificateKeyFile {self.key}
</VirtualHost>
"""


class Lighttpd(Server):
    name = program = "lighttpd"

    def command(self):
        return [program("lighttpd"), "-D", "-f", str(self.folder / "conf")]

    def configuration(self):
        return f"""
server.modules = ("mod_access", "mod_redirect", "mod_cgi", "mod_deflate", "mod_accesslog",
                  "mod_openssl")
server.document-root = "{self.site}"
server.bind = "127.0.0.1"
server.port = {self.port}
server.errorlog = "{self.folder}/error.log"
server.upload-dirs = ("{self.folder}")
accesslog.filename = "{self.log}"
accesslog.format = "%H \\"%U%q\\" %s range=%{{Range}}i"
server.max-keep-alive-requests = {KEEP_ALIVE}
index-file.names = ("index.html")
mimetype.assign = (".txt" => "text/plain", ".html" => "text/html", "" => "application/octet-stream")
deflate.mimetypes = ("text/plain")
deflate.allowed-encodings = ("gzip")
deflate.cache-dir = ""
url.redirect = ("^/moved$" => "/small.bin", "^/relative$" => "/folder/../small.bin")
url.redirect-code = 301
$HTTP["url"] == "/forbidden" {{ url.access-deny = ("") }}
cgi.assign = ("/error" => "/bin/false")
$SERVER["socket"] == "127.0.0.1:{self.tls_port}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{self.certificate}"
    ssl.privkey = "{self.key}"
}}
"""


class Caddy(Server):
    name = program = "caddy"
    limits_keep_alive = False

    def command(self):
        return [program("caddy"), "run", "--config", "conf", "--adapter", "caddyfile"]

    def environment(self):
        return super().environment() | {"XDG_DATA_HOME": str(self.folder),
                                        "XDG_CONFIG_HOME": str(self.folder)}

    def configuration(self):
        return f"""{{
    admin off
    auto_https off
    default_bind 127.0.0.1
    log access {{
        output file {self.log}
        include http.log.access
    }}
}}
(site) {{
    root * {self.site}
    encode gzip
    redir /moved /small.bin 301
    redir /relative folder/../small.bin 302
    respond /forbidden 403
    respond /error 500
    file_server
    log
}}
http://127.0.0.1:{self.port} {{
    import site
}}
https://localhost:{self.tls_port}, https://127.0.0.1:{self.tls_port} {{
    tls {self.certificate} {self.key}
    import site
}}
"""


class Squid(Daemon):
    name = program = "squid"

    def command(self):
        return [program("squid"), "-N", "-f", str(self.folder / "conf")]

    def configuration(self):
        return f"""
http_port 127.0.0.1:{self.port}
pid_filename {self.folder}/pid
cache_log {self.folder}/cache.log
access_log stdio:{self.log}
coredump_dir {self.folder}
visible_hostname localhost
cache deny all
http_access allow all
pinger_enable off
shutdown_lifetime 0 seconds
"""


class Tinyproxy(Daemon):
    name = program = "tinyproxy"

    def command(self):
        return [program("tinyproxy"), "-d", "-c", str(self.folder / "conf")]

    def configuration(self):
        return f"""
Port {self.port}
Listen 127.0.0.1
Allow 127.0.0.1
Timeout 60
MaxClients 100
LogFile "{self.log}"
PidFile "{self.folder}/pid"
"""


SERVERS = [Nginx, Apache, Lighttpd, Caddy]
PROXIES = [Squid, Tinyproxy]
