"""An async handler; the sleep stands for a request to a service."""
import asyncio


async def fetch(number):
    await asyncio.sleep(0.1)
    return {"number": number, "square": number * number}
