"""With the pool of concurrent.futures."""

from concurrent.futures import ProcessPoolExecutor, as_completed

from job import JOBS, square

if __name__ == "__main__":
    with ProcessPoolExecutor(4) as pool:
        futures = {pool.submit(square, number): number for number in range(JOBS)}
        for future in as_completed(futures):
            if error := future.exception():
                print(futures[future], "lost:", error, flush=True)
            else:
                print(*future.result(), flush=True)
