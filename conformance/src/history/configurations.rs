//! Sets of configurations: where a search can be, without what cannot lead further than another that is there.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    ops::Range,
};

/// Configurations of one shape, none of which is covered by another.
///
/// A configuration covers another if it has the same state and all its bits: what the other can lead to, it can as well.
pub(super) struct Configurations {
    shape: Shape,
    words: Vec<u64>,
    /// Where the configurations of a state begin.
    of_state: HashMap<u64, Vec<usize>>,
}

/// How a configuration is laid out, in words: the first is the state, the rest are bits of which more never hurts.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) words: usize,
    /// The words whose bits are spared before all others.
    pub(super) precious: Range<usize>,
}

/// The state of a place that was given up.
const VACANT: u64 = u64::MAX;

impl Configurations {
    pub(super) fn new(shape: &Shape) -> Self {
        Self { shape: shape.clone(), words: Vec::new(), of_state: HashMap::new() }
    }

    /// How many places it takes, those among them that were given up.
    pub(super) fn places(&self) -> usize {
        self.words.len() / self.shape.words
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.of_state.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u64]> {
        self.words.chunks_exact(self.shape.words).filter(|configuration| configuration[0] != VACANT)
    }

    /// Adds a configuration unless one that is there covers it, in place of those that it covers.
    pub(super) fn insert(&mut self, configuration: &[u64]) -> Option<usize> {
        let Self { shape, words, of_state } = self;
        let places = of_state.entry(configuration[0]).or_default();
        if places.iter().any(|&at| covers(&words[at..at + shape.words], configuration)) {
            return None;
        }
        places.retain(|&at| {
            let stays = !covers(configuration, &words[at..at + shape.words]);
            if !stays {
                words[at] = VACANT;
            }
            stays
        });
        let at = words.len();
        places.push(at);
        words.extend_from_slice(configuration);
        Some(at)
    }

    /// Sets a bit in each configuration.
    pub(super) fn set_in_all(&mut self, bit: usize) {
        self.words.chunks_exact_mut(self.shape.words).for_each(|configuration| set(configuration, bit));
    }

    /// How many configurations have more than this many precious bits.
    pub(super) fn count_richer(&self, precious: u32) -> usize {
        self.iter().filter(|configuration| self.shape.wealth(configuration) > precious).count()
    }

    /// Keeps the `width` configurations with the most precious bits, and then the most bits; says whether others had to go.
    pub(super) fn narrow(&mut self, width: usize) -> bool {
        if self.places() <= width {
            return false;
        }
        let mut ranked: Vec<_> = self.iter().map(<[u64]>::to_vec).collect();
        let too_many = ranked.len() > width;
        if too_many {
            let rank =
                |configuration: &Vec<u64>| Reverse((self.shape.wealth(configuration), ones(&configuration[1..])));
            ranked.select_nth_unstable_by_key(width, rank);
            ranked.truncate(width);
        }
        self.clear();
        for configuration in ranked {
            self.insert(&configuration);
        }
        too_many
    }
}

impl Shape {
    /// How many precious bits a configuration has.
    pub(super) fn wealth(&self, configuration: &[u64]) -> u32 {
        ones(&configuration[self.precious.clone()])
    }
}

/// Configurations that wait for their turn: those with the most precious bits first.
pub(super) struct Queue {
    known: Configurations,
    waiting: BinaryHeap<(u32, Reverse<usize>)>,
}

impl Queue {
    pub(super) fn new(shape: &Shape) -> Self {
        Self { known: Configurations::new(shape), waiting: BinaryHeap::new() }
    }

    pub(super) fn places(&self) -> usize {
        self.known.places()
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.waiting.clear();
    }

    /// Adds a configuration unless one that is or was there covers it.
    pub(super) fn push(&mut self, configuration: &[u64]) {
        if let Some(at) = self.known.insert(configuration) {
            self.waiting.push((self.known.shape.wealth(configuration), Reverse(at)));
        }
    }

    /// Copies the next one into `next`, and says how many precious bits it has.
    pub(super) fn pop(&mut self, next: &mut Vec<u64>) -> Option<u32> {
        loop {
            let (wealth, Reverse(at)) = self.waiting.pop()?;
            let configuration = &self.known.words[at..at + self.known.shape.words];
            if configuration[0] != VACANT {
                next.clear();
                next.extend_from_slice(configuration);
                return Some(wealth);
            }
        }
    }
}

fn covers(more: &[u64], fewer: &[u64]) -> bool {
    more.iter().zip(fewer).skip(1).all(|(more, fewer)| fewer & !more == 0)
}

fn ones(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}

const BITS: usize = u64::BITS as usize;

pub(super) fn is_set(configuration: &[u64], bit: usize) -> bool {
    configuration[bit / BITS] & (1 << (bit % BITS)) != 0
}

pub(super) fn set(configuration: &mut [u64], bit: usize) {
    configuration[bit / BITS] |= 1 << (bit % BITS);
}

pub(super) fn clear(configuration: &mut [u64], bit: usize) {
    configuration[bit / BITS] &= !(1 << (bit % BITS));
}
