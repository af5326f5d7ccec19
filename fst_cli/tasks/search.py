"""Keyword search (BM25) over a user's pages: indexed once by bm25s, then read memory-mapped.

The index of a corpus lies in ~/.cache/fst/search/HASH, by the hash of the corpus.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from fst_cli.console import progress, say
from fst_cli.data.errors import DataError
from fst_cli.data.files import atomic_folder, sha256
from fst_cli.tasks.rows import HUB, Row, read_rows

VERSION = "1"  # of the files below; another one is another folder


@dataclass(frozen=True)
class Page:
    """One page of a corpus."""

    title: str
    text: str


class SearchIndex:
    """A corpus that can be searched; safe for several threads."""

    def __init__(self, folder: Path) -> None:
        import bm25s

        self._bm25 = bm25s.BM25.load(str(folder), mmap=True)
        self._ends = np.load(folder / "ends.npy", mmap_mode="r")
        self._pages = np.memmap(folder / "pages.jsonl", dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._ends)

    def search(self, query: str, k: int) -> list[Page]:
        """The `k` best pages that share a word with the query, best first; equal scores in the corpus's order."""
        tokens = [token for token in _words([query])[0] if token in self._bm25.vocab_dict]
        if not tokens:
            return []
        scores_P = self._bm25.get_scores(tokens)
        k = min(k, len(scores_P))
        # A partition alone would order equal scores by chance.
        least = np.partition(scores_P, -k)[-k]
        best = np.flatnonzero(scores_P >= max(least, np.finfo(np.float32).tiny))
        best = best[np.argsort(-scores_P[best], kind="stable")][:k]
        return [self.page(int(place)) for place in best]

    def page(self, place: int) -> Page:
        """A page by its place in the corpus."""
        start = int(self._ends[place - 1]) if place else 0
        return Page(*orjson.loads(self._pages[start : int(self._ends[place])].tobytes()))


def open_index(corpus: str) -> SearchIndex:
    """The index of a corpus: JSONL of {title, text}, or HotpotQA's form; built at its first use.

    Raises DataError where a page has no title or text.
    """
    return _open(corpus, corpus if corpus.startswith(HUB) else _hash(corpus))


@functools.lru_cache(maxsize=4)
def _open(corpus: str, digest: str) -> SearchIndex:
    name = f"{VERSION}-{hashlib.sha256(digest.encode()).hexdigest()[:24]}"
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fst" / "search" / name
    if not folder.exists():
        with atomic_folder(folder) as temporary:
            count = _build(corpus, temporary)
        say(f"indexed {count} pages of {corpus} -> {folder}")
    return SearchIndex(folder)


def _hash(corpus: str) -> str:
    try:
        return sha256(Path(corpus).resolve())
    except OSError as error:
        raise DataError(f"{corpus}: {error.strerror}") from None


def _build(corpus: str, folder: Path) -> int:
    import bm25s

    ends, texts = [], []
    with (folder / "pages.jsonl").open("wb") as stream, progress(f"reading {corpus}", None) as advance:
        for page in _pages(corpus):
            stream.write(orjson.dumps([page.title, page.text]) + b"\n")
            ends.append(stream.tell())
            texts.append(f"{page.title}\n{page.text}")
            advance(1)
    np.save(folder / "ends.npy", np.array(ends, dtype=np.int64))
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    index.save(str(folder))
    return len(ends)


def _words(texts: list[str]) -> list[list[str]]:
    import bm25s

    return bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)


def _pages(corpus: str) -> Iterator[Page]:
    """Each title once, as it is first met."""
    seen: set[str] = set()
    for row in read_rows(corpus):
        for page in _pages_of(row):
            if page.title not in seen:
                seen.add(page.title)
                yield page


def _pages_of(row: Row) -> Iterator[Page]:
    context: Any = row.get("context")
    if isinstance(context, dict) and "title" in context and "sentences" in context:
        yield from (Page(t, "".join(s)) for t, s in zip(context["title"], context["sentences"], strict=True))
    elif isinstance(context, list):
        yield from (Page(title, "".join(sentences)) for title, sentences in context)
    else:
        text = row.get("text", "sentences", "abstract")
        if isinstance(text, list):
            text = "".join(part if isinstance(part, str) else "".join(part) for part in text)
        if not isinstance(text, str):
            raise row.lacks("text", "sentences", "abstract")
        yield Page(row.text("title"), text)
