//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! - 1: where a value comes from, and what it falls back to (KIP-226).
//! - 3: types and documentation (KIP-569).
//! - 4: flexible.

use crate::error_code::ErrorCode;
use crate::protocol::Text;

message! {
    /// Asks for configurations.
    request DescribeConfigsRequest (DescribeConfigs, answered by DescribeConfigsResponse) {
        /// Topics and brokers.
        resources: Vec<DescribeConfigsResource> [0..],
        /// Whether to tell what each setting falls back to.
        include_synonyms: bool [1..],
        /// Whether to tell what each setting is for.
        include_documentation: bool [3..],
    }
}

message! {
    /// A topic or broker.
    part DescribeConfigsResource {
        /// 2: a topic, 4: a broker (Kafka's `ConfigResource.Type`).
        resource_type: i8 [0..],
        /// The topic's name or the broker's id.
        resource_name: Text [0..],
        /// The settings wanted; null: all.
        configuration_keys: Option<Vec<Text>> [0.., nullable 0..] = Some(Vec::new()),
    }
}

message! {
    /// Configurations.
    response DescribeConfigsResponse (DescribeConfigs) {
        /// How long the broker held the request back for a quota, in milliseconds.
        throttle_time_ms: i32 [0..],
        /// By resource.
        results: Vec<DescribeConfigsResult> [0..],
    }
}

message! {
    /// The answer for a topic or broker.
    part DescribeConfigsResult {
        /// 0, or why it cannot be told about.
        error_code: ErrorCode [0..],
        /// The same in words.
        error_message: Option<Text> [0.., nullable 0..] = Some(Text::default()),
        /// 2: a topic, 4: a broker.
        resource_type: i8 [0..],
        /// The topic's name or the broker's id.
        resource_name: Text [0..],
        /// The settings.
        configs: Vec<DescribeConfigsResourceResult> [0..],
    }
}

message! {
    /// A setting.
    part DescribeConfigsResourceResult {
        /// Its name.
        name: Text [0..],
        /// Its value; null if it has none or it is a secret.
        value: Option<Text> [0.., nullable 0..] = Some(Text::default()),
        /// Whether it cannot be changed.
        read_only: bool [0..],
        /// Where the value comes from (Kafka's `DescribeConfigsResponse.ConfigSource`); −1: not known.
        config_source: i8 [1.., ignorable] = -1,
        /// Whether the value is a secret.
        is_sensitive: bool [0..],
        /// What it falls back to, in order.
        synonyms: Vec<DescribeConfigsSynonym> [1.., ignorable],
        /// Its type (Kafka's `DescribeConfigsResponse.ConfigType`); 0: not known.
        config_type: i8 [3.., ignorable],
        /// What it is for.
        documentation: Option<Text> [3.., nullable 0.., ignorable] = Some(Text::default()),
    }
}

message! {
    /// What a setting falls back to.
    part DescribeConfigsSynonym {
        /// Its name.
        name: Text [1..],
        /// Its value.
        value: Option<Text> [1.., nullable 0..] = Some(Text::default()),
        /// Where the value comes from.
        source: i8 [1..],
    }
}
