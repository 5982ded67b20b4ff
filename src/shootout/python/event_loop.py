"""One thread, one event loop: aiohttp if it is installed, else asyncio's own streams.

The streams speak HTTP/1.0, one connection for each URL, and follow redirects.
"""

import asyncio
import ssl
import urllib.parse

import common

try:
    import aiohttp
except ImportError:
    aiohttp = None

MOST_REDIRECTS = 10


async def with_aiohttp(workers, jobs):
    limit = aiohttp.TCPConnector(limit=workers)
    timeout = aiohttp.ClientTimeout(total=common.TIMEOUT)
    async with aiohttp.ClientSession(connector=limit, timeout=timeout) as session:

        async def download(url, path):
            async with session.get(url) as response:
                response.raise_for_status()
                path.write_bytes(await response.read())

        await asyncio.gather(*(download(*job) for job in jobs))


async def request(url, context):
    """The status, the headers and the body."""
    parts = urllib.parse.urlsplit(url)
    secure = context if parts.scheme == "https" else None
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
    try:
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        head = f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nAccept: */*\r\n\r\n"
        writer.write(head.encode("ascii"))
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        status, *fields = answer.decode("latin-1").strip().split("\r\n")
        pairs = (field.split(":", 1) for field in fields)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        if "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read()
        return int(status.split()[1]), headers, body
    finally:
        writer.close()


async def with_streams(workers, jobs):
    places = asyncio.Semaphore(workers)
    context = ssl.create_default_context()

    async def download(url, path):
        async with places, asyncio.timeout(common.TIMEOUT):
            for _ in range(MOST_REDIRECTS):
                status, headers, body = await request(url, context)
                if status not in (301, 302, 303, 307, 308):
                    break
                url = urllib.parse.urljoin(url, headers["location"])
            if status != 200:
                raise OSError(f"{url}: status {status}")
            path.write_bytes(body)

    await asyncio.gather(*(download(*job) for job in jobs))


if __name__ == "__main__":
    asyncio.run((with_aiohttp if aiohttp else with_streams)(*common.arguments()))
