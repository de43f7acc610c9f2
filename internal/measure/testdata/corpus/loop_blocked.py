"""A hundred coroutines, each of which sleeps without saying so."""
import asyncio, sys, time
async def one():
    time.sleep(0.028 + int(sys.argv[1]) % 5 / 1000)
    await asyncio.sleep(0.001)
async def main():
    await asyncio.gather(*(one() for _ in range(90)))
asyncio.run(main())
