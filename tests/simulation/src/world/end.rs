//! Everything is set right and has to come to rest; then the last reading, by a fresh broker, and the judgement.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use gapless_broker::log::Durability;
use gapless_common::{channel::Channel, error_code::ErrorCode, seam::Seams};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{DONE_WITHIN, SERVES_WITHIN, World};
use crate::admin::{self, HIGH_WATERMARK};
use crate::consumer::channel_config;
use crate::ledger::Place;
use crate::network::address_of;
use crate::oracle::{self, Image, Leave};
use crate::plan::{Ending, Kind, SHORT_LIVED};
use crate::reader::{Position, fetch};
use crate::server::SERVER;

/// Between setting right and the last words: what was under way is done or given up.
const SETTLE: Duration = Duration::from_millis(2_500);
/// How long consumers have to see the last words.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long a run with a damaged disk waits for producers.
const DAMAGED_DONE_WITHIN: Duration = Duration::from_secs(10);
/// The last reading, of a few megabytes.
const READ_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

impl World {
    /// Nothing is wrong any more: everything has to come to rest. False if it does not.
    pub(super) async fn set_right(&mut self) -> bool {
        tracing::info!("everything is set right");
        self.undo_all();
        if self.plan.takes_offline() || (self.random.below(4) == 0 && !self.plan.is_calm()) {
            // What went offline stays so until a restart.
            self.server.kill();
        }
        if !self.wait_for_broker().await {
            return false;
        }
        sleep(SETTLE).await;
        if let Some(topic) = self.plan.topics.iter().find(|topic| topic.name == SHORT_LIVED).cloned() {
            let seams = self.overseer_seams();
            let making = self.by_overseer(async move { admin::create(&seams, &topic).await });
            if timeout(SERVES_WITHIN, making).await.is_err() {
                self.fault(format!("{SHORT_LIVED} cannot be made though everything is well"));
                return false;
            }
        }
        if self.plan.kinds.contains(&Kind::DeleteRecords) && !self.delete_all().await {
            return false;
        }
        self.last_made = Some(Instant::now());
        self.closing.store(true, Ordering::Relaxed);
        let all_done = async {
            while !self.producers.iter().all(|program| program.sender.is_done()) {
                sleep(LOOK).await;
            }
        };
        if self.plan.damages() {
            // What is quarantined takes no records until somebody decides; whoever has some for it goes on trying.
            let _all_done = timeout(DAMAGED_DONE_WITHIN, all_done).await;
            // What it got through between the last readings would look lost in the first.
            for program in self.producers.iter().filter(|program| !program.sender.is_done()) {
                self.wires.killed(address_of(program.number));
                program.host.crash();
            }
        } else if timeout(DONE_WITHIN, all_done).await.is_err() {
            self.fault(format!("producers are not done {DONE_WITHIN:?} after everything was set right"));
            return false;
        }
        sleep(CATCH_UP).await;
        self.readers_closing.store(true, Ordering::Relaxed);
        true
    }

    /// All records are deleted, and perhaps the broker killed, before producers say their last words: whoever was idle has
    /// nothing in the log any more, and must be remembered all the same.
    async fn delete_all(&mut self) -> bool {
        let (seams, ledger, places) = (self.overseer_seams(), self.ledger.clone(), Arc::clone(&self.places));
        self.by_overseer(async move {
            for place in places.iter().filter(|place| place.topic != SHORT_LIVED) {
                admin::delete_records(&seams, &ledger, place, HIGH_WATERMARK).await;
            }
        })
        .await;
        if self.plan.is_calm() {
            return true;
        }
        match self.random.below(3) {
            0 => self.server.kill(),
            // What was acknowledged must be on disk, and by no start that came in between.
            1 if self.plan.durability == Durability::Fsync && !self.plan.damages() => self.lose_power(),
            _ => {}
        }
        self.wait_for_broker().await
    }

    async fn wait_for_broker(&mut self) -> bool {
        let server = self.server.clone();
        let serving = async {
            while !server.serves() {
                sleep(LOOK).await;
            }
        };
        if timeout(SERVES_WITHIN, serving).await.is_ok() {
            return true;
        }
        let why = self.server.why_not().unwrap_or_else(|| "it hangs".to_owned());
        self.fault(format!(
            "the broker does not serve {SERVES_WITHIN:?} after everything was set right: {why}"
        ));
        false
    }

