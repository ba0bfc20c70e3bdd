"""A read-only FUSE mount of SOURCE at FOLDER of which each operation takes so many milliseconds, as over a
network. Needs fusepy and FUSE.

    slow_mount.py SOURCE FOLDER MILLISECONDS [OPTION OF FUSE...]     as in: direct_io
"""

import os
import sys
import time

from fuse import FUSE, FuseOSError, Operations

STAT = ("atime", "ctime", "gid", "mode", "mtime", "nlink", "size", "uid", "ino")
STATFS = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "flag", "frsize", "namemax")


class Slow(Operations):
    def __init__(self, source, seconds):
        self.source, self.seconds = source, seconds

    def access(self, path, mode):
        return 0

    def getattr(self, path, fh=None):
        time.sleep(self.seconds)
        try:
            found = os.lstat(self.source + path)
        except OSError as error:
            raise FuseOSError(error.errno) from error
        return {f"st_{name}": getattr(found, f"st_{name}") for name in STAT}

    def readdir(self, path, fh):
        time.sleep(self.seconds)
        return [".", "..", *os.listdir(self.source + path)]

    def open(self, path, flags):
        time.sleep(self.seconds)
        return os.open(self.source + path, os.O_RDONLY)

    def read(self, path, size, offset, fh):
        time.sleep(self.seconds)
        return os.pread(fh, size, offset)

    def release(self, path, fh):
        os.close(fh)

    def statfs(self, path):
        found = os.statvfs(self.source + path)
        return {f"f_{name}": getattr(found, f"f_{name}") for name in STATFS}


def main(source, folder, milliseconds, *options):
    slow = Slow(source, float(milliseconds) / 1000)
    FUSE(slow, folder, foreground=True, nothreads=False, ro=True, **dict.fromkeys(options, True))


if __name__ == "__main__":
    main(*sys.argv[1:])
