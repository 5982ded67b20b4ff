"""One download after another."""

import common

if __name__ == "__main__":
    _, jobs = common.arguments()
    for job in jobs:
        common.download(job)
