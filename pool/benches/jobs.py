"""The same as jobs.rs with Python's multiprocessing and concurrent.futures."""

import concurrent.futures
import multiprocessing
import os
import time

JOBS = 100_000


def nothing(dies):
    if dies:
        os.abort()


def main():
    for workers in (1, 6, 64):
        with multiprocessing.Pool(workers) as pool:
            pool.map(nothing, [False] * 1000)
            for chunk in (1, 32):
                begun = time.perf_counter()
                for _ in pool.imap_unordered(nothing, [False] * JOBS, chunksize=chunk):
                    pass
                rate = JOBS / (time.perf_counter() - begun)
                print(f"{workers} workers, chunksize {chunk}: {rate:.0f} jobs/s", flush=True)
    with multiprocessing.Pool(2) as pool:
        result = pool.apply_async(nothing, [True])
        try:
            result.get(timeout=5)
        except multiprocessing.TimeoutError:
            print("multiprocessing.Pool: a job that ends its worker has no result after 5 s")
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(nothing, dies) for dies in [False] * 50 + [True] + [False] * 50]
        failed = [job for job in jobs if job.exception()]
        print(f"ProcessPoolExecutor: one job ends its worker, and {len(failed)} of 101 have failed")


if __name__ == "__main__":
    main()