    /// The broker goes, comes back, and is read.
    pub(super) async fn end(&mut self) {
        let is_well = !self.plan.damages();
        match self.plan.ending {
            Ending::Stop => {
                if self.server.stop().await != Some(true) && is_well {
                    self.fault("a stop on a sound disk was not clean".to_owned());
                }
            }
            Ending::Kill => self.server.kill(),
            Ending::PowerLoss => self.lose_power(),
        }
        let Some(images) = self.read_all().await else { return };
        // What was served must outlive a power loss, whatever it was before (Kafka PR 8812).
        if self.plan.may_lose() {
            self.server.kill();
        } else {
            self.lose_power();
        }
        let Some(again) = self.read_all().await else { return };
        let leave = self.leave();
        for (place, first) in &images {
            let Some(second) = again.get(place) else { continue };
            if second.start < first.start {
                self.fault(format!(
                    "{place}: the log started at {}, and after another crash at {}",
                    first.start, second.start
                ));
            }
            let torn_from = leave.get(place).and_then(|leave| leave.torn_from);
            let until = torn_from.unwrap_or(i64::MAX);
            let below = |image: &Image| {
                let stays = |offset| (second.start..until).contains(&offset);
                image.records.iter().copied().filter(|(offset, _)| stays(*offset)).collect::<Vec<_>>()
            };
            if below(first) != below(second) && first.refused_from.is_none() && second.refused_from.is_none()
            {
                self.fault(format!(
                    "{place}: {} records were read, and after another crash {}",
                    first.records.len(),
                    second.records.len()
                ));
            }
        }
        let books = self.ledger.copy();
        let faults = oracle::judge(&books, &images, &leave);
        // Those of the books are told anyway.
        for fault in faults.into_iter().skip(books.faults.len()) {
            self.fault(fault);
        }
        self.consumers_have_seen(&images);
    }

    fn lose_power(&mut self) {
        self.power_losses += 1;
        self.server.power_loss();
    }

    /// Readers that were well all the time have seen everything.
    fn consumers_have_seen(&mut self, images: &BTreeMap<Place, Image>) {
        if self.plan.may_lose() || self.plan.damages() {
            return;
        }
        let seen = self.ledger.copy().seen;
        for (place, image) in images.iter().filter(|(place, _)| place.topic != SHORT_LIVED) {
            // What was deleted soon after it was written nobody may have seen.
            if image.records.is_empty() {
                continue;
            }
            let last =
                seen.get(place).and_then(|seen| seen.last_key_value()).map_or(0, |(offset, _)| offset + 1);
            if last < image.end {
                self.fault(format!("{place}: consumers saw records up to {last}, there are {}", image.end));
            }
        }
    }

    fn leave(&self) -> BTreeMap<Place, Leave> {
        let of = |place: &Place| Leave {
            loss: self.plan.may_lose(),
            damage: self.plan.kinds.contains(&Kind::BadReads)
                || self.rotten.iter().any(|(rotten, _)| rotten == place),
            torn_from: (self.power_losses > 0)
                .then(|| {
                    self.rotten.iter().filter(|(rotten, _)| rotten == place).map(|(_, from)| *from).min()
                })
                .flatten(),
            made_anew: self.last_made.filter(|_| place.topic == SHORT_LIVED),
            retention: self.plan.topics.iter().any(|topic| topic.name == place.topic && topic.forgets),
            unflushed: self.plan.may_lose_unflushed(),
            calm: self.plan.is_calm(),
            splits: self.plan.topics.iter().any(|topic| topic.name == place.topic && topic.refuses_large()),
        };
        self.places.iter().map(|place| (place.clone(), of(place))).collect()
    }

    async fn read_all(&mut self) -> Option<BTreeMap<Place, Image>> {
        if !self.wait_for_broker().await {
            return None;
        }
        let images = Arc::new(Mutex::new(BTreeMap::new()));
        let (seams, places, into) = (self.overseer_seams(), Arc::clone(&self.places), Arc::clone(&images));
        let reading = self.by_overseer(async move {
            for place in places.iter() {
                let image = read(&seams, place).await;
                into.lock().await.insert(place.clone(), image);
            }
        });
        if timeout(READ_WITHIN, reading).await.is_err() {
            self.fault(format!("the last reading is not done after {READ_WITHIN:?}"));
            return None;
        }
        let images = std::mem::take(&mut *images.lock().await);
        Some(images)
    }
}

/// Reads a partition from its start to its end.
async fn read(seams: &Seams, place: &Place) -> Image {
    let mut image = read_all_there_was(seams, place).await;
    // The start may have moved meanwhile.
    image.records.retain(|(offset, _)| *offset >= image.start);
    image
}

async fn read_all_there_was(seams: &Seams, place: &Place) -> Image {
    let mut image = Image::default();
    let mut position = Position { partition: place.partition, offset: 0, epoch: -1 };
    loop {
        let Ok(channel) = Channel::connect(seams, SERVER, &channel_config()).await else {
            sleep(LOOK).await;
            continue;
        };
        loop {
            let round = fetch(&channel, place.topic, &[position], Duration::ZERO, READ_WITHIN / 4).await;
            let Some(fetched) = round.ok().and_then(|mut round| round.pop()) else { break };
            match fetched.error {
                ErrorCode::NONE => {}
                ErrorCode::OFFSET_OUT_OF_RANGE if position.offset < fetched.start => {
                    (image.start, position.offset) = (fetched.start, fetched.start);
                    continue;
                }
                _ => {
                    image.refused_from = Some(position.offset);
                    return image;
                }
            }
            if fetched.bad.is_some() {
                image.bad = fetched.bad;
                return image;
            }
            (image.start, image.end) = (fetched.start.max(0), fetched.end);
            if let Some((last, _)) = fetched.records.last() {
                position.offset = last + 1;
                image.records.extend(fetched.records);
            } else if position.offset >= fetched.end {
                return image;
            } else {
                // Nothing comes, and nothing is said.
                return image;
            }
        }
        sleep(LOOK).await;
    }
}
