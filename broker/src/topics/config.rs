//! Configuration of a topic under Kafka's own names: what can be set, what it means here, and what is refused because
//! it could not be honoured.

use std::collections::BTreeMap;

use crate::{
    config::{Config, SEGMENT_MS_DEFAULT, TIMESTAMP_AFTER_MAX_MS_DEFAULT},
    log::retention::RetentionLimits,
};

/// Kafka's `ConfigDef.Type` numbers, as DescribeConfigs tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// True or false.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 64 bits.
    Long = 5,
    /// Several words.
    List = 7,
}

/// One name that a topic's configuration may hold.
pub struct ConfigKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Kafka's type.
    pub kind: ConfigType,
    /// What it does here.
    pub documentation: &'static str,
    set: fn(&mut TopicConfig, &str) -> Result<(), String>,
    get: fn(&TopicConfig) -> String,
}

/// The settings in force for a topic: the broker's defaults and over them what the topic was created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Bytes after which a new segment is begun.
    pub segment_bytes: u32,
    /// The largest record batch.
    pub max_message_bytes: u32,
    /// True: the broker stamps records with its own time.
    pub log_append_time: bool,
    /// How far ahead of the broker's clock a record's timestamp may be.
    pub timestamp_after_max_ms: i64,
    /// How long records are kept, by their timestamps; −1: for ever.
    pub retention_ms: i64,
    /// Bytes of each partition that are kept; −1: all.
    pub retention_bytes: i64,
    /// How long after its first record a segment is sealed although it is not full.
    pub segment_ms: i64,
}

/// Every name that is known, in the order in which tools list them.
pub const CONFIG_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "cleanup.policy",
        kind: ConfigType::List,
        documentation: "Only \"delete\": compaction is not served yet.",
        set: |_, value| only(value, "delete", "compaction is not served yet"),
        get: |_| "delete".into(),
    },
    ConfigKey {
        name: "compression.type",
        kind: ConfigType::String,
        documentation: "Only \"producer\": batches are stored as they came.",
        set: |_, value| only(value, "producer", "batches are stored as they came"),
        get: |_| "producer".into(),
    },
    ConfigKey {
        name: "max.message.bytes",
        kind: ConfigType::Int,
        documentation: "The largest record batch, in bytes.",
        set: |config, value| {
            config.max_message_bytes = number(value, 1, i64::from(i32::MAX))?;
            Ok(())
        },
        get: |config| config.max_message_bytes.to_string(),
    },
    ConfigKey {
        name: "message.timestamp.after.max.ms",
        kind: ConfigType::Long,
        documentation: "How far ahead of the broker's clock a record's timestamp may be, in milliseconds.",
        set: |config, value| {
            config.timestamp_after_max_ms = number(value, 0, i64::MAX)?;
            Ok(())
        },
        get: |config| config.timestamp_after_max_ms.to_string(),
    },
    ConfigKey {
        name: "message.timestamp.type",
        kind: ConfigType::String,
        documentation: "CreateTime: the producer's time; LogAppendTime: the broker's.",
        set: |config, value| {
            config.log_append_time = match value {
                "CreateTime" => false,
                "LogAppendTime" => true,
                _ => return Err("is neither CreateTime nor LogAppendTime".into()),
            };
            Ok(())
        },
        get: |config| if config.log_append_time { "LogAppendTime" } else { "CreateTime" }.into(),
    },
    ConfigKey {
        name: "min.insync.replicas",
        kind: ConfigType::Int,
        documentation: "Only 1: this broker stands alone.",
        set: |_, value| only(value, "1", "this broker stands alone"),
        get: |_| "1".into(),
    },
    ConfigKey {
        name: "retention.bytes",
        kind: ConfigType::Long,
        documentation: "Bytes of each partition that are kept; -1 keeps all.",
        set: |config, value| {
            config.retention_bytes = number(value, -1, i64::MAX)?;
            Ok(())
        },
        get: |config| config.retention_bytes.to_string(),
    },
    ConfigKey {
        name: "retention.ms",
        kind: ConfigType::Long,
        documentation: "How long records are kept, by their timestamps, in milliseconds; -1 keeps them for ever.",
        set: |config, value| {
            config.retention_ms = number(value, -1, i64::MAX)?;
            Ok(())
        },
        get: |config| config.retention_ms.to_string(),
    },
    ConfigKey {
        name: "segment.bytes",
        kind: ConfigType::Int,
        documentation: "Bytes after which a new segment of the log is begun.",
        set: |config, value| {
            // Kafka's own lower limit (1 MiB since KIP-1030) is its; ours keeps a segment larger than a batch's head.
            config.segment_bytes = number(value, 1024, i64::from(i32::MAX))?;
            Ok(())
        },
        get: |config| config.segment_bytes.to_string(),
    },
    ConfigKey {
        name: "segment.ms",
        kind: ConfigType::Long,
        documentation: "How long after it was begun a segment is sealed although it is not full, in milliseconds. Unlike in Apache Kafka not by the timestamps of its records, unless it was begun before the last start of the broker.",
        set: |config, value| {
            config.segment_ms = number(value, 1, i64::MAX)?;
            Ok(())
        },
        get: |config| config.segment_ms.to_string(),
    },
];

