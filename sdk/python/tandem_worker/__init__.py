"""The Tandem worker for Python: runs one handler over the tasks that Tandem sends.

Standard library only, Python 3.9 or newer; protocol/SPEC.md is the contract. Promises: standard output and error belong to the handler;
tasks start in the order in which they came; each is answered once; results leave at the latest when the read buffer is empty or 100 µs of
work have passed, and those that a slow task keeps back a few milliseconds later.

start begins; process, threads and loop are the three modes; channel holds the socket, the arenas and the control page. Modules that cost
start-up time (asyncio, threading, traceback) are imported when they are needed.
"""
from .again import Permanent, Retry

__all__ = ["Permanent", "Retry"]
