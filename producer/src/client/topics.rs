//! Topics: create, delete, describe.

use gapless_common::error_code::ErrorCode;
use gapless_common::protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig};
use gapless_common::protocol::messages::delete_topics::DeleteTopicState;
use gapless_common::protocol::messages::describe_configs::DescribeConfigsResource;
use gapless_common::protocol::messages::{CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest};
use gapless_common::protocol::{ApiKey, Text};

use super::{Client, ClientError, ask, said, version};

/// `ConfigResource.Type.TOPIC`.
const RESOURCE_TOPIC: i8 = 2;

/// A topic to be.
#[derive(Debug, Clone)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    /// `None`: the broker's default.
    pub partitions: Option<i32>,
    /// `None`: the broker's default.
    pub replication_factor: Option<i16>,
    pub settings: &'a [(String, String)],
}

/// One setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    pub value: Option<String>,
    /// Set for this topic, not inherited.
    pub is_own: bool,
}

impl Client {
    /// Creates one topic.
    pub async fn create_topic(&mut self, topic: &NewTopic<'_>) -> Result<(), ClientError> {
        let setting = |(name, value): &(String, String)| CreatableTopicConfig {
            name: Text::from(name.as_str()),
            value: Some(Text::from(value.as_str())),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: Text::from(topic.name),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                configs: topic.settings.iter().map(setting).collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: self.timeout_ms(),
            ..CreateTopicsRequest::default()
        };
        let controller = self.controller().await?;
        let answer = ask(&controller, request).await?;
        let result = answer.topics.iter().find(|result| result.name == topic.name).map(|result| {
            let message = said(result.error_message.as_ref());
            (result.error_code, message)
        });
        concluded(result, controller.address(), topic.name)
    }

    /// Deletes one topic.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let controller = self.controller().await?;
        let mut request =
            DeleteTopicsRequest { timeout_ms: self.timeout_ms(), ..DeleteTopicsRequest::default() };
        if version(&controller, ApiKey::DeleteTopics)? >= 6 {
            request.topics =
                vec![DeleteTopicState { name: Some(Text::from(name)), ..DeleteTopicState::default() }];
        } else {
            request.topic_names = vec![Text::from(name)];
        }
        let answer = ask(&controller, request).await?;
        let result =
            answer.responses.iter().find(|result| result.name.as_deref() == Some(name)).map(|result| {
                let message = said(result.error_message.as_ref());
                (result.error_code, message)
            });
        concluded(result, controller.address(), name)
    }

    /// All settings of a topic.
    pub async fn settings(&mut self, name: &str) -> Result<Vec<Setting>, ClientError> {
        /// `DescribeConfigsResponse.ConfigSource.TOPIC_CONFIG`.
        const SET_FOR_TOPIC: i8 = 1;

        let resource = DescribeConfigsResource {
            resource_type: RESOURCE_TOPIC,
            resource_name: Text::from(name),
            configuration_keys: None,
        };
        let request =
            DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        let broker = self.controller().await?;
        let answer = ask(&broker, request).await?;
        let found = answer.results.into_iter().find(|result| result.resource_name == name);
        let result = found.as_ref().map(|result| (result.error_code, said(result.error_message.as_ref())));
        concluded(result, broker.address(), name)?;
        let settings = found.into_iter().flat_map(|result| result.configs);
        Ok(settings
            .map(|setting| Setting {
                name: setting.name.to_string(),
                value: setting.value.map(|value| value.to_string()),
                is_own: setting.config_source == SET_FOR_TOPIC,
            })
            .collect())
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.settings.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

fn concluded(
    result: Option<(ErrorCode, Option<String>)>,
    address: &str,
    topic: &str,
) -> Result<(), ClientError> {
    let what = format!("topic {topic}");
    match result {
        None => Err(ClientError::NoAnswer { address: address.to_owned(), what }),
        Some((code, _)) if code.is_ok() => Ok(()),
        Some((code, message)) => Err(ClientError::Refused { what, code, message }),
    }
}
