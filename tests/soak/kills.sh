#!/usr/bin/env bash
# A million records from our library, our command line and librdkafka while the broker dies ten times by kill -9; every
# acknowledged record must be in the log exactly once, in order.
#
#   tests/soak/kills.sh [--records N] [--kills N] [--durability fsync|os] [library|command-line|librdkafka …]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example kills -- "$@"
