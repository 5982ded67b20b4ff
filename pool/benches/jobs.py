"""The rows of jobs.rs for Python's pools, which runs this."""

import concurrent.futures
import multiprocessing
import os
import sys
import time

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000


def nothing(_):
    pass


def brief(_):
    end = time.perf_counter_ns() + 10_000
    while time.perf_counter_ns() < end:
        pass


def die(dies):
    if dies:
        os.abort()


def main():
    for workers in (1, 6, 64):
        with multiprocessing.Pool(workers) as pool:
            pool.map(nothing, range(1000))
            for name, job in (("nothing", nothing), ("10 µs", brief)):
                for chunk in (1, 32):
                    begun = time.perf_counter()
                    for _ in pool.imap_unordered(job, range(JOBS), chunksize=chunk):
                        pass
                    rate = JOBS / (time.perf_counter() - begun)
                    what = f"`multiprocessing.Pool`, chunks of {chunk}"
                    print(f"| {name} | {what} | {workers} | {rate:.0f} |", flush=True)
    print()
    with multiprocessing.Pool(2) as pool:
        result = pool.apply_async(die, [True])
        try:
            result.get(timeout=5)
        except multiprocessing.TimeoutError:
            print("multiprocessing.Pool: a job that ends its worker has no result after 5 s")
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(die, dies) for dies in [False] * 50 + [True] + [False] * 50]
        failed = [job for job in jobs if job.exception()]
        print(f"ProcessPoolExecutor: one job ends its worker, and {len(failed)} of 101 have failed")


if __name__ == "__main__":
    main()
