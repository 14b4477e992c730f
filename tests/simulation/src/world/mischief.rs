//! What goes wrong, when its time comes; and how it is undone.

use std::{collections::BTreeMap, path::Path, sync::PoisonError, time::Duration};

use gapless_common::records::BatchHeader;
use tokio::time::{Instant, sleep_until};

use super::{SERVER_HOST, World};
use crate::admin::{self, HIGH_WATERMARK};
use crate::disk::DiskFaults;
use crate::ledger::Place;
use crate::network::address_of;
use crate::plan::{Event, Kind, SHORT_LIVED};

/// The largest jump of a wall clock: two days.
const JUMP_MS_MAX: u64 = 2 * 86_400_000;
/// The most bytes that a full disk still has room for.
const ROOM_MAX: u64 = 20_000;

/// What ends a fault.
#[derive(Debug, Clone, Copy)]
enum Undo {
    Stall(u8),
    Thaw(Option<usize>),
    StartProducer(usize),
    Disk(Kind),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Do(Event),
    Undo(Undo),
}

/// What is due when, in simulated milliseconds; steps of one time in the order in which they came.
#[derive(Default)]
struct Agenda {
    steps: BTreeMap<(u64, u64), Step>,
    next: u64,
}

impl Agenda {
    fn add(&mut self, at_ms: u64, step: Step) {
        self.steps.insert((at_ms, self.next), step);
        self.next += 1;
    }
}

impl World {
    /// Lets everything go wrong that was planned.
    pub(super) async fn misbehave(&mut self) {
        let begin = Instant::now();
        let mut agenda = Agenda::default();
        for event in self.plan.events.clone() {
            agenda.add(event.at_ms, Step::Do(event));
        }
        while let Some(((at_ms, _), step)) = agenda.steps.pop_first() {
            if at_ms >= self.plan.right_at_ms {
                break;
            }
            sleep_until(begin + Duration::from_millis(at_ms)).await;
            match step {
                Step::Do(event) => {
                    tracing::info!("{event:?}");
                    *self.counts.kinds.entry(event.kind).or_default() += 1;
                    if let Some(undo) = self.strike(event) {
                        agenda.add(at_ms + event.for_ms, Step::Undo(undo));
                    }
                }
                Step::Undo(undo) => {
                    tracing::info!("undone: {undo:?}");
                    self.undo(undo);
                }
            }
        }
        sleep_until(begin + Duration::from_millis(self.plan.right_at_ms)).await;
    }

    /// The number of a producer.
    fn draw_producer(&self) -> usize {
        usize::try_from(self.random.below(self.producers.len() as u64)).unwrap_or(0)
    }

    /// A host with connections: the broker's, or a producer's.
    fn draw_host(&self) -> u8 {
        if self.random.below(2) == 0 {
            return SERVER_HOST;
        }
        self.producers.get(self.draw_producer()).map_or(SERVER_HOST, |program| program.number)
    }

    fn broker_is_down_for(&self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        *self.down_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn strike(&mut self, event: Event) -> Option<Undo> {
        match event.kind {
            Kind::Cut => {
                self.wires.cut(address_of(self.draw_host()));
                None
            }
            Kind::HalfOpen => {
                self.wires.half_open(address_of(self.draw_host()));
                None
            }
            Kind::OneWay => {
                let host = self.draw_host();
                let drawn = self.random.below(3);
                self.wires.stall(address_of(host), drawn != 0, drawn != 1);
                Some(Undo::Stall(host))
            }
            // The weather, from the beginning.
            Kind::CutAtByte | Kind::Delay | Kind::Trickle | Kind::Refuse => None,
            Kind::FreezeBroker => {
                self.server.host().freeze(true);
                Some(Undo::Thaw(None))
            }
            Kind::FreezeProducer => {
                let at = self.draw_producer();
                self.producers.get(at)?.host.freeze(true);
                Some(Undo::Thaw(Some(at)))
            }
            Kind::Kill => {
                self.server.kill();
                self.broker_is_down_for(event.for_ms / 4);
                None
            }
            Kind::PowerLoss => {
                self.power_losses += 1;
                self.server.power_loss();
                self.broker_is_down_for(event.for_ms / 4);
                None
            }
            Kind::Restart => {
                let server = self.server.clone();
                self.overseer.spawner().spawn(async move {
                    // Whether it was clean depends on what else is wrong.
                    let _clean = server.stop().await;
                });
                None
            }
            Kind::CrashProducer => {
                let at = self.draw_producer();
                let program = self.producers.get_mut(at)?;
                if self.random.below(2) == 0 {
                    self.wires.killed(address_of(program.number));
                } else {
                    self.wires.switched_off(address_of(program.number));
                }
                program.host.crash();
                program.down_until = Some(Instant::now() + Duration::from_millis(event.for_ms));
                Some(Undo::StartProducer(at))
            }
            Kind::ClockJump => {
                let by = i64::try_from(self.random.below(JUMP_MS_MAX)).unwrap_or(0);
                let by = if self.random.below(2) == 0 { by } else { -by };
                match self.producers.get(self.draw_producer()) {
                    Some(program) if self.random.below(2) == 0 => program.clock.jump(by),
                    _ => self.server.clock().jump(by),
                }
                None
            }
            Kind::Rot => {
                self.rot();
                None
            }
            Kind::Recreate => {
                self.recreate();
                None
            }
            Kind::DeleteRecords => {
                self.delete_records();
                None
            }
            Kind::FailFlush
            | Kind::NoSpace
            | Kind::SlowDisk
            | Kind::BadReads
            | Kind::ShortWrites
            | Kind::BadWrites
            | Kind::FailDirSync => {
                self.disk_fault(event);
                Some(Undo::Disk(event.kind))
            }
        }
    }

    fn disk_fault(&self, event: Event) {
        let below = |limit| self.random.below(limit);
        let (share, room) = (1 + u32::try_from(below(80)).unwrap_or(0), below(ROOM_MAX));
        self.disk.change_faults(|faults| match event.kind {
            Kind::FailFlush => faults.flushes_that_fail += 1,
            Kind::NoSpace => faults.room = Some(room),
            Kind::SlowDisk => faults.slow_ms = 1 + event.for_ms.min(400),
            Kind::BadReads => {
                if below(2) == 0 {
                    faults.read_errors_per_mille = share;
                } else {
                    faults.flipped_reads_per_mille = share;
                }
            }
            Kind::ShortWrites => faults.short_writes_per_mille = share * 5,
            Kind::BadWrites => faults.write_errors_per_mille = share,
            Kind::FailDirSync => faults.sync_dir_errors_per_mille = share * 5,
            _ => {}
        });
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Stall(host) => self.wires.stall(address_of(host), false, false),
            Undo::Thaw(None) => self.server.host().freeze(false),
            Undo::Thaw(Some(at)) => {
                if let Some(program) = self.producers.get(at) {
                    program.host.freeze(false);
                }
            }
            Undo::StartProducer(at) => {
                let down = self.producers.get(at).and_then(|program| program.down_until);
                // It may have crashed again meanwhile.
                if down.is_some_and(|until| until <= Instant::now()) {
                    self.start_producer(at);
                }
            }
            Undo::Disk(kind) => self.disk.change_faults(|faults| match kind {
                Kind::NoSpace => faults.room = None,
                Kind::SlowDisk => faults.slow_ms = 0,
                Kind::BadReads => (faults.read_errors_per_mille, faults.flipped_reads_per_mille) = (0, 0),
                Kind::ShortWrites => faults.short_writes_per_mille = 0,
                Kind::BadWrites => faults.write_errors_per_mille = 0,
                Kind::FailDirSync => faults.sync_dir_errors_per_mille = 0,
                _ => {}
            }),
        }
    }

