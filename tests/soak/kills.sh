#!/usr/bin/env bash
# A million records each from our library and from librdkafka, together, while the broker dies a hundred times by kill -9, each
# time at a share of the acknowledged records; every acknowledged record must be in the log exactly once, in order, at the
# offset that was told.
#
#   tests/soak/kills.sh [--records N] [--kills N] [--durability fsync|os] [library|command-line|librdkafka …]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example kills -- "$@"
