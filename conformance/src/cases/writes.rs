//! A2 and A3: what a write does when nobody is beside it.

use bytes::Bytes;
use store_api::{Key, TestAndSet};

use crate::{
    case::{Case, case},
    context::{Context, key},
    failure::{Outcome, ensure, ensure_eq},
    operations::{entries_sorted, put, value},
    show::shown,
};

pub(super) const CASES: &[Case] = &[
    case!("atomic/A2-test-and-set-truth-table", [Entries], truth_table),
    case!("atomic/A3-setting-what-is-there-changes-nothing", [Entries], setting_what_is_there),
];

/// Some values, near to each other, and absence.
fn near_values() -> [Option<Bytes>; 6] {
    [None, Some(value("")), Some(value("a")), Some(value("a\0")), Some(value("A")), Some(value("ab"))]
}

async fn truth_table(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let k = key("k");
    for current in near_values() {
        for test in near_values() {
            for set in near_values() {
                put(&*entries, &k, current.clone()).await?;
                let verdict = entries.test_and_set(&k, test.clone(), set.clone()).await?;
                let asked = format!("current {}, test {}, set {}", shown(&current), shown(&test), shown(&set));
                let (due, after) = if current == test {
                    (TestAndSet::Applied, set)
                } else {
                    (TestAndSet::Mismatch { current: current.clone() }, current.clone())
                };
                ensure_eq!(verdict, due, "{asked}");
                ensure_eq!(entries.find(&k).await?, after, "{asked}: what is there afterwards");
            }
        }
    }
    Ok(())
}

async fn setting_what_is_there(context: Context) -> Outcome {
    let entries = context.open().await?.entries();
    let (k, absent) = (key("k"), key("absent"));
    entries.set(&k, value("v")).await?;
    let before = entries_sorted(&*entries, &Key::root()).await?;
    entries.set(&k, value("v")).await?;
    entries.remove(&absent).await?;
    let same = entries.test_and_set(&k, Some(value("v")), Some(value("v"))).await?;
    let none = entries.test_and_set(&absent, None, None).await?;
    ensure!(same.is_applied() && none.is_applied(), "setting what is there is a mismatch");
    ensure_eq!(entries_sorted(&*entries, &Key::root()).await?, before, "the entries afterwards");
    Ok(())
}
