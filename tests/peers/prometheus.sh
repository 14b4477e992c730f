#!/usr/bin/env bash
# The real Prometheus against the real pair: promtool checks configuration, rules, the rules' unit tests and a live scrape of
# both ends; then the server scrapes a broker and a producer under load every second, and every expression of every panel and
# rule must answer with data.
#
#   tests/peers/prometheus.sh
#
# Debian's package is unpacked into target/peers (PEERS_CACHE), nothing is installed. Where it cannot be had, and no
# prometheus and promtool are on the PATH, this is skipped with a word.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PEERS_CACHE:-$root/target/peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

skip() {
    echo "skipped: prometheus ($1)"
    exit 0
}

if ! { command -v prometheus && command -v promtool; } >/dev/null; then
    if [[ ! -x $cache/prometheus/usr/bin/promtool ]]; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
            skip "no prometheus here, and no apt-get to get Debian's package with"
        rm -rf "$cache/prometheus"
        mkdir -p "$cache/prometheus"
        (cd "$cache/prometheus" && apt-get download prometheus >apt.log 2>&1) ||
            skip "no prometheus here, and apt-get: $(tail -1 "$cache/prometheus/apt.log"); try apt-get update"
        dpkg-deb -x "$cache"/prometheus/prometheus_*.deb "$cache/prometheus"
    fi
    PATH=$cache/prometheus/usr/bin:$PATH
fi

cd "$root"
promtool check config grafana/prometheus.yml
promtool test rules grafana/rules/tests/*.yml
# As the tests build it, so that after them nothing is built again.
cargo build --locked --workspace --examples
exec "${CARGO_TARGET_DIR:-target}/debug/examples/prometheus"
