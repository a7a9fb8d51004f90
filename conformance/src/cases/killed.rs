//! A10, A8, I7, X1 and L4 after a kill: what a killed process leaves behind.

use crate::{
    case::{Case, case},
    child::say,
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
    let lines = child.kill_after(random.usize(..W::STEPS), random, W::STEP)?;
    Ok(Said { round: Round { number, seed: context.seed() }, lines })
}

async fn killed<W: Work>(context: Context) -> Outcome {
    let mut random = context.random();
    let mut rounds = Vec::new();
    for number in 0..context.rounds(8) {
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
    if rounds.iter().all(|said| said.lines.is_empty()) {
        return Err(Failure::inconclusive("no child had anything acknowledged before it was cut off"));
    }
    Ok(())
}

const AFTER_A_KILL: &str = "an open after a kill";

const OPENING: &str = "opening";

async fn open(cue: Cue) -> Outcome {
    say(OPENING);
    let instance = cue.open().await?;
    say("open");
    instance.close().await?;
    Ok(())
}

/// Kills a child somewhere in an `open`.
pub(super) fn kill_while_opening(context: &Context, random: &mut fastrand::Rng) -> Outcome {
    let mut child = context.child("open", &[])?;
    child.until(OPENING)?;
    child.kill_after(0, random, 8 * STEP).map(drop)
}

/// A store opens after a kill in the `open` that creates it, and in those that find what a killed writer left.
async fn killed_while_opening(context: Context) -> Outcome {
    let mut random = context.random();
    for number in 0..context.rounds(2) {
        let context = context.another_store().await?;
        kill_while_opening(&context, &mut random)?;
        let instance = context.open_when_free("an open after a kill in the first open").await?;
        let (k, v) = (key("k"), value("v"));
        instance.entries().set(&k, v.clone()).await?;
        instance.close().await?;
        let said = [cut_off::<Entries>(&context, number, &mut random)?];
        for _ in 0..2 {
            kill_while_opening(&context, &mut random)?;
        }
        let instance = context.open_when_free("an open after kills in later opens").await?;
        Entries::check(&instance, &said).await?;
        ensure_eq!(instance.entries().find(&k).await?, Some(v), "A10: an entry from before");
        instance.close().await?;
    }
    Ok(())
}
