#!/usr/bin/env bash
# The producer's command line against a real Apache Kafka (one KRaft node): the same promises, proven by `verify`.
#
#   tests/peers/apache_kafka.sh run      starts a node of its own, tries everything, stops it
#   tests/peers/apache_kafka.sh start    starts a node and prints its address; `stop` ends it, `kill` as kill -9 does
#   tests/peers/apache_kafka.sh libs     prints the folder of jars, fetching them first
#
# Jars come through Maven into target/peers (PEERS_CACHE); where Java or Maven cannot be had, this is skipped with a word
# (exit 0; `start` and `libs`: 3). The node keeps its data, its log and its process id in KAFKA_DIR (target/peers/apache-kafka)
# and listens on KAFKA_PORT (29092) and the port after it. The command line comes from target/release (GAPLESS_BIN_DIR).
# KAFKA_LIBS: a folder of jars that is there already; KAFKA_PROPERTIES: further lines of the node's configuration.
# PEER_LINES: lines published while the node is killed (600000), PEER_KILLS: how often (3).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${PEERS_CACHE:-$root/target/peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
libs=${KAFKA_LIBS:-$cache/kafka/libs}
dir=${KAFKA_DIR:-$cache/apache-kafka}
port=${KAFKA_PORT:-29092}
address=127.0.0.1:$port
bin=${GAPLESS_BIN_DIR:-$root/target/release}

# Jars are there afterwards, or it says why not.
fetch() {
    [[ ! -d $libs ]] || return 0
    command -v java >/dev/null || { echo "no java here"; return 1; }
    command -v mvn >/dev/null || { echo "no mvn here"; return 1; }
    mkdir -p "$cache/kafka"
    cp "$here/kafka_tools_pom.xml" "$cache/kafka/pom.xml"
    if ! mvn -q -f "$cache/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$libs" >"$cache/kafka/mvn.log" 2>&1; then
        rm -rf "$libs"
        echo "mvn: $(tail -1 "$cache/kafka/mvn.log")"
        return 1
    fi
}

java_main() {
    java -Xmx512m -cp "$libs/*" "$@"
}

is_up() {
    [[ -s $dir/pid ]] && kill -0 "$(<"$dir/pid")" 2>/dev/null
}

# Starts the node on what data there is, formatting it first if there is none; returns when it answers.
start() {
    if is_up; then
        echo "a node runs already: $dir/pid" >&2
        return 1
    fi
    mkdir -p "$dir"
    if [[ ! -d $dir/data ]]; then
        cat >"$dir/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://$address,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://$address
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
${KAFKA_PROPERTIES:-}
END
        # 16 bytes in base64 for URLs, as the tool wants them.
        local id
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
        java_main kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" >"$dir/format.log" 2>&1 ||
            { cat "$dir/format.log" >&2; return 1; }
    fi
    java -Xmx1g -cp "$libs/*" kafka.Kafka "$dir/server.properties" >>"$dir/node.log" 2>&1 &
    echo $! >"$dir/pid"
    # Its end is awaited by its id; nobody needs to be told that it was killed.
    disown
    local tries=0
    until "$bin/gapless-producer" topic list --bootstrap-server "$address" >/dev/null 2>&1; do
        is_up || { tail -20 "$dir/node.log" >&2; echo "the node ended before it was ready" >&2; return 1; }
        [[ $((tries += 1)) -lt 60 ]] || { echo "the node does not answer on $address" >&2; return 1; }
        sleep 0.2
    done
}

# Ends the node with this signal; returns when it is gone.
end() {
    is_up || return 0
    local pid
    pid=$(<"$dir/pid")
    kill "-$1" "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null && [[ $(ps -o stat= -p "$pid") != Z* ]]; do sleep 0.05; done
    rm -f "$dir/pid"
}

case ${1:-} in
libs) fetch >&2 && echo "$libs" && exit 0 || exit 3 ;;
start) fetch >&2 || exit 3; start && echo "$address" && exit 0 || exit 1 ;;
stop) end TERM; exit 0 ;;
kill) end KILL; exit 0 ;;
run) ;;
*) sed -n '2,/^set /p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2 ;;
esac

why=$(fetch) || { echo "skipped: Apache Kafka ($why)"; exit 0; }
[[ -x $bin/gapless-producer ]] ||
    { echo "no $bin/gapless-producer: cargo build --release, or set GAPLESS_BIN_DIR" >&2; exit 1; }
