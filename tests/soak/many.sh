#!/usr/bin/env bash
# What ten thousand partitions and a hundred thousand producers of one partition cost: memory, descriptors, time to ready after a
# clean stop and after kill -9, and whether the producers' memory is given back once they have expired (takes two minutes).
#
#   tests/soak/many.sh [--partitions N] [--topics N] [--producers N] [--data-dir DIR]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example many -- "$@"
