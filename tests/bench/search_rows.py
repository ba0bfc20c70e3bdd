"""What `--search` asks, and the check that the peers' answers are ours."""

import json
import re
import sqlite3
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlencode

from rows import RARE_WORD
from servers import Failure

PAGE = 20


@dataclass
class Question:
    """A line of the tables. Words are beginnings of words; a list without `limit` is whole."""

    name: str
    words: tuple = ()
    artist: str | None = None
    genre: str | None = None
    by_year: bool = False
    limit: int | None = None
    offset: int = 0
    albums: bool = False
    answer: list = field(default_factory=list)  # ours

    @property
    def path(self):
        """As Avalon's API has it; our two peers know that much of it."""
        asked = {"words": " ".join(self.words), "artist": self.artist, "genre": self.genre}
        asked |= {"order": "year" if self.by_year else None, "limit": self.limit, "offset": self.offset or None}
        query = urlencode({key: value for key, value in asked.items() if value})
        return f"/avalon/{'albums' if self.albums else 'songs'}{'?' if query else ''}{query}"

    def check_ours(self, answer):
        """Keeps our answer, which must be of songs that were asked for."""
        if not answer or (self.limit and len(answer) != self.limit):
            raise Failure(f"{self.name}: {len(answer)} rows are too few to compare; take another question")
        self.check_rows("ours", answer)
        self.answer = answer

    def check(self, peer, answer):
        """As many rows as ours, and the same ones where the question leaves no choice."""
        if len(answer) != len(self.answer):
            raise Failure(f"{peer} answers {self.name} with {len(answer)} rows, ours with {len(self.answer)}")
        # Among songs of the same year each has an order of its own.
        what = "year" if self.by_year else "id"
        if self.by_year or not self.limit:
            theirs, ours = ([row[what] for row in rows] for rows in (answer, self.answer))
            if (theirs if self.by_year else sorted(theirs)) != (ours if self.by_year else sorted(ours)):
                raise Failure(f"{peer} answers {self.name} with rows of another {what} than ours")
        self.check_rows(peer, answer)

    def check_rows(self, peer, answer):
        for row in answer:
            if not self.fits(row):
                raise Failure(f"{peer} answers {self.name} with {json.dumps(row)}")

    def fits(self, row):
        if self.albums:
            return True
        same = lambda key, wanted: wanted is None or row[key].casefold() == wanted.casefold()
        if not same("artist", self.artist) or not same("genre", self.genre):
            return False
        found = words(" ".join(row[key] for key in ("name", "album", "artist", "genre")))
        return all(any(word.startswith(wanted) for word in found) for wanted in self.words)


def words(text):
    """In lower case, without accents."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return re.findall(r"\w+", plain.casefold())


def questions(database, songs):
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
        genre = rows.execute(
            "SELECT g.name, count(*) AS n FROM tracks t JOIN genres g ON g.id = t.genre_id"
            " WHERE g.name <> '' GROUP BY g.id ORDER BY n DESC, g.id"
        ).fetchone()[0]
        artist = rows.execute(
            "SELECT a.name, count(*) AS n FROM tracks t JOIN artists a ON a.id = t.artist_id"
            " WHERE a.name <> '' GROUP BY a.id HAVING n BETWEEN 20 AND 50 ORDER BY abs(n - 30), a.id"
        ).fetchone()[0]
        both = two_words(rows)
    return [
        Question("prefix of 1 letter", ("t",), limit=PAGE),
        Question("prefix of 3 letters", ("lov",), limit=PAGE),
        Question("rare word", (RARE_WORD,)),
        Question("two words, the last a prefix", both, limit=PAGE),
        Question("exact artist", artist=artist),
        Question("order=year, half in", by_year=True, limit=PAGE, offset=songs // 2),
        Question("prefix + genre + order=year", ("t",), genre=genre, by_year=True, limit=PAGE),
        Question("all albums", albums=True),
    ]


def two_words(rows):
    """A frequent whole word that begins no other, so that all find the same with it, and the beginning of its
    most frequent companion."""
    names = [words(name) for (name,) in rows.execute("SELECT name FROM tracks LIMIT 200000")]
    counts = Counter(word for name in names for word in set(name) if word.isascii())
    every = set(counts)
    for table in ("tracks", "albums", "artists", "genres"):
        every.update(word for (name,) in rows.execute(f"SELECT name FROM {table}") for word in words(name))
    every = sorted(every)
    follower = dict(zip(every, [*every[1:], ""]))
    alone = lambda word: len(word) > 3 and not follower[word].startswith(word)
    first = next(word for word, _ in counts.most_common() if alone(word))
    beside = Counter(word for name in names if first in name for word in set(name) if word.isascii())
    second = next(word for word, _ in beside.most_common() if len(word) > 2 and word[0] != first[0])
    return first, second[:2]