fn only(value: &str, served: &str, why: &str) -> Result<(), String> {
    if value == served { Ok(()) } else { Err(format!("can only be {served}: {why}")) }
}

fn number<T: TryFrom<i64>>(value: &str, min: i64, max: i64) -> Result<T, String> {
    value
        .parse::<i64>()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("is not a number within {min} and {max}"))
}

impl TopicConfig {
    /// What a topic without settings of its own gets.
    #[must_use]
    pub fn defaults(config: &Config) -> Self {
        Self {
            segment_bytes: config.segment_bytes,
            max_message_bytes: config.max_message_bytes,
            log_append_time: false,
            timestamp_after_max_ms: TIMESTAMP_AFTER_MAX_MS_DEFAULT,
            retention_ms: config.retention_ms,
            retention_bytes: config.retention_bytes,
            segment_ms: SEGMENT_MS_DEFAULT,
        }
    }

    /// The broker's defaults with `overrides` over them.
    ///
    /// # Errors
    /// A sentence that names the first setting that is unknown or cannot be honoured.
    pub fn with_overrides(config: &Config, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut result = Self::defaults(config);
        for (name, value) in overrides {
            let key = CONFIG_KEYS
                .iter()
                .find(|key| key.name == name)
                .ok_or_else(|| format!("the topic setting {name} is not known here"))?;
            (key.set)(&mut result, value).map_err(|why| format!("{name}={value} {why}"))?;
        }
        Ok(result)
    }

    /// What is kept.
    #[must_use]
    pub fn retention(&self) -> RetentionLimits {
        RetentionLimits {
            ms: (self.retention_ms >= 0).then_some(self.retention_ms),
            bytes: u64::try_from(self.retention_bytes).ok(),
            segment_ms: self.segment_ms,
        }
    }

    /// The value in force, as text.
    #[must_use]
    pub fn value_of(&self, key: &ConfigKey) -> String {
        (key.get)(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::with_overrides(
            &Config::default(),
            &BTreeMap::from([(name.to_owned(), value.to_owned())]),
        )
    }

    #[test]
    fn every_default_can_be_set_explicitly_and_changes_nothing() {
        let defaults = TopicConfig::defaults(&Config::default());
        for key in CONFIG_KEYS {
            assert_eq!(parse(key.name, &defaults.value_of(key)).as_ref(), Ok(&defaults), "{}", key.name);
        }
    }

    #[test]
    fn what_is_set_is_in_force() {
        assert_eq!(parse("segment.bytes", "4096").unwrap().segment_bytes, 4096);
        assert_eq!(parse("max.message.bytes", "77").unwrap().max_message_bytes, 77);
        assert!(parse("message.timestamp.type", "LogAppendTime").unwrap().log_append_time);
        assert_eq!(parse("message.timestamp.after.max.ms", "0").unwrap().timestamp_after_max_ms, 0);
        let day = RetentionLimits { ms: Some(86_400_000), bytes: None, segment_ms: SEGMENT_MS_DEFAULT };
        assert_eq!(parse("retention.ms", "86400000").unwrap().retention(), day);
        let megabyte = RetentionLimits { bytes: Some(1 << 20), ms: Some(7 * 86_400_000), ..day };
        assert_eq!(parse("retention.bytes", "1048576").unwrap().retention(), megabyte);
        assert_eq!(parse("retention.ms", "-1").unwrap().retention().ms, None);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("retention.ms", "-2"),
            ("retention.bytes", "1GiB"),
            ("segment.ms", "0"),
            ("segment.bytes", "12"),
            ("segment.bytes", "many"),
            ("max.message.bytes", "-1"),
            ("max.message.bytes", "4294967296"),
            ("message.timestamp.type", "Never"),
            ("no.such.setting", "1"),
        ] {
            let error = parse(name, value).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
