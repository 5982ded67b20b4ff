"""With multiprocessing's pool."""

from multiprocessing import Pool

from job import JOBS, square

if __name__ == "__main__":
    with Pool(4) as pool:
        for number, result in pool.imap_unordered(square, range(JOBS)):
            print(number, result, flush=True)
