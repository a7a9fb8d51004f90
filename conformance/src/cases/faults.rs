//! A5 and I7 for clients whose answers get lost: the suite's own [`Faulty`] around the store loses them, above the
//! backend, and what is left is a history that some order explains, and batches that are whole. What a backend does about
//! an answer that its own engine or service loses, and about its own retries, is not seen from there.

use std::time::Duration;

use store_api::{Backend, IndexedExt};

use crate::{
    Faulty,
    case::{Case, case},
    clients,
    context::{Context, key},
    failure::{Outcome, ensure},
    histories,
    history::Recorder,
    operations::value,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A5-histories-with-lost-answers", [Entries], lost_answers),
    case!("index/I7-a-batch-whose-answer-was-lost-is-whole", [Content], lost_commits),
];

fn faulty(context: &Context, backend: std::sync::Arc<dyn Backend>) -> Faulty {
    Faulty::new(backend, context.seed()).refuse(0.1).lose_answers(0.1).delay(0.2, Duration::from_micros(500))
}

async fn lost_answers(context: Context) -> Outcome {
    let mut random = context.random();
    let store = faulty(&context, context.open().await?.backend());
    let keys = [key("a"), key("b")];
    let recorder = Recorder::new();
    let clients = (0..4).map(|_| {
        let entries = store.atomic_write().expect("a case that needs entries runs where they are");
        let (mut client, keys, random) = (recorder.client(), keys.clone(), random.fork());
        let operations = context.rounds(40);
        async move { histories::act(&mut client, &*entries, &keys, random, operations).await }
    });
    clients::all(clients).await?;
    histories::linearizable(recorder)
}

async fn lost_commits(context: Context) -> Outcome {
    let instance = context.open().await?;
    let store = faulty(&context, instance.backend());
    let faulty = store.indexable().expect("a case that needs content runs where it is");
    let content = instance.content();
    for number in 0..context.rounds(30) {
        let values = [value(format_args!("{number} one")), value(format_args!("{number} other"))];
        let added = values.clone();
        let committed = faulty.batch(|batch| async move {
            for value in added {
                batch.add(value).await?;
            }
            Ok::<_, store_api::Error>(())
        });
        let committed = committed.await;
        let mut found = 0;
        for value in &values {
            let hash = content.hash_function().hash(value);
            found += usize::from(content.find(&hash.into()).await?.is_some());
        }
        match committed {
            Ok(()) => {
                ensure!(found == values.len(), "I7: a batch was committed, and {found} of its 2 values are there");
            }
            Err(error) if error.effect() == store_api::Effect::NotApplied => {
                ensure!(found == 0, "I7: a `commit` failed as `NotApplied`, and {found} of its 2 values are there");
            }
            Err(_) => ensure!(found != 1, "I7: one of two values of a batch is there"),
        }
    }
    Ok(())
}
