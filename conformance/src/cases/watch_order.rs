//! W4: what a watch tells was so, and in that order.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::try_join_all;
use store_api::{AtomicWrite, EntryReadExt, Key};

use crate::{
    case::{Case, case},
    clients::{all, beside},
    context::{Context, Instance, key},
    failure::{Outcome, ensure, ensure_eq},
    following::{Follower, Reading, Scope, State},
    operations::{increment, insist, number, put, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W4-a-growing-counter-is-told-growing", [Entries], growing),
    case!("watch/W4-a-counter-of-several-instances-is-told-growing", [Entries, SharedInstances], growing_of_instances),
    case!("watch/W4-what-is-told-was-so-in-that-order", [Entries], course),
    case!(
        "watch/W4-what-is-told-of-other-instances-was-so-in-that-order",
        [Entries, SharedInstances],
        course_of_instances
    ),
];

fn k() -> Key {
    key("k")
}

/// Watches a counter that many increment. Who sees a number writes the next, so their order is known whoever wrote them:
/// each told is larger than the one before, and the last is told.
async fn count(context: &Context, watching: &[Instance], writing: &[Instance]) -> Outcome {
    let watchers: Vec<_> = watching.iter().map(Instance::entries).collect();
    let mut reading = Reading::new(context);
    for watcher in &watchers {
        let follower = Follower::current(context, &**watcher, &Scope::Key(k()), &State::new()).await?;
        reading.follow(follower).await?;
        reading.follow(Follower::from_nothing(context, &**watcher, &Scope::everything()).await?).await?;
    }
    let counting = |writer: Arc<dyn AtomicWrite>| {
        let rounds = reading.rounds();
        async move {
            let mut last = 0;
            for _ in rounds {
                last = increment(&*writer, &k(), 1).await?;
            }
            Ok(last)
        }
    };
    let lasts = all(writing.iter().map(Instance::entries).map(counting).collect::<Vec<_>>()).await?;
    let last: State = lasts.into_iter().max().map(|last| (k(), value(last))).into_iter().collect();
    let (followers, told) = reading.end().await?;
    for mut follower in followers {
        expect_growing(&follower)?;
        follower.converge(&last).await?;
        expect_growing(&follower)?;
    }
    told.judge("things were told while others wrote")
}

fn expect_growing(follower: &Follower) -> Outcome {
    let mut before = 0;
    for told in follower.told(&k()) {
        let told = number(told.new_value())?;
        if told <= before {
            return Err(follower.blame(format_args!("W4: {told} told after {before}, of a counter that grows")));
        }
        before = told;
    }
    Ok(())
}

async fn growing(context: Context) -> Outcome {
    let instance = context.open().await?;
    count(&context, &[instance.clone(), instance.clone()], &[instance.clone(), instance.clone(), instance]).await
}

async fn growing_of_instances(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    count(&context, &[one.clone(), two.clone()], &[one, two.clone(), two]).await
}

/// What a writer made of its own keys, change by change.
type Courses = BTreeMap<Key, Vec<Option<Bytes>>>;

/// Changes keys that nobody else writes: mostly to what they never were, now and then back to what they were before
/// (A, B, A), or away.
async fn wander(
    entries: Arc<dyn AtomicWrite>,
    writer: usize,
    steps: impl Iterator<Item = usize>,
    mut random: fastrand::Rng,
) -> Outcome<Courses> {
    const KEYS: usize = 3;
    let mut courses: Courses = (0..KEYS).map(|i| (key(format!("{writer}/{i}")), vec![None])).collect();
    for step in steps {
        let (key, course) = courses.iter_mut().nth(random.usize(..KEYS)).expect("one of its keys");
        let is = course.last().cloned().flatten();
        let next = match random.u8(..8) {
            0 => None,
            1 if course.len() > 1 => course[course.len() - 2].clone(),
            _ => Some(value(format_args!("{writer} {step}"))),
        };
        if random.bool() {
            insist(|| put(&*entries, key, next.clone())).await?;
        } else {
            let verdict = insist(|| entries.test_and_set(key, is.clone(), next.clone())).await?;
            ensure!(verdict.is_applied(), "A2: a mismatch of a key that nobody else writes: {}", shown(&verdict));
        }
        if next != is {
            course.push(next);
        }
    }
    Ok(courses)
}

/// Watches that are read eagerly, from the middle on, and not before the end: what each tells of a key is a part of what
/// the key's one writer made of it, in its order.
async fn follow_courses(context: &Context, watching: &Instance, writing: &[Instance]) -> Outcome {
    let everything = Scope::everything();
    let entries = watching.entries();
    let mut reading = Reading::new(context);
    for scope in [&everything, &Scope::under("0"), &Scope::key("1/0")] {
        reading.follow(Follower::from_nothing(context, &*entries, scope).await?).await?;
    }
    reading.follow(Follower::current(context, &*entries, &everything, &State::new()).await?).await?;
    let unread = Follower::from_nothing(context, &*entries, &everything).await?;

    let mut random = context.random();
    let mut wandering = Vec::new();
    for (writer, instance) in writing.iter().enumerate() {
        wandering.push(beside(wander(instance.entries(), writer, reading.rounds(), random.fork())).await?);
    }
    reading.follow(Follower::from_nothing(context, &*entries, &everything).await?).await?;
    let courses: Outcome<Vec<Courses>> = try_join_all(wandering).await?.into_iter().collect();
    let courses: Courses = courses?.into_iter().flatten().collect();

    let last: State = courses.iter().filter_map(|(k, course)| Some((k.clone(), course.last()?.clone()?))).collect();
    let store: State = entries.entries_sorted(&Key::root()).await?.into_iter().collect();
    ensure_eq!(store, last, "A1: the entries when the writing is over");
    let (mut followers, told) = reading.end().await?;
    followers.push(unread);
    for follower in &mut followers {
        // What is wrong with what was told says more than what was not.
        expect_courses(follower, &courses)?;
        follower.converge(&last).await?;
        expect_courses(follower, &courses)?;
    }
    told.judge("things were told while others wrote")
}

fn expect_courses(follower: &Follower, courses: &Courses) -> Outcome {
    courses.iter().try_for_each(|(key, course)| follower.expect_course(key, course))
}

async fn course(context: Context) -> Outcome {
    let instance = context.open().await?;
    follow_courses(&context, &instance, &[instance.clone(), instance.clone(), instance.clone()]).await
}

async fn course_of_instances(context: Context) -> Outcome {
    let (one, two) = (context.open().await?, context.open().await?);
    follow_courses(&context, &one, &[one.clone(), two.clone(), two]).await
}
