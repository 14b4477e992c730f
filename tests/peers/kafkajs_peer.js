// KafkaJS. `write_read ADDRESS PREFIX` or `digest ADDRESS TOPIC`.
//
// Its consumer always joins a group; reading without one goes through its own Cluster and Broker classes, which speak
// the same requests.
const crypto = require('crypto')
const { Kafka, CompressionTypes, CompressionCodecs, Partitioners, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const SnappyCodec = require('kafkajs-snappy')
const zstd = require('@bokuweb/zstd-wasm')

const PARTITIONS = 2
const RECORDS = Number(process.env.PEER_RECORDS || 200)
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

function records() {
  return Array.from({ length: RECORDS }, (_, number) => ({
    partition: number % PARTITIONS,
    key: number % 7 === 3 ? null : `key-${number % 13}`,
    value: number % 11 === 5 ? null : `value ${number} `.repeat(1 + (number % 40)),
    headers: number % 3 === 0 ? { number: String(number) } : {},
  }))
}

async function write(kafka, topic, codec, idempotent) {
  const producer = kafka.producer({
    idempotent,
    maxInFlightRequests: 1,
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  const all = records()
  for (let from = 0; from < all.length; from += 50) {
    await producer.send({ topic, acks: -1, compression: CODECS[codec], messages: all.slice(from, from + 50) })
  }
  await producer.disconnect()
}

async function read(kafka, topic) {
  const symbol = Object.getOwnPropertySymbols(kafka).find(s => s.description === 'private:Kafka:createCluster')
  const cluster = kafka[symbol]({})
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  const found = []
  for (const { partitionId, leader } of cluster.findTopicPartitionMetadata(topic)) {
    const broker = await cluster.findBroker({ nodeId: leader })
    let fetchOffset = 0
    for (;;) {
      const partitions = [{ partition: partitionId, fetchOffset, maxBytes: 1 << 20 }]
      const answer = await broker.fetch({ maxWaitTime: 100, topics: [{ topic, partitions }] })
      const [{ messages, highWatermark }] = answer.responses[0].partitions
      for (const { offset, key, value, headers } of messages) {
        if (Number(offset) >= fetchOffset) found.push({ partition: partitionId, offset: Number(offset), key, value, headers })
      }
      if (found.length) fetchOffset = Math.max(fetchOffset, ...found.filter(r => r.partition === partitionId).slice(-1).map(r => r.offset + 1))
      if (fetchOffset >= Number(highWatermark)) break
    }
  }
  await cluster.disconnect()
  return found
}

const text = bytes => (bytes === null ? null : bytes.toString())

function compare(codec, read) {
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const wanted = records().filter(r => r.partition === partition)
    const got = read.filter(r => r.partition === partition)
    got.forEach((r, index) => {
      const headers = Object.fromEntries(Object.entries(r.headers).map(([name, value]) => [name, text(value)]))
      const have = JSON.stringify([r.offset, text(r.key), text(r.value), headers])
      const want = wanted[index] && JSON.stringify([index, wanted[index].key, wanted[index].value, wanted[index].headers])
      if (have !== want) throw new Error(`${codec}: partition ${partition} holds ${have} instead of ${want}`)
    })
    if (got.length !== wanted.length) {
      throw new Error(`${codec}: partition ${partition} holds ${got.length} records instead of ${wanted.length}`)
    }
  }
  console.log(`  ${codec}: ${read.length} records written and read back`)
}

function printDigest(read) {
  const hash = crypto.createHash('sha256')
  read.sort((a, b) => a.partition - b.partition || a.offset - b.offset)
  for (const { partition, offset, key, value } of read) {
    for (const part of [Buffer.from(String(partition)), Buffer.from(String(offset)), key, value]) {
      hash.update(part === null ? '-' : Buffer.concat([Buffer.from(`${part.length}:`), part]))
    }
  }
  console.log(`${read.length} ${hash.digest('hex')}`)
}

async function main() {
  const [command, address, name] = process.argv.slice(2)
  await zstd.init()
  const kafka = new Kafka({ brokers: [address], logLevel: logLevel.ERROR, connectionTimeout: 10000 })
  if (command === 'digest') return printDigest(await read(kafka, name))
  console.log(`kafkajs ${require('kafkajs/package.json').version}`)
  const admin = kafka.admin()
  await admin.connect()
  const create = topic => admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }] })
  if (!(await admin.listTopics()).includes(`${name}-everyone`)) await create(`${name}-everyone`)
  for (const codec of Object.keys(CODECS)) {
    const topic = `${name}-kafkajs-${codec}`
    await create(topic)
    await write(kafka, topic, codec, true)
    compare(codec, await read(kafka, topic))
    await write(kafka, `${name}-everyone`, codec, false)
  }
  await admin.disconnect()
}

main().catch(error => {
  console.error(error.stack || String(error))
  process.exit(1)
})
