//! Sets of configurations: where a search can be, with what cannot lead further than another left out.

/// Configurations of one length, in words: the first is the state, the rest are bits of which more never hurts.
///
/// One configuration covers another if it has the same state and all its bits. What the other can lead to, the first can
/// as well, so a covered one is not kept.
pub(super) struct Configurations {
    length: usize,
    words: Vec<u64>,
    taken: usize,
}

impl Configurations {
    pub(super) fn new(length: usize) -> Self {
        Self { length, words: Vec::new(), taken: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len() / self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.taken = 0;
    }

    /// Adds a configuration, unless one that is there covers it.
    pub(super) fn insert(&mut self, configuration: &[u64]) {
        let mut at = 0;
        while at < self.words.len() {
            let other = &self.words[at..at + self.length];
            if covers(other, configuration) {
                return;
            }
            // One that was taken has to stay, or its place would be another's that was not.
            if at >= self.taken && covers(configuration, other) {
                self.remove(at);
            } else {
                at += self.length;
            }
        }
        self.words.extend_from_slice(configuration);
    }

    fn remove(&mut self, at: usize) {
        let last = self.words.len() - self.length;
        self.words.copy_within(last.., at);
        self.words.truncate(last);
    }

    /// Copies the next configuration that was not taken before.
    pub(super) fn take(&mut self, into: &mut Vec<u64>) -> bool {
        let Some(next) = self.words.get(self.taken..self.taken + self.length) else { return false };
        into.clear();
        into.extend_from_slice(next);
        self.taken += self.length;
        true
    }

    /// Sets a bit in each configuration.
    pub(super) fn set_in_all(&mut self, bit: usize) {
        self.words.chunks_exact_mut(self.length).for_each(|configuration| set(configuration, bit));
    }

    /// Keeps the `width` configurations with the most bits, and says whether others had to go.
    pub(super) fn narrow(&mut self, width: usize) -> bool {
        if self.len() <= width {
            return false;
        }
        let mut ranked: Vec<_> = self.words.chunks_exact(self.length).collect();
        ranked.select_nth_unstable_by_key(width, |configuration| {
            std::cmp::Reverse(configuration[1..].iter().map(|word| word.count_ones()).sum::<u32>())
        });
        self.words = ranked[..width].concat();
        true
    }
}

fn covers(more: &[u64], fewer: &[u64]) -> bool {
    more[0] == fewer[0] && more.iter().zip(fewer).skip(1).all(|(more, fewer)| fewer & !more == 0)
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
