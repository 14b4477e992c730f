//! Which version of each API both ends serve.

use crate::protocol::ApiKey;
use crate::protocol::messages::ApiVersionsResponse;

/// The newest common version of each API, settled once when the channel opens.
#[derive(Debug, Clone, Default)]
pub(super) struct Versions(Vec<(ApiKey, i16)>);

impl Versions {
    /// What is left of the peer's offer; an API without a common version is left out.
    pub(super) fn from_offer(offer: &ApiVersionsResponse) -> Self {
        Self(
            offer
                .api_keys
                .iter()
                .filter_map(|theirs| {
                    let key = ApiKey::from_i16(theirs.api_key)?;
                    let newest = theirs.max_version.min(*key.versions().end());
                    (newest >= theirs.min_version.max(*key.versions().start())).then_some((key, newest))
                })
                .collect(),
        )
    }

    pub(super) fn of(&self, key: ApiKey) -> Option<i16> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, version)| *version)
    }
}
