#!/usr/bin/env bash
# Latency, requests, batch fill and CPU by rate, without a linger, with a fixed one and with `auto`, on the real pair; interleaved,
# so that all three meet the same machine. Writes linger.csv, linger.json and linger.svg into a directory. About fifteen minutes.
#
#   tests/bench/linger.sh [--out DIR] [--rounds N] [--seconds S] [--partitions N,…] [--rates N,…] [--durability fsync|os]
#   tests/bench/linger.sh --binaries DIR …             # with what is built already
#   tests/bench/linger.sh --draw DIR/linger.csv        # the picture again, from what was measured
set -euo pipefail
cd "$(dirname "$0")/../.."
case " $* " in
    *" --draw "* | *" --binaries "* | *" --help "*) ;;
    *) cargo build --locked --release -p gapless-broker -p gapless-producer --bins ;;
esac
exec python3 tests/bench/linger.py "$@"
