#!/usr/bin/env bash
# A first look at size and speed on this machine: time from start to the ready line, idle memory, size of the binaries, and our
# command line against kcat with the same file and broker. Figures, no verdict.
#
#   tests/soak/first_look.sh [FILE]      default: the sample, a hundred times over
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --locked --release -p gapless-broker -p gapless-producer
bin=${CARGO_TARGET_DIR:-target}/release
work=$(mktemp -d)
broker=
stop() {
    [[ -z $broker ]] || { kill -TERM "$broker" && wait "$broker"; } || true
    broker=
}
trap 'stop; rm -rf "$work"' EXIT

start() {
    rm -rf "$work/data"
    : >"$work/ready"
    "$bin/gapless-broker" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --data-dir "$work/data" >"$work/ready" 2>"$work/log" &
    broker=$!
    until grep -q ready "$work/ready"; do sleep 0.01; done
    address=$(sed -n 's/.* kafka=\([^ ]*\).*/\1/p' "$work/ready")
}

echo "== size of the binaries, bytes"
stat -c '%n %s' "$bin/gapless-broker" "$bin/gapless-producer"

echo "== from start to the ready line, empty directory, 21 runs"
python3 - "$bin/gapless-broker" "$work" <<'PYTHON'
import subprocess, sys, time
binary, work = sys.argv[1:]
times, resident = [], []
for run in range(21):
    begun = time.perf_counter()
    process = subprocess.Popen([binary, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir", f"{work}/start-{run}"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    times.append(1000 * (time.perf_counter() - begun))
    time.sleep(0.2)
    status = open(f"/proc/{process.pid}/status").read()
    resident.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    process.terminate()
    process.wait()
times.sort()
print(f"ready after ms: min {times[0]:.1f}, median {times[10]:.1f}, max {times[-1]:.1f}")
print(f"resident MiB when idle: median {sorted(resident)[10]:.1f}")
PYTHON

file=${1:-$work/sample}
[[ $# -gt 0 ]] || for _ in $(seq 100); do cat sample/packages.jsonl; done >"$file"
echo "== one file of $(wc -l <"$file") lines, $(wc -c <"$file") bytes, acks=all on disk"
# Wall, user and system seconds of a command, and the CPU seconds that the broker spent on it.
measure() {
    local name=$1 before after
    shift
    before=$(awk '{print $14 + $15}' "/proc/$broker/stat")
    TIMEFORMAT="$name: %3R s, CPU seconds %3U user + %3S system"
    time "$@" >/dev/null
    after=$(awk '{print $14 + $15}' "/proc/$broker/stat")
    echo "  broker: $(((after - before) * 10)) ms of CPU"
}
for _ in 1 2 3; do
    start
    measure "gapless-producer" "$bin/gapless-producer" publish --bootstrap-server "$address" --topic ours "$file"
    if command -v kcat >/dev/null; then
        measure "kcat" kcat -b "$address" -P -t theirs -l "$file"
        measure "kcat idempotent" kcat -b "$address" -P -t theirs-idempotent -X enable.idempotence=true -l "$file"
        measure "kcat reading" kcat -b "$address" -C -t ours -o beginning -e -q
    fi
    measure "gapless-producer reading" "$bin/gapless-producer" read --bootstrap-server "$address" --topic ours
    stop
done
