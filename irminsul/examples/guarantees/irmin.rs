//! The contract of OCaml's Irmin beside the clauses. What it says of Irmin was read in its interfaces `Atomic_write.S`,
//! `Content_addressable.S` and `Indexable.S`, its watches, and its backends in memory and on files.

const HEAD: &str = "\
## Beside Irmin's contract

The contract began as that of [Irmin](https://irmin.org), the OCaml library: `ATOMIC_WRITE_STORE` with its watches, and
`CONTENT_ADDRESSABLE_STORE` with the `INDEXABLE` one that it grew into. The operations have kept their names. Who comes
from there finds each clause in one of three tables. What is said of Irmin is what its
[interfaces](https://github.com/mirage/irmin/tree/main/src/irmin) state and what its backends in memory and on files do;
its other backends may do more.

What has no place here: values of any type (here they are bytes), and the layers above the two stores, which are commits,
branches and merges.";

/// Clauses, what Irmin says, and what is said here.
type Row = (&'static [&'static str], &'static str, &'static str);

struct Table {
    title: &'static str,
    head: &'static str,
    rows: &'static [Row],
}

const TABLES: [Table; 3] = [KEPT, MADE_PRECISE, ADDED];

const KEPT: Table = Table {
    title: "Kept",
    head: "What Irmin promises, and so do the backends here.",
    rows: &[
        (
            &["A2"],
            "`test_and_set` is atomic; `None` is absent, in `test` and in `set`",
            "the same; bytes are compared, where Irmin compares by the equality of the value's type",
        ),
        (&["I1"], "`add` gives a key that follows from the value", "the same"),
        (
            &["L1"],
            "a closed handle raises `Closed`; closing it again is fine",
            "the same, for streams that are open too",
        ),
        (&["W6"], "a watch is not told what equals the value that it was told last", "the same"),
    ],
};

const MADE_PRECISE: Table = Table {
    title: "Made precise",
    head: "What Irmin has, and leaves open in part, or to each of its backends.",
    rows: &[
        (
            &["K1", "K3"],
            "the type of keys is the application's; `set` of the empty path is said to raise, and its backends do not look",
            "one type of key with one limit; the empty path is nobody's entry, in every operation",
        ),
        (
            &["A1"],
            "atomic, without a word about whom it is atomic among",
            "linearizable, among all handles and instances in the declared visibility",
        ),
        (&["A3"], "not said", "an equal `set` succeeds and changes nothing"),
        (&["A4"], "`false`", "what was there instead, so that a loop needs no read of its own"),
        (
            &["A7"],
            "`list` gives all keys as one list; what writes beside it do to that is not said",
            "a stream, and what it must and must not contain",
        ),
        (
            &["A8"],
            "`clear` empties a store; it drops the watches in memory, and does not tell them itself on files",
            "at what time each key goes; watches stay, and are told",
        ),
        (
            &["A11"],
            "a file that cannot be decoded reads as absent, with a line in the log",
            "an error is an error, and never \"absent\"",
        ),
        (
            &["W1"],
            "`init` is a baseline, and nothing is told of what differs from it already; without one, the first change of \
             a key that was there is `Added`",
            "the start is named, `Current` or `Known`; differences to a known state are told first, then `CaughtUp`",
        ),
        (
            &["W2"],
            "what changes between a read and the watch that is to follow it is told when the key changes again",
            "no gap",
        ),
        (
            &["W3"],
            "the removal of a key that the watch was never told of is not told",
            "a chain from the baseline, for each key",
        ),
        (
            &["W8"],
            "a handler that raises does not hurt the others; one that does not return holds them up, since one queue \
             serves all of a store",
            "a watch is a stream of its own; nobody waits for another",
        ),
        (&["W9"], "what was queued before an `unwatch` is still told", "nothing comes once it returned"),
        (
            &["L2", "W10"],
            "`close` of one handle drops the watches of every handle on the store",
            "it ends its own, with one `Closed`, and nobody else notices",
        ),
        (
            &["W11"],
            "changes by other processes come on files, where the application installs a listener for directories",
            "they come wherever a backend is visible to others, within a lag that it declares",
        ),
        (&["I2"], "a value is found by its key later", "from where, and after which crash"),
        (
            &["I3"],
            "`index` is a best effort: neither answer says whether the store has the value",
            "`Some` has that hash; what `None` says is declared, and `Exact` where it can be",
        ),
        (
            &["I4"],
            "`unsafe_add` may ignore the hash, or corrupt the store where it is false",
            "a false hash hurts that hash alone, and the true value repairs it",
        ),
        (
            &["I5"],
            "keys need not be portable between stores",
            "a key of another store gives the value of its hash, or nothing; never another value",
        ),
        (
            &["I7"],
            "what a `batch` guarantees is up to the backend; in memory and on files it is the store itself",
            "it takes effect at one instant, whole or not at all, also across a crash",
        ),
        (
            &["L4"],
            "`close` frees what belongs to the handle",
            "a store that is opened again has what was written, and the open finds the files free",
        ),
    ],
};

const ADDED: Table = Table {
    title: "Added",
    head: "What Irmin's contract has no word about, whatever its backends do.",
    rows: &[
        (&["K2", "V1"], "", "every key and every length of value works, or is refused before anything was written"),
        (&["A5", "A6"], "", "whether a write that failed may have happened; contention is no mismatch"),
        (&["A9", "L3"], "", "what becomes of a call that is dropped, or is under way at a close"),
        (&["A10", "E3"], "", "what an acknowledged write survives, and what follows a sync that failed"),
        (&["A12", "I6"], "", "bytes that rotted are an error"),
        (&["X1"], "", "names and content agree: who reads a name finds its content"),
        (&["W4", "W5"], "", "what is told is true, in order, and converges"),
        (&["W7"], "its queue has no bound", "what a slow watcher costs: a fixed size per key, and a writer nothing"),
        (&["W12"], "", "a watch of what lies below a path, between one key and all"),
        (&["I8"], "", "concurrent `add`s of one value"),
        (&["L5"], "", "a store of another format or hash function is refused, and left untouched"),
        (&["E1", "E2"], "", "errors that say what to do, in one line, without a value or a credential"),
    ],
};

pub(crate) fn beside() -> String {
    let tables: Vec<String> = TABLES.iter().map(table).collect();
    format!("{HEAD}\n\n{}", tables.join("\n"))
}

fn table(Table { title, head, rows }: &Table) -> String {
    let row = |(clauses, irmin, here): &Row| format!("| {} | {irmin} | {here} |", clauses.join(", "));
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("### {title}\n\n{head}\n\n| | in Irmin | here |\n|---|---|---|\n{}\n", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use conformance::Clause;

    use super::*;

    #[test]
    fn every_clause_is_in_one_table() {
        let mut told: Vec<&str> =
            TABLES.iter().flat_map(|table| table.rows).flat_map(|(ids, ..)| *ids).copied().collect();
        let mut clauses: Vec<&str> = Clause::all().iter().map(|clause| clause.id).collect();
        told.sort_unstable();
        clauses.sort_unstable();
        assert_eq!(told, clauses);
    }
}
