"""Datasette with one file, for uvicorn: the command `datasette` has a single process. SONGS is the file, and MUTABLE
says whether others may change it."""

import os

from datasette.app import Datasette

file = os.environ["SONGS"]
mutable = os.environ["MUTABLE"] == "yes"
settings = {"sql_time_limit_ms": 60_000, "max_returned_rows": 10_000_000, "default_cache_ttl": 0}
app = Datasette([file] if mutable else [], immutables=[] if mutable else [file], settings=settings).app()
