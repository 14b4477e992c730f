//! `-X key=value`: librdkafka's and Kafka's own names for settings that exist here. One without a counterpart is
//! refused by its name, never ignored.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gapless_producer::{Acks, Compression, Config, Linger, Partitioner};

use super::ConnectionSettings;
use super::properties_file::{self, Entry};
use crate::cli::exit::Stop;

/// One property, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    key: String,
    value: String,
    found: String,
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, "-X".to_owned())
    }
}

impl Property {
    fn parse(text: &str, found: String) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned(), found })
            }
            // Not repeated as a whole: it may be a secret.
            _ => Err(format!("'{}' is not KEY=VALUE", text.split('=').next().unwrap_or_default())),
        }
    }

    /// The refusal of a property that has no counterpart.
    pub fn unknown(&self) -> Stop {
        let why = match self.key.as_str() {
            key if is_about_security(key) => "TLS and SASL are not there yet",
            "transactional.id" | "transaction.timeout.ms" => "transactions are not there yet",
            "retries" | "message.send.max.retries" => {
                "a record is sent again until delivery.timeout.ms, however often that is"
            }
            _ => "it has no counterpart here",
        };
        let meant = nearest(&self.key).map_or_else(String::new, |key| format!("; is {key} meant?"));
        Stop::Usage(format!("{}: property {} is refused: {why}{meant}", self.found, self.key))
    }

    fn wrong(&self, expected: &str) -> Stop {
        Stop::Usage(format!("{}: {} is '{}', expected {expected}", self.found, self.key, self.value))
    }

    fn number<T: FromStr>(&self) -> Result<T, Stop> {
        self.value.parse().map_err(|_| self.wrong("a whole number that is not too large"))
    }

    /// librdkafka takes fractions of a millisecond for some.
    fn milliseconds(&self) -> Result<Duration, Stop> {
        let wrong = || self.wrong("a number of milliseconds");
        let ms: f64 = self.value.parse().map_err(|_| wrong())?;
        Duration::try_from_secs_f64(ms / 1000.0).map_err(|_| wrong())
    }

    fn boolean(&self) -> Result<bool, Stop> {
        match self.value.as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }
}

/// Every property that has a counterpart.
const KNOWN: [&str; 29] = [
    "acks",
    "allow.auto.create.topics",
    "batch.size",
    "bootstrap.servers",
    "buffer.memory",
    "client.id",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "enable.idempotence",
    "linger.ms",
    "max.block.ms",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "metadata.max.age.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.ms",
    "request.required.acks",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.timeout.ms",
    "topic.metadata.refresh.interval.ms",
];
/// More letters than this are no slip of the fingers.
const SLIPS: usize = 3;

/// The known property that a key is a slip of.
fn nearest(key: &str) -> Option<&'static str> {
    let near = |known: &&'static str| (distance(key, known), *known);
    let (slips, known) = KNOWN.iter().map(near).min()?;
    (1..=SLIPS).contains(&slips).then_some(known)
}

/// How many letters have to be put in, taken out or changed to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, b) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(row[to] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

fn is_about_security(key: &str) -> bool {
    ["ssl.", "sasl.", "security.", "enable.ssl", "enable.sasl"].iter().any(|start| key.starts_with(start))
}

/// The properties of a file, as Java or librdkafka would read it.
#[expect(clippy::disallowed_methods, reason = "a command line reads its own configuration")]
pub fn read_file(path: &Path) -> Result<Vec<Property>, Stop> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Stop::Failed(format!("--command-config {} cannot be read: {error}", path.display()))
    })?;
    let place = |line: usize| format!("{}:{line}", path.display());
    let entries =
        properties_file::parse(&text).map_err(|bad| Stop::Usage(format!("{}: {bad}", place(bad.line()))))?;
    let property = |entry: Entry| Property { key: entry.key, value: entry.value, found: place(entry.line) };
    Ok(entries.into_iter().map(property).collect())
}

