//! Directory entries: as the system sees them, as they are on the platter, and the journal of changes between the two.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::{OsStr, OsString},
};

use crate::loss::{Keep, Luck};

/// The number of an inode, unique among all that a mount ever had.
pub(crate) type Ino = u64;

/// The entries of one directory.
pub(crate) type Entries = BTreeMap<OsString, Ino>;

type Tree = HashMap<Ino, Entries>;

/// The entries of all directories of a disk.
#[derive(Clone, Default, Debug)]
pub(crate) struct Names {
    current: Tree,
    durable: Tree,
    /// What is in `current` and not in `durable`, in order. Changes of one entry are synced in their order.
    journal: Vec<Transaction>,
}

/// Changes that become durable together: a rename is two.
#[derive(Clone, Debug)]
struct Transaction {
    changes: Vec<Change>,
    /// A moved directory is ordered after all that came before, so that no two moves can leave a detached ring.
    moves_directory: bool,
}

/// An entry that names another inode, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) dir: Ino,
    pub(crate) name: OsString,
    pub(crate) to: Option<Ino>,
}

impl Change {
    pub(crate) fn set(dir: Ino, name: &OsStr, to: Ino) -> Self {
        Self { dir, name: name.to_owned(), to: Some(to) }
    }

    pub(crate) fn unset(dir: Ino, name: &OsStr) -> Self {
        Self { dir, name: name.to_owned(), to: None }
    }

    fn apply(&self, tree: &mut Tree) {
        let entries = tree.entry(self.dir).or_default();
        match self.to {
            Some(ino) => entries.insert(self.name.clone(), ino),
            None => entries.remove(&self.name),
        };
    }
}

impl Names {
    /// Takes up a directory. It is durable as soon as a durable entry leads to it.
    pub(crate) fn add_directory(&mut self, dir: Ino) {
        self.current.entry(dir).or_default();
    }

    pub(crate) fn entries(&self, dir: Ino) -> Option<&Entries> {
        self.current.get(&dir)
    }

    pub(crate) fn find(&self, dir: Ino, name: &OsStr) -> Option<Ino> {
        self.entries(dir)?.get(name).copied()
    }

    /// Changes entries in one step.
    pub(crate) fn change(&mut self, changes: Vec<Change>, moves_directory: bool) {
        for change in &changes {
            change.apply(&mut self.current);
        }
        self.journal.push(Transaction { changes, moves_directory });
    }

    /// Whether `inner` is `outer` or lies below it.
    pub(crate) fn is_within(&self, inner: Ino, outer: Ino) -> bool {
        inner == outer
            || self.entries(outer).is_some_and(|entries| entries.values().any(|child| self.is_within(inner, *child)))
    }

    /// The paths that lead to an inode from `root`, each below it, joined by `/`.
    pub(crate) fn paths(&self, root: Ino, ino: Ino) -> Vec<String> {
        let mut found = Vec::new();
        let mut unseen = vec![(root, String::new())];
        while let Some((dir, path)) = unseen.pop() {
            if dir == ino {
                found.push(path.clone());
            }
            for (name, child) in self.entries(dir).into_iter().flatten() {
                let separator = if path.is_empty() { "" } else { "/" };
                unseen.push((*child, format!("{path}{separator}{}", name.to_string_lossy())));
            }
        }
        found
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.journal.len()
    }

    /// Makes the entries of a directory durable, and what they depend on.
    pub(crate) fn sync(&mut self, dir: Ino) {
        let mut due = self.due_with(dir).into_iter();
        for transaction in self.journal.extract_if(.., |_| due.next().unwrap_or_default()) {
            transaction.apply(&mut self.durable);
        }
    }

    /// Which transactions have to be durable when those of a directory are: for each of them the earlier ones of the
    /// same entries, too, so that an older change never lands on a newer one.
    fn due_with(&self, dir: Ino) -> Vec<bool> {
        let mut due = vec![false; self.journal.len()];
        let mut entries: HashSet<(Ino, &OsStr)> = HashSet::new();
        let mut everything = false;
        for (index, transaction) in self.journal.iter().enumerate().rev() {
            let is_due = everything || transaction.entries().any(|entry| entry.0 == dir || entries.contains(&entry));
            if is_due {
                due[index] = true;
                entries.extend(transaction.entries());
                everything |= transaction.moves_directory;
            }
        }
        due
    }

    /// Makes every entry durable.
    pub(crate) fn sync_all(&mut self) {
        for transaction in self.journal.drain(..) {
            transaction.apply(&mut self.durable);
        }
    }

    /// The inodes that something durable names, or something that may become so.
    pub(crate) fn recoverable(&self) -> HashSet<Ino> {
        let durable = self.durable.values().flat_map(Entries::values).copied();
        let pending = self.journal.iter().flat_map(|transaction| &transaction.changes).filter_map(|change| change.to);
        durable.chain(pending).collect()
    }

    /// Drops what is known of a directory that nothing can lead to any more.
    pub(crate) fn forget_directory(&mut self, dir: Ino) {
        self.current.remove(&dir);
        self.durable.remove(&dir);
    }

    /// The entries that are found after a loss.
    pub(crate) fn survivors(mut self, keep: Keep, luck: &mut Luck) -> HashMap<Ino, Entries> {
        let surviving = match keep {
            Keep::None => 0,
            Keep::Random => luck.prefix(self.journal.len()),
            Keep::All => self.journal.len(),
        };
        for transaction in &self.journal[..surviving] {
            transaction.apply(&mut self.durable);
        }
        self.durable
    }

    /// Takes the entries that were found after a loss as those of a disk.
    pub(crate) fn settled(tree: HashMap<Ino, Entries>) -> Self {
        Self { current: tree.clone(), durable: tree, journal: Vec::new() }
    }
}

impl Transaction {
    fn entries(&self) -> impl Iterator<Item = (Ino, &OsStr)> {
        self.changes.iter().map(|change| (change.dir, change.name.as_os_str()))
    }

    fn apply(&self, tree: &mut Tree) {
        for change in &self.changes {
            change.apply(tree);
        }
    }
}
