#!/usr/bin/env bash
# A broker stands still three times for 4.5 s (SIGSTOP) under senders with a delivery timeout of 3 s: our library, which settles what
# is in doubt and goes on, and librdkafka beside it with the same settings. Of ours the log must hold every number without a
# hole; of librdkafka it is counted how many records failed below the last acknowledged one, and how many of those are in the log.
#
#   tests/soak/freezes.sh [--freezes N] [--frozen-ms N] [--delivery-timeout-ms N] [--between-ms N]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example freezes -- "$@"
