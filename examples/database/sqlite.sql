-- The tables that avalon-master reads, for SQLite 3.24 or newer. docs/database.md says what they hold.
--
--     sqlite3 avalon.sqlite <examples/database/sqlite.sql

BEGIN;

CREATE TABLE IF NOT EXISTS albums (id CHAR(32) NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE IF NOT EXISTS artists (id CHAR(32) NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE IF NOT EXISTS genres (id CHAR(32) NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE IF NOT EXISTS tracks (
    id CHAR(32) NOT NULL PRIMARY KEY,
    name VARCHAR,
    length INTEGER,
    track INTEGER,
    year INTEGER,
    album_id CHAR(32) REFERENCES albums (id),
    artist_id CHAR(32) REFERENCES artists (id),
    genre_id CHAR(32) REFERENCES genres (id)
);
CREATE INDEX IF NOT EXISTS ix_tracks_album_id ON tracks (album_id);
CREATE INDEX IF NOT EXISTS ix_tracks_artist_id ON tracks (artist_id);
CREATE INDEX IF NOT EXISTS ix_tracks_genre_id ON tracks (genre_id);

CREATE TABLE IF NOT EXISTS avalon_revision (
    one BOOLEAN NOT NULL DEFAULT 1 PRIMARY KEY CHECK (one),
    counter BIGINT NOT NULL,
    scan TEXT,
    changed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO avalon_revision (counter) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM avalon_revision);

COMMIT;
