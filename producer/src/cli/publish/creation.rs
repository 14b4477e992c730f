//! `--create-topic`.

use gapless_common::error_code::ErrorCode;
use gapless_common::seam::Seams;

use crate::cli::args::{ConnectionSettings, PublishArgs};
use crate::cli::exit::{Stop, with_causes};
use crate::cli::human;
use crate::client::{Client, ClientError, NewTopic};

/// Creates topics as they come up.
pub struct Creation {
    client: Client,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    settings: Vec<(String, String)>,
}

impl Creation {
    /// `None` unless it was asked for.
    pub async fn of(
        args: &PublishArgs,
        connection: ConnectionSettings,
        seams: &Seams,
    ) -> Result<Option<Self>, Stop> {
        if !args.create_topic {
            return Ok(None);
        }
        let client =
            Client::connect(seams.clone(), connection).await.map_err(|error| Stop::failed(&error))?;
        Ok(Some(Self {
            client,
            partitions: args.topic_partitions,
            replication_factor: args.topic_replication_factor,
            settings: args.topic_config.clone(),
        }))
    }

    /// One that is there stays as it is, and must be what was asked for, as far as partitions go.
    pub async fn create(&mut self, name: &str) -> Result<(), String> {
        let topic = NewTopic {
            name,
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            settings: &self.settings,
        };
        let told = |error: ClientError| format!("--create-topic: {}", with_causes(&error));
        match self.client.create_topic(&topic).await {
            Ok(()) => return Ok(()),
            Err(ClientError::Refused { code: ErrorCode::TOPIC_ALREADY_EXISTS, .. }) => {}
            Err(error) => return Err(told(error)),
        }
        let Some(wanted) = self.partitions.and_then(|wanted| u64::try_from(wanted).ok()) else {
            return Ok(());
        };
        let there = self.client.topic(name).await.map_err(told)?.partitions.len() as u64;
        if there == wanted {
            return Ok(());
        }
        Err(format!(
            "--create-topic: topic {name} is there already, with {}, not {wanted}; leave --topic-partitions out to take it as it is",
            human::plural(there, "partition")
        ))
    }
}
