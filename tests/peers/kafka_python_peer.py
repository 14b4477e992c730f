"""kafka-python. `write_read ADDRESS PREFIX` or `digest ADDRESS TOPIC`."""

import sys

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import TopicAlreadyExistsError

import sample


def create(address, topic):
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        admin.create_topics([NewTopic(topic, sample.PARTITIONS, 1)])
    except TopicAlreadyExistsError:
        pass
    admin.close()


def write(address, topic, codec, idempotent):
    producer = KafkaProducer(bootstrap_servers=address, compression_type=None if codec == "none" else codec,
                             linger_ms=20, acks="all", enable_idempotence=idempotent)
    sent = [producer.send(topic, value=value, key=key, headers=headers, partition=partition)
            for partition, key, value, headers in sample.records()]
    producer.flush(60)
    for future in sent:
        future.get(60)
    producer.close()


def read(address, topic):
    consumer = KafkaConsumer(bootstrap_servers=address, group_id=None, auto_offset_reset="none")
    partitions = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    found = []
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        polled = consumer.poll(timeout_ms=60_000)
        if not polled:
            sys.exit(f"{topic}: nothing came within 60 s")
        for partition, messages in polled.items():
            for m in messages:
                found.append((partition.partition, m.offset, m.key, m.value, list(m.headers)))
    consumer.close()
    return found


def main():
    command, address, name = sys.argv[1:]
    if command == "digest":
        sample.print_digest(read(address, name))
        return
    print(f"kafka-python {kafka.__version__}")
    create(address, f"{name}-everyone")
    for codec in sample.CODECS:
        topic = f"{name}-kafka-python-{codec}"
        create(address, topic)
        write(address, topic, codec, idempotent=True)
        sample.compare(codec, read(address, topic))
        write(address, f"{name}-everyone", codec, idempotent=False)


main()
