"""The job that all four do; job.rs is the same."""

import os
import time

JOBS = 100
CRASHES = 50


def square(number):
    if number == CRASHES and note():
        os.abort()
    return number, number * number


def note():
    """Notes when the job is begun. Whether it is the first time."""
    notes = os.environ["COMPARE_NOTES"]
    is_first = not os.path.exists(notes)
    with open(notes, "a") as file:
        print(time.monotonic_ns(), file=file)
    return is_first
