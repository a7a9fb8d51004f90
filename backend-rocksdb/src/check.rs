//! What RocksDB can say of its files, and what the families must agree on.
//!
//! To go through all rows is to have RocksDB check every block and every blob that they lie in. A hash without its value,
//! or a value without its hash, is what no single row can show.

use rocksdb::{DBRawIterator, Snapshot};
use store_api::{Error, ErrorKind, Result};

use crate::{
    database::{Lease, Space, ended, in_passing_at},
    error::malformed,
    row::Row,
};

/// `Corrupt` where something is found, `Closed` where the store is being closed.
pub(crate) fn check(lease: &Lease<'_>) -> Result<()> {
    let then = lease.rocksdb().snapshot();
    let mut entries = rows(lease, &then, Space::Entries);
    while is_at_row(lease, &entries)? {
        entries.next();
    }
    check_content(lease, rows(lease, &then, Space::Hashes), rows(lease, &then, Space::Content))
}

/// Both are in the order of the hashes. A value may be there beside a row that is short: what was added first under a
/// hash stays.
fn check_content(lease: &Lease<'_>, mut hashes: DBRawIterator<'_>, mut content: DBRawIterator<'_>) -> Result<()> {
    while is_at_row(lease, &hashes)? {
        let (hash, row) = hashes.item().ok_or_else(malformed)?;
        let has_value = is_at_row(lease, &content)? && content.key() <= Some(hash);
        if has_value && content.key() < Some(hash) {
            return Err(contradicted("a value has no row of its hash"));
        }
        if !has_value && Row::open(row)? == Row::Apart {
            return Err(contradicted("a hash has no value"));
        }
        if has_value {
            content.next();
        }
        hashes.next();
    }
    if is_at_row(lease, &content)? {
        return Err(contradicted("a value has no row of its hash"));
    }
    Ok(())
}

/// All rows of a space.
fn rows<'l>(lease: &'l Lease<'_>, then: &Snapshot<'_>, space: Space) -> DBRawIterator<'l> {
    lease.range(in_passing_at(then), space, &[], None)
}

/// Whether there is one more row.
fn is_at_row(lease: &Lease<'_>, rows: &DBRawIterator<'_>) -> Result<bool> {
    lease.check_open()?;
    ended(rows)?;
    Ok(rows.valid())
}

fn contradicted(finding: &str) -> Error {
    let message = format!("the files of the store contradict each other: {finding}; restore the store from a copy");
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{RocksdbOptions, database::Database};

    /// What a check says of a store with a short and a long value, after `damage`.
    fn checked(damage: impl FnOnce(&Lease<'_>)) -> Result<()> {
        let directory = TempDir::new().unwrap();
        let (database, _) = Database::open(&RocksdbOptions::new(directory.path().join("store"))).unwrap();
        let lease = database.lease().unwrap();
        lease.rocksdb().put(b"key", b"frame").unwrap();
        for (hash, row) in [(b"a", Row::Short(b"short")), (b"b", Row::Apart), (b"c", Row::Short(b"short"))] {
            lease.rocksdb().put_cf(lease.family(Space::Hashes), hash, row.seal()).unwrap();
        }
        lease.rocksdb().put_cf(lease.family(Space::Content), b"b", b"long").unwrap();
        damage(&lease);
        check(&lease)
    }

    fn refused(outcome: Result<()>, finding: &str) {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(finding), "{error}");
    }

    #[test]
    fn a12_rows_that_agree_are_sound() {
        checked(|_| ()).unwrap();
        // A long value was added under the hash before the short one that has it.
        checked(|lease| lease.rocksdb().put_cf(lease.family(Space::Content), b"a", b"before").unwrap()).unwrap();
    }

    #[test]
    fn a12_a_value_or_a_hash_that_is_missing_is_told() {
        let delete =
            |space, hash| move |lease: &Lease<'_>| lease.rocksdb().delete_cf(lease.family(space), hash).unwrap();
        refused(checked(delete(Space::Content, b"b")), "a hash has no value");
        refused(checked(delete(Space::Hashes, b"b")), "a value has no row of its hash");
        for hash in [b"0", b"d"] {
            let put = |lease: &Lease<'_>| lease.rocksdb().put_cf(lease.family(Space::Content), hash, b"lost").unwrap();
            refused(checked(put), "a value has no row of its hash");
        }
    }

    #[test]
    fn l3_a_check_gives_way_to_a_close() {
        let directory = TempDir::new().unwrap();
        let (database, _) = Database::open(&RocksdbOptions::new(directory.path().join("store"))).unwrap();
        database.start_closing();
        assert_eq!(check(&database.lease().unwrap()).unwrap_err().kind(), ErrorKind::Closed);
    }
}
