//! What producers without idempotence are promised: less, and that much is kept.
//!
//! - Whatever the settings: a record that was reported as not written is not in the log.
//! - acks=all: what was acknowledged is where it was reported to be, and perhaps in the log again.
//! - acks=1: the same, unless what was not flushed yet may have been lost.
//! - acks=0: nothing is known of any record; but none is sent again once it is out, so none is in the log twice.
//! - When nothing made a producer send again: each once, and in order; but halves of a batch that was refused as too large
//!   come behind what was in flight by then, as with every Kafka producer without idempotence and with more than one in flight.

use std::collections::BTreeMap;

use gapless_producer::Acks;

use super::{Judge, TOLD_MAX};
use crate::ledger::{Entry, Told};
use crate::record::Name;

impl Judge<'_> {
    /// Whether a record may be in the log again.
    pub(super) fn may_repeat(&self, name: Name) -> bool {
        let weak = self.books.weak.get(&name.producer);
        weak.is_some_and(|acks| *acks != Acks::None && !self.leave.calm)
    }

    fn is_at(&self, name: Name, offset: i64) -> bool {
        let records = &self.image.records;
        let found = records.binary_search_by_key(&offset, |(offset, _)| *offset).ok();
        found.and_then(|at| records.get(at)).is_some_and(|(_, there)| *there == Some(name))
    }

    pub(super) fn weak_stream(&mut self, acks: Acks, entries: &[Entry], found: &BTreeMap<Name, i64>) {
        let mut wrong = Vec::new();
        let may_be_lost = self.leave.loss || (acks == Acks::Leader && self.leave.unflushed);
        let mut last = None::<(Name, i64)>;
        for entry in entries {
            let Entry::Record { name, admitted, told } = entry else { continue };
            if self.leave.made_anew.is_some_and(|since| *admitted < since) {
                continue;
            }
            let at = found.get(name).copied();
            match (told, at) {
                (Told::NotWritten, Some(at)) => {
                    wrong.push(format!("{name} was reported as not written and is at offset {at}"));
                }
                (Told::Acked(Some(reported)), _)
                    if !may_be_lost && !self.is_at(*name, *reported) && !self.is_excused(*reported) =>
                {
                    wrong.push(format!("{name} was acknowledged at {reported} and is not there"));
                }
                (Told::Acked(None), None)
                    if acks != Acks::None && !may_be_lost && !self.may_be_anywhere(last.is_none()) =>
                {
                    wrong.push(format!("{name} was acknowledged and is missing"));
                }
                _ => {}
            }
            if let (Some((before, before_at)), Some(at)) = (last, at)
                && at < before_at
                && self.leave.calm
                && !self.leave.splits
            {
                wrong.push(format!("{name} at offset {at} stands before {before} at {before_at}"));
            }
            last = at.map(|at| (*name, at)).or(last);
        }
        wrong.into_iter().take(TOLD_MAX).for_each(|what| self.fault(what));
    }
}
