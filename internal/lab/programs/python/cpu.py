import multiprocessing
import threading

from row import QUICK, now, row

ROUNDS = 2_000_000 if QUICK else 4_000_000


def burn():
    n = 0
    for i in range(ROUNDS):
        n ^= i
    return n


def four(make):
    all_ = [make(target=burn) for _ in range(4)]
    begun = now()
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    return now() - begun


def loop():
    begun = now()
    for _ in range(4):
        burn()
    return now() - begun


if __name__ == "__main__":
    # By turns, and the best of three: who else wants the processors meets all alike.
    fork = multiprocessing.get_context("fork")
    took = [(loop(), four(threading.Thread), four(fork.Process)) for _ in range(3)]
    for model, all_ in zip(("python loop", "python thread", "python process"), zip(*took)):
        row(model, "four tasks", min(all_), "s", 4, "best of three rounds")