    /// Everything is as on the first day.
    pub(super) fn undo_all(&mut self) {
        self.wires.heal();
        self.disk.set_faults(DiskFaults::default());
        self.server.host().freeze(false);
        self.server.clock().set_right();
        self.broker_is_down_for(0);
        for at in 0..self.producers.len() {
            if let Some(program) = self.producers.get(at) {
                program.host.freeze(false);
                program.clock.set_right();
                if program.down_until.is_some() {
                    self.start_producer(at);
                }
            }
        }
    }

    fn rot(&mut self) {
        let rots = self.plan.rots;
        let may_rot = |path: &Path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            path.starts_with("topics")
                && extension != Some("json")
                && rots.is_none_or(|rots| extension == Some(rots))
        };
        let Some(damage) = self.disk.rot_somewhere(may_rot) else { return };
        let Some(path) = damage.path else { return };
        tracing::info!("rot in {} at {}", path.display(), damage.position);
        let Some(place) = self.place_of(&path) else { return };
        if path.extension().is_some_and(|extension| extension == "log") {
            let content = self.disk.content(&path).unwrap_or_default();
            self.rotten.push((place, first_offset_touched(&path, &content, damage.position)));
        }
    }

    fn place_of(&self, path: &Path) -> Option<Place> {
        let mut parts = path.iter().skip(1).map(|part| part.to_string_lossy());
        let (topic, partition) = (parts.next()?, parts.next()?);
        self.places
            .iter()
            .find(|place| place.topic == topic && place.partition.to_string() == partition)
            .cloned()
    }

    fn delete_records(&self) {
        let places: Vec<&Place> = self.places.iter().filter(|place| place.topic != SHORT_LIVED).collect();
        let drawn = usize::try_from(self.random.below(places.len() as u64)).unwrap_or(0);
        let Some(place) = places.get(drawn).map(|place| Place::clone(place)) else { return };
        let seen = u64::try_from(self.ledger.seen_up_to(&place)).unwrap_or(0);
        let before = match self.random.below(3) {
            0 => HIGH_WATERMARK,
            // Now and then more than there is.
            _ => i64::try_from(self.random.below(seen + 4)).unwrap_or(0),
        };
        let (seams, ledger) = (self.overseer_seams(), self.ledger.clone());
        self.overseer.spawner().spawn(async move {
            admin::delete_records(&seams, &ledger, &place, before).await;
        });
    }

    fn recreate(&self) {
        let Some(topic) = self.plan.topics.iter().find(|topic| topic.name == SHORT_LIVED).cloned() else {
            return;
        };
        let seams = self.overseer_seams();
        self.overseer.spawner().spawn(async move {
            admin::delete(&seams, topic.name).await;
            admin::create(&seams, &topic).await;
        });
    }
}

/// Base offset of the batch that holds a position of a segment; where that cannot be told, of the segment.
fn first_offset_touched(path: &Path, content: &[u8], position: u64) -> i64 {
    let base = path.file_stem().and_then(|stem| stem.to_string_lossy().parse().ok()).unwrap_or(0);
    let (mut at, mut offset) = (0_u64, base);
    while let Some(rest) = usize::try_from(at).ok().and_then(|at| content.get(at..))
        && let Ok(header) = BatchHeader::parse(rest)
    {
        offset = header.base_offset.0;
        at += header.total_size() as u64;
        if at > position {
            // Rot in the offset itself would tell a wrong one.
            break;
        }
    }
    if (base..base + 1_000_000).contains(&offset) { offset } else { base }
}
