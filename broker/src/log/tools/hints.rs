//! Files that save a start some reading, and that it believes only where the log bears them out: flush marks, the mark of a
//! clean stop, checkpoints. Wrong ones cost nothing but time, and are a sign that the disk is not well.

use gapless_common::types::Offset;

use super::Subject;
use super::findings::{Finding, Severity};
use crate::log::checkpoint;
use crate::log::clean_mark::{self, CleanMark};
use crate::log::flush_marks::FlushMarks;
use crate::log::flush_marks::file::{self as mark_file, Disbelieved};
use crate::log::summary::Summary;
use crate::storage::Files;

/// What is wrong with the files beside the topics that speak of their logs.
pub async fn beside_the_topics(files: &dyn Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |severity, name: &str, why: String| findings.push(Finding::of_file(severity, name, why));
    match FlushMarks::disbelieved(files).await {
        Ok(None) => {}
        Ok(Some(Disbelieved::All)) => {
            let why = "fails its check; it is a hint, and written anew by the next start";
            say(Severity::Wrong, mark_file::NAME, why.to_owned());
        }
        Ok(Some(Disbelieved::Entries(count))) => {
            let why = format!(
                "{count} entries fail their check and are passed over; a crash may cut the last ones off"
            );
            say(Severity::Note, mark_file::NAME, why);
        }
        Err(error) => say(Severity::Wrong, mark_file::NAME, format!("unreadable: {error}")),
    }
    if let Err(error) = CleanMark::peek(files).await {
        say(Severity::Wrong, clean_mark::NAME, format!("{error}; the logs are taken as after a crash"));
    }
    findings
}

/// The checkpoints of one partition, while its log is read.
#[derive(Default)]
pub(super) struct Checkpoints(Vec<Stored>);

struct Stored {
    name: Offset,
    at: Summary,
    fits: Fits,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fits {
    /// The log was not read that far.
    Unseen,
    Yes,
    No,
    /// What it speaks of is bad itself.
    Unknown,
}

impl Checkpoints {
    /// Takes in one whose name says that it is of `at`; what is wrong with it.
    pub(super) async fn read(&mut self, files: &dyn Files, subject: &Subject, at: Offset) -> Option<Finding> {
        let why = match checkpoint::read(files, &subject.site, at, usize::MAX).await {
            Ok(Some(read)) => {
                self.0.push(Stored { name: at, at: read.at, fits: Fits::Unseen });
                if !read.one_copy_is_bad {
                    return None;
                }
                "one of its two copies fails its check; the other one is good".to_owned()
            }
            Ok(None) => "fails its check; it is a hint, and passed over by the next start".to_owned(),
            Err(error) => format!("unreadable: {error}"),
        };
        Some(Finding::of_file(Severity::Wrong, checkpoint::path(&subject.site.directory, at), why))
    }

    /// How far the log is known to have been flushed by them: each is written after the flush.
    pub(super) fn highest(&self) -> Option<Summary> {
        self.0.iter().map(|stored| stored.at).max_by_key(Summary::height)
    }

    /// A segment was read up to `so_far`.
    pub(super) fn compare(&mut self, so_far: &Summary) {
        for stored in self.0.iter_mut().filter(|stored| stored.at.base_offset == so_far.base_offset) {
            if stored.fits == Fits::Unseen && so_far.size >= stored.at.size {
                stored.fits = if stored.at == *so_far { Fits::Yes } else { Fits::No };
            }
        }
    }

    /// The segment is bad from here on.
    pub(super) fn give_up(&mut self, base: Offset) {
        let of_it = self.0.iter_mut().filter(|stored| stored.at.base_offset == base);
        of_it.filter(|stored| stored.fits == Fits::Unseen).for_each(|stored| stored.fits = Fits::Unknown);
    }

    /// Those that say what the log does not, now that it was read to its end; its first segment begins at `first`.
    pub(super) fn unfit(&self, first: Option<Offset>) -> Vec<Offset> {
        let is_unfit = |stored: &&Stored| match stored.fits {
            Fits::No => true,
            Fits::Yes | Fits::Unknown => false,
            // One of a segment that was deleted since is passed over.
            Fits::Unseen => first.is_none_or(|first| stored.at.base_offset >= first),
        };
        self.0.iter().filter(is_unfit).map(|stored| stored.name).collect()
    }
}
