//! A10, A8, I7, X1 and L4 after a kill: what a killed process leaves behind.

use std::time::{Duration, Instant};

use crate::{
    case::{Case, case},
    child::{say, wait_to_go},
    context::{Context, key},
    failure::{Failure, Outcome, ensure_eq},
    operations::value,
    roles::{Cue, Role, role},
    work::{self, Batches, Clears, Entries, Names, Reopenings, Round, STEP, Said, Work},
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A10-a-killed-writer-loses-nothing-acknowledged", [Entries, SurvivesKill], killed::<Entries>),
    case!("atomic/A10-a-killed-writer-brings-back-nothing-cleared", [Entries, SurvivesKill], killed::<Clears>),
    case!("index/I7-a-killed-writer-leaves-whole-batches", [Content, SurvivesKill], killed::<Batches>),
    case!("names/X1-a-killed-writer-leaves-no-name-without-content", [Entries, Content, SurvivesKill], killed::<Names>),
    case!("atomic/A10-a-kill-amid-closing-and-opening-loses-nothing", [Entries, SurvivesKill], killed::<Reopenings>),
    case!("handle/L4-a-store-opens-after-a-kill-while-it-was-opened", [Entries, SurvivesKill], killed_while_opening),
];

pub(super) const ROLES: &[Role] = &[
    role!("entries", work::play::<Entries>),
    role!("clears", work::play::<Clears>),
    role!("batches", work::play::<Batches>),
    role!("names", work::play::<Names>),
    role!("reopenings", work::play::<Reopenings>),
    role!("open", open),
];

/// Starts a child on the store, and kills it at a random moment of its work.
pub(super) fn cut_off<W: Work>(context: &Context, number: usize, random: &mut fastrand::Rng) -> Outcome<Said> {
    let child = context.child(W::ROLE, &[&number.to_string()])?;
    let lines = child.kill_after(random.usize(..W::STEPS), random, STEP)?;
    Ok(Said { round: Round { number, seed: context.seed() }, lines })
}

/// A bug that shows in every second kill is missed by so many with a chance of 0.02 %, and by twice as many, which a fast
/// store takes, hardly ever.
pub(super) const KILLS: usize = 12;

async fn killed<W: Work>(context: Context) -> Outcome {
    let mut random = context.random();
    let mut rounds = Vec::new();
    for number in context.rounds_for_a_while(KILLS, 2 * KILLS) {
        rounds.push(cut_off::<W>(&context, number, &mut random)?);
        let instance = context.open_when_free(AFTER_A_KILL).await?;
        // What earlier rounds left is looked at again at the end.
        W::check(&instance, &rounds[number..])
            .await
            .map_err(|failure| failure.within(format_args!("kill {number}")))?;
        instance.close().await?;
    }
    W::check(&context.open_when_free(AFTER_A_KILL).await?, &rounds).await?;
    ensure_worked(&rounds)
}

/// What was never acknowledged cannot be lost: where no child got so far, nothing was shown.
pub(super) fn ensure_worked(rounds: &[Said]) -> Outcome {
    if !rounds.iter().any(Said::has_steps) {
        return Err(Failure::inconclusive("no child had anything acknowledged before it was cut off"));
    }
    Ok(())
}

const AFTER_A_KILL: &str = "an open after a kill";

const OPENING: &str = "opening";
/// Precedes how many microseconds it took.
const OPEN: &str = "open ";

async fn open(cue: Cue) -> Outcome {
    wait_to_go();
    say(OPENING);
    let began = Instant::now();
    let instance = cue.open().await?;
    say(format_args!("{OPEN}{}", began.elapsed().as_micros()));
    instance.close().await?;
    Ok(())
}

/// Kills of children that are to come in the middle of an `open`.
#[derive(Debug)]
pub(super) struct Kills {
    /// Within this time of when a child is let go they come; it is set by those that came too early or too late.
    within: Duration,
    /// How long the longest `open` took, of those that came to their end.
    longest: Duration,
}

impl Kills {
    /// So many children are tried for one that is killed in its `open`: on a loaded machine most come too early or too late.
    const ATTEMPTS: usize = 100;

