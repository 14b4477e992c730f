"""What every Python peer sends, and how it is compared with what comes back."""

import hashlib
import os
import sys

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 2


def count_from_environment():
    return int(os.environ.get("PEER_RECORDS", "200"))


def records():
    """(partition, key, value, headers) with null keys, null and empty values, and text that compresses."""
    made = []
    for number in range(count_from_environment()):
        key = None if number % 7 == 3 else f"key-{number % 13}".encode()
        # Some of these clients refuse a record without key and value.
        if number % 11 == 5 and key is not None:
            value = None
        elif number % 11 == 6:
            value = b""
        else:
            value = f"value {number} ".encode() * (1 + number % 40)
        headers = [("number", str(number).encode()), ("empty", b"")] if number % 3 == 0 else []
        made.append((number % PARTITIONS, key, value, headers))
    return made


def compare(codec, read):
    """`read` is a list of (partition, offset, key, value, headers) in the order of reading."""
    for partition in range(PARTITIONS):
        wanted = [(key, value, headers) for p, key, value, headers in records() if p == partition]
        got = [(key, value, headers) for p, _, key, value, headers in read if p == partition]
        offsets = [offset for p, offset, *_ in read if p == partition]
        if got != wanted:
            first = next((i for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), min(len(got), len(wanted)))
            sys.exit(f"{codec}: partition {partition} differs from record {first} on: {got[first:first + 1]} "
                     f"instead of {wanted[first:first + 1]} ({len(got)} records instead of {len(wanted)})")
        if offsets != list(range(len(offsets))):
            sys.exit(f"{codec}: partition {partition} has offsets {offsets[:20]}…")
    print(f"  {codec}: {len(read)} records written and read back")


def print_digest(read):
    """One line that is the same for every client which read the same records: count and hash."""
    hashed = hashlib.sha256()
    for partition, offset, key, value, _ in sorted(read, key=lambda record: record[:2]):
        for part in (str(partition).encode(), str(offset).encode(), key, value):
            hashed.update(b"-" if part is None else str(len(part)).encode() + b":" + part)
    print(f"{len(read)} {hashed.hexdigest()}")
