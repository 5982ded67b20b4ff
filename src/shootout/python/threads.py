"""Threads that share a queue, and say when a task is done."""

import os
import queue
import threading
import traceback

import common


def work(tasks):
    while True:
        job = tasks.get()
        try:
            common.download(job)
        except BaseException:
            # An error in a thread would not end the program, and join() would wait for ever.
            traceback.print_exc()
            os._exit(1)
        tasks.task_done()


if __name__ == "__main__":
    workers, jobs = common.arguments()
    tasks = queue.Queue()
    for job in jobs:
        tasks.put(job)
    for _ in range(workers):
        threading.Thread(target=work, args=(tasks,), daemon=True).start()
    tasks.join()
