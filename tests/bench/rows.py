"""The rows of the tables: what is asked, and the check that all servers answer it rightly."""

import json
import re
import shutil
import sqlite3
from dataclasses import dataclass, field
from urllib.parse import quote

from servers import WORK, Failure, fetch

RARE_WORD = "xylographica"  # tests/bench/names.rs
WHOLE_SONGS = 2_000_000  # no list of all songs above: gigabytes in one answer tell nothing new
PARSED_BYTES = 50_000_000  # beyond that Python takes gigabytes to parse an answer
FIELDS = "id name length track year album album_id artist artist_id genre genre_id".split()


@dataclass
class Row:
    """A line of the table: what is asked, and the answer that all three servers give."""

    name: str
    path: str
    rows: int | None = None  # how many entities the answer must have
    values: tuple | None = None  # (field, its values in the order of the answer)
    headers: dict = field(default_factory=dict)
    conditional: bool = False
    others: tuple = ()  # paths that ours is asked for in turn with `path`; peers repeat their one answer
    body: bytes = b""
    etag: str | None = None

    @property
    def file(self):
        """Where peers find the answer: one name per request, under the same path."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")
        return f"avalon/{slug}"

    @property
    def paths(self):
        return [f"/avalon/{path}" for path in (self.path, *self.others)]

    def request_headers(self, etag=None):
        """With the entity tag of the server that is asked, ours by default, where it matters."""
        tag = {"If-None-Match": etag or self.etag} if self.conditional else {}
        return self.headers | tag

    @property
    def peer_path(self):
        """As long a request line as ours has to read; peers ignore the query string."""
        query = self.path.partition("?")[2]
        return f"/{self.file}?{query}"


def requests(database, songs):
    """The requests of the table, with what the database says about their answers."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
        one = lambda sql, *values: rows.execute(sql, values).fetchone()
        artist = one(
            "SELECT a.name, count(*) AS n FROM tracks t JOIN artists a ON a.id = t.artist_id"
            " WHERE a.name <> '' GROUP BY a.id HAVING n BETWEEN 20 AND 50 ORDER BY abs(n - 30), a.id"
        )
        album = one("SELECT album_id, count(*) AS n FROM tracks GROUP BY album_id HAVING n = 12 ORDER BY 1")
        if artist is None or album is None:
            raise Failure(f"{songs} songs are too few for an artist with 20 to 50 songs and an album with 12")
        genre = one(
            "SELECT g.name, count(*) AS n FROM tracks t JOIN genres g ON g.id = t.genre_id"
            " WHERE g.name <> '' GROUP BY g.id ORDER BY n DESC, g.id"
        )
        rare = one("SELECT count(*) FROM tracks WHERE name LIKE ?", f"%{RARE_WORD}%")[0]
        albums = one("SELECT count(*) FROM albums")[0]
        page = rows.execute("SELECT year FROM tracks ORDER BY year LIMIT 20 OFFSET ?", (songs // 2,))
        years = [year for (year,) in page]
    rare_path = f"songs?query={RARE_WORD}"
    page_path = f"songs?limit=20&offset={songs // 2}&order=year"
    by_artist = f"songs?artist={quote(artist[0])}"
    one_letter = "songs?query=t&limit=20"
    pages = every_order(songs)
    table = [
        Row("heartbeat", "heartbeat"),
        Row("heartbeat, a connection per request", "heartbeat", headers={"Connection": "close"}),
        Row("songs?query=(rare word)", rare_path, rows=rare),
        Row("songs?artist=(name)", by_artist, rows=artist[1]),
        Row("songs?artist=(name)&order=name", f"{by_artist}&order=name", rows=artist[1]),
        Row("songs?album_id=(id)", f"songs?album_id={album[0]}", rows=album[1]),
        Row("songs?query=(3 letters)&limit=20", "songs?query=lov&limit=20", rows=20),
        Row("songs?query=(1 letter)&limit=20", one_letter, rows=20),
        Row("songs?query=(1 letter)&order=year&limit=20", f"{one_letter}&order=year", rows=20),
        Row("songs?query=(1 letter)&genre=(name)&limit=20", f"{one_letter}&genre={quote(genre[0])}", rows=20),
        Row("songs?limit=20&offset=(half)&order=year", page_path, rows=20, values=("year", years)),
        Row("songs?limit=20, any order, offset to half", pages[0], rows=20, others=pages[1:]),
        Row("304 by ETag, songs?query=(rare word)", rare_path, conditional=True),
        Row("albums (all)", "albums", rows=albums),
        Row("songs (all)", "songs", rows=songs),
    ]
    return table if songs <= WHOLE_SONGS else table[:-1]


def every_order(songs):
    """Pages of 20 at the beginning, at a quarter and at half, by each field, up and down."""
    offsets = (0, songs // 4, songs // 2)
    return tuple(
        f"songs?limit=20&offset={offset}&order={field}&direction={direction}"
        for field in FIELDS
        for offset in offsets
        for direction in ("asc", "desc")
    )


def take_answer(row, port):
    """Fetches a row's answer from ours and compares it with what the database says."""
    response, row.body = fetch(port, f"/avalon/{row.path}")
    row.etag = response.getheader("ETag")
    if response.status != 200 or int(response.getheader("Content-Length", -1)) != len(row.body):
        raise Failure(f"{row.path}: status {response.status}, headers {response.getheaders()}")
    if row.path == "heartbeat":
        return
    entities = row.body.count(b'"id":')  # within a text the quotes would be escaped
    if row.rows is not None and entities != row.rows:
        raise Failure(f"{row.path}: {entities} entities, but the database has {row.rows}")
    if len(row.body) > PARSED_BYTES:
        return
    answer = json.loads(row.body)["success"]
    if row.values and [entity[row.values[0]] for entity in answer] != row.values[1]:
        raise Failure(f"{row.path}: not the {row.values[0]}s that the database gives")
    for path in row.others:
        response, body = fetch(port, f"/avalon/{path}")
        if response.status != 200 or len(json.loads(body)["success"]) != row.rows:
            raise Failure(f"{path}: status {response.status}, or not {row.rows} entities")


def check_peer(row, server):
    """Refuses to measure a peer that answers something else; finds its ETag."""
    response, body = fetch(server.port, row.peer_path)
    if response.status != 200 or body != row.body:
        raise Failure(f"{server.name} answers {row.path} with status {response.status}, {len(body)} bytes")
    return response.getheader("ETag", '"any"')


def check_conditional(row, port):
    if row.etag is None:
        raise Failure(f"{row.path}: no ETag")
    response, body = fetch(port, f"/avalon/{row.path}", {"If-None-Match": row.etag})
    if response.status != 304 or body:
        raise Failure(f"{row.path} with its own ETag: status {response.status}, {len(body)} bytes")


def save_answers(songs, rows):
    folder = WORK / f"answers-{songs}"
    shutil.rmtree(folder, ignore_errors=True)
    for row in rows:
        (folder / row.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / row.file).write_bytes(row.body)
    return folder
