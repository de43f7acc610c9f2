"""Twenty coroutines ask a slow server."""
import asyncio, sys
from urllib.parse import urlparse
u = urlparse(sys.argv[2])

async def work():
    r, w = await asyncio.open_connection(u.hostname, u.port)
    for i in range(50):
        w.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await r.readuntil(b"\r\n\r\n")
        await r.readexactly(2)
    w.close()

async def main():
    await asyncio.gather(*(work() for _ in range(20)))

asyncio.run(main())
