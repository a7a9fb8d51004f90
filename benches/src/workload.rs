//! What clients do: the workloads, and the turns of one client in one of them.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fastrand::Rng;
use serde::{Serialize, Serializer};
use store_api::{ContentKey, Key, Result, TestAndSet};

use crate::{
    Client, Plan,
    keys::{Records, Values},
};

/// What the clients of a run do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Workload {
    /// Reads of any record.
    Find,
    /// Writes of any record.
    Set,
    /// Compare-and-set of records that are the client's own, so that each is applied.
    TestAndSet,
    /// Compare-and-set of one record by all clients, each until it wins.
    Contended,
    /// So many reads of any record in a hundred operations, and writes of any.
    Mixed {
        /// 100 at most.
        reads: u8,
    },
    /// YCSB A: reads and writes of popular records, half and half.
    A,
    /// YCSB B: reads, and one write in twenty, of popular records.
    B,
    /// YCSB C: reads of popular records.
    C,
    /// YCSB D: reads of what the client inserted last, and one insert in twenty.
    D,
    /// YCSB E: scans of a hundred records, and one insert in twenty.
    E,
    /// YCSB F: reads of popular records, and half of them written back by compare-and-set.
    F,
    /// Reads of content that the client added.
    FindContent,
    /// Additions of content that is new.
    Add,
}

impl Workload {
    /// Every workload but [mixes](Self::Mixed) of one's own; those that insert come last, since a store is larger after them.
    pub const ALL: [Self; 12] = [
        Self::Find,
        Self::Set,
        Self::TestAndSet,
        Self::Contended,
        Self::A,
        Self::B,
        Self::C,
        Self::F,
        Self::D,
        Self::E,
        Self::FindContent,
        Self::Add,
    ];

    /// Its name, as in reports.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Mixed { reads } => return format!("{reads} % reads").into(),
            Self::Find => "find",
            Self::Set => "set",
            Self::TestAndSet => "test-and-set",
            Self::Contended => "contended test-and-set",
            Self::A => "YCSB A",
            Self::B => "YCSB B",
            Self::C => "YCSB C",
            Self::D => "YCSB D",
            Self::E => "YCSB E",
            Self::F => "YCSB F",
            Self::FindContent => "find content",
            Self::Add => "add",
        })
    }

    /// Its name without capitals and spaces, as in arguments and JSON.
    #[must_use]
    pub fn slug(self) -> String {
        self.name().to_lowercase().replace(' ', "-")
    }

    /// What one operation is, in a line.
    #[must_use]
    pub fn about(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Mixed { reads } => return format!("{reads} % reads, {} % writes of any record", 100 - reads).into(),
            Self::Find => "reads of any record",
            Self::Set => "writes of any record",
            Self::TestAndSet => "compare-and-set of up to a hundred records of the client's own, each applied",
            Self::Contended => "compare-and-set of one record by all clients, each until it wins",
            Self::A => "half reads, half writes of popular records",
            Self::B => "reads and 5 % writes of popular records",
            Self::C => "reads of popular records",
            Self::D => "reads of what was inserted last, and 5 % inserts",
            Self::E => "scans of 100 records, and 5 % inserts",
            Self::F => "half reads, half read-and-compare-and-set of popular records",
            Self::FindContent => "reads of content, up to a hundred values that the client added before",
            Self::Add => "additions of content that is not there yet",
        })
    }

    /// Whether its rows tell how many clients a store can serve, so that each number of clients is worth a run.
    #[must_use]
    pub fn is_basic(self) -> bool {
        matches!(self, Self::Find | Self::Set | Self::TestAndSet | Self::Mixed { .. })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.slug())
    }
}

/// How many records, or values, are a client's own at most: it reads or adds all of them before its first turn.
const OWN: usize = 100;

