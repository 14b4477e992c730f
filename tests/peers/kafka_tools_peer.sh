#!/usr/bin/env bash
# Apache Kafka's own command-line tools (Java). `write_read ADDRESS PREFIX [DATA_DIR]`; KAFKA_LIBS is a folder of jars.
# With DATA_DIR, its segment dumper reads the broker's files too.
set -euo pipefail
[[ $1 == write_read ]] || { echo "no command $1 here" >&2; exit 2; }
address=$2 name=$3 data_dir=${4:-}
records=${PEER_RECORDS:-200}

tool() {
    local class=$1
    shift
    timeout 120 java -Xmx256m -cp "$KAFKA_LIBS/*" "org.apache.kafka.tools.$class" "$@"
}
same() {
    if [[ $2 != "$3" ]]; then
        diff <(printf '%s\n' "$2") <(printf '%s\n' "$3") | head -5 >&2
        echo "$1" >&2
        exit 1
    fi
}

basename "$(ls "$KAFKA_LIBS"/kafka-clients-*.jar)" .jar
tool TopicCommand --bootstrap-server "$address" --create --topic "$name-tools" --partitions 2 --config max.message.bytes=500000
tool TopicCommand --bootstrap-server "$address" --list | grep -qx "$name-tools"
tool TopicCommand --bootstrap-server "$address" --describe --topic "$name-tools" | grep -q 'PartitionCount: 2'
tool ConfigCommand --bootstrap-server "$address" --describe --entity-type topics --entity-name "$name-tools" |
    grep -q 'max.message.bytes=500000'
tool TopicCommand --bootstrap-server "$address" --alter --topic "$name-tools" --partitions 3
tool TopicCommand --bootstrap-server "$address" --describe --topic "$name-tools" | grep -q 'PartitionCount: 3'
tool LogDirsCommand --bootstrap-server "$address" --describe --topic-list "$name-tools" | grep -q "\"$name-tools-2\",\"size\":0"
echo "  topics created, listed, described, grown; their room in the log directory told"

sent=$(for number in $(seq "$records"); do echo "value $number $(printf 'x%.0s' $(seq $((number % 60))))"; done)
for codec in none gzip snappy lz4 zstd; do
    topic=$name-tools-$codec
    printf '%s\n' "$sent" | tool ConsoleProducer --bootstrap-server "$address" --topic "$topic" --compression-codec "$codec"
    read=$(tool consumer.ConsoleConsumer --bootstrap-server "$address" --topic "$topic" --partition 0 --offset earliest \
        --max-messages "$records" 2>/dev/null)
    same "$codec: what was read is not what was written" "$sent" "$read"
    offsets=$(tool GetOffsetShell --bootstrap-server "$address" --topic "$topic")
    same "$codec: another end offset" "$topic:0:$records" "$offsets"
    echo "  $codec: $records records written and read back"
done

tool ProducerPerformance --bootstrap-server "$address" --topic "$name-tools" --num-records 20000 --record-size 100 \
    --throughput -1 | tail -1 | sed 's/^/  ProducerPerformance: /'
acked=$(tool VerifiableProducer --bootstrap-server "$address" --topic "$name-tools" --max-messages 1000 --acks -1 |
    grep -c producer_send_success)
same "VerifiableProducer: not everything was acknowledged" 1000 "$acked"
echo "  VerifiableProducer: 1000 records acknowledged"

if [[ -n $data_dir ]]; then
    for log in "$data_dir/topics/$name-tools-zstd/0"/*.log; do
        dump=$(tool DumpLogSegments --files "$log" --print-data-log)
        grep -q 'isvalid: true' <<<"$dump"
        ! grep -q 'isvalid: false' <<<"$dump"
        same "DumpLogSegments: another count" "$records" "$(grep -c 'payload:' <<<"$dump")"
    done
    echo "  DumpLogSegments: our segment files read"
fi
tool TopicCommand --bootstrap-server "$address" --delete --topic "$name-tools"
echo "  topic deleted"