/// A property that asks for what is so anyway.
pub fn is_harmless(property: &Property) -> Result<bool, Stop> {
    let value = property.value.to_ascii_lowercase();
    match property.key.as_str() {
        "security.protocol" if value == "plaintext" => Ok(true),
        // Keys and values are bytes, and text is UTF-8.
        "key.serializer" | "value.serializer" => {
            let bytes = ["ByteArraySerializer", "BytesSerializer", "StringSerializer"];
            Ok(bytes.iter().any(|name| property.value.rsplit('.').next() == Some(name)))
        }
        // What Java and librdkafka mean by "until the delivery timeout".
        "retries" | "message.send.max.retries" => Ok(value == "2147483647"),
        _ => Ok(false),
    }
}

/// Settings of every command. False: it is none of them.
pub fn apply_to_connection(property: &Property, settings: &mut ConnectionSettings) -> Result<bool, Stop> {
    match property.key.as_str() {
        "bootstrap.servers" | "metadata.broker.list" => {
            settings.bootstrap_servers =
                property.value.split(',').map(|server| Arc::from(server.trim())).collect();
        }
        "client.id" => settings.client_id = property.value.as_str().into(),
        "socket.connection.setup.timeout.ms" => settings.connect_timeout = property.milliseconds()?,
        "request.timeout.ms" | "socket.timeout.ms" => settings.request_timeout = property.milliseconds()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Settings of a producer beyond its connections. False: it is none of them.
pub fn apply_to_producer(property: &Property, config: &mut Config) -> Result<bool, Stop> {
    match property.key.as_str() {
        "acks" | "request.required.acks" => {
            config.acks = Acks::parse(&property.value).ok_or_else(|| property.wrong("0, 1, all or -1"))?;
        }
        "enable.idempotence" => config.idempotence = Some(property.boolean()?),
        "max.in.flight.requests.per.connection" | "max.in.flight" => {
            config.max_in_flight = property.number()?
        }
        "batch.size" => config.batch_size = property.number()?,
        "linger.ms" | "queue.buffering.max.ms" => config.linger = Linger::Fixed(property.milliseconds()?),
        "buffer.memory" => config.buffer_memory = property.number()?,
        "queue.buffering.max.kbytes" => {
            config.buffer_memory = property.number::<usize>()?.saturating_mul(1024);
        }
        "delivery.timeout.ms" | "message.timeout.ms" => config.delivery_timeout = property.milliseconds()?,
        "max.block.ms" => config.metadata_timeout = property.milliseconds()?,
        "metadata.max.age.ms" | "topic.metadata.refresh.interval.ms" => {
            config.metadata_age_max = property.milliseconds()?;
        }
        "allow.auto.create.topics" => config.auto_create_topics = property.boolean()?,
        "compression.type" | "compression.codec" => {
            config.compression = Compression::parse(&property.value)
                .ok_or_else(|| property.wrong("none, gzip, snappy, lz4 or zstd"))?;
        }
        // −1 is librdkafka's "the codec's own default".
        "compression.level" => {
            config.compression_level = Some(property.number()?).filter(|level| *level != -1)
        }
        "retry.backoff.ms" => config.retry_backoff = property.milliseconds()?,
        "retry.backoff.max.ms" => config.retry_backoff_max = property.milliseconds()?,
        "partitioner" => {
            config.partitioner = Partitioner::parse(&property.value)
                .ok_or_else(|| property.wrong("murmur2_random or consistent_random"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> Result<Config, String> {
        let property: Property = text.parse()?;
        let mut config = Config::default();
        match apply_to_producer(&property, &mut config) {
            Ok(true) => Ok(config),
            Ok(false) => match is_harmless(&property) {
                Ok(true) => Ok(config),
                Ok(false) => Err(message(property.unknown())),
                Err(stop) => Err(message(stop)),
            },
            Err(stop) => Err(message(stop)),
        }
    }

    fn message(stop: Stop) -> String {
        match stop {
            Stop::Usage(message) | Stop::Failed(message) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn properties_of_both_families_set_their_counterparts() {
        let ms = Duration::from_millis;
        assert_eq!(apply("acks=1").unwrap().acks, Acks::Leader);
        assert_eq!(apply("request.required.acks=-1").unwrap().acks, Acks::All);
        assert_eq!(apply("enable.idempotence=false").unwrap().idempotence, Some(false));
        assert_eq!(apply("linger.ms=0.5").unwrap().linger, Linger::Fixed(Duration::from_micros(500)));
        assert_eq!(apply("queue.buffering.max.ms=5").unwrap().linger, Linger::Fixed(ms(5)));
        assert_eq!(apply("queue.buffering.max.kbytes=64").unwrap().buffer_memory, 65_536);
        assert_eq!(apply("batch.size = 16384").unwrap().batch_size, 16_384);
        assert_eq!(apply("message.timeout.ms=300000").unwrap().delivery_timeout, ms(300_000));
        assert_eq!(apply("compression.codec=zstd").unwrap().compression, Compression::Zstd);
        assert_eq!(apply("compression.level=-1").unwrap().compression_level, None);
        assert_eq!(
            apply("partitioner=consistent_random").unwrap().partitioner,
            Partitioner::ConsistentRandom
        );
        for harmless in [
            "security.protocol=PLAINTEXT",
            "key.serializer=org.apache.kafka.common.serialization.StringSerializer",
            "value.serializer=ByteArraySerializer",
            "retries=2147483647",
        ] {
            assert!(apply(harmless).is_ok(), "{harmless}");
        }
    }

    #[test]
    fn what_has_no_counterpart_or_makes_no_sense_is_refused_by_name() {
        for (text, expected) in [
            (
                "statistics.interval.ms=1000",
                "property statistics.interval.ms is refused: it has no counterpart",
            ),
            ("ssl.ca.location=/etc/ca.pem", "ssl.ca.location is refused: TLS and SASL are not there yet"),
            ("security.protocol=SASL_SSL", "TLS and SASL"),
            ("sasl.jaas.config=secret", "sasl.jaas.config is refused: TLS and SASL"),
            ("transactional.id=one", "transactional.id is refused: transactions"),
            ("retries=3", "retries is refused: a record is sent again until delivery.timeout.ms"),
            ("value.serializer=io.confluent.KafkaAvroSerializer", "no counterpart"),
            ("acks=2", "acks is '2', expected 0, 1, all or -1"),
            ("batch.size=big", "expected a whole number"),
            ("linger.ms=-1", "expected a number of milliseconds"),
            ("enable.idempotence=maybe", "expected true or false"),
            ("acks", "'acks' is not KEY=VALUE"),
            ("=1", "is not KEY=VALUE"),
        ] {
            let error = apply(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_slip_is_told_from_something_else() {
        for (key, expected) in [
            ("linger.msec", Some("linger.ms")),
            ("bootstrap.server", Some("bootstrap.servers")),
            ("ack", Some("acks")),
            ("compresion.type", Some("compression.type")),
            ("statistics.interval.ms", None),
            ("max.poll.records", None),
            ("x", None),
        ] {
            assert_eq!(nearest(key), expected, "{key}");
        }
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
        let error = message(Property::from_str("linger.msec=5").unwrap().unknown());
        assert!(
            error.ends_with("linger.msec is refused: it has no counterpart here; is linger.ms meant?"),
            "{error}"
        );
        for key in KNOWN {
            let property = Property::from_str(&format!("{key}=1")).unwrap();
            let known = apply_to_connection(&property, &mut ConnectionSettings::default());
            // What is known refuses its value, if anything.
            let known = matches!(known, Ok(true) | Err(_))
                || matches!(apply_to_producer(&property, &mut Config::default()), Ok(true) | Err(_));
            assert!(known || key == "security.protocol", "{key}");
        }
    }

    #[test]
    fn a_file_of_properties_names_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.properties");
        let write = |text: &str| {
            use std::io::Write as _;
            #[expect(clippy::disallowed_types, reason = "a test's own file")]
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        write("# comment\n\n! another\nbootstrap.servers = a:1, b:2\nacks=all\n");
        let all = read_file(&path).unwrap();
        let mut settings = ConnectionSettings::default();
        assert!(apply_to_connection(&all[0], &mut settings).unwrap());
        assert_eq!(settings.bootstrap_servers, ["a:1".into(), "b:2".into()]);
        assert_eq!(all[1].found, format!("{}:5", path.display()));
        write("acks=all\nnonsense\n");
        let error = message(read_file(&path).unwrap_err());
        assert!(error.ends_with("client.properties:2: 'nonsense' is not KEY=VALUE"), "{error}");
        let error = message(read_file(&dir.path().join("missing")).unwrap_err());
        assert!(error.contains("--command-config"), "{error}");
    }
}
