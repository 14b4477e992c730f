#!/usr/bin/env bash
# Other people's clients against our broker: each writes and reads with each codec, and at the end every client reads
# what all of them wrote and must see the same bytes.
#
#   tests/peers/run.sh [CLIENT…]       all: confluent-kafka kafka-python aiokafka kafkajs kcat kafka-tools
#
# Clients are installed into target/peers (PEERS_CACHE); one that cannot be had is skipped with a word. The broker comes
# from target/release (GAPLESS_BIN_DIR), or is the one that PEERS_ADDRESS names. PEER_RECORDS: records a codec (200).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PEERS_CACHE:-$root/target/peers}
mkdir -p "$cache"
cd "$cache"
cache=$PWD
work=$(mktemp -d)
broker=
trap '[[ -z $broker ]] || kill "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT

skip() {
    echo "skipped: $1 ($2)"
    skipped+=("$1")
    return 1
}

# Each of the next functions makes one client ready, or says why not.
have_python() {
    if [[ ! -x venv/bin/python ]]; then
        python3 -m venv venv >"$work/venv.log" 2>&1 || skip "$1" "python3 cannot make a virtual environment" || return 1
    fi
    if ! venv/bin/python -c "import $2" 2>/dev/null; then
        venv/bin/python -m pip install -q "$1" cramjam lz4 zstandard python-snappy >"$work/pip.log" 2>&1 ||
            skip "$1" "pip: $(tail -1 "$work/pip.log")" || return 1
    fi
}
have_kafkajs() {
    command -v npm >/dev/null || skip kafkajs "no npm here" || return 1
    mkdir -p js
    if [[ ! -d js/node_modules/lz4-napi ]]; then
        npm install --prefix js --no-audit --no-fund kafkajs@2.2.4 kafkajs-snappy@1.1.0 lz4-napi@2.10.0 \
            @bokuweb/zstd-wasm@0.0.27 >"$work/npm.log" 2>&1 || skip kafkajs "npm: $(tail -1 "$work/npm.log")" || return 1
    fi
}
have_kcat() {
    command -v kcat >/dev/null || (apt-get install -y kcat >"$work/apt.log" 2>&1) ||
        skip kcat "no kcat here, and apt-get cannot install it" || return 1
}
have_kafka_tools() {
    PEERS_CACHE=$cache "$here/apache_kafka.sh" libs >/dev/null 2>"$work/libs.log" ||
        skip kafka-tools "$(tail -1 "$work/libs.log")" || return 1
}

# The command line of a client's script.
peer() {
    local client=$1
    shift
    case $client in
    confluent-kafka | kafka-python | aiokafka)
        timeout 300 venv/bin/python "$here/${client//-/_}_peer.py" "$@"
        ;;
    kafkajs) NODE_PATH=$cache/js/node_modules timeout 300 node "$here/kafkajs_peer.js" "$@" ;;
    kcat) timeout 300 "$here/kcat_peer.sh" "$@" ;;
    kafka-tools) KAFKA_LIBS=$cache/kafka/libs timeout 600 "$here/kafka_tools_peer.sh" "$@" ${data_dir:+"$data_dir"} ;;
    esac
}

clients=("$@")
[[ $# -gt 0 ]] || clients=(confluent-kafka kafka-python aiokafka kafkajs kcat kafka-tools)
skipped=() ready=()
for client in "${clients[@]}"; do
    case $client in
    confluent-kafka) have_python "$client" confluent_kafka ;;
    kafka-python) have_python "$client" kafka ;;
    aiokafka) have_python "$client" aiokafka ;;
    kafkajs) have_kafkajs ;;
    kcat) have_kcat ;;
    kafka-tools) have_kafka_tools ;;
    *) echo "no client $client; there are: confluent-kafka kafka-python aiokafka kafkajs kcat kafka-tools" >&2 && exit 2 ;;
    esac && ready+=("$client") || true
done

address=${PEERS_ADDRESS:-}
data_dir=
if [[ -z $address ]]; then
    data_dir=$work/data
    "${GAPLESS_BIN_DIR:-$root/target/release}/gapless-broker" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 \
        --data-dir "$data_dir" >"$work/ready" 2>"$work/broker.log" &
    broker=$!
    until grep -q '^gapless-broker ready' "$work/ready"; do
        kill -0 "$broker" 2>/dev/null || { cat "$work/broker.log" >&2; exit 1; }
        sleep 0.05
    done
    address=$(sed -n 's/.* kafka=\([^ ]*\).*/\1/p' "$work/ready")
fi

prefix=peer-$(date +%s)
failed=()
for client in "${ready[@]}"; do
    echo "== $client"
    peer "$client" write_read "$address" "$prefix" || failed+=("$client")
done

echo "== everyone reads what everyone wrote"
first=
for client in "${ready[@]}"; do
    [[ $client != kafka-tools ]] || continue
    digest=$(peer "$client" digest "$address" "$prefix-everyone") || { failed+=("$client"); continue; }
    echo "  $client: $digest"
    [[ ${first:=$digest} == "$digest" ]] || failed+=("$client")
done

if [[ ${#failed[@]} -gt 0 ]]; then
    [[ ! -s $work/broker.log ]] || { echo "---- the broker's log" && tail -50 "$work/broker.log"; } >&2
    echo "failed: ${failed[*]}" >&2
fi
echo "$((${#ready[@]} - ${#failed[@]})) passed, ${#failed[@]} failed, ${#skipped[@]} skipped"
[[ ${#failed[@]} -eq 0 ]]
