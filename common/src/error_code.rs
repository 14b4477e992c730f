//! Kafka's error codes (`org.apache.kafka.common.protocol.Errors`), as far as this project sends, expects or names them.

use std::fmt;

macro_rules! error_codes {
    ($($code:literal $name:ident $kafka:literal $kind:ident,)*) => {
        /// An error as it travels: a number whose meaning Kafka fixed. Unknown numbers are kept as they came.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct ErrorCode(pub i16);

        #[expect(missing_docs, reason = "Kafka's own names say what they are")]
        impl ErrorCode {
            $(pub const $name: Self = Self($code);)*

            /// Every code that has a name here.
            pub const KNOWN: &'static [Self] = &[$(Self($code)),*];

            /// Kafka's name, as its documentation and other clients print it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 { $($code => $kafka,)* _ => "UNRECOGNIZED_ERROR" }
            }

            const fn kind(self) -> Kind {
                match self.0 { $($code => Kind::$kind,)* _ => Kind::Final }
            }
        }
    };
}

enum Kind {
    Success,
    Retried,
    Final,
}

error_codes! {
    -1 UNKNOWN_SERVER_ERROR "UNKNOWN_SERVER_ERROR" Final,
    0 NONE "NONE" Success,
    1 OFFSET_OUT_OF_RANGE "OFFSET_OUT_OF_RANGE" Final,
    2 CORRUPT_MESSAGE "CORRUPT_MESSAGE" Retried,
    3 UNKNOWN_TOPIC_OR_PARTITION "UNKNOWN_TOPIC_OR_PARTITION" Retried,
    5 LEADER_NOT_AVAILABLE "LEADER_NOT_AVAILABLE" Retried,
    6 NOT_LEADER_OR_FOLLOWER "NOT_LEADER_OR_FOLLOWER" Retried,
    7 REQUEST_TIMED_OUT "REQUEST_TIMED_OUT" Retried,
    8 BROKER_NOT_AVAILABLE "BROKER_NOT_AVAILABLE" Final,
    10 MESSAGE_TOO_LARGE "MESSAGE_TOO_LARGE" Final,
    13 NETWORK_EXCEPTION "NETWORK_EXCEPTION" Retried,
    14 COORDINATOR_LOAD_IN_PROGRESS "COORDINATOR_LOAD_IN_PROGRESS" Retried,
    15 COORDINATOR_NOT_AVAILABLE "COORDINATOR_NOT_AVAILABLE" Retried,
    16 NOT_COORDINATOR "NOT_COORDINATOR" Retried,
    17 INVALID_TOPIC_EXCEPTION "INVALID_TOPIC_EXCEPTION" Final,
    18 RECORD_LIST_TOO_LARGE "RECORD_LIST_TOO_LARGE" Final,
    19 NOT_ENOUGH_REPLICAS "NOT_ENOUGH_REPLICAS" Retried,
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND "NOT_ENOUGH_REPLICAS_AFTER_APPEND" Retried,
    21 INVALID_REQUIRED_ACKS "INVALID_REQUIRED_ACKS" Final,
    29 TOPIC_AUTHORIZATION_FAILED "TOPIC_AUTHORIZATION_FAILED" Final,
    31 CLUSTER_AUTHORIZATION_FAILED "CLUSTER_AUTHORIZATION_FAILED" Final,
    32 INVALID_TIMESTAMP "INVALID_TIMESTAMP" Final,
    35 UNSUPPORTED_VERSION "UNSUPPORTED_VERSION" Final,
    36 TOPIC_ALREADY_EXISTS "TOPIC_ALREADY_EXISTS" Final,
    37 INVALID_PARTITIONS "INVALID_PARTITIONS" Final,
    38 INVALID_REPLICATION_FACTOR "INVALID_REPLICATION_FACTOR" Final,
    39 INVALID_REPLICA_ASSIGNMENT "INVALID_REPLICA_ASSIGNMENT" Final,
    40 INVALID_CONFIG "INVALID_CONFIG" Final,
    42 INVALID_REQUEST "INVALID_REQUEST" Final,
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT "UNSUPPORTED_FOR_MESSAGE_FORMAT" Final,
    44 POLICY_VIOLATION "POLICY_VIOLATION" Final,
    45 OUT_OF_ORDER_SEQUENCE_NUMBER "OUT_OF_ORDER_SEQUENCE_NUMBER" Final,
    46 DUPLICATE_SEQUENCE_NUMBER "DUPLICATE_SEQUENCE_NUMBER" Final,
    47 INVALID_PRODUCER_EPOCH "INVALID_PRODUCER_EPOCH" Final,
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" Final,
    56 KAFKA_STORAGE_ERROR "KAFKA_STORAGE_ERROR" Retried,
    59 UNKNOWN_PRODUCER_ID "UNKNOWN_PRODUCER_ID" Final,
    70 FETCH_SESSION_ID_NOT_FOUND "FETCH_SESSION_ID_NOT_FOUND" Final,
    71 INVALID_FETCH_SESSION_EPOCH "INVALID_FETCH_SESSION_EPOCH" Final,
    74 FENCED_LEADER_EPOCH "FENCED_LEADER_EPOCH" Retried,
    75 UNKNOWN_LEADER_EPOCH "UNKNOWN_LEADER_EPOCH" Retried,
    76 UNSUPPORTED_COMPRESSION_TYPE "UNSUPPORTED_COMPRESSION_TYPE" Final,
    87 INVALID_RECORD "INVALID_RECORD" Final,
    89 THROTTLING_QUOTA_EXCEEDED "THROTTLING_QUOTA_EXCEEDED" Retried,
    90 PRODUCER_FENCED "PRODUCER_FENCED" Final,
    100 UNKNOWN_TOPIC_ID "UNKNOWN_TOPIC_ID" Retried,
    103 INCONSISTENT_TOPIC_ID "INCONSISTENT_TOPIC_ID" Final,
    114 MISMATCHED_ENDPOINT_TYPE "MISMATCHED_ENDPOINT_TYPE" Final,
    115 UNSUPPORTED_ENDPOINT_TYPE "UNSUPPORTED_ENDPOINT_TYPE" Final,
}

impl ErrorCode {
    /// No error.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// May be tried again, with backoff, inside the delivery timeout. What is not is final for its record.
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        matches!(self.kind(), Kind::Retried)
    }

    /// A refusal after which the batch may have been written all the same: 7 and 20 come after the append, and 56 when
    /// the flush of what was appended failed.
    #[must_use]
    pub const fn may_have_been_written(self) -> bool {
        matches!(
            self,
            Self::REQUEST_TIMED_OUT | Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND | Self::KAFKA_STORAGE_ERROR
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_that_clients_retry_are_those_of_the_protocol_page() {
        let retried: Vec<i16> =
            ErrorCode::KNOWN.iter().filter(|code| code.is_retriable()).map(|code| code.0).collect();
        assert_eq!(retried, [2, 3, 5, 6, 7, 13, 14, 15, 16, 19, 20, 56, 74, 75, 89, 100]);
    }

    #[test]
    fn a_code_prints_its_name_and_number() {
        assert_eq!(ErrorCode(45).to_string(), "OUT_OF_ORDER_SEQUENCE_NUMBER (45)");
        assert_eq!(ErrorCode(999).to_string(), "UNRECOGNIZED_ERROR (999)");
    }
}
