//! Who leads what, and where brokers are reached: kept by the task that asks, and by senders that are told while they send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gapless_common::protocol::messages::MetadataResponse;
use gapless_common::protocol::messages::metadata::MetadataResponseTopic;
use gapless_common::protocol::messages::produce::NodeEndpoint;

use super::leaders::{Hint, Leader, Leaders, address, addresses};
use crate::sender::{self, Link};
use crate::shared::Shared;

/// What is known of the cluster.
#[derive(Default)]
pub(crate) struct Directory(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    leaders: Leaders,
    addresses: BTreeMap<i32, Arc<str>>,
}

impl Directory {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over where the brokers are.
    pub(super) fn learn_addresses(&self, response: &MetadataResponse) {
        self.entries().addresses = addresses(response);
    }

    /// Takes over who leads a topic's partitions 0, 1, …
    pub(super) fn learn(&self, name: &Arc<str>, topic: &MetadataResponseTopic) -> Vec<Leader> {
        self.entries().leaders.learn(name, topic)
    }

    pub(super) fn address_of(&self, broker: i32) -> Option<Arc<str>> {
        self.entries().addresses.get(&broker).cloned()
    }

    pub(super) fn all_addresses(&self) -> Vec<Arc<str>> {
        self.entries().addresses.values().cloned().collect()
    }

    /// The broker to turn to after this hint, if it is to be believed. `endpoints`: where the brokers named in the same
    /// answer are reached.
    pub(crate) fn believe(&self, hint: &Hint<'_>, endpoints: &[NodeEndpoint]) -> Option<i32> {
        let mut entries = self.entries();
        let Entries { leaders, addresses } = &mut *entries;
        if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.node_id == hint.leader) {
            addresses.insert(endpoint.node_id, address(endpoint.host.as_str(), endpoint.port));
        }
        leaders.believe(hint, addresses)
    }
}

/// The link to a broker; with its task, if it is a new one.
pub(crate) fn link(shared: &Arc<Shared>, broker: i32) -> Arc<Link> {
    let (link, is_new) = shared.link(Some(broker));
    if let Some(address) = shared.directory.address_of(broker) {
        link.set_address(&address);
    }
    if is_new {
        shared.seams.spawner.spawn(sender::run(Arc::clone(shared), Arc::clone(&link)));
    }
    link
}
