//! Latency where nobody is at their limit: both sides of a comparison at the same rate, a share of what the slower one can do.

use super::brokers::Ours;
use super::cell::{sides, turned};
use super::measure::send;
use super::results::Question;
use super::session::{Session, say};
use super::workload::Workload;
use crate::failure::Outcome;

/// Percent of the slower side's maximum.
pub const LOADS: [u32; 3] = [10, 50, 80];
const LOADS_QUICK: [u32; 1] = [50];

/// More of them tell less than their time costs.
const ROUNDS_MAX: usize = 3;

/// All comparisons of one workload, whose maxima have been measured.
pub fn measure(session: &mut Session, workload: &Workload) -> Outcome<()> {
    let pairs = sides(workload, session.having());
    let [variant] = workload.variants else { return Ok(()) };
    if pairs.is_empty() {
        return Ok(());
    }
    let ours = Ours::start(&session.work, variant.durability)?;
    let loads: &[u32] = if session.is_quick { &LOADS_QUICK } else { &LOADS };
    for pair in pairs {
        let most = pair.map(|cell| session.report.rate(Question::most(workload.name, cell)));
        let [Some(one), Some(other)] = most else {
            say(format!("{}: no maximum of {} and {}", workload.name, pair[0].name(), pair[1].name()));
            continue;
        };
        for load in loads {
            let rate = (one.min(other) * f64::from(*load) / 100.0).round();
            for round in 0..session.report.rounds.min(ROUNDS_MAX) {
                for cell in turned(&pair, round) {
                    let run = send(session, workload, variant, cell, &ours.host, Some(rate));
                    session.keep(workload.name, variant.label, cell, Some(*load), round, run);
                }
            }
        }
    }
    session.save()
}
