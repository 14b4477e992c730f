//! What a sender's task and the rest of the producer share: who belongs to it, who is ready, how its connection fares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gapless_common::channel::Channel;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::accumulator::{Entry, Partition};
use crate::error::Attempt;

/// One broker, as a place to send to; or nowhere, for partitions that have no leader.
pub(crate) struct Link {
    /// The broker's id; `None`: nowhere.
    pub(crate) broker: Option<i32>,
    inbox: Mutex<Vec<(Arc<Partition>, Entry)>>,
    members: Mutex<Members>,
    outlook: Mutex<Outlook>,
    bell: Notify,
}

#[derive(Default)]
struct Members {
    list: Vec<Arc<Partition>>,
    /// Deadlines may be closer than the task knows: someone joined, or settles.
    changed: bool,
}

/// How the connection fares.
#[derive(Default)]
struct Outlook {
    address: Option<Arc<str>>,
    channel: Option<Channel>,
    was_connected: bool,
    /// The last failed attempt to connect and when the first of them in a row was, or why the connection was lost.
    failing: Option<(Instant, Attempt)>,
}

impl Link {
    pub(crate) fn new(broker: Option<i32>) -> Arc<Self> {
        Arc::new(Self {
            broker,
            inbox: Mutex::default(),
            members: Mutex::default(),
            outlook: Mutex::default(),
            bell: Notify::new(),
        })
    }

    /// The broker's id; -1: nowhere.
    pub(crate) fn id(&self) -> i32 {
        self.broker.unwrap_or(-1)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outlook(&self) -> MutexGuard<'_, Outlook> {
        self.outlook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a partition in the queue and wakes the task.
    pub(crate) fn list(&self, partition: Arc<Partition>, entry: Entry) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push((partition, entry));
        self.ring();
    }

    /// What was listed since the last time. `spare` becomes the next list.
    pub(super) fn take_inbox(&self, spare: &mut Vec<(Arc<Partition>, Entry)>) {
        std::mem::swap(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner), spare);
    }

    /// Wakes the task.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The task keeps this partition's deadlines from now on.
    pub(crate) fn join(&self, partition: Arc<Partition>) {
        let mut members = self.members();
        members.list.push(partition);
        members.changed = true;
        drop(members);
        self.ring();
    }

    /// A deadline may be closer than the task knows.
    pub(crate) fn recheck(&self) {
        self.members().changed = true;
        self.ring();
    }

    pub(crate) fn leave(&self, partition: &Partition) {
        self.members().list.retain(|member| !std::ptr::eq(Arc::as_ptr(member), partition));
    }

    pub(super) fn current_members(&self) -> Vec<Arc<Partition>> {
        self.members().list.clone()
    }

    pub(super) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.members().changed)
    }

    /// Nobody sends through it.
    pub(crate) fn is_unused(&self) -> bool {
        self.members().list.is_empty()
    }

    /// Metadata names the broker's address.
    pub(crate) fn set_address(&self, address: &Arc<str>) {
        let mut outlook = self.outlook();
        if outlook.address.as_ref() != Some(address) {
            outlook.address = Some(Arc::clone(address));
            // The old connection, if there is one, serves until it dies.
            drop(outlook);
            self.ring();
        }
    }

    pub(crate) fn address(&self) -> Option<Arc<str>> {
        self.outlook().address.clone()
    }

    /// The open connection, for requests that any broker answers.
    pub(crate) fn channel(&self) -> Option<Channel> {
        self.outlook().channel.clone().filter(|channel| !channel.is_dead())
    }

    /// A connection is open. True if it is not the first one.
    pub(super) fn connected(&self, channel: Channel) -> bool {
        let mut outlook = self.outlook();
        outlook.channel = Some(channel);
        outlook.failing = None;
        std::mem::replace(&mut outlook.was_connected, true)
    }

    /// The connection is gone.
    pub(super) fn disconnected(&self) {
        self.outlook().channel = None;
    }

    /// An attempt to connect failed.
    pub(super) fn failed(&self, attempt: Attempt) {
        let mut outlook = self.outlook();
        let since = outlook.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        outlook.failing = Some((since, attempt));
    }

    /// What stands in the way of its connection.
    pub(super) fn trouble(&self) -> Option<Arc<str>> {
        if self.broker.is_none() {
            return Some("the partition has no leader".into());
        }
        self.outlook().failing.as_ref().map(|(_, attempt)| Arc::clone(&attempt.cause))
    }

    /// It is tried in vain since then, and never was connected.
    pub(crate) fn never_reached(&self) -> Option<(Instant, Attempt)> {
        let outlook = self.outlook();
        if outlook.was_connected { None } else { outlook.failing.clone() }
    }
}