/// How many bytes of content all clients add at the most before a run, in its warm-up, and in what is recorded of it: nobody
/// can remove them, and a fast store would fill memory with them.
const ADDED: usize = 32 << 20;
/// What a value takes beside its bytes, about.
const BESIDE: usize = 128;

/// What a client does next.
enum Turn {
    Find(Key),
    Set(Key, Bytes),
    Scan(Key),
    Update { key: Key, test: Bytes, set: Bytes },
    ReadAndUpdate(Key, Bytes),
    FindContent(ContentKey),
    Add(Bytes),
}

/// The turns of one client in a workload.
pub(crate) struct Turns {
    workload: Workload,
    records: Records,
    client: usize,
    clients: usize,
    rng: Rng,
    values: Values,
    /// What the client set last, of the records that it compares and sets.
    known: HashMap<Key, Bytes>,
    inserted: Vec<Key>,
    added: Vec<ContentKey>,
    /// How many additions are left to the client before it has done enough.
    left_to_add: usize,
}

impl Turns {
    pub(crate) fn new(
        workload: Workload,
        records: Records,
        (client, clients): (usize, usize),
        plan: &Plan,
        run: u64,
    ) -> Self {
        let rng = Rng::with_seed(plan.seed ^ run << 32 ^ client as u64);
        // Content that is only found is added once, in the first run.
        let maker = if workload == Workload::FindContent { 0 } else { run };
        let values = Values::new(maker, client, plan.value_len);
        let (known, inserted, added) = (HashMap::new(), Vec::new(), Vec::new());
        let mut turns =
            Self { workload, records, client, clients, rng, values, known, inserted, added, left_to_add: 0 };
        turns.begin();
        turns
    }

    /// Begins to count what is enough.
    pub(crate) fn begin(&mut self) {
        self.left_to_add = self.share();
    }

    /// How many values are the client's part of what all of them add.
    fn share(&self) -> usize {
        (ADDED / (self.values.len() + BESIDE) / self.clients).max(1)
    }

    /// Whether the client did so much since then that no more is to be asked of the store.
    pub(crate) fn are_enough(&self) -> bool {
        self.workload == Workload::Add && self.left_to_add == 0
    }

    /// Takes a turn, and says how long the store took for it. What the turn is was decided before.
    pub(crate) async fn take<C: Client>(&mut self, client: &mut C) -> Result<Duration> {
        let turn = self.next(client).await?;
        let began = Instant::now();
        let known = perform(client, turn).await?;
        let took = began.elapsed();
        self.known.extend(known);
        Ok(took)
    }

