#!/usr/bin/env bash
# Builds gapless, starts the broker on its defaults, publishes a real sample through the command line, shows where metrics
# are, reads some records back, and keeps the broker up until Ctrl-C. Without a terminal, or with --once, it stops after the
# demonstration.
#
# Other addresses or another folder: GAPLESS_LISTEN, GAPLESS_HTTP_LISTEN, GAPLESS_DATA_DIR, as for the broker itself.
# QUICKSTART_PROFILE=dev takes the binaries that the tests have built already.
set -euo pipefail
cd "$(dirname "$0")"

once=
case "${1:-}" in
--once) once=yes ;;
"") [[ -t 0 && -t 1 ]] || once=yes ;;
*)
    echo "usage: ./quickstart.sh [--once]" >&2
    exit 2
    ;;
esac

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n%s\n' "$*"; }
run() {
    echo "\$ $*"
    "$@"
}

say "Building (the first time takes a few minutes)"
if [[ ${QUICKSTART_PROFILE:-release} == dev ]]; then
    bin=${CARGO_TARGET_DIR:-target}/debug
    run cargo build --locked --workspace --bins
else
    bin=${CARGO_TARGET_DIR:-target}/release
    run cargo build --release --locked -p gapless-broker -p gapless-producer
fi
PATH=$bin:$PATH

work=$(mktemp -d)
broker=
# Stops the broker cleanly, however this script ends.
finish() {
    local code=$?
    trap - EXIT
    if [[ -n $broker ]] && kill -TERM "$broker" 2>/dev/null; then
        wait "$broker" || code=$?
    fi
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 0' INT TERM

say "Starting the broker"
echo "\$ gapless-broker"
: >"$work/ready"
gapless-broker >"$work/ready" 2>"$work/log" &
broker=$!
until grep -q '^gapless-broker ready' "$work/ready"; do
    if ! kill -0 "$broker" 2>/dev/null; then
        broker=
        cat "$work/log" >&2
        # The complaint names the flag whose address is taken.
        if grep -q -- '--http-listen' "$work/log"; then
            echo "Choose another address for metrics: GAPLESS_HTTP_LISTEN=127.0.0.1:19644 ./quickstart.sh" >&2
        elif grep -q -- '--listen' "$work/log"; then
            echo "Choose another address for clients: GAPLESS_LISTEN=127.0.0.1:19092 ./quickstart.sh" >&2
        elif grep -q -- '--data-dir' "$work/log"; then
            echo "Choose another folder: GAPLESS_DATA_DIR=/tmp/gapless-data ./quickstart.sh" >&2
        fi
        exit 1
    fi
    sleep 0.02
done
cat "$work/ready"
kafka=$(sed -n 's/.* kafka=\([^ ]*\).*/\1/p' "$work/ready")
http=$(sed -n 's/.* http=\([^ ]*\).*/\1/p' "$work/ready")
# For all commands below.
export GAPLESS_BOOTSTRAP_SERVER=$kafka

say "Publishing 500 packages of a Debian index, keyed by name"
run gapless-producer publish --topic packages --format json --key-field package sample/packages.jsonl

say "Metrics, for Prometheus: http://$http/metrics (dashboards: grafana/)"
echo "\$ curl -s http://$http/metrics | grep appended"
curl -sS "http://$http/metrics" >"$work/metrics"
grep '^gapless_broker_appended' "$work/metrics"

say "Reading the last three records back: partition, offset, key, the beginning of the value"
echo "\$ gapless-producer read --topic packages --offset=-3 --template '%p %o %k %s\n'"
gapless-producer read --topic packages --offset=-3 --template '%p %o %k %s\n' | cut -c1-100

if [[ -n $once ]]; then
    say "Done; stopping the broker"
    exit 0
fi
say "The broker stays up on $kafka until Ctrl-C. In another terminal:"
cat <<EOF
  kcat -b $kafka -C -t packages -o beginning -e
  seq 10 | $bin/gapless-producer publish --bootstrap-server $kafka --topic numbers
EOF
wait "$broker" || exit $?
broker=