work=$(mktemp -d)
dir=$work/node
publishing=
trap '[[ -z $publishing ]] || kill "$publishing" 2>/dev/null || true; end KILL; rm -rf "$work"' EXIT

gapless() {
    local command=$1
    shift
    "$bin/gapless-producer" "$command" --bootstrap-server "$address" "$@"
}
fail() {
    echo "failed: $1" >&2
    exit 1
}
proven() {
    gapless verify --topic "$1" --report "$2" --exclusive >"$work/verdict" || { cat "$work/verdict"; fail "$3"; }
    sed -n '1s/^/  /p' "$work/verdict"
}
# So many records of a partition of a topic, as Java reads them.
java_reads() {
    java_main org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$address" --topic "$1" --partition "$2" \
        --offset earliest --max-messages "$3" --timeout-ms 120000 2>/dev/null
}

echo "== $(basename "$(ls "$libs"/kafka-clients-*.jar)" .jar)"
start

echo "== a file of JSON lines, keyed, in three partitions, with each codec"
sample=$root/sample/packages.jsonl
for codec in none gzip snappy lz4 zstd; do
    for by in record batch; do
        topic=packages-$codec-$by
        gapless publish --topic "$topic" --format json --key-field package --compression "$codec" --batch-size 20000 \
            --report "$work/acks" --report-by "$by" --quiet "$sample"
        proven "$topic" "$work/acks" "$codec, by $by: not what was acknowledged"
    done
done
for partition in 0 1 2; do
    gapless read --topic packages-zstd-record --partition "$partition" >"$work/ours"
    java_reads packages-zstd-record "$partition" "$(wc -l <"$work/ours")" >"$work/java"
    cmp "$work/java" "$work/ours" || fail "partition $partition: Java's consumer and ours read different records"
    cat "$work/java" >>"$work/all"
done
cmp <(sort "$work/all") <(sort "$sample") || fail "what Java's consumer reads is not the file"
echo "  Java's console consumer reads the same bytes as gapless-producer read"

echo "== LogAppendTime"
"$bin/gapless-producer" topic create --bootstrap-server "$address" appended --partitions 2 --config message.timestamp.type=LogAppendTime >/dev/null
gapless publish --topic appended --report "$work/acks" --quiet "$sample"
proven appended "$work/acks" "LogAppendTime: not what was acknowledged"

echo "== what is gone is missed"
gapless publish --topic shortened --partition 0 --report "$work/acks" --quiet "$sample"
echo '{"version":1,"partitions":[{"topic":"shortened","partition":0,"offset":7}]}' >"$work/deletion"
java_main org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$address" --offset-json-file "$work/deletion" >/dev/null
if gapless verify --topic shortened --report "$work/acks" >"$work/verdict" 2>&1; then
    fail "seven records were deleted, and verify does not miss them"
fi
grep -q 'missing *7 records; first: shortened-0 offset 0' "$work/verdict" || { cat "$work/verdict"; fail "another finding"; }
sed -n '2p' "$work/verdict"

lines=${PEER_LINES:-600000}
kills=${PEER_KILLS:-3}
echo "== $lines lines, $kills kills (kill -9 and restart)"
seq -f 'record %.0f of some, and a little more so that there is something to write' "$lines" >"$work/lines"
for by in batch record; do
    rm -f "$work/acks"
    gapless publish --topic "killed-$by" --report "$work/acks" --report-by "$by" --batch-size 20000 --delivery-timeout 5m \
        --output json "$work/lines" >"$work/summary" &
    publishing=$!
    # Bytes of the report: acknowledgements come while it grows.
    told() { stat -c %s "$work/acks" 2>/dev/null || echo 0; }
    for kill in $(seq "$kills"); do
        before=$(told)
        until [[ $(told) -gt $((before + 8192)) ]]; do
            kill -0 "$publishing" 2>/dev/null || fail "kill $kill came too late: raise PEER_LINES"
            sleep 0.02
        done
        end KILL
        start
    done
    wait "$publishing" || fail "publish did not deliver everything: $(<"$work/summary")"
    publishing=
    grep -o '"retries":[0-9]*,"reconnects":[0-9]*' "$work/summary" | sed 's/^/  /'
    proven "killed-$by" "$work/acks" "after $kills kills: not what was acknowledged"
    cmp <(for partition in 0 1 2; do gapless read --topic "killed-$by" --partition "$partition"; done | sort) \
        <(sort "$work/lines") || fail "the topic is not the file"
done

end TERM
echo "passed"
