"""confluent-kafka: librdkafka as its makers ship it. `write_read ADDRESS PREFIX` or `digest ADDRESS TOPIC`."""

import sys

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import sample


def create(address, topic):
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(topic, sample.PARTITIONS, 1)], request_timeout=30).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def write(address, topic, codec, idempotent):
    failed = []

    def delivered(error, message):
        if error is not None:
            failed.append(error)

    producer = Producer({"bootstrap.servers": address, "compression.type": codec, "linger.ms": 20,
                         "enable.idempotence": idempotent})
    for partition, key, value, headers in sample.records():
        producer.produce(topic, value=value, key=key, partition=partition, headers=headers, on_delivery=delivered)
    if producer.flush(60) or failed:
        sys.exit(f"{codec}: not everything was delivered: {failed[:3]}")


def read(address, topic):
    consumer = Consumer({"bootstrap.servers": address, "group.id": "not-used", "enable.auto.commit": False,
                         "enable.partition.eof": True, "check.crcs": True})
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ended, found = set(), []
    while len(ended) < len(partitions):
        message = consumer.poll(60)
        if message is None:
            sys.exit(f"{topic}: nothing came within 60 s")
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                sys.exit(f"{topic}: {message.error()}")
            ended.add(message.partition())
        else:
            found.append((message.partition(), message.offset(), message.key(), message.value(), message.headers() or []))
    consumer.close()
    return found


def main():
    command, address, name = sys.argv[1:]
    if command == "digest":
        sample.print_digest(read(address, name))
        return
    print(f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}")
    create(address, f"{name}-everyone")
    for codec in sample.CODECS:
        topic = f"{name}-confluent-kafka-{codec}"
        create(address, topic)
        write(address, topic, codec, idempotent=True)
        sample.compare(codec, read(address, topic))
        write(address, f"{name}-everyone", codec, idempotent=False)


main()
