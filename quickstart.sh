#!/usr/bin/env bash
# Builds gapless, starts the broker on its defaults, publishes a sample of real records, reads some back, and keeps the
# broker up until Ctrl-C. Without a terminal, or with --once, it stops after the demonstration and exits 0.
#
# Other addresses or another directory: GAPLESS_LISTEN, GAPLESS_HTTP_LISTEN, GAPLESS_DATA_DIR.
set -euo pipefail
cd "$(dirname "$0")"

once=
case "${1-}" in
    --once) once=yes ;;
    "") [[ -t 0 && -t 1 ]] || once=yes ;;
    *)
        echo "usage: ./quickstart.sh [--once]" >&2
        exit 2
        ;;
esac

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n%s\n' "$*"; }
show() {
    printf '$ %s\n' "$*"
    "$@"
}

say "Building (the first time takes a few minutes)"
cargo build --release --locked -p gapless-broker -p gapless-producer
bin=${CARGO_TARGET_DIR:-target}/release

work=$(mktemp -d)
broker=
stop() {
    [[ -z $broker ]] || kill -TERM "$broker" 2>/dev/null || true
    [[ -z $broker ]] || wait "$broker" || true
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting the broker"
printf '$ gapless-broker\n'
"$bin/gapless-broker" >"$work/ready" 2>"$work/log" &
broker=$!
until [[ -s $work/ready ]]; do
    if ! kill -0 "$broker" 2>/dev/null; then
        cat "$work/log" >&2
        cat >&2 <<'TEXT'

The broker did not start. If an address is taken, choose others, for instance:
  GAPLESS_LISTEN=127.0.0.1:19092 GAPLESS_HTTP_LISTEN=127.0.0.1:19644 ./quickstart.sh
TEXT
        broker=
        exit 1
    fi
    sleep 0.05
done
cat "$work/ready"
kafka=$(sed -n 's/.* kafka=\([^ ]*\).*/\1/p' "$work/ready")
http=$(sed -n 's/.* http=\([^ ]*\).*/\1/p' "$work/ready")
export GAPLESS_BOOTSTRAP_SERVER=$kafka

say "Publishing sample/packages.jsonl: 500 packages of Debian, keyed by name"
show "$bin/gapless-producer" publish --topic packages --format json --key-field package sample/packages.jsonl

say "Reading three of them back"
show "$bin/gapless-producer" read --topic packages --count 3 | cut -c 1-120

say "What Prometheus sees at http://$http/metrics"
curl -sf "http://$http/metrics" | grep -E '^gapless_broker_(appended_records_total|partition_high_watermark|ready)'

say "The broker listens on $kafka for any Kafka client, for instance: kcat -b $kafka -C -t packages -e"
if [[ -n $once ]]; then
    kill -TERM "$broker"
    wait "$broker"
    broker=
    echo "Stopped cleanly."
else
    echo "Ctrl-C stops it."
    wait "$broker"
fi
