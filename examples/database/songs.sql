-- An album, as a program stores it that is no scan. For SQLite and PostgreSQL, and as often as one likes.
-- docs/database.md says how the ids are made.

BEGIN;

INSERT INTO albums (id, name) VALUES ('ff2c5afba4e75f089f71c70beec75036', 'The Köln Concert')
    ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO artists (id, name) VALUES ('0f52d333ee655aabbd875ed17d9518e9', 'Keith Jarrett')
    ON CONFLICT (id) DO UPDATE SET name = excluded.name;
INSERT INTO genres (id, name) VALUES ('1780594d1883575e91bf7741fae27a6d', 'Jazz')
    ON CONFLICT (id) DO UPDATE SET name = excluded.name;

INSERT INTO tracks (id, name, length, track, year, album_id, artist_id, genre_id) VALUES
    ('7ffd0e50f54a5fcea523b791a54d9124', 'Part I', 1561, 1, 1975,
        'ff2c5afba4e75f089f71c70beec75036', '0f52d333ee655aabbd875ed17d9518e9',
        '1780594d1883575e91bf7741fae27a6d'),
    ('7e9fc82de2f856829b23d5f490bd62a3', 'Part II a', 894, 2, 1975,
        'ff2c5afba4e75f089f71c70beec75036', '0f52d333ee655aabbd875ed17d9518e9',
        '1780594d1883575e91bf7741fae27a6d'),
    ('4049ad58130552559c6e61bd07258d6c', 'Part II b', 1094, 3, 1975,
        'ff2c5afba4e75f089f71c70beec75036', '0f52d333ee655aabbd875ed17d9518e9',
        '1780594d1883575e91bf7741fae27a6d'),
    ('c8e462e554b15f0292e2b9e001cc3eda', 'Part II c', 416, 4, 1975,
        'ff2c5afba4e75f089f71c70beec75036', '0f52d333ee655aabbd875ed17d9518e9',
        '1780594d1883575e91bf7741fae27a6d')
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, length = excluded.length, track = excluded.track,
        year = excluded.year, album_id = excluded.album_id, artist_id = excluded.artist_id,
        genre_id = excluded.genre_id;

-- In the same transaction: servers load the rows when they see another number.
UPDATE avalon_revision SET counter = counter + 1, scan = NULL, changed = CURRENT_TIMESTAMP;

COMMIT;
