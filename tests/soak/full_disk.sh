#!/usr/bin/env bash
# A broker on a small ext4 in a file (a tmpfs where there is no loop device; skipped where neither can be mounted: it takes root) that
# fills up and is given room again under load from our library and librdkafka.
#
#   tests/soak/full_disk.sh [--records N] [--times N]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo run --locked --release -p gapless-tests --example full_disk -- "$@"
