//! A1, A4, A5 and A6 among clients that really run beside each other: what each was told fits together.
//!
//! How a fault that needs luck is met: clients meet at each step and go on within a microsecond of each other, on as many
//! threads as the machine runs at once; or they run freely, until they were told often enough of each other. What met in
//! fact is counted: where two compares that meet go wrong once in a hundred times, 500 calls that met another miss it with
//! a chance of 0.7 %, a thousand increments that met with one of 0.004 %. With less the cases show nothing, and say so, but
//! for a store that is too slow to do as many in time; the report has how many met. On a machine that is not busy a fast
//! store does several times as many of both.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use store_api::{AtomicWrite, EntryReadExt, ErrorKind, Key, TestAndSet};

use crate::{
    case::{Case, case},
    clients::{Seat, all, as_many_as_cores, beside, both, have_a_core_each, table},
    context::{Context, key},
    failure::{Failure, Outcome, ensure, ensure_eq},
    histories::{act, linearizable, pass_over},
    history::{Client, Recorder},
    luck::{Hopes, Luck, UnderWay},
    operations::{increment, insist, number, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A1-concurrent-increments-are-not-lost", [Entries], increments_of_handles),
    case!(
        "atomic/A1-concurrent-increments-of-instances-are-not-lost",
        [Entries, SharedInstances],
        increments_of_instances
    ),
    case!("atomic/A1-concurrent-increments-of-long-values-are-not-lost", [Entries], long_increments),
    case!("atomic/A1-reads-never-go-back", [Entries], reads_by_handles),
    case!("atomic/A1-reads-by-another-instance-never-go-back", [Entries, SharedInstances], reads_by_instances),
    case!("atomic/A1-a-read-amid-writes-is-of-one-value", [Entries], whole_reads),
    case!("atomic/A1-histories-of-handles-are-linearizable", [Entries], histories_of_handles),
    case!("atomic/A1-histories-of-instances-are-linearizable", [Entries, SharedInstances], histories_of_instances),
    case!("atomic/A8-histories-with-clears-are-linearizable", [Entries], histories_with_clears),
    case!(
        "atomic/A8-histories-of-instances-with-clears-are-linearizable",
        [Entries, SharedInstances],
        histories_of_instances_with_clears
    ),
    case!("atomic/A4-of-many-that-test-the-same-one-is-applied", [Entries], contests_of_handles),
    case!(
        "atomic/A4-of-many-instances-that-test-the-same-one-is-applied",
        [Entries, SharedInstances],
        contests_of_instances
    ),
    // A write that is sent again takes away what another set in between.
    case!("atomic/A5-a-write-is-never-applied-twice", [Entries], increments_of_handles),
    case!("atomic/A5-an-error-amid-others-tells-the-truth-of-its-effect", [Entries], closed_amid_writes),
    case!("atomic/A6-contention-is-not-a-mismatch", [Entries], contention),
];

type Handles = Vec<Arc<dyn AtomicWrite>>;

async fn of_one_instance(context: &Context) -> Outcome<Handles> {
    let instance = context.open().await?;
    Ok(vec![instance.entries(), instance.entries()])
}

async fn of_two_instances(context: &Context) -> Outcome<Handles> {
    let (one, two) = (context.open().await?, context.open().await?);
    Ok(vec![one.entries(), two.entries(), one.entries(), two.entries()])
}

/// So many clients, each with one of the handles.
fn clients(handles: &Handles, count: usize) -> impl Iterator<Item = Arc<dyn AtomicWrite>> {
    handles.iter().cycle().take(count).cloned()
}

async fn increments_of_handles(context: Context) -> Outcome {
    let handles = of_one_instance(&context).await?;
    increments(&context, handles, SHORT).await
}

async fn increments_of_instances(context: Context) -> Outcome {
    let handles = of_two_instances(&context).await?;
    increments(&context, handles, SHORT).await
}

/// Values that a store compares off its own threads are compared with what is there at the instant of the write.
async fn long_increments(context: Context) -> Outcome {
    let handles = of_one_instance(&context).await?;
    increments(&context, handles, LONG).await
}

/// Increments of one counter by several clients.
#[derive(Clone, Copy)]
struct Increments {
    clients: usize,
    /// How many digits the number is written with at least.
    width: usize,
    /// How many increments are to have met another, and how many each client makes.
    hopes: Hopes,
}

/// Where a fault is open for less time than the other needs to try again, as where a write is sent twice, one meeting in
/// a thousand shows it: with a tenth of what is enough it was missed by 6 % of seeds.
const SHORT: Increments =
    Increments { clients: 8, width: 1, hopes: Hopes { floor: 1_000, enough: 20_000, rounds: [125, 20_000] } };

/// These take so long that what goes wrong in them hardly needs luck.
const LONG: Increments =
    Increments { clients: 4, width: 300_000, hopes: Hopes { floor: 20, enough: 20_000, rounds: [6, 50] } };

/// Increments a counter. Each number that a client was told it made is one that nobody else was told, and together they are
/// all there are.
async fn increments(context: &Context, handles: Handles, wanted: Increments) -> Outcome {
    let counter = key("counter");
    let luck = context.luck(wanted.hopes);
    let counting = clients(&handles, wanted.clients).map(|entries| {
        let (counter, luck) = (counter.clone(), Arc::clone(&luck));
        async move {
            let mut made: Vec<u64> = Vec::new();
            for _ in luck.rounds() {
                let next = increment(&*entries, &counter, wanted.width).await?;
                if made.last().is_some_and(|last| last + 1 != next) {
                    luck.meet();
                }
                made.push(next);
            }
            Ok(made)
        }
    });
    let mut made: Vec<u64> = all(counting).await?.concat();
    made.sort_unstable();
    for pair in made.windows(2) {
        let n = pair[0];
        ensure!(n != pair[1], "a lost update: two clients were told that they made {n} of {}", n - 1);
    }
    for entries in handles {
        let counted = number(entries.find(&counter).await?.as_ref())?;
        ensure_eq!(counted, made.len() as u64, "the counter after so many increments");
    }
    luck.judge("increments met another")
}

async fn reads_by_handles(context: Context) -> Outcome {
    let instance = context.open().await?;
    reads_while_counting(&context, instance.entries(), vec![instance.entries(), instance.entries()]).await
}

async fn reads_by_instances(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    reads_while_counting(&context, one.entries(), vec![two.entries(), one.entries()]).await
}

/// Reads a number while it grows: no reader sees less than was acknowledged before its call, or less than it saw. How often
/// a reader sees that it grew is what depends on luck.
async fn reads_while_counting(context: &Context, writer: Arc<dyn AtomicWrite>, readers: Handles) -> Outcome {
    let luck = context.luck(Hopes { floor: 100, enough: 300, rounds: [300, 20_000] });
    let acknowledged = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let k = key("k");
    let mut reading = Vec::new();
    for entries in readers {
        // Each reads before anything is written, and once behind it.
        insist(|| entries.find(&k)).await?;
        let (acknowledged, over, luck) = (Arc::clone(&acknowledged), Arc::clone(&over), Arc::clone(&luck));
        let reader = NumberReader { entries, k: k.clone(), acknowledged, over, luck };
        let read = async move { reader.read().await.inspect_err(|_| reader.luck.give_up()) };
        reading.push(beside(read).await?);
    }
    let written = count_up(&luck, &*writer, &k, &acknowledged).await;
    over.store(true, Ordering::Release);
    for read in try_join_all(reading).await? {
        read?;
    }
    written?;
    luck.judge("reads saw that the number had grown")
}

/// Reads a number that another client counts up.
struct NumberReader {
    entries: Arc<dyn AtomicWrite>,
    k: Key,
    /// The last number that the writer was told is there.
    acknowledged: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    luck: Arc<Luck>,
}

impl NumberReader {
    async fn read(&self) -> Outcome {
        let mut before = 0;
        loop {
            let last = self.over.load(Ordering::Acquire);
            let known = self.acknowledged.load(Ordering::Acquire).max(before);
            let seen = number(insist(|| self.entries.find(&self.k)).await?.as_ref())?;
            ensure!(seen >= known, "a read went back: {seen} where {known} was known before it began");
            let present = insist(|| self.entries.mem(&self.k)).await?;
            ensure!(seen == 0 || present, "`mem` is false after `find` gave {seen}");
            if last {
                return Ok(());
            }
            if seen > before {
                self.luck.meet();
            }
            before = seen;
        }
    }
}

async fn count_up(luck: &Arc<Luck>, writer: &dyn AtomicWrite, k: &Key, acknowledged: &AtomicU64) -> Outcome {
    for (_, next) in luck.rounds().zip(1..) {
        if next % 2 == 0 {
            insist(|| writer.set(k, value(next))).await?;
        } else {
            let test = (next > 1).then(|| value(next - 1));
            let verdict = insist(|| writer.test_and_set(k, test.clone(), Some(value(next)))).await?;
            ensure!(verdict.is_applied(), "nobody else writes, and yet: {}", shown(&verdict));
        }
        acknowledged.store(next, Ordering::Release);
    }
    Ok(())
}

/// Writes long values, each of one byte over and over, and reads all the while: no value is a part of one and a part of
/// another. Who reads waits for nobody, and who writes goes on until many values were seen: what is there for a twentieth
/// of the time that a write takes is missed by 300 changes with a chance below a millionth, by sixty with one of 5 %.
async fn whole_reads(context: Context) -> Outcome {
    let instance = context.open().await?;
    let (reader, writer, k) = (instance.entries(), instance.entries(), key("k"));
    let luck = context.luck(Hopes { floor: 60, enough: 300, rounds: [60, 1_000_000] });
    let (over, changes) = (Arc::new(AtomicBool::new(false)), Arc::clone(&luck));
    let (ended, writing) = (Arc::clone(&over), Arc::clone(&luck));
    let writes = async move {
        let mut written = Ok(());
        for (_, byte) in writing.rounds().zip((0..=u8::MAX).cycle()) {
            written = insist(|| writer.set(&k, of_one(byte))).await;
            if written.is_err() {
                break;
            }
        }
        ended.store(true, Ordering::Release);
        written
    };
    let reads = async move {
        let mut last = None;
        while !over.load(Ordering::Acquire) {
            let found = read_of_one(&*reader).await.inspect_err(|_| changes.give_up())?;
            if found != last {
                changes.meet();
            }
            last = found;
        }
        Ok(())
    };
    both(reads, writes).await?;
    luck.judge("reads saw that the value had changed")
}

/// A long value of one byte; the lengths differ, too.
fn of_one(byte: u8) -> Bytes {
    vec![byte; 100_000 + usize::from(byte)].into()
}

/// The byte that a value is of.
async fn read_of_one(entries: &dyn AtomicWrite) -> Outcome<Option<u8>> {
    let k = key("k");
    let Some(found) = insist(|| entries.find(&k)).await? else { return Ok(None) };
    let whole = found.first().is_some_and(|first| found == of_one(*first));
    ensure!(whole, "a part of one value, or of two: {} bytes", found.len());
    Ok(found.first().copied())
}

async fn histories_of_handles(context: Context) -> Outcome {
    let handles = of_one_instance(&context).await?;
    histories(&context, handles, false).await
}

async fn histories_of_instances(context: Context) -> Outcome {
    let handles = of_two_instances(&context).await?;
    histories(&context, handles, false).await
}

async fn histories_with_clears(context: Context) -> Outcome {
    let handles = of_one_instance(&context).await?;
    histories(&context, handles, true).await
}

async fn histories_of_instances_with_clears(context: Context) -> Outcome {
    let handles = of_two_instances(&context).await?;
    histories(&context, handles, true).await
}

/// The keys of a step: a few at a time, so that clients collide, and other ones after a while, so that no history grows
/// too long to be judged.
fn keys_of(step: usize) -> [Key; 2] {
    ["few", "many"].map(|values| key(format!("{}/{values}-values", step / 20)))
}

/// Random operations of many clients, a few in each step, recorded and judged.
async fn histories(context: &Context, handles: Handles, clears: bool) -> Outcome {
    let recorder = Recorder::new();
    let seats = table(as_many_as_cores() + 1);
    let mut random = context.random();
    let most = if clears { 300 } else { 1_000 };
    let acting = clients(&handles, seats.len()).zip(seats).map(|(entries, mut seat)| {
        let (context, mut client, mut random) = (context.clone(), recorder.client(), random.fork());
        async move {
            for step in context.rounds_for_a_moment(60, most) {
                if !seat.meet() {
                    break;
                }
                act(&mut client, &*entries, &keys_of(step), random.fork(), 6).await?;
                if clears && random.u32(..6) == 0 {
                    pass_over(client.clear(&*entries).await)?;
                }
            }
            Ok(())
        }
    });
    all(acting).await?;
    linearizable(recorder)
}

async fn contests_of_handles(context: Context) -> Outcome {
    let handles = of_one_instance(&context).await?;
    contests(&context, handles).await
}

async fn contests_of_instances(context: Context) -> Outcome {
    let handles = of_two_instances(&context).await?;
    contests(&context, handles).await
}

/// What a client set, and what it was told.
type Attempt = (Bytes, TestAndSet);

/// Clients that test for the same value at the same moment, over and over: one is applied, and the others are told its
/// value.
///
/// They meet at each step, unless there are fewer cores than clients and that was of no use: a call that never waits is over
/// before another client has the core. Then each goes through many keys on its own, and who loses its core amid a call is
/// met there by the next. As they come to the keys in the same order, and meet behind the last, each still knows what was
/// there before.
async fn contests(context: &Context, handles: Handles) -> Outcome {
    let seats = table(as_many_as_cores());
    let overlaps = Arc::new(Overlaps::new(context.luck(CONTESTS)));
    let contesting = clients(&handles, seats.len()).zip(seats).enumerate().map(|(client, (entries, seat))| {
        let overlaps = Arc::clone(&overlaps);
        async move { contest(client, &*entries, seat, &overlaps).await }
    });
    let attempts = all(contesting).await?;
    let rounds = attempts.iter().map(Vec::len).min().unwrap_or_default();
    for round in 0..rounds {
        let round: Vec<&Attempt> = attempts.iter().map(|attempts| &attempts[round]).collect();
        let winners: Vec<_> = round.iter().filter(|(_, verdict)| verdict.is_applied()).collect();
        ensure_eq!(winners.len(), 1, "how many of {} that tested for the same value were applied", round.len());
        let due = TestAndSet::Mismatch { current: Some(winners[0].0.clone()) };
        for (_, verdict) in round.iter().filter(|(_, verdict)| !verdict.is_applied()) {
            ensure_eq!(*verdict, due, "what one of the others was told");
        }
    }
    overlaps.luck.judge("calls began while another of the same key was under way")
}

/// Rounds until many of them were contests in fact: where others keep the cores busy, clients that start together take
/// turns all the same, and 500 rounds of a fault in a hundred may hold none that anybody met.
const CONTESTS: Hopes = Hopes { floor: 500, enough: 5_000, rounds: [500, 100_000] };

/// The calls that begin while another of the same key is under way.
struct Overlaps {
    /// By the numbers of the keys.
    under_way: Vec<UnderWay>,
    /// Whether there is a core for each client.
    a_core_each: bool,
    luck: Arc<Luck>,
}

impl Overlaps {
    const KEYS: usize = 20_000;

    /// So many steps are tried in which all meet.
    const STEPS: usize = 5_000;

    fn new(luck: Arc<Luck>) -> Self {
        let under_way = (0..Self::KEYS).map(|_| UnderWay::default()).collect();
        Self { under_way, a_core_each: have_a_core_each(as_many_as_cores()), luck }
    }

    /// The number of the key of a round, which begins with a meeting where that is zero.
    fn key_of(&self, round: usize) -> usize {
        if self.a_core_each || round < Self::STEPS { 0 } else { round % Self::KEYS }
    }

    async fn beside<T>(&self, key: usize, call: impl Future<Output = T>) -> T {
        self.under_way[key].beside(&self.luck, call).await
    }
}

async fn contest(
    client: usize,
    entries: &dyn AtomicWrite,
    mut seat: Seat,
    overlaps: &Overlaps,
) -> Outcome<Vec<Attempt>> {
    let (mut attempts, mut known) = (Vec::new(), HashMap::new());
    for round in overlaps.luck.rounds() {
        let number = overlaps.key_of(round);
        if number == 0 && !seat.meet() {
            break;
        }
        let (k, test) = (key(format!("k/{number}")), known.remove(&number).flatten());
        let mine = value(format_args!("{round} by {client}"));
        let attempt = insist(|| entries.test_and_set(&k, test.clone(), Some(mine.clone())));
        let verdict = overlaps.beside(number, attempt).await?;
        known.insert(number, after(verdict.clone(), mine.clone()));
        attempts.push((mine, verdict));
    }
    Ok(attempts)
}

/// Clients write while one of them closes their handle. What they were told of each write's effect is part of the history:
/// one that did not happen is never seen, one that may have happened may be seen from then on.
async fn closed_amid_writes(context: Context) -> Outcome {
    let instance = context.open().await?;
    let recorder = Recorder::new();
    let mut reader = recorder.client();
    let mut writers = vec![recorder.client(), recorder.client(), recorder.client()];
    let mut random = context.random();
    for round in context.rounds_for_a_moment(20, 300) {
        let handle = Closing {
            context: context.clone(),
            entries: instance.entries(),
            k: key((round / 5).to_string()),
            closed: Arc::default(),
        };
        let closes_after = [random.usize(1..20), usize::MAX, usize::MAX];
        let writing = writers.into_iter().zip(table(3)).zip(closes_after).map(|((client, seat), closes_after)| {
            handle.clone().record_until_closed(client, seat, closes_after, random.fork())
        });
        writers = all(writing).await?;
        reader.find(&*instance.entries(), &handle.k).await?;
    }
    linearizable(recorder)
}

/// A handle that one of its writers closes.
#[derive(Clone)]
struct Closing {
    context: Context,
    entries: Arc<dyn AtomicWrite>,
    k: Key,
    /// Whether `close` has returned.
    closed: Arc<AtomicBool>,
}

impl Closing {
    /// Records writes of values that nobody else writes until the handle is closed, by others or after so many writes by itself.
    async fn record_until_closed(
        self,
        mut client: Client,
        mut seat: Seat,
        closes_after: usize,
        mut random: fastrand::Rng,
    ) -> Outcome<Client> {
        let Self { entries, k, closed, .. } = &self;
        seat.meet();
        let mut test = None;
        for i in 0.. {
            if i == closes_after {
                self.close().await?;
            }
            let after_close = closed.load(Ordering::SeqCst);
            let set = value(format_args!("{:x}", random.u64(..)));
            let written = if i % 3 == 0 {
                client.set(&**entries, k, set.clone()).await.map(|()| test = Some(set))
            } else {
                let verdict = client.test_and_set(&**entries, k, test.clone(), Some(set.clone())).await;
                verdict.map(|verdict| test = after(verdict, set))
            };
            match written {
                Err(error) if error.kind() == ErrorKind::Closed => break,
                Ok(()) if after_close => {
                    return Err(Failure::broken("L1: a write succeeds after `close` has returned"));
                }
                written => pass_over(written)?,
            }
        }
        Ok(client)
    }

    async fn close(&self) -> Outcome {
        let done = self.context.soon("the return of `close` amid writes", self.entries.close()).await;
        // Also where it failed, so that no other writer goes on for ever.
        self.closed.store(true, Ordering::SeqCst);
        Ok(done??)
    }
}

/// What is there after a compare that would have set a value.
fn after(verdict: TestAndSet, set: Bytes) -> Option<Bytes> {
    match verdict {
        TestAndSet::Applied => Some(set),
        TestAndSet::Mismatch { current } => current,
    }
}

/// Each client has a key of its own, so that none of its compares can fail; all of them make the store busy.
async fn contention(context: Context) -> Outcome {
    const CLIENTS: usize = 16;
    let handles = of_one_instance(&context).await?;
    let writing = clients(&handles, CLIENTS).enumerate().map(|(client, entries)| {
        let (context, own, shared) = (context.clone(), key(format!("own/{client}")), key("shared"));
        async move {
            let mut test = None;
            for round in context.rounds_for_a_moment(15, 500) {
                insist(|| entries.set(&shared, value(format_args!("{client} {round}")))).await?;
                let next = Some(value(round));
                let verdict = insist(|| entries.test_and_set(&own, test.clone(), next.clone())).await?;
                ensure!(verdict.is_applied(), "nobody else writes this key, and yet: {}", shown(&verdict));
                test = next;
            }
            Ok(())
        }
    });
    all(writing).await?;
    ensure_eq!(handles[0].list_sorted(&key("own")).await?.len(), CLIENTS, "the clients that have a key");
    Ok(())
}
