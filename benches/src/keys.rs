//! The records that a store is filled with, and which of them a client takes next: some are asked for often, most
//! rarely, as Zipf's law has it.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use store_api::Key;

/// The exponent that YCSB uses.
const SKEW: f64 = 0.99;
/// How many records are below one key, so that a scan has so many.
pub(crate) const SCOPE: usize = 100;
/// How many bytes of values are made before a store is filled with them: all of them, where they are of usual length.
const FILLED_AT_ONCE: usize = 64 << 20;

/// The keys of the records, and how likely each is.
#[derive(Clone)]
pub(crate) struct Records {
    keys: Arc<[Key]>,
    scopes: Arc<[Key]>,
    /// For each rank the chance of it or of one before it.
    up_to: Arc<[f64]>,
    /// The record of each rank: neighbours in rank are none in order.
    ranked: Arc<[usize]>,
}

impl Records {
    pub(crate) fn new(count: usize, seed: u64) -> Self {
        let key = |text: String| Key::new(text).expect("digits and slashes are a key");
        let keys = (0..count).map(|i| key(format!("user/{:05}/{i:08}", i / SCOPE)));
        let scopes = (0..count.div_ceil(SCOPE)).map(|scope| key(format!("user/{scope:05}")));
        let mut ranked: Vec<usize> = (0..count).collect();
        Rng::with_seed(seed).shuffle(&mut ranked);
        Self { keys: keys.collect(), scopes: scopes.collect(), up_to: zipf(count), ranked: ranked.into() }
    }

    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, index: usize) -> &Key {
        &self.keys[index]
    }

    /// The first of all records, which clients contend for.
    pub(crate) fn hottest(&self) -> &Key {
        &self.keys[self.ranked[0]]
    }

    pub(crate) fn any(&self, rng: &mut Rng) -> &Key {
        &self.keys[rng.usize(..self.keys.len())]
    }

    /// What a popular record lies below.
    pub(crate) fn popular_scope(&self, rng: &mut Rng) -> &Key {
        &self.scopes[self.ranked[self.rank(rng)] / SCOPE]
    }

    pub(crate) fn popular(&self, rng: &mut Rng) -> &Key {
        &self.keys[self.ranked[self.rank(rng)]]
    }

    /// A rank, the first ones most often.
    pub(crate) fn rank(&self, rng: &mut Rng) -> usize {
        let chance = rng.f64();
        self.up_to.partition_point(|up_to| *up_to <= chance).min(self.up_to.len() - 1)
    }

    /// What the store is filled with, in parts that do not exceed memory.
    pub(crate) fn entries(&self, value_len: usize) -> impl Iterator<Item = Vec<(Key, Bytes)>> {
        let mut values = Values::new(0, 0, value_len);
        let at_once = (FILLED_AT_ONCE / value_len.max(1)).max(1);
        self.keys.chunks(at_once).map(move |keys| keys.iter().map(|key| (key.clone(), values.next())).collect())
    }
}

fn zipf(count: usize) -> Arc<[f64]> {
    let weight = |rank: u32| 1.0 / f64::from(rank).powf(SKEW);
    let ranks = 1..=u32::try_from(count).expect("there are fewer records than that");
    let total: f64 = ranks.clone().map(weight).sum();
    let summed = ranks.scan(0.0, |sum, rank| {
        *sum += weight(rank) / total;
        Some(*sum)
    });
    summed.collect()
}

/// Values of one length, none twice in all runs where they have 16 bytes or more. What is behind the mark that makes them so is as random as bytes can be made quickly:
/// how well an engine compresses is not what is compared.
pub(crate) struct Values {
    text: Vec<u8>,
    rng: Rng,
    /// The run and the client, in the upper half.
    maker: u128,
    count: u64,
}

impl Values {
    /// Those of a client in a run. What a store is filled with is the first client's in the first one.
    pub(crate) fn new(run: u64, client: usize, len: usize) -> Self {
        let client = u32::try_from(client).expect("there are fewer clients than that");
        let maker = u128::from(run) << 96 | u128::from(client) << 64;
        Self { text: vec![0; len], rng: Rng::with_seed(run << 32 ^ u64::from(client)), maker, count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn next(&mut self) -> Bytes {
        self.count += 1;
        let mark = (self.maker | u128::from(self.count)).to_be_bytes();
        let len = self.text.len().min(mark.len());
        let (marked, random) = self.text.split_at_mut(len);
        marked.copy_from_slice(&mark[mark.len() - len..]);
        self.rng.fill(random);
        Bytes::copy_from_slice(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn popular_records_are_taken_as_zipf_has_it() {
        let records = Records::new(1000, 1);
        let mut rng = Rng::with_seed(2);
        let mut taken: HashMap<&Key, usize> = HashMap::new();
        for _ in 0..100_000 {
            *taken.entry(records.popular(&mut rng)).or_default() += 1;
        }
        // The first of a thousand has one part in 7.7, by the sum of the weights.
        let first = taken[records.hottest()];
        assert!((12_000..14_000).contains(&first), "{first}");
        assert_eq!(taken.values().max(), Some(&first));
        assert!(taken.len() > 900, "{}", taken.len());
    }

    #[test]
    fn a_seed_gives_the_same_choices() {
        let choices = |seed| {
            let (records, mut rng) = (Records::new(100, seed), Rng::with_seed(seed));
            (0..50).map(|_| records.popular(&mut rng).clone()).collect::<Vec<_>>()
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn long_values_fill_a_store_in_parts_and_each_record_has_one() {
        let records = Records::new(5, 1);
        let lens = |value_len| records.entries(value_len).map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lens(128), [5]);
        assert_eq!(lens(FILLED_AT_ONCE / 2), [2, 2, 1]);
        assert_eq!(lens(FILLED_AT_ONCE), [1; 5]);
        let keys: Vec<Key> = records.entries(FILLED_AT_ONCE / 2).flatten().map(|(key, _)| key).collect();
        assert_eq!(keys, *records.keys);
    }

    #[test]
    fn values_have_their_length_and_none_comes_twice() {
        let makers = [(0, 0), (0, 1), (1, 0)].map(|(run, client)| Values::new(run, client, 16));
        let values: Vec<Bytes> = makers.into_iter().flat_map(|mut made| [made.next(), made.next()]).collect();
        assert!(values.iter().all(|value| value.len() == 16));
        assert!((0..values.len()).all(|i| !values[..i].contains(&values[i])));
        assert_eq!(Values::new(0, 7, 4).next().len(), 4);
    }
}
