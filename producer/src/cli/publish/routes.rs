//! Which topic a record goes to.

use std::collections::BTreeMap;

use gapless_producer::{Producer, Topic};

use super::creation::Creation;
use crate::cli::args::PublishArgs;
use crate::cli::exit::Stop;

/// Topics of one run. Each costs metadata and an open batch a partition, and a field with as many values as there are records
/// is a mistake.
pub const TOPICS_MAX: usize = 1000;
/// Kafka's longest name (`org.apache.kafka.common.internals.Topic`).
const NAME_LENGTH_MAX: usize = 249;

/// Topics by name, as they come up.
pub struct Routes<'a> {
    producer: &'a Producer,
    topics: Vec<Topic>,
    by_name: BTreeMap<String, usize>,
    /// The one of --topic.
    common: Option<usize>,
    creation: Option<Creation>,
}

/// Why there is no topic for a record.
pub enum NoRoute {
    /// The record is at fault.
    Record(String),
    /// The run cannot go on.
    Run(String),
}

impl<'a> Routes<'a> {
    /// With the topic of `--topic`, if there is one.
    pub async fn new(
        producer: &'a Producer,
        args: &PublishArgs,
        creation: Option<Creation>,
    ) -> Result<Self, Stop> {
        let mut routes =
            Self { producer, topics: Vec::new(), by_name: BTreeMap::new(), common: None, creation };
        if let Some(name) = &args.topic {
            let common = routes.add(name).await.map_err(|no| match no {
                NoRoute::Record(why) | NoRoute::Run(why) => Stop::Failed(why),
            })?;
            routes.common = Some(common);
        }
        Ok(routes)
    }

    /// The number of the topic with this name.
    pub async fn find(&mut self, name: Option<&str>) -> Result<usize, NoRoute> {
        match (name.filter(|name| !name.is_empty()), self.common) {
            (None, Some(common)) => Ok(common),
            (None, None) => Err(NoRoute::Record(NO_TOPIC.to_owned())),
            (Some(name), _) => match self.by_name.get(name) {
                Some(known) => Ok(*known),
                None => self.add(name).await,
            },
        }
    }

    /// The topic of records that name none.
    pub fn common(&self) -> Option<(usize, &Topic)> {
        self.common.and_then(|number| Some((number, self.topic(number)?)))
    }

    pub fn topic(&self, number: usize) -> Option<&Topic> {
        self.topics.get(number)
    }

    /// In the order in which they came up.
    pub fn names(&self) -> Vec<String> {
        self.topics.iter().map(|topic| topic.name().to_owned()).collect()
    }

    async fn add(&mut self, name: &str) -> Result<usize, NoRoute> {
        if let Some(why) = refusal(name) {
            return Err(NoRoute::Record(why));
        }
        if self.topics.len() == TOPICS_MAX {
            return Err(NoRoute::Record(one_too_many(name)));
        }
        if let Some(creation) = &mut self.creation {
            creation.create(name).await.map_err(NoRoute::Run)?;
        }
        let number = self.topics.len();
        self.topics.push(self.producer.topic(name));
        self.by_name.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// Why a record without a topic is none.
pub const NO_TOPIC: &str = "the record names no topic, and there is no --topic for such";

/// Why there cannot be a topic after [`TOPICS_MAX`].
pub fn one_too_many(name: &str) -> String {
    format!(
        "topic {name} would be one more than the {TOPICS_MAX} that one run may publish to; is --topic-field the right field?"
    )
}

/// Why no topic can have this name, by Kafka's rules.
pub fn refusal(name: &str) -> Option<String> {
    let shown: String = name.chars().take(NAME_LENGTH_MAX).collect();
    if name.is_empty() || name == "." || name == ".." {
        return Some(format!("'{name}' is no name for a topic"));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Some(format!(
            "'{shown}…' has {} bytes, and a topic's name at most {NAME_LENGTH_MAX}",
            name.len()
        ));
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let bad = name.chars().find(|c| !is_good(*c))?;
    Some(format!(
        "'{shown}' is no name for a topic: {bad:?} is not among ASCII letters, digits, '.', '_' and '-'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        let long = "x".repeat(250);
        for (name, expected) in [
            ("events", None),
            ("Events-1.v2_x", None),
            ("...", None),
            (&long[..249], None),
            (&long, Some("has 250 bytes")),
            ("", Some("no name")),
            (".", Some("no name")),
            ("..", Some("no name")),
            ("a/b", Some("'/' is not among")),
            ("käse", Some("'ä' is not among")),
            ("a\n", Some("'\\n' is not among")),
        ] {
            let refusal = refusal(name);
            match expected {
                None => assert_eq!(refusal, None, "{name}"),
                Some(why) => assert!(refusal.as_ref().is_some_and(|told| told.contains(why)), "{refusal:?}"),
            }
        }
    }
}
