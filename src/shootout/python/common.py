"""What the programs of the talk share: the list, one download, and its place on disk."""

import pathlib
import sys
import urllib.request

TIMEOUT = 60


def arguments():
    """The number of workers, and the list as pairs of a URL and the file for it."""
    workers, urls, out = sys.argv[1:]
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    lines = pathlib.Path(urls).read_text(encoding="utf-8").split()
    return int(workers), [(url, folder / f"{n:06}") for n, url in enumerate(lines)]


def download(job):
    """Downloads one URL. An error ends the program: a shootout counts whole lists only."""
    url, path = job
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        path.write_bytes(response.read())
