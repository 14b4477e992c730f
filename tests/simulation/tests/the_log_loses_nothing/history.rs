//! Small histories, and how they go on after a crash.

use gapless_broker::Broker;
use gapless_simulation::disk::SimDisk;

use super::ledger::{Ledger, Place};
use super::rig::{End, live};

pub const EVENTS: Place = ("events", 0);
pub const OTHER: Place = ("events", 1);

/// A topic is created and written to, rolls a few times, producers repeat themselves; another topic comes and goes.
pub async fn history(broker: &Broker, ledger: &mut Ledger) {
    ledger.create(broker, "events", 2, &[("segment.bytes", "1500")]).await;
    for round in 0..4 {
        ledger.send(broker, EVENTS, 1, 2, 150).await;
        ledger.send(broker, EVENTS, 2, 1, 40).await;
        ledger.send(broker, EVENTS, 1, 1, 300).await;
        ledger.settle(broker, EVENTS).await;
        ledger.repeat(broker, EVENTS, 2).await;
        ledger.send(broker, OTHER, 1, 1, 10 * round).await;
        ledger.settle(broker, OTHER).await;
    }
    ledger.create(broker, "brief", 1, &[]).await;
    ledger.send(broker, ("brief", 0), 1, 1, 10).await;
    ledger.settle(broker, ("brief", 0)).await;
    ledger.delete(broker, "brief").await;
}

/// A later life: what is there is right, and it goes on.
pub async fn go_on(broker: &Broker, ledger: &mut Ledger) {
    ledger.check(broker).await;
    for place in ledger.places() {
        ledger.settle(broker, place).await;
        for id in [1, 2] {
            ledger.repeat(broker, place, id).await;
        }
        ledger.send(broker, place, 2, 1, 20).await;
        ledger.settle(broker, place).await;
    }
}

/// What a crash has left is right, and stays so through further crashes and a clean stop.
pub fn goes_on(disk: &SimDisk, mut ledger: Ledger) {
    for plan in [End::PowerLoss.at_once(), End::Kill.at_once(), End::PowerLoss.after_a_stop()] {
        live(disk, plan, async |broker| go_on(broker, &mut ledger).await).lived();
    }
    live(disk, End::Kill.at_once(), async |broker| ledger.check(broker).await).lived();
}
