"""A tree of tagged music, the same for the same arguments: mp3, ogg and flac album by album, a third of the
mp3s and flacs with a cover. Needs ffmpeg and mutagen.

    music.py FOLDER FILES_OF_EACH_KIND SECONDS COVER_KB SEED
"""

import io
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TALB, TCON, TDRC, TIT2, TPE1, TPE2, TRCK
from mutagen.oggvorbis import OggVorbis

GENRES = "Rock Jazz Pop Punk Ska Dub Folk Electronic Classical Soul Metal Blues".split()
SONGS_OF_ALBUM = 12


def sounds(folder, seconds):
    """Untagged sound of each kind: mp3 of a constant and of a variable bit rate, ogg, flac."""
    noise = f"anoisesrc=d={seconds}:c=pink:r=44100:a="
    plain = ["-map_metadata", "-1", "-id3v2_version", "0"]
    kinds = {
        "cbr.mp3": ("0.3", ["-b:a", "128k", *plain]),
        "vbr.mp3": ("0.3", ["-q:a", "4", *plain]),
        "a.ogg": ("0.3", ["-c:a", "libvorbis", "-q:a", "4", *plain[:2]]),
        "a.flac": ("0.02", ["-c:a", "flac", *plain[:2]]),
    }
    for name, (loudness, options) in kinds.items():
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", noise + loudness, "-ac", "2", *options]
        subprocess.run([*command, folder / name], check=True)
    return [folder / name for name in kinds]


class Maker:
    def __init__(self, root, sound, cover_kb, seed):
        self.root, self.chance = Path(root), random.Random(seed)
        cbr, vbr, self.ogg, self.flac = sound
        self.mp3 = [cbr.read_bytes(), vbr.read_bytes()]
        self.cover = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + self.chance.randbytes(cover_kb * 1024)
        self.words = [self.word() for _ in range(3000)]

    def word(self):
        pairs = range(self.chance.randint(2, 4))
        return "".join(self.chance.choice("bcdfglmnprstv") + self.chance.choice("aeiou") for _ in pairs)

    def text(self, words):
        return " ".join(self.chance.choice(self.words) for _ in range(words))

    def make(self, files):
        made = albums = 0
        while made < files:
            artist = self.text(2).title()
            for _ in range(self.chance.randint(1, 5)):
                album, year = self.text(self.chance.randint(1, 4)).title(), self.chance.randint(1960, 2024)
                folder = self.root / artist / f"{year} - {album}"
                if folder.is_dir():
                    continue
                folder.mkdir(parents=True)
                genre = self.chance.choice(GENRES)
                for track in range(1, min(SONGS_OF_ALBUM, files - made) + 1):
                    title = self.text(self.chance.randint(1, 5)).capitalize()
                    tags = {
                        "title": title, "album": album, "artist": artist, "albumartist": artist,
                        "genre": genre, "tracknumber": str(track), "date": str(year),
                    }  # fmt: skip
                    kind = (self.write_mp3, self.write_ogg, self.write_flac)[albums % 3]
                    kind(folder / f"{track:02d} {title}", tags)
                    made += 1
                albums += 1
                if made >= files:
                    break

    def write_mp3(self, path, tags):
        tag = ID3()
        frames = {"title": TIT2, "album": TALB, "artist": TPE1, "albumartist": TPE2, "genre": TCON}
        for name, frame in frames.items():
            tag.add(frame(3, tags[name]))
        tag.add(TRCK(3, f"{tags['tracknumber']}/{SONGS_OF_ALBUM}"))
        tag.add(TDRC(3, f"{tags['date']}-03-0{self.chance.randint(1, 9)}"))
        if self.chance.randrange(3) == 0:
            tag.add(APIC(0, "image/jpeg", 3, "", self.cover))
        head = io.BytesIO()
        tag.save(head, v1=self.chance.choice((0, 2)))
        path.with_name(path.name + ".mp3").write_bytes(head.getvalue() + self.mp3[self.chance.randrange(2)])

    def write_ogg(self, path, tags):
        self.write_comments(path.with_name(path.name + ".ogg"), self.ogg, OggVorbis, tags)

    def write_flac(self, path, tags):
        picture = Picture()
        picture.data, picture.mime, picture.type = self.cover, "image/jpeg", 3
        pictures = [picture] if self.chance.randrange(3) == 0 else []
        self.write_comments(path.with_name(path.name + ".flac"), self.flac, FLAC, tags, pictures)

    @staticmethod
    def write_comments(path, sound, kind, tags, pictures=()):
        shutil.copyfile(sound, path)
        file = kind(path)
        for name, value in tags.items():
            file[name] = value
        for picture in pictures:
            file.add_picture(picture)
        file.save()


def main(root, of_each, seconds, cover_kb, seed):
    with tempfile.TemporaryDirectory() as folder:
        sound = sounds(Path(folder), float(seconds))
        Maker(root, sound, int(cover_kb), int(seed)).make(3 * int(of_each))


if __name__ == "__main__":
    main(*sys.argv[1:])
