-- The tables that avalon-master reads, for PostgreSQL. docs/database.md says what they hold.
--
--     psql -v ON_ERROR_STOP=1 -f examples/database/postgresql.sql avalon

BEGIN;

CREATE TABLE IF NOT EXISTS albums (id UUID NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE IF NOT EXISTS artists (id UUID NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE IF NOT EXISTS genres (id UUID NOT NULL PRIMARY KEY, name VARCHAR);
CREATE TABLE IF NOT EXISTS tracks (
    id UUID NOT NULL PRIMARY KEY,
    name VARCHAR,
    length INTEGER,
    track INTEGER,
    year INTEGER,
    album_id UUID REFERENCES albums (id),
    artist_id UUID REFERENCES artists (id),
    genre_id UUID REFERENCES genres (id)
);
CREATE INDEX IF NOT EXISTS ix_tracks_album_id ON tracks (album_id);
CREATE INDEX IF NOT EXISTS ix_tracks_artist_id ON tracks (artist_id);
CREATE INDEX IF NOT EXISTS ix_tracks_genre_id ON tracks (genre_id);

CREATE TABLE IF NOT EXISTS avalon_revision (
    one BOOLEAN NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    counter BIGINT NOT NULL,
    scan UUID,
    changed TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO avalon_revision (counter) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM avalon_revision);

COMMIT;
