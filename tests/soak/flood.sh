#!/usr/bin/env bash
# Records a second by our library and by librdkafka to our broker, with the CPU time of both ends.
#
#   tests/soak/flood.sh [--records N] [--size BYTES] [--durability fsync|os] [library|librdkafka …]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example flood -- "$@"
