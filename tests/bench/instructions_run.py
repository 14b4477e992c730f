"""Runs a workload twice under callgrind and subtracts; see `instructions`."""

import json
import os
import random
import re
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from instructions_profile import Profile

TOPIC = "counted"
# A program that hangs under valgrind is ended after so many seconds.
PATIENCE = 600
# Never waited for: batches leave when they are full, however slow everything is.
FULL_BATCHES = ["--linger", "10s"]
SAMPLE_LINES = 5_000


class Failed(Exception):
    """A program did not do what it was asked to."""


@dataclass(frozen=True)
class Workload:
    """What is run in two sizes: records, or for a fetch the number of times that everything is read."""

    name: str
    what: str
    small: int
    large: int
    client: tuple = ()
    broker: tuple = ("--durability", "os")
    sample: bool = False
    fetch: int = 0


WORKLOADS = [
    Workload("tuned", "100 B, batches of 1 MB, page cache", 200_000, 800_000,
             ("--batch-size", "1000000", *FULL_BATCHES)),
    Workload("small", "100 B, batches of 16 KB, page cache", 100_000, 300_000,
             ("--batch-size", "16384", *FULL_BATCHES)),
    Workload("defaults", "100 B, the defaults of both sides: linger auto, fsync", 100_000, 400_000, broker=()),
    Workload("lz4", "log lines of about 100 B, batches of 1 MB, lz4, page cache", 100_000, 300_000,
             ("--compression", "lz4", "--batch-size", "1000000", *FULL_BATCHES), sample=True),
    # The buffer holds one record: the next is sent once that one is acknowledged.
    Workload("awaited", "one record of 400 B at a time, page cache", 1_000, 5_000,
             ("--record-size", "400", "--batch-size", "512", "--buffer-memory", "512", "--max-in-flight", "1", "--linger", "0")),
    Workload("fetch", "what `tuned` has written is read from the beginning; the broker alone", 2, 42, fetch=205_000),
]


def valgrind_version():
    told = subprocess.run(["valgrind", "--version"], capture_output=True, text=True)
    return told.stdout.strip()


def environment():
    """Nothing of the caller's settings; one worker thread, since who steals whose task does not repeat."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GAPLESS_")}
    return {**kept, "TOKIO_WORKER_THREADS": "1"}


def counted(out):
    return ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}", "--fair-sched=try"]


class Broker:
    """A broker on a directory and ports of its own; under callgrind when it is told where its profile goes."""

    def __init__(self, binaries, directory, flags, profile=None):
        self.log = open(directory / "broker.log", "a")
        command = [str(binaries / "gapless-broker"), "--data-dir", str(directory / "data"), "--listen", "127.0.0.1:0",
                   "--http-listen", "127.0.0.1:0", "--scrub-rate", "0", *flags]
        self.process = subprocess.Popen((counted(profile) if profile else []) + command, env=environment(),
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready = self.process.stdout.readline().split()
        addresses = dict(word.split("=", 1) for word in ready if "=" in word)
        if "kafka" not in addresses:
            self.process.wait()
            raise Failed(f"the broker does not start: {Path(self.log.name).read_text()}")
        self.address = addresses["kafka"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.log.close()
        if code != 0:
            raise Failed(f"the broker ends with {code}: {Path(self.log.name).read_text()}")


def client(binaries, arguments, profile=None):
    """Runs the producer's command line to its end; what it prints on standard output."""
    command = (counted(profile) if profile else []) + [str(binaries / "gapless-producer"), *arguments]
    ran = subprocess.run(command, env=environment(), capture_output=True, timeout=PATIENCE)
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit code {ran.returncode}\n{ran.stderr.decode(errors='replace')}")
    return ran.stdout


