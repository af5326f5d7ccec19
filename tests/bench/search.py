"""Building and asking a BM25 index: python tests/bench/search.py [--pages 200000]

Pages are made: 60 words each, drawn by Zipf's law from 200,000 words, as long as the Wikipedia abstracts that HoVer
searches (5.2 million). Prints seconds, peak memory and disk for the index, and milliseconds a query of 10 words.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS, LENGTH, QUERIES = 200_000, 60, 50


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200_000)
    pages = parser.parse_args().pages
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        corpus = Path(scratch) / "pages.jsonl"
        with corpus.open("w") as stream:
            for number in range(pages):
                text = " ".join(f"w{word % WORDS}" for word in rng.zipf(1.2, LENGTH))
                stream.write(json.dumps({"title": f"page {number}", "text": text}) + "\n")
        from fst_cli.tasks.search import open_index

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        index = open_index(str(corpus))
        built = time.perf_counter() - started
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
        disk = sum(file.stat().st_size for file in (Path(scratch) / "fst").rglob("*") if file.is_file()) / 2**30
        queries = [" ".join(f"w{word % WORDS}" for word in rng.zipf(1.2, 10)) for _ in range(QUERIES)]
        started = time.perf_counter()
        for query in queries:
            index.search(query, 10)
        asked = (time.perf_counter() - started) / QUERIES * 1000
    print(
        f"{pages} pages: built in {built:.1f} s, peak +{peak:.2f} GiB, {disk:.2f} GiB on disk, {asked:.1f} ms a query"
    )


if __name__ == "__main__":
    main()
