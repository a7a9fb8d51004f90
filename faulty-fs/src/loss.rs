//! What survives a power loss: the choice, and the seeded luck that decides where it is left to chance.

use fastrand::Rng;

use crate::content::PAGE;

/// What becomes of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of it is forgotten.
    #[default]
    None,
    /// A random part survives: of the data any pages, of the names a prefix of the changes.
    Random,
    /// All of it survives, as if everything had been written back just in time.
    All,
}

/// A power loss: what survives it, and how it is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// What becomes of what was not synced.
    pub keep: Keep,
    /// Decides what survives with [`Keep::Random`]; the same history and seed give the same disk.
    pub seed: u64,
    /// Whether a part of a page may survive, in sectors of 512 bytes, with [`Keep::Random`].
    pub torn: bool,
}

/// The bytes that a disk writes whole.
const SECTOR: u64 = 512;

/// The luck of one loss.
pub(crate) struct Luck {
    rng: Rng,
    /// What is written whole, or not at all.
    pub(crate) grain: u64,
    /// How likely it is that a grain was written back after a given write of it.
    written_back: f64,
}

impl Luck {
    pub(crate) fn new(loss: &Loss) -> Self {
        let mut rng = Rng::with_seed(loss.seed);
        // Losses differ in how much survives, so that "all but one page" and "only one page" come up, too.
        let written_back = rng.f64();
        Self { rng, grain: if loss.torn { SECTOR } else { PAGE }, written_back }
    }

    /// Whether something was written back before the next change of it.
    pub(crate) fn was_written_back(&mut self) -> bool {
        self.rng.f64() < self.written_back
    }

    /// How many of `count` ordered changes survive: a prefix.
    pub(crate) fn prefix(&mut self, count: usize) -> usize {
        self.rng.usize(..=count)
    }
}
