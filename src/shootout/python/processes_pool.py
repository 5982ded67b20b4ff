"""A pool of processes, the list split among them ahead."""

import multiprocessing

import common

if __name__ == "__main__":
    workers, jobs = common.arguments()
    with multiprocessing.Pool(workers) as pool:
        pool.map(common.download, jobs)
        pool.close()
        pool.join()