    /// An `open` that takes less has no middle that a kill could be aimed at.
    const AT_ONCE: Duration = Duration::from_micros(300);

    /// For first opens, and for later ones; both are aimed by how long they take on a store that nobody has opened.
    pub(super) fn of_first_and_later_opens(context: &Context) -> Outcome<(Self, Self)> {
        let first = Self::aimed_by_an_open(context)?;
        Ok((first, Self::aimed_by_an_open(context)?))
    }

    fn aimed_by_an_open(context: &Context) -> Outcome<Self> {
        let mut child = context.child("open", &[])?;
        child.until_ready()?;
        child.go()?;
        let took = took(&child.finish()?)?.ok_or_else(|| Failure::harness("a child did not say how long it took"))?;
        Ok(Self { within: took + STEP, longest: took })
    }

    /// Kills a child at a random moment; whether that was in the middle of its `open`.
    fn attempt(&mut self, context: &Context, random: &mut fastrand::Rng) -> Outcome<bool> {
        let mut child = context.child("open", &[])?;
        child.until_ready()?;
        child.go()?;
        let said = child.kill_after(0, random, self.within)?;
        if let Some(took) = took(&said)? {
            self.longest = self.longest.max(took);
            self.within = self.within.mul_f64(0.7);
            return Ok(false);
        }
        // Also behind one that came in the middle: the next may come later in it, up to its end.
        self.within = self.within.mul_f64(1.3);
        Ok(said.iter().any(|line| line == OPENING))
    }

    /// Kills children on stores that nobody opened before, until one was killed while it made its store; gives that.
    pub(super) async fn in_a_first_open<F>(
        &mut self,
        random: &mut fastrand::Rng,
        another_store: impl Fn() -> F,
    ) -> Outcome<Context>
    where
        F: Future<Output = Outcome<Context>>,
    {
        let mut store = another_store().await?;
        for _ in 1..Self::ATTEMPTS {
            if self.attempt(&store, random)? {
                return Ok(store);
            }
            store = another_store().await?;
        }
        self.never_hit().map(|()| store)
    }

    /// Kills children on a store until one was killed while it opened it.
    pub(super) fn in_an_open(&mut self, context: &Context, random: &mut fastrand::Rng) -> Outcome {
        for _ in 0..Self::ATTEMPTS {
            if self.attempt(context, random)? {
                return Ok(());
            }
        }
        self.never_hit()
    }

    /// What it shows that no kill came in the middle of an `open`.
    fn never_hit(&self) -> Outcome {
        if self.longest < Self::AT_ONCE {
            return Ok(());
        }
        Err(Failure::inconclusive(format_args!(
            "no kill came in the middle of an open, of which the longest took {:?}",
            self.longest
        )))
    }
}

/// How long the `open` of a child took, if it came to its end.
fn took(said: &[String]) -> Outcome<Option<Duration>> {
    let took = said.iter().find_map(|line| line.strip_prefix(OPEN)).map(str::parse).transpose();
    Ok(took.map_err(Failure::harness)?.map(Duration::from_micros))
}

/// A store opens after a kill in the `open` that creates it, and in those that find what a killed writer left.
async fn killed_while_opening(context: Context) -> Outcome {
    let mut random = context.random();
    let (mut first, mut later) = Kills::of_first_and_later_opens(&context)?;
    for number in 0..context.rounds(2) {
        let context = first.in_a_first_open(&mut random, || context.another_store()).await?;
        let instance = context.open_when_free("an open after a kill in the first open").await?;
        let (k, v) = (key("k"), value("v"));
        instance.entries().set(&k, v.clone()).await?;
        instance.close().await?;
        let said = [cut_off::<Entries>(&context, number, &mut random)?];
        for _ in 0..2 {
            later.in_an_open(&context, &mut random)?;
        }
        let instance = context.open_when_free("an open after kills in later opens").await?;
        Entries::check(&instance, &said).await?;
        ensure_eq!(instance.entries().find(&k).await?, Some(v), "A10: an entry from before");
        instance.close().await?;
    }
    Ok(())
}
