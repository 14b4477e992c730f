#!/usr/bin/env bash
# How long a start takes behind 10 GB in 100 partitions, after kill -9 under load and after a clean stop, and what was read. The page
# cache is dropped before each start where this user may do that.
#
#   tests/soak/start_up.sh [--gigabytes N] [--partitions N] [--data-dir DIR]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example start_up -- "$@"
