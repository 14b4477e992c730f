//! `read`.

use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::ConnectionFlags;
use crate::cli::read::{Template, parse_time};

/// How records are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReadOutput {
    /// The value's bytes and a newline.
    Lines,
    /// A JSON object a line, which publish takes back.
    Json,
}

/// Where to begin in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOffset {
    /// The first record that is still there.
    Earliest,
    /// The end: only what comes from now on.
    Latest,
    /// This offset.
    At(i64),
    /// So many records before the end.
    FromEnd(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
}

/// `read`.
#[derive(Debug, Args)]
#[command(after_help = "To publish what read --output json printed: publish --format records")]
pub struct ReadArgs {
    /// What to read
    #[arg(long, short, env = "GAPLESS_TOPIC", value_name = "TOPIC")]
    pub topic: String,

    /// Only these partitions, separated by commas [default: all]
    #[arg(long, env = "GAPLESS_PARTITION", value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Vec<i32>,

    /// Where to begin: earliest, latest, an offset, -N (so many before the end), or @TIME (milliseconds since 1970, or
    /// 2024-05-01T12:00:00Z)
    #[arg(
        long,
        short,
        env = "GAPLESS_OFFSET",
        value_name = "OFFSET",
        default_value = "earliest",
        allow_hyphen_values = true
    )]
    pub offset: StartOffset,

    /// Stop after so many records [default: at the end of the topic]
    #[arg(long, short = 'n', env = "GAPLESS_COUNT", value_name = "N")]
    pub count: Option<u64>,

    /// Wait for more at the end of the topic
    #[arg(long, short, env = "GAPLESS_FOLLOW")]
    pub follow: bool,

    /// How records are printed
    #[arg(
        long,
        env = "GAPLESS_OUTPUT",
        value_name = "FORMAT",
        default_value = "lines",
        help_heading = "Output"
    )]
    pub output: ReadOutput,

    /// Print by this template: %t topic, %p partition, %o offset, %T timestamp, %k key, %s value, %h headers, %% percent, and
    /// \n, \t, \r, \\; nothing is added
    #[arg(long, visible_alias = "format", env = "GAPLESS_TEMPLATE", value_name = "TEMPLATE",
          conflicts_with_all = ["output", "key_delimiter"], help_heading = "Output")]
    pub template: Option<Template>,

    /// lines: print the key and this text before the value
    #[arg(long, env = "GAPLESS_KEY_DELIMITER", value_name = "TEXT", help_heading = "Output")]
    pub key_delimiter: Option<String>,

    /// lines, template: print this word for null [default: nothing]
    #[arg(long, env = "GAPLESS_NULL_VALUE", value_name = "WORD", help_heading = "Output")]
    pub null_value: Option<String>,

    #[command(flatten)]
    pub connection: ConnectionFlags,
}

impl FromStr for StartOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected earliest, latest, an offset, -N, or @TIME".to_owned();
        match text {
            "earliest" | "beginning" => Ok(Self::Earliest),
            "latest" | "end" => Ok(Self::Latest),
            _ => {
                if let Some(time) = text.strip_prefix('@') {
                    return parse_time(time).map(Self::Time).ok_or_else(|| {
                        "expected @ and milliseconds since 1970, or a time such as 2024-05-01T12:00:00Z"
                            .to_owned()
                    });
                }
                let number: i64 = text.parse().map_err(|_| expected())?;
                Ok(if text.starts_with('-') {
                    Self::FromEnd(number.saturating_neg())
                } else {
                    Self::At(number)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin() {
        for (text, expected) in [
            ("earliest", Some(StartOffset::Earliest)),
            ("latest", Some(StartOffset::Latest)),
            ("0", Some(StartOffset::At(0))),
            ("42", Some(StartOffset::At(42))),
            ("-5", Some(StartOffset::FromEnd(5))),
            ("@1700000000000", Some(StartOffset::Time(1_700_000_000_000))),
            ("@1970-01-01T00:00:01Z", Some(StartOffset::Time(1000))),
            ("@yesterday", None),
            ("first", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(text.parse::<StartOffset>().ok(), expected, "{text}");
        }
    }
}
