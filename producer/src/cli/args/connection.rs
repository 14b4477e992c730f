//! Flags about reaching brokers, common to all subcommands.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gapless_common::units::parse_duration;
use gapless_producer::Config;

use super::properties::{self, Property};
use crate::cli::exit::Stop;

/// Where the brokers are and how long to wait for them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionFlags {
    /// Brokers to ask first, separated by commas [default: 127.0.0.1:9092]
    #[arg(long, env = "GAPLESS_BOOTSTRAP_SERVER", value_name = "HOST:PORT", value_delimiter = ',')]
    pub bootstrap_server: Option<Vec<String>>,

    /// What the brokers' logs call this program [default: gapless-producer]
    #[arg(long, env = "GAPLESS_CLIENT_ID", value_name = "NAME")]
    pub client_id: Option<String>,

    /// How long opening a connection may take [default: 5s]
    #[arg(long, env = "GAPLESS_CONNECT_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub connect_timeout: Option<Duration>,

    /// How long one request may go without an answer [default: 30s]
    #[arg(long, env = "GAPLESS_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    pub request_timeout: Option<Duration>,

    /// A property by its librdkafka or Kafka name; flags go before it. May be repeated
    #[arg(
        short = 'X',
        long,
        env = "GAPLESS_COMMAND_PROPERTY",
        hide_env_values = true,
        value_name = "KEY=VALUE"
    )]
    pub command_property: Vec<Property>,

    /// A file of such properties, as Java or librdkafka reads it; -X goes before it
    #[arg(long, env = "GAPLESS_COMMAND_CONFIG", value_name = "FILE")]
    pub command_config: Option<PathBuf>,
}

/// The same, settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    pub bootstrap_servers: Vec<Arc<str>>,
    pub client_id: Arc<str>,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl ConnectionSettings {
    /// Those that a producer's settings hold.
    pub fn of(config: &Config) -> Self {
        Self {
            bootstrap_servers: config.bootstrap_servers.clone(),
            client_id: Arc::clone(&config.client_id),
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
        }
    }
}

impl ConnectionFlags {
    /// All properties, the file's first: later ones go before earlier ones.
    pub fn properties(&self) -> Result<Vec<Property>, Stop> {
        let mut all = match &self.command_config {
            Some(path) => properties::read_file(path)?,
            None => Vec::new(),
        };
        all.extend(self.command_property.iter().cloned());
        Ok(all)
    }

    /// For a command that only needs a connection.
    pub fn settle(&self) -> Result<ConnectionSettings, Stop> {
        let mut settings = ConnectionSettings::default();
        for property in self.properties()? {
            let known = properties::apply_to_connection(&property, &mut settings)?;
            if !known && !properties::is_harmless(&property)? {
                return Err(property.unknown());
            }
        }
        self.apply(&mut settings);
        Ok(settings)
    }

    /// Flags over whatever is there.
    pub fn apply(&self, settings: &mut ConnectionSettings) {
        if let Some(servers) = &self.bootstrap_server {
            settings.bootstrap_servers = servers.iter().map(|server| server.trim().into()).collect();
        }
        if let Some(client_id) = &self.client_id {
            settings.client_id = client_id.as_str().into();
        }
        if let Some(timeout) = self.connect_timeout {
            settings.connect_timeout = timeout;
        }
        if let Some(timeout) = self.request_timeout {
            settings.request_timeout = timeout;
        }
    }
}
