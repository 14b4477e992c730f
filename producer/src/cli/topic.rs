//! `topic list|create|describe|delete`.

use std::fmt::Write as _;
use std::process::ExitCode;

use gapless_common::error_code::ErrorCode;
use gapless_common::protocol::messages::metadata::MetadataResponseTopic;
use gapless_common::seam::Seams;
use serde::Serialize;

use super::args::{
    ConnectionFlags, CreateArgs, DeleteArgs, DescribeArgs, ListArgs, OutputFormat, TopicCommand,
};
use super::exit::{Stop, complain, with_causes};
use super::human;
use super::progress::waiting;
use super::result::print_text;
use super::signals::Signals;
use crate::client::{Client, ClientError, NewTopic, Setting, When, refused_topic};

/// One of the subcommands, until it is done or a signal comes.
pub async fn run(command: TopicCommand, seams: Seams, mut signals: Signals) -> Result<ExitCode, Stop> {
    let working = async {
        match command {
            TopicCommand::List(args) => list(args, seams).await,
            TopicCommand::Create(args) => create(args, seams).await,
            TopicCommand::Describe(args) => describe(args, seams).await,
            TopicCommand::Delete(args) => delete(args, seams).await,
        }
    };
    tokio::select! {
        biased;
        () = signals.reach(1) => Err(Stop::Interrupted),
        result = working => result,
    }
}

async fn connect(flags: &ConnectionFlags, seams: Seams) -> Result<Client, Stop> {
    let settings = flags.settle()?;
    let broker = settings.bootstrap_servers.join(", ");
    waiting(false, &broker, Client::connect(seams, settings)).await.map_err(|error| Stop::failed(&error))
}

fn json(value: &impl Serialize) -> Result<String, Stop> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Stop::failed(&error))?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    partitions: usize,
}

async fn list(args: ListArgs, seams: Seams) -> Result<ExitCode, Stop> {
    let mut client = connect(&args.connection, seams).await?;
    let mut topics = client.metadata(None).await.map_err(|error| Stop::failed(&error))?;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let listed = topics.iter().filter_map(|topic| {
        Some(Listed { name: topic.name.as_deref()?, partitions: topic.partitions.len() })
    });
    match args.output {
        OutputFormat::Text => {
            print_text(&listed.map(|topic| format!("{}\n", topic.name)).collect::<String>())?
        }
        OutputFormat::Json => print_text(&json(&listed.collect::<Vec<_>>())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says each failure, and goes on: one topic that exists does not keep the others from being made.
struct Outcome(bool);

impl Outcome {
    fn note(
        &mut self,
        result: Result<(), ClientError>,
        harmless: Option<ErrorCode>,
        done: &str,
    ) -> Result<(), Stop> {
        match result {
            Ok(()) => print_text(&format!("{done}\n")),
            Err(ClientError::Refused { code, .. }) if Some(code) == harmless => Ok(()),
            Err(error) => {
                complain(format!("error: {}", with_causes(&error)));
                self.0 = false;
                Ok(())
            }
        }
    }

    fn exit_code(&self) -> ExitCode {
        if self.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

async fn create(args: CreateArgs, seams: Seams) -> Result<ExitCode, Stop> {
    let mut client = connect(&args.connection, seams).await?;
    let mut outcome = Outcome(true);
    for name in &args.topics {
        let topic = NewTopic {
            name,
            partitions: args.partitions,
            replication_factor: args.replication_factor,
            settings: &args.config,
        };
        let created = client.create_topic(&topic).await;
        let harmless = args.if_not_exists.then_some(ErrorCode::TOPIC_ALREADY_EXISTS);
        outcome.note(created, harmless, &format!("created {name}"))?;
    }
    Ok(outcome.exit_code())
}

async fn delete(args: DeleteArgs, seams: Seams) -> Result<ExitCode, Stop> {
    let mut client = connect(&args.connection, seams).await?;
    let mut outcome = Outcome(true);
    for name in &args.topics {
        let deleted = client.delete_topic(name).await;
        let harmless = args.if_exists.then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        outcome.note(deleted, harmless, &format!("deleted {name}"))?;
    }
    Ok(outcome.exit_code())
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    partitions: Vec<DescribedPartition>,
    settings: Vec<DescribedSetting>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    /// The first offset still there, and the next one to be written.
    earliest: Option<i64>,
    latest: Option<i64>,
}

#[derive(Serialize)]
struct DescribedSetting {
    name: String,
    value: Option<String>,
    /// Set for this topic; else the broker's default.
    own: bool,
}

async fn describe(args: DescribeArgs, seams: Seams) -> Result<ExitCode, Stop> {
    let mut client = connect(&args.connection, seams).await?;
    let wanted = (!args.topics.is_empty()).then_some(args.topics.as_slice());
    let mut topics = client.metadata(wanted).await.map_err(|error| Stop::failed(&error))?;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut outcome = Outcome(true);
    let mut described = Vec::new();
    for topic in topics {
        let name = topic.name.as_deref().unwrap_or_default().to_owned();
        if !topic.error_code.is_ok() {
            outcome.note(Err(refused_topic(&name, topic.error_code)), None, "")?;
            continue;
        }
        match describe_topic(&mut client, &topic, &name).await {
            Ok(one) => described.push(one),
            Err(error) => outcome.note(Err(error), None, "")?,
        }
    }
    match args.output {
        OutputFormat::Json => print_text(&json(&described)?)?,
        OutputFormat::Text => print_text(&described.iter().map(text).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(outcome.exit_code())
}

async fn describe_topic(
    client: &mut Client,
    topic: &MetadataResponseTopic,
    name: &str,
) -> Result<Described, ClientError> {
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for one in &topic.partitions {
        let (mut earliest, mut latest) = (None, None);
        if one.leader_id >= 0 {
            earliest = client.offset(name, one.partition_index, one.leader_id, When::Earliest).await?;
            latest = client.offset(name, one.partition_index, one.leader_id, When::Latest).await?;
        }
        partitions.push(DescribedPartition {
            partition: one.partition_index,
            leader: one.leader_id,
            leader_epoch: one.leader_epoch,
            replicas: one.replica_nodes.clone(),
            in_sync: one.isr_nodes.clone(),
            earliest,
            latest,
        });
    }
    partitions.sort_by_key(|one| one.partition);
    let settings = client.settings(name).await?.into_iter();
    let settings =
        settings.map(|Setting { name, value, is_own }| DescribedSetting { name, value, own: is_own });
    Ok(Described {
        name: name.to_owned(),
        id: topic.topic_id.to_string(),
        partitions,
        settings: settings.collect(),
    })
}

fn text(topic: &Described) -> String {
    let partitions = human::plural(topic.partitions.len() as u64, "partition");
    let mut text = format!("{}  id {}  {partitions}\n", topic.name, topic.id);
    let number = |offset: Option<i64>| offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "  {:>9}  {:>6}  {:>20}  {:>20}  replicas",
        "partition", "leader", "earliest", "latest"
    );
    for one in &topic.partitions {
        let replicas = one.replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let _ = writeln!(
            text,
            "  {:>9}  {:>6}  {:>20}  {:>20}  {replicas}",
            one.partition,
            one.leader,
            number(one.earliest),
            number(one.latest),
        );
    }
    for setting in &topic.settings {
        let own = if setting.own { "" } else { "  (default)" };
        let _ = writeln!(text, "  {} = {}{own}", setting.name, setting.value.as_deref().unwrap_or("null"));
    }
    text
}
