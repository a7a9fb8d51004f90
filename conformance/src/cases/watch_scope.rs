//! W11 and W12: whose changes a watch tells, and of what.

use futures_util::future::try_join_all;

use crate::{
    case::{Case, case},
    context::{Context, Instance, key},
    failure::{Outcome, ensure_eq},
    following::{Follower, Scope, State},
    operations::{insist, put, set_all, value},
};

pub(super) const CASES: &[Case] = &[
    case!("watch/W11-changes-of-another-instance-arrive", [Entries, SharedInstances], another_instance),
    case!("watch/W11-changes-of-many-instances-arrive", [Entries, SharedInstances], many_instances),
    case!("watch/W11-changes-of-an-instance-that-is-gone-arrive", [Entries, SharedInstances], instance_that_is_gone),
    case!("watch/W12-a-scope-covers-whole-steps", [Entries], whole_steps),
    case!(
        "watch/W12-a-scope-of-another-instance-covers-whole-steps",
        [Entries, SharedInstances],
        whole_steps_of_another
    ),
];

async fn another_instance(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    let (watcher, writer) = (watching.entries(), writing.entries());
    let k = key("a/k");
    let nothing = State::new();
    let mut followers = [
        Follower::from_nothing(&context, &*watcher, &Scope::under("a")).await?,
        Follower::current(&context, &*watcher, &Scope::under("a"), &nothing).await?,
        Follower::current(&context, &*watcher, &Scope::Key(k.clone()), &nothing).await?,
    ];
    for (i, state) in [Some("1"), Some(""), None, Some("1")].into_iter().enumerate() {
        put(&*writer, &k, state.map(value)).await?;
        writer.set(&key("beside"), value(i)).await?;
        let due: State = state.map(|text| (k.clone(), value(text))).into_iter().collect();
        for follower in &mut followers {
            follower.converge(&due).await?;
        }
    }
    Ok(())
}

async fn many_instances(context: Context) -> Outcome {
    let instances = [context.open().await?, context.open().await?, context.open().await?];
    let handles = instances.each_ref().map(Instance::entries);
    let mut followers = Vec::new();
    for handle in &handles {
        followers.push(Follower::from_nothing(&context, &**handle, &Scope::everything()).await?);
    }
    let mut state = State::new();
    for round in 0..context.rounds_across_instances(8) {
        for (i, handle) in handles.iter().enumerate() {
            let k = key(i.to_string());
            handle.set(&k, value(round)).await?;
            state.insert(k, value(round));
        }
        for follower in &mut followers {
            follower.converge(&state).await?;
        }
    }
    Ok(())
}

async fn instance_that_is_gone(context: Context) -> Outcome {
    let watching = context.open().await?;
    let entries = watching.entries();
    let mut follower = Follower::from_nothing(&context, &*entries, &Scope::everything()).await?;
    follower.catch_up().await?;
    let mut state = State::new();
    for close in [true, false] {
        let writing = context.open().await?;
        let k = key(format!("closed/{close}"));
        writing.entries().set(&k, value(1)).await?;
        if close {
            writing.close().await?;
        }
        drop(writing);
        state.insert(k, value(1));
        follower.converge(&state).await?;
    }
    Ok(())
}

/// Paths that are beside, below or like one another to whoever compares text, patterns or ranges instead of steps.
fn paths() -> Vec<String> {
    let paths = ["a", "a/b", "A", "a%", "a_", "a*", "a?", "[a]", "a ", "a.b", "a\\", "\u{e4}", "a\u{308}", "b"];
    let below = ["b", "b/c", "ab", "%", "_", "\u{10ffff}", "\u{1}", "."];
    let near = ["ab", "a-", "a.", "a0", "a\0", "a%2Fb", "a\u{10ffff}", "aa/b", "a b/c", "b/a", "`"];
    let deeper = paths.iter().flat_map(|path| below.map(|step| format!("{path}/{step}")));
    let mut all: Vec<String> = paths.into_iter().chain(near).map(str::to_owned).chain(deeper).collect();
    all.sort();
    all.dedup();
    all
}

fn scopes() -> Vec<Scope> {
    let paths = ["a", "a/b", "A", "a%", "a_", "a*", "a?", "[a]", "a ", "a.b", "a\\", "\u{e4}", "nothing"];
    let each = paths.into_iter().flat_map(|path| [Scope::under(path), Scope::key(path)]);
    each.chain([Scope::everything()]).collect()
}

/// Sets and removes everything beside watches of each scope: told is what is covered, and nothing else. The follower
/// refuses an event of another key.
async fn cover(context: &Context, watching: &Instance, writing: &Instance) -> Outcome {
    let (watcher, writer) = (watching.entries(), writing.entries());
    let all: State = paths().into_iter().map(|path| (key(path), value(1))).collect();
    let mut followers = Vec::new();
    for scope in scopes() {
        followers.push((Follower::from_nothing(context, &*watcher, &scope).await?, 2 * scope.part_of(&all).len()));
    }
    set_all(&*writer, all.clone()).await?;
    for (follower, _) in &mut followers {
        follower.converge(&all).await?;
    }
    for scope in scopes() {
        let mut dump = Follower::from_nothing(context, &*watcher, &scope).await?;
        dump.catch_up().await?;
        ensure_eq!(*dump.state(), scope.part_of(&all), "W12: what is there when a watch starts");
    }
    let removals = all.keys().map(|key| insist(|| writer.remove(key)));
    try_join_all(removals).await?;
    let end: State = [(key("a/end"), value("end"))].into();
    set_all(&*writer, end.clone()).await?;
    for (follower, changes) in &mut followers {
        follower.converge(&end).await?;
        ensure_eq!(follower.changes(), *changes + follower.state().len(), "W12: how many changes were told");
    }
    Ok(())
}

async fn whole_steps(context: Context) -> Outcome {
    let instance = context.open().await?;
    cover(&context, &instance, &instance).await
}

async fn whole_steps_of_another(context: Context) -> Outcome {
    let (watching, writing) = (context.open().await?, context.open().await?);
    cover(&context, &watching, &writing).await
}
