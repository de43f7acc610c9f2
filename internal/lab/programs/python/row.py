"""What every program of the lab needs: a row of the result, memory, and a clock."""
import json
import sys
import time

QUICK = "--quick" in sys.argv
now = time.perf_counter


def row(model, measure, value, unit, n=1, note=""):
    print(json.dumps({"model": model, "measure": measure, "value": value, "unit": unit, "n": n, "note": note}), flush=True)


def memory(pid="self", names=("VmRSS:",)):
    """Kilobytes of a process; smaps_rollup tells what it shares with others."""
    file = "status" if names == ("VmRSS:",) else "smaps_rollup"
    with open(f"/proc/{pid}/{file}") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(names))


def own(pid):
    """Kilobytes that would be free if the process ended."""
    return memory(pid, ("Private_Clean:", "Private_Dirty:"))


def each(f, n):
    """The middle of n times, in microseconds."""
    took = []
    for _ in range(n):
        begun = now()
        f()
        took.append(now() - begun)
    return sorted(took)[n // 2] * 1e6