    /// Reads the records that the client compares and sets, or adds the content that it finds, so that no turn has to.
    pub(crate) async fn prepare<C: Client>(&mut self, client: &mut C) -> Result<()> {
        match self.workload {
            Workload::TestAndSet => {
                for index in 0..self.own() {
                    let key = self.own_key(index);
                    let value = copied(client.find(&key).await?).unwrap_or_default();
                    self.known.insert(key, value);
                }
            }
            Workload::FindContent => {
                for _ in 0..self.own().min(self.share()) {
                    self.added.push(client.add(self.values.next()).await?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// How many records are the client's own.
    fn own(&self) -> usize {
        (self.records.count() - self.client).div_ceil(self.clients).min(OWN)
    }

    fn own_key(&self, index: usize) -> Key {
        self.records.key(self.client + self.clients * index).clone()
    }

    async fn next<C: Client>(&mut self, client: &mut C) -> Result<Turn> {
        let own = self.own();
        let (records, rng) = (&self.records, &mut self.rng);
        Ok(match self.workload {
            Workload::Find => Turn::Find(records.any(rng).clone()),
            Workload::Mixed { reads } if rng.u8(..100) < reads => Turn::Find(records.any(rng).clone()),
            Workload::Set | Workload::Mixed { .. } => Turn::Set(records.any(rng).clone(), self.values.next()),
            Workload::TestAndSet => {
                let index = rng.usize(..own);
                let key = self.own_key(index);
                self.update_of(client, key).await?
            }
            Workload::Contended => {
                let key = records.hottest().clone();
                self.update_of(client, key).await?
            }
            Workload::A if rng.bool() => Turn::Set(records.popular(rng).clone(), self.values.next()),
            Workload::B if one_in_twenty(rng) => Turn::Set(records.popular(rng).clone(), self.values.next()),
            Workload::F if rng.bool() => Turn::ReadAndUpdate(records.popular(rng).clone(), self.values.next()),
            Workload::A | Workload::B | Workload::C | Workload::F => Turn::Find(records.popular(rng).clone()),
            Workload::D | Workload::E if one_in_twenty(rng) => self.insert(),
            Workload::D => Turn::Find(self.latest()),
            Workload::E => Turn::Scan(records.popular_scope(rng).clone()),
            Workload::FindContent => Turn::FindContent(self.any_added(client).await?),
            Workload::Add => {
                self.left_to_add = self.left_to_add.saturating_sub(1);
                Turn::Add(self.values.next())
            }
        })
    }

    /// A compare-and-set of what the client knows; it reads a record that it does not know.
    async fn update_of<C: Client>(&mut self, client: &mut C, key: Key) -> Result<Turn> {
        let test = match self.known.remove(&key) {
            Some(value) => value,
            None => copied(client.find(&key).await?).unwrap_or_default(),
        };
        Ok(Turn::Update { key, test, set: self.values.next() })
    }

    /// It adds a value where it added none.
    async fn any_added<C: Client>(&mut self, client: &mut C) -> Result<ContentKey> {
        if self.added.is_empty() {
            self.added.push(client.add(self.values.next()).await?);
        }
        Ok(self.added[self.rng.usize(..self.added.len())])
    }

    fn insert(&mut self) -> Turn {
        let name = format!("inserted/{:016x}-{:04}-{:08}", self.rng.u64(..), self.client, self.inserted.len());
        let key = Key::new(name).expect("digits and slashes are a key");
        self.inserted.push(key.clone());
        Turn::Set(key, self.values.next())
    }

    /// The last inserted one most often, and further back the records of the beginning.
    fn latest(&mut self) -> Key {
        let back = self.records.rank(&mut self.rng);
        match self.inserted.len().checked_sub(back + 1) {
            Some(index) => self.inserted[index].clone(),
            None => self.records.popular(&mut self.rng).clone(),
        }
    }
}

/// Does it, and gives back what a record is known to have after it.
async fn perform<C: Client>(client: &mut C, turn: Turn) -> Result<Option<(Key, Bytes)>> {
    match turn {
        Turn::Find(key) => client.find(&key).await.map(drop)?,
        Turn::Set(key, value) => client.set(&key, value).await?,
        Turn::Scan(under) => client.scan(&under).await.map(drop)?,
        Turn::Update { key, test, set } => {
            update(client, &key, Some(test), &set).await?;
            return Ok(Some((key, set)));
        }
        Turn::ReadAndUpdate(key, set) => {
            let test = copied(client.find(&key).await?);
            update(client, &key, test, &set).await?;
        }
        Turn::FindContent(key) => client.find_content(&key).await.map(drop)?,
        Turn::Add(value) => client.add(value).await.map(drop)?,
    }
    Ok(None)
}

fn copied(value: Option<impl AsRef<[u8]>>) -> Option<Bytes> {
    value.map(|value| Bytes::copy_from_slice(value.as_ref()))
}

fn one_in_twenty(rng: &mut Rng) -> bool {
    rng.u8(..20) == 0
}

/// Compares and sets until it is applied.
async fn update<C: Client>(client: &mut C, key: &Key, mut test: Option<Bytes>, set: &Bytes) -> Result<()> {
    while let TestAndSet::Mismatch { current } = client.test_and_set(key, test, Some(set.clone())).await? {
        test = current;
    }
    Ok(())
}
