//! Kafka's rules for topic names (`org.apache.kafka.common.internals.Topic`), which also keep every path inside the
//! data directory.

/// The longest name, so that `<topic>-<partition>` and its suffixes fit a file name of 255 bytes.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// Why a name is refused, in a sentence; `None` when it is fine.
#[must_use]
pub fn refusal(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a topic name cannot be empty".into());
    }
    if name == "." || name == ".." {
        return Some("a topic name cannot be \".\" or \"..\"".into());
    }
    if name.len() > TOPIC_NAME_LENGTH_MAX {
        return Some(format!(
            "the topic name has {} characters, more than the {TOPIC_NAME_LENGTH_MAX} allowed",
            name.len()
        ));
    }
    if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        return Some(format!(
            "the topic name contains {bad:?}; allowed are ASCII letters, digits, '.', '_' and '-'"
        ));
    }
    None
}

/// What a log line calls a topic that a client named: the name, if it is one. What is none can be of any length and hold
/// line breaks.
#[must_use]
pub fn for_log(name: &str) -> &str {
    if refusal(name).is_none() { name } else { "(no valid name)" }
}

/// The name with `.` for `_`: two topics that differ only there would share metric names in Kafka, which refuses the second.
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('_', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "events", "Events-1.v2_x", "...", &"x".repeat(249)] {
            assert_eq!(refusal(good), None, "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../etc", "a\0b", "a b", "ä", "a\\b", "a:b", &"x".repeat(250)] {
            assert!(refusal(bad).is_some(), "{bad:?}");
            assert_eq!(for_log(bad), "(no valid name)");
        }
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        assert_eq!(collision_key("a_b.c"), collision_key("a.b_c"));
        assert_ne!(collision_key("a-b"), collision_key("a.b"));
    }
}
