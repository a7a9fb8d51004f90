//! A12, I6 and E1: each file of a store, damaged alone, as a store leaves them that was closed and one that was killed.
//!
//! The store is read in another process, whose memory is limited: a panic in any thread, a hang, and memory without end
//! are told from an answer. An answer is right, or an error; and a refusal to open says what it is about.

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    fmt,
    iter::successors,
    panic,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, setrlimit};
use store_api::{ContentHash, Error, ErrorKind};

use super::rot::{Absent, LONGEST, fill, flip, reads, reads_content, rot, state};
use crate::{
    case::{Case, case},
    child::wait_to_go,
    context::{Context, Instance},
    failure::{Failure, Outcome, ensure},
    files::Files,
    following::State,
    lock::lock,
    memory::taken_kib,
    roles::{Cue, Role, role},
};

pub(super) const CASES: &[Case] =
    &[case!("atomic/A12-rot-in-each-file-is-told", [Entries, Embedded, Reopens, SurvivesKill], each_file)];

pub(super) const ROLES: &[Role] = &[role!("fill-and-wait", fill_and_wait), role!("read-rotten", read_rotten)];

/// How much memory the process that reads what rotted may have beyond what it took to read it whole: far more than the
/// whole store takes.
const MEMORY: u64 = 1 << 30;

/// The most bits that are flipped in a file.
const BITS: usize = 64;

/// How a store was left.
#[derive(Clone, Copy)]
enum Left {
    Closed,
    Killed,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "that was closed",
            Self::Killed => "that was killed",
        })
    }
}

impl Left {
    /// The files of a store that was filled, and left so.
    async fn files(self, context: &Context) -> Outcome<Files> {
        match self {
            Self::Closed => {
                let instance = context.open().await?;
                fill_all(&instance, &state_of(context.seed())).await?;
                instance.close().await?;
            }
            Self::Killed => {
                let mut child = context.child("fill-and-wait", &[])?;
                child.until_ready()?;
                child.kill()?;
            }
        }
        Files::of(context.directory())
    }
}

fn state_of(seed: u64) -> State {
    state(&mut fastrand::Rng::with_seed(seed), LONGEST)
}

/// Its values are content as well, where the store has any; before the entries, so that these are not the last.
async fn fill_all(instance: &Instance, state: &State) -> Outcome {
    if let Some(content) = instance.indexable() {
        for value in state.values() {
            content.add(value.clone()).await?;
        }
    }
    fill(&*instance.entries(), state).await
}

async fn fill_and_wait(cue: Cue) -> Outcome {
    let instance = cue.open().await?;
    fill_all(&instance, &state_of(cue.seed)).await?;
    wait_to_go();
    Ok(())
}

/// What happens to a file.
#[derive(Clone, Copy)]
enum Damage {
    Bits,
    Row,
    Cut,
}

impl Damage {
    const ALL: [Self; 3] = [Self::Bits, Self::Row, Self::Cut];

    fn befall(self, bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
        match self {
            Self::Bits => {
                for _ in 0..random.usize(1..=BITS) {
                    let at = random.usize(..bytes.len());
                    flip(&mut bytes[at..], random);
                }
            }
            Self::Row => {
                let at = random.usize(..bytes.len());
                rot(&mut bytes[at..], random);
            }
            Self::Cut => bytes.truncate(random.usize(..bytes.len())),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bits => "bits were flipped in",
            Self::Row => "bytes in a row rotted in",
            Self::Cut => "the end is missing of",
        })
    }
}

async fn each_file(context: Context) -> Outcome {
    let mut random = context.random();
    for left in [Left::Closed, Left::Killed] {
        let context = context.store_in_directory().await?;
        let files = left.files(&context).await?;
        let directory = context.directory().to_string_lossy();
        let mut reader = context.child("read-rotten", &[&*directory])?;
        reader.until_ready()?;
        for file in files.with_bytes() {
            for damage in Damage::ALL.iter().cycle().take(context.rounds(Damage::ALL.len())) {
                files.changed(file, |bytes| damage.befall(bytes, &mut random))?;
                let read = reader.go().and_then(|()| reader.until_ready());
                read.map_err(|failure| {
                    failure.within(format_args!("{damage} {} of a store {left}", files.path(file)))
                })?;
            }
        }
    }
    Ok(())
}

