"""Processes that share a queue, and say when a task is done."""

import multiprocessing
import sys

import common


def work(tasks):
    # One None for each process ends it.
    while (job := tasks.get()) is not None:
        common.download(job)
        tasks.task_done()
    tasks.task_done()


if __name__ == "__main__":
    workers, jobs = common.arguments()
    tasks = multiprocessing.JoinableQueue()
    processes = [
        multiprocessing.Process(target=work, args=(tasks,)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    for job in jobs + [None] * workers:
        tasks.put(job)
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit("a process failed")
    tasks.join()
