//! What SQLite can say of its file, and what the tables must agree on: rot that hides a row leaves both at odds.
//!
//! Each question is one statement, which sees the store as it is at one instant, whatever is written meanwhile.

use rusqlite::{Connection, OptionalExtension};
use store_api::{Error, ErrorKind, Result};

/// What is at odds where a query finds a row.
const CONTRADICTIONS: [(&str, &str); 2] = [
    // Every change is logged in its own transaction, and stays in the log until the floor has passed it.
    (
        "SELECT 1 FROM entries LEFT JOIN changes ON changes.seq = entries.seq
         WHERE entries.seq < 1
            OR entries.seq > (SELECT floor FROM state) AND changes.key IS NOT entries.key",
        "an entry is of a change that the log of changes does not have",
    ),
    (
        "SELECT 1 FROM changes JOIN entries ON entries.key = changes.key WHERE changes.seq > entries.seq",
        "an entry is older than the last change of it in the log of changes",
    ),
];

/// `Corrupt`, as the inner error, where something is found; the outer one is of the question.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<Result<()>> {
    let answer: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Ok(Err(contradicted(&answer)));
    }
    for (query, finding) in CONTRADICTIONS {
        if connection.query_row(&format!("{query} LIMIT 1"), [], |_| Ok(())).optional()?.is_some() {
            return Ok(Err(contradicted(finding)));
        }
    }
    Ok(Ok(()))
}

/// What is found names tables, pages and row ids, and shows no key and no value.
fn contradicted(finding: &str) -> Error {
    let finding = finding.strip_prefix("*** in database main ***").unwrap_or(finding);
    let finding = finding.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = format!("the database file contradicts itself ({finding}); restore it from a copy");
    Error::new(ErrorKind::Corrupt, message)
}