/// Opens and reads the store, which is whole, and from then on whenever it is told to.
async fn read_rotten(cue: Cue) -> Outcome {
    let panics = first_panic();
    let directory = cue.arguments.first().ok_or_else(|| Failure::harness("no directory is named"))?;
    let state = state_of(cue.seed);
    let verified = cue.factory.insists_on().verifies();
    let mut values = None;
    let instance = cue.open().await?;
    read(&instance, &state, &mut values, verified).await?;
    limit_memory()?;
    close(instance).await;
    loop {
        wait_to_go();
        match cue.try_open().await {
            Ok(instance) => {
                read(&instance, &state, &mut values, verified).await?;
                close(instance).await;
            }
            Err(refusal) => says_what_it_is_about(&refusal, Path::new(directory))?,
        }
        if let Some(panic) = &*lock(&panics) {
            return Err(Failure::broken(format_args!("E1: a thread of the store panicked, caught or not: {panic}")));
        }
    }
}

/// The values by their hashes, once a store says how it hashes.
type Values = Option<BTreeMap<ContentHash, Bytes>>;

async fn read(instance: &Instance, state: &State, values: &mut Values, verified: bool) -> Outcome {
    reads(&*instance.entries(), state, Absent::Allowed).await?;
    if let Some(content) = instance.indexable() {
        let hashes = content.hash_function();
        let by_hash = || state.values().map(|value| (hashes.hash(value), value.clone())).collect();
        reads_content(&*content, values.get_or_insert_with(by_hash), None, verified).await?;
    }
    Ok(())
}

async fn close(instance: Instance) {
    // What is damaged may be what a close writes.
    let _ = instance.close().await;
}

/// Lets this process take so much more than what it has, that of its threads and of an open store included. Where the
/// system does not tell what that is, there is no limit.
fn limit_memory() -> Outcome {
    let Some(taken) = taken_kib() else { return Ok(()) };
    let limit = Some(1024_u64.saturating_mul(taken).saturating_add(MEMORY));
    setrlimit(Resource::Data, Rlimit { current: limit, maximum: limit }).map_err(Failure::harness)
}

/// The first panic of any thread from here on, in one line. One that is caught is a panic as well: a program that is built
/// to abort ends with it.
fn first_panic() -> Arc<Mutex<Option<String>>> {
    let first = Arc::new(Mutex::new(None));
    let (kept, tell) = (Arc::clone(&first), panic::take_hook());
    panic::set_hook(Box::new(move |panic| {
        lock(&kept).get_or_insert_with(|| panic.to_string().replace('\n', " "));
        tell(panic);
    }));
    first
}

/// Demands of a refusal to open that it names the store or one of its files, and that it is not to be tried again.
fn says_what_it_is_about(refusal: &Error, directory: &Path) -> Outcome {
    let is_final = !refusal.is_retryable() && !matches!(refusal.kind(), ErrorKind::InUse | ErrorKind::Closed);
    ensure!(is_final, "E1: a store that rotted refuses to open with `{:?}`: {refusal}", refusal.kind());
    let chain = successors(Some(refusal as &(dyn StdError + 'static)), |&error| error.source());
    let told = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let names = Files::of(directory)?.file_names();
    let words = told.split(|letter: char| !letter.is_alphanumeric() && !"._-".contains(letter));
    let names_it = told.contains(&*directory.to_string_lossy())
        || words.map(|word| word.trim_matches('.')).any(|word| names.contains(word));
    ensure!(names_it, "E1: a refusal to open names no file of the store: {told}");
    Ok(())
}
