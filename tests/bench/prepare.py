"""What a run needs before it measures: tools, builds, and collections under target/bench."""

import os
import shutil
import subprocess
import sys

from servers import ROOT, TARGET, WORK, Failure

SEED = 1


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))} ended with exit code {done.returncode}")
    return done


def tools():
    """The paths of wrk and nginx, installed where they are missing."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    find = lambda: (shutil.which("wrk", path=path), shutil.which("nginx", path=path))
    if None in find():
        run(ROOT / "scripts" / "install-test-deps", "bench")
    if None in find():
        raise Failure("wrk and nginx are needed: apt-get install wrk nginx-light")
    return find()


def build():
    command = "cargo build --release --bin avalon-master --bin avalonctl --example generate --example hyper_peer"
    run(*command.split(), cwd=ROOT)


def collection(songs):
    """The SQLite file with the collection of that size, made unless it is there."""
    path = WORK / f"collection-{songs}-{SEED}.sqlite"
    if not path.exists():
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        generate = TARGET / "release" / "examples" / "generate"
        run(generate, "--songs", songs, "--seed", SEED, "--database", f"sqlite:///{new}", stdout=sys.stderr)
        new.rename(path)
    return path
