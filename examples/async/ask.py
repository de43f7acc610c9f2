"""An async handler. Here it only sleeps; with aiohttp or httpx it would ask an API."""
import asyncio


async def ask(n):
    await asyncio.sleep(0.2)
    return {"n": n, "square": n * n}