def bench(binaries, broker, workload, records, sample, profile=None):
    """Records and batches that were acknowledged."""
    arguments = ["bench", "--bootstrap-server", broker.address, "--topic", TOPIC, "--records", str(records), "--warm-up", "0s",
                 "--output", "json", "--quiet", *workload.client]
    if sample:
        arguments += ["--sample-file", str(sample)]
    told = json.loads(client(binaries, arguments, profile))
    if told["records"] != records or told["failed"]:
        raise Failed(f"{workload.name}: {told['records']} of {records} records were acknowledged")
    return records, told["batches"]


def write_sample(path):
    """Lines as programs log them, always the same."""
    draw = random.Random(1)
    words = ["request", "served", "user", "cache", "miss", "hit", "retry", "timeout", "session", "opened", "closed", "bytes"]
    with open(path, "w") as out:
        for number in range(SAMPLE_LINES):
            text = " ".join(draw.choice(words) for _ in range(8))
            out.write(f"2024-05-01T12:00:{number % 60:02d}Z info {draw.randrange(10**9):09d} {text} {draw.randrange(10**6)}\n")
    return path


def once(workload, size, binaries, keep):
    """Profiles of both sides, records, and batches of one run."""
    profiles = {side: keep / f"{workload.name}.{size}.{side}.callgrind" for side in ("producer", "broker")}
    with tempfile.TemporaryDirectory(prefix="gapless-instructions-") as scratch:
        scratch = Path(scratch)
        sample = write_sample(scratch / "sample.log") if workload.sample else None
        if workload.fetch:
            del profiles["producer"]
            written = next(other for other in WORKLOADS if other.name == "tuned")
            with Broker(binaries, scratch, workload.broker) as broker:
                records, batches = bench(binaries, broker, written, workload.fetch, None)
            with Broker(binaries, scratch, workload.broker, profiles["broker"]) as broker:
                for _ in range(size):
                    read = client(binaries, ["read", "--bootstrap-server", broker.address, "--topic", TOPIC, "--template", "."])
                    if len(read) != records:
                        raise Failed(f"{workload.name}: {len(read)} of {records} records were read")
            records, batches = records * size, batches * size
        else:
            with Broker(binaries, scratch, workload.broker, profiles["broker"]) as broker:
                records, batches = bench(binaries, broker, workload, size, sample, profiles["producer"])
    return {side: Profile.read(path) for side, path in profiles.items()}, records, batches


def measure(workload, binaries, keep, root):
    """What a record costs on each side; see `report` for the keys."""
    small, fewer_records, fewer_batches = once(workload, workload.small, binaries, keep)
    large, records, batches = once(workload, workload.large, binaries, keep)
    records, batches = records - fewer_records, batches - fewer_batches
    if batches <= 0:
        raise Failed(f"{workload.name}: the large run took no more batches than the small one")
    sides = {}
    for side, profile in large.items():
        spent = profile.minus(small[side])
        sides[side] = {
            "per_record": spent.total / records,
            "per_batch": spent.total / batches,
            "alone": per(spent.alone, records),
            # The rest is what runs everything, at nearly all.
            "inclusive": per({name: count for name, count in spent.inclusive.items() if is_ours(name)}, records),
            "parts": per(spent.parts(lambda file, binary: part_of(file, binary, root)), records),
        }
    return {"records": records, "batches": batches, "sides": sides}


# What costs less of a record is left out of the file.
LEAST = 0.05


def per(counts, records):
    shares = {name: count / records for name, count in counts.items() if count / records >= LEAST}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def is_ours(function):
    """Of gapless, or of what it is generic over."""
    return "gapless_" in function


def part_of(file, binary, root):
    """The crate, or of our own the module, that a source file is part of; without a source file, the binary."""
    for pattern in [r"/registry/src/[^/]+/([^/]+?)-\d[^/]*/", r"/rustc/[^/]+/library/([^/]+)/"]:
        found = re.search(pattern, file)
        if found:
            return found.group(1)
    file = file.removeprefix(f"{root}/")
    if re.match(r"(broker|common|producer)/src/", file):
        return "/".join(file.split("/")[:3])
    return Path(binary).name if binary else file
