"""aiokafka. `write_read ADDRESS PREFIX` or `digest ADDRESS TOPIC`."""

import asyncio
import sys

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import sample


async def create(address, topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, sample.PARTITIONS, 1)])
    await admin.close()


async def write(address, topic, codec, idempotent):
    producer = AIOKafkaProducer(bootstrap_servers=address, compression_type=None if codec == "none" else codec,
                                linger_ms=20, acks="all", enable_idempotence=idempotent)
    await producer.start()
    sent = [await producer.send(topic, value=value, key=key, headers=headers, partition=partition)
            for partition, key, value, headers in sample.records()]
    await asyncio.wait_for(asyncio.gather(*sent), 60)
    await producer.stop()


async def read(address, topic):
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=None, auto_offset_reset="none")
    await consumer.start()
    await consumer._client.force_metadata_update()
    known = await consumer._client.fetch_all_metadata()
    partitions = [TopicPartition(topic, partition) for partition in sorted(known.partitions_for_topic(topic))]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    ends = await consumer.end_offsets(partitions)
    found = []
    while [p for p in partitions if await consumer.position(p) < ends[p]]:
        polled = await consumer.getmany(timeout_ms=60_000)
        if not polled:
            sys.exit(f"{topic}: nothing came within 60 s")
        for partition, messages in polled.items():
            for m in messages:
                found.append((partition.partition, m.offset, m.key, m.value, list(m.headers)))
    await consumer.stop()
    return found


async def main():
    command, address, name = sys.argv[1:]
    if command == "digest":
        sample.print_digest(await read(address, name))
        return
    print(f"aiokafka {aiokafka.__version__}")
    await create(address, f"{name}-everyone")
    for codec in sample.CODECS:
        topic = f"{name}-aiokafka-{codec}"
        await create(address, topic)
        await write(address, topic, codec, idempotent=True)
        sample.compare(codec, await read(address, topic))
        await write(address, f"{name}-everyone", codec, idempotent=False)


asyncio.run(main())
