#!/usr/bin/python3
"""Finds songs by words of their names, albums, artists and genres, in any order.

    examples/find.py http://127.0.0.1:8000/avalon limon corazon

A client in Python, with nothing but its own library. It reads page by page, as any client should that does not know
how much it will find, and begins again if a scan changes the collection meanwhile.
"""

import json
import re
import sys
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import urlopen

PAGE = 100
SECONDS = 10
TRIES = 5
CHANGED = 7


class Changed(Exception):
    """The collection is another one than that of the first page."""


def ask(url):
    """The answer at url: its head, and its list of songs."""
    try:
        with urlopen(url, timeout=SECONDS) as answer:
            envelope = json.load(answer)
    except HTTPError as error:
        if error.headers.get_content_type() != "application/json":
            raise
        problem = json.load(error)["errors"][0]
        if problem["code"] == CHANGED:
            raise Changed from None
        sys.exit(f"{url}: {problem['message']}")
    for warning in envelope["warnings"]:
        print(warning["message"], file=sys.stderr)
    return answer.headers, envelope["success"]


def pages(url):
    """All songs of the list at url, of one collection."""
    head, songs = ask(url)
    snapshot = head["X-Avalon-Snapshot"]
    while following := re.search(r'<([^>]*)>; rel="next"', head["Link"] or ""):
        url = urljoin(url, following[1])
        if "snapshot=" not in url:
            url += "&" + urlencode({"snapshot": snapshot})
        head, more = ask(url)
        songs += more
    return songs


def find(server, words):
    """All songs that have a name with a word that begins so, for each of the words."""
    question = urlencode({"words": words, "limit": PAGE, "total": "true"})
    for _ in range(TRIES):
        try:
            return pages(f"{server}/songs?{question}")
        except Changed:
            continue
    sys.exit("the collection changes again and again")


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} URL WORD...")
    server, *words = sys.argv[1:]
    try:
        songs = find(server.rstrip("/"), " ".join(words))
    except URLError as error:
        sys.exit(f"{server}: {error}")
    for song in songs:
        print(f"{song['artist']} - {song['album']} - {song['name'] or '(no name)'}")


if __name__ == "__main__":
    main()
