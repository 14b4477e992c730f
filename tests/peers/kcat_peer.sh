#!/usr/bin/env bash
# kcat. `write_read ADDRESS PREFIX` or `digest ADDRESS TOPIC`.
set -euo pipefail
command=$1 address=$2 name=$3
here=$(cd "$(dirname "$0")" && pwd)
records=${PEER_RECORDS:-200}

if [[ $command == digest ]]; then
    # -J prints one JSON object a record; null stays null.
    kcat -b "$address" -C -t "$name" -o beginning -e -q -J -X check.crcs=true | PYTHONPATH=$here python3 -c '
import json, sys, sample
bytes_of = lambda text: None if text is None else text.encode()
sample.print_digest([(r["partition"], r["offset"], bytes_of(r["key"]), bytes_of(r["payload"]), []) for r in map(json.loads, sys.stdin)])'
    exit
fi

kcat -V 2>&1 | grep -o 'Version.*'
for codec in none gzip snappy lz4 zstd; do
    topic=$name-kcat-$codec
    sent=$(for number in $(seq "$records"); do printf 'key-%d\tvalue %d %s\n' $((number % 13)) "$number" "$(printf 'x%.0s' $(seq $((number % 60))))"; done)
    printf '%s\n' "$sent" | kcat -b "$address" -P -t "$topic" -p 0 -K $'\t' -z "$codec" -H from=kcat -X enable.idempotence=true
    read=$(kcat -b "$address" -C -t "$topic" -p 0 -o beginning -e -q -X check.crcs=true -f '%k\t%s\n')
    if [[ $sent != "$read" ]]; then
        diff <(printf '%s\n' "$sent") <(printf '%s\n' "$read") | head -5 >&2
        echo "$codec: what was read is not what was written" >&2
        exit 1
    fi
    echo "  $codec: $records records written and read back"
    printf '%s\n' "$sent" | kcat -b "$address" -P -t "$name-everyone" -K $'\t' -z "$codec"
done
