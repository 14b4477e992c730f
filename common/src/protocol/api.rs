//! The APIs served here: key, versions, and from which version on they are flexible (KIP-482).

use std::fmt;
use std::ops::RangeInclusive;

macro_rules! apis {
    ($($name:ident = $key:literal, $first:literal..=$last:literal, flexible $flexible:literal;)*) => {
        /// What a request asks for.
        #[expect(missing_docs, reason = "Kafka's own names say what they are")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey { $($name = $key,)* }

        impl ApiKey {
            /// Every API of this codec, by ascending key.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `None` for an API that is not served here.
            #[must_use]
            pub const fn from_i16(key: i16) -> Option<Self> {
                match key { $($key => Some(Self::$name),)* _ => None }
            }

            /// The number that travels.
            #[must_use]
            pub const fn to_i16(self) -> i16 {
                match self { $(Self::$name => $key,)* }
            }

            /// The name as Kafka spells it; also the metrics' label.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The versions that this codec reads and writes, requests and responses alike.
            #[must_use]
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self { $(Self::$name => $first..=$last,)* }
            }

            /// From this version on lengths are compact and structures end with tagged fields.
            #[must_use]
            pub const fn first_flexible(self) -> i16 {
                match self { $(Self::$name => $flexible,)* }
            }
        }
    };
}

// Each file under `messages` says what changed from version to version.
apis! {
    Produce = 0, 3..=13, flexible 9;
    Fetch = 1, 4..=17, flexible 12;
    ListOffsets = 2, 1..=10, flexible 6;
    Metadata = 3, 0..=12, flexible 9;
    FindCoordinator = 10, 0..=6, flexible 3;
    ApiVersions = 18, 0..=4, flexible 3;
    CreateTopics = 19, 2..=7, flexible 5;
    DeleteTopics = 20, 1..=6, flexible 4;
    DeleteRecords = 21, 0..=2, flexible 2;
    InitProducerId = 22, 0..=5, flexible 2;
    OffsetForLeaderEpoch = 23, 2..=4, flexible 4;
    DescribeConfigs = 32, 1..=4, flexible 4;
    DescribeLogDirs = 35, 1..=4, flexible 2;
    CreatePartitions = 37, 0..=3, flexible 2;
    DescribeCluster = 60, 0..=2, flexible 0;
}

impl ApiKey {
    /// Whether the codec reads and writes this version.
    #[must_use]
    pub const fn serves(self, version: i16) -> bool {
        let versions = self.versions();
        *versions.start() <= version && version <= *versions.end()
    }

    /// Compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    /// 2 (with tagged fields) for flexible versions, else 1.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// 1 (with tagged fields) for flexible versions, else 0. ApiVersions stays at 0: a client must be able to read the
    /// answer to a version that the broker does not know (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Self::ApiVersions) { 1 } else { 0 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::ApiKey;

    #[test]
    fn keys_ascend_and_read_back() {
        let keys: Vec<i16> = ApiKey::ALL.iter().map(|api| api.to_i16()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_i16(api.to_i16()), Some(*api));
            assert!(api.serves(*api.versions().start()) && api.serves(*api.versions().end()));
        }
        assert_eq!(ApiKey::from_i16(11), None);
        assert_eq!(ApiKey::from_i16(-1), None);
    }

    #[test]
    fn header_versions() {
        let table = [
            (ApiKey::Produce, 8, 1, 0),
            (ApiKey::Produce, 9, 2, 1),
            (ApiKey::ApiVersions, 2, 1, 0),
            (ApiKey::ApiVersions, 3, 2, 0),
            (ApiKey::DescribeCluster, 0, 2, 1),
        ];
        for (api, version, request, response) in table {
            assert_eq!(api.request_header_version(version), request, "{api} v{version}");
            assert_eq!(api.response_header_version(version), response, "{api} v{version}");
        }
    }
}
