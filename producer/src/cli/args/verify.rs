//! `verify`.

use std::path::PathBuf;

use clap::Args;

use super::{ConnectionFlags, OutputFlags};

/// `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
The report is what publish --report FILE wrote. Each acknowledged record is looked up where it was acknowledged and
compared by a digest of its key, value and headers, and by its timestamp (where the topic has LogAppendTime: without).
Records of others may lie between, and are counted; one of them that equals an acknowledged record is a duplicate.

  gapless-producer publish --topic events --report acks.jsonl my.log
  gapless-producer verify --topic events --report acks.jsonl

What is found:
  missing     acknowledged, and not there: a gap
  duplicate   there a second time
  order       there, but behind what was acknowledged after it
  different   another record stands where it was acknowledged: bytes or timestamp differ
  unexpected  stands between them and is not in the report, or was reported as not written

Memory: what is fetched at once and one batch of each partition. The topic is read from its beginning to the end that it
has at the start; a second time if it holds records that are not in the report.

Exit code: 0 everything acknowledged is there once, in order, byte for byte; 1 it is not, or that could not be seen;
2 wrong usage.")]
pub struct VerifyArgs {
    /// The topic to read back
    #[arg(long, short, env = "GAPLESS_TOPIC", value_name = "TOPIC")]
    pub topic: String,

    /// What publish wrote about it
    #[arg(long, env = "GAPLESS_REPORT", value_name = "FILE")]
    pub report: PathBuf,

    /// Nothing else may be in the topic: a record that the report does not account for is a finding
    #[arg(long, env = "GAPLESS_EXCLUSIVE")]
    pub exclusive: bool,

    #[command(flatten)]
    pub output: OutputFlags,

    #[command(flatten)]
    pub connection: ConnectionFlags,
}
