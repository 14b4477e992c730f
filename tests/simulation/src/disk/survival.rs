//! What becomes of something that was not synced when the power failed.

use gapless_common::seam::Random;

/// How much of something survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// So many of a thousand, each by itself.
    Some(u64),
}

impl Survival {
    /// Of one power loss. The extremes are drawn often: they are what a disk does that was long idle, or never.
    pub(super) fn of_a_power_loss(random: &Random) -> Self {
        match random.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Some(500),
        }
    }

    /// Of one file or directory in that power loss.
    pub(super) fn of_one(self, random: &Random) -> Self {
        match (self, random.below(6)) {
            (Self::Some(_), 0) => Self::Nothing,
            (Self::Some(_), 1) => Self::Everything,
            (Self::Some(_), 2) => Self::Some(900),
            (Self::Some(_), 3) => Self::Some(100),
            (other, _) => other,
        }
    }

    /// Whether one thing does.
    pub(super) fn takes(self, random: &Random) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some(per_mille) => random.below(1000) < per_mille,
        }
    }
}

/// True in so many of a thousand cases. Draws nothing when it cannot happen.
pub(super) fn happens(random: &Random, per_mille: u32) -> bool {
    per_mille > 0 && random.below(1000) < u64::from(per_mille)
}

/// Heads or tails.
pub(super) fn coin(random: &Random) -> bool {
    random.below(2) == 0
}

/// Uniform in `0..=max`. Draws nothing when that leaves no choice.
pub(super) fn up_to(random: &Random, max: u64) -> u64 {
    if max == 0 { 0 } else { random.below(max + 1) }
}
