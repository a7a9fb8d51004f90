//! What the contract costs here beside RocksDB itself, with the same settings and families.
//!
//! All rows of a group do the same; times are per operation, those of many clients too. The stores lie where temporary
//! files do: what is durable says something only where that (`TMPDIR`) is a folder on a disk, as a sync of what is in
//! memory costs nothing.

mod content;
mod entries;
mod raw;
mod workload;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    entries::find(&mut criterion);
    entries::set(&mut criterion);
    entries::test_and_set(&mut criterion);
    entries::set_by_many(&mut criterion);
    content::find(&mut criterion);
    content::add(&mut criterion);
    content::add_again(&mut criterion);
    content::batch(&mut criterion);
    criterion.final_summary();
}
