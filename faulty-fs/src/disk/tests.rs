//! Random histories against a reference that keeps every version of everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// The names in use: few, so that they collide, in two directories.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Names with an even index are in the root, the others in the directory beside them.
const DIRECTORIES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Write(usize, u64, usize, u8),
    Resize(usize, u64),
    Rename(usize, usize),
    Exchange(usize, usize),
    Link(usize, usize),
    Unlink(usize),
    SyncFile(usize),
    SyncDirectory(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let offset = || 0..4 * PAGE;
    prop_oneof![
        3 => name().prop_map(Step::Create),
        6 => (name(), offset(), 1..9_000_usize, 1..=255_u8)
            .prop_map(|(name, offset, len, byte)| Step::Write(name, offset, len, byte)),
        2 => (name(), offset()).prop_map(|(name, size)| Step::Resize(name, size)),
        3 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (name(), name()).prop_map(|(from, to)| Step::Exchange(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Step::Link(from, to)),
        2 => name().prop_map(Step::Unlink),
        3 => name().prop_map(Step::SyncFile),
        1 => (0..DIRECTORIES).prop_map(Step::SyncDirectory),
    ]
}

/// A file of the reference: its bytes after each change since the last sync, and as of that sync at first.
#[derive(Clone, Debug)]
struct Versions(Vec<Vec<u8>>);

impl Versions {
    fn current(&self) -> &Vec<u8> {
        self.0.last().expect("a file has a version")
    }

    fn durable(&self) -> &Vec<u8> {
        &self.0[0]
    }

    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut next = self.current().clone();
        change(&mut next);
        self.0.push(next);
    }

    fn sync(&mut self) {
        self.0 = vec![self.current().clone()];
    }
}

/// What each name leads to: the index of a file.
type Namespace = BTreeMap<usize, usize>;

/// Names and what they lead to after one step.
type Transaction = Vec<(usize, Option<usize>)>;

#[derive(Clone, Debug, Default)]
struct Reference {
    files: Vec<Versions>,
    names: Namespace,
    durable: Namespace,
    pending: Vec<Transaction>,
}

impl Reference {
    fn change(&mut self, transaction: Transaction) {
        apply(&mut self.names, &transaction);
        self.pending.push(transaction);
    }

    fn sync_all_names(&mut self) {
        self.durable = self.names.clone();
        self.pending.clear();
    }

    /// What concerns the directory, and, until nothing is added, what came before and concerns the same names.
    fn sync_directory(&mut self, directory: usize) {
        let mut due: BTreeSet<usize> = (0..self.pending.len())
            .filter(|index| self.pending[*index].iter().any(|(name, _)| name % DIRECTORIES == directory))
            .collect();
        loop {
            let rests_on = |earlier: &usize| {
                let names: BTreeSet<_> = self.pending[*earlier].iter().map(|(name, _)| name).collect();
                due.iter()
                    .any(|later| earlier < later && self.pending[*later].iter().any(|(name, _)| names.contains(name)))
            };
            let added: Vec<_> = (0..self.pending.len()).filter(|index| !due.contains(index)).filter(rests_on).collect();
            if added.is_empty() {
                break;
            }
            due.extend(added);
        }
        for index in &due {
            apply(&mut self.durable, &self.pending[*index]);
        }
        let mut index = 0;
        self.pending.retain(|_| {
            index += 1;
            !due.contains(&(index - 1))
        });
    }
}

fn apply(names: &mut Namespace, transaction: &Transaction) {
    for (name, to) in transaction {
        match to {
            Some(file) => names.insert(*name, *file),
            None => names.remove(name),
        };
    }
}

/// A disk and its reference, through the same steps.
struct Pair {
    disk: Disk,
    directory: Ino,
    reference: Reference,
    mode: Mode,
}

impl Pair {
    fn new(mode: Mode) -> Self {
        let mut disk = Disk::new(1, Attributes::new(0o755, 0, 0));
        disk.set_mode(mode);
        let attributes = Attributes::new(0o755, 0, 0);
        let directory = disk.create(disk.root(), OsStr::new("directory"), attributes, Kind::Directory).unwrap();
        disk.sync_all();
        Self { disk, directory, reference: Reference::default(), mode }
    }

    fn at(&self, name: usize) -> (Ino, &'static OsStr) {
        let directory = [self.disk.root(), self.directory][name % DIRECTORIES];
        (directory, OsStr::new(NAMES[name]))
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Create(name) => self.create(name),
            Step::Write(name, offset, len, byte) => self.write(name, offset, &vec![byte; len]),
            Step::Resize(name, size) => self.resize(name, size),
            Step::Rename(from, to) => self.rename(from, to),
            Step::Exchange(from, to) => self.exchange(from, to),
            Step::Link(from, to) => self.link(from, to),
            Step::Unlink(name) => self.unlink(name),
            Step::SyncFile(name) => self.sync_file(name),
            Step::SyncDirectory(directory) => self.sync_directory(directory),
        }
    }

    /// The file of a name, on the disk and in the reference.
    fn file(&self, name: usize) -> Option<(Ino, usize)> {
        let (directory, entry) = self.at(name);
        let found = self.disk.lookup(directory, entry).ok();
        let expected = self.reference.names.get(&name).copied();
        assert_eq!(found.is_some(), expected.is_some());
        found.zip(expected)
    }

    fn create(&mut self, name: usize) {
        let (directory, entry) = self.at(name);
        let kind = Kind::File(File::default());
        let created = self.disk.create(directory, entry, Attributes::new(0o644, 0, 0), kind);
        if self.reference.names.contains_key(&name) {
            assert_eq!(created, Err(Errno::EXIST));
            return;
        }
        created.unwrap();
        self.reference.files.push(Versions(vec![Vec::new()]));
        self.reference.change(vec![(name, Some(self.reference.files.len() - 1))]);
    }

    fn write(&mut self, name: usize, offset: u64, bytes: &[u8]) {
        let Some((ino, file)) = self.file(name) else { return };
        self.disk.write(ino, offset, bytes).unwrap();
        let start = usize::try_from(offset).unwrap();
        self.reference.files[file].change(|content| {
            content.resize(content.len().max(start + bytes.len()), 0);
            content[start..start + bytes.len()].copy_from_slice(bytes);
        });
    }

    fn resize(&mut self, name: usize, size: u64) {
        let Some((ino, file)) = self.file(name) else { return };
        self.disk.resize(ino, size).unwrap();
        self.reference.files[file].change(|content| content.resize(usize::try_from(size).unwrap(), 0));
    }

    fn rename(&mut self, from: usize, to: usize) {
        let renamed = self.disk.rename(self.at(from), self.at(to), Rename::Replace);
        let Some(file) = self.reference.names.get(&from).copied() else {
            assert_eq!(renamed, Err(Errno::NOENT));
            return;
        };
        renamed.unwrap();
        if self.reference.names.get(&to) != Some(&file) {
            self.reference.change(vec![(from, None), (to, Some(file))]);
        }
    }

    fn exchange(&mut self, from: usize, to: usize) {
        let exchanged = self.disk.rename(self.at(from), self.at(to), Rename::Exchange);
        let files = (self.reference.names.get(&from).copied(), self.reference.names.get(&to).copied());
        let (Some(one), Some(other)) = files else {
            assert_eq!(exchanged, Err(Errno::NOENT));
            return;
        };
        exchanged.unwrap();
        self.reference.change(vec![(from, Some(other)), (to, Some(one))]);
    }

    fn link(&mut self, from: usize, to: usize) {
        let Some((ino, file)) = self.file(from) else { return };
        let (directory, entry) = self.at(to);
        let linked = self.disk.link(ino, directory, entry);
        if self.reference.names.contains_key(&to) {
            assert_eq!(linked, Err(Errno::EXIST));
            return;
        }
        linked.unwrap();
        self.reference.change(vec![(to, Some(file))]);
    }

    fn unlink(&mut self, name: usize) {
        let (directory, entry) = self.at(name);
        let unlinked = self.disk.unlink(directory, entry);
        if self.reference.names.contains_key(&name) {
            unlinked.unwrap();
            self.reference.change(vec![(name, None)]);
        } else {
            assert_eq!(unlinked, Err(Errno::NOENT));
        }
    }

    fn sync_file(&mut self, name: usize) {
        let Some((ino, file)) = self.file(name) else { return };
        self.disk.sync(ino).unwrap();
        self.reference.files[file].sync();
        if self.mode == Mode::Journalled {
            self.reference.sync_all_names();
        }
    }

    fn sync_directory(&mut self, directory: usize) {
        self.disk.sync([self.disk.root(), self.directory][directory]).unwrap();
        match self.mode {
            Mode::Strict => self.reference.sync_directory(directory),
            Mode::Journalled => self.reference.sync_all_names(),
        }
    }

    /// What is on the disk after a loss, whose own directory survives.
    fn after(&self, loss: &Loss) -> BTreeMap<usize, Vec<u8>> {
        let mut disk = self.disk.clone();
        disk.lose(loss);
        found(&disk)
    }

    fn expected(&self, names: &Namespace, bytes: impl Fn(&Versions) -> Vec<u8>) -> BTreeMap<usize, Vec<u8>> {
        names.iter().map(|(name, file)| (*name, bytes(&self.reference.files[*file]))).collect()
    }
}

/// All names of a disk, with the bytes that they lead to. The disk's own accounts must be right.
fn found(disk: &Disk) -> BTreeMap<usize, Vec<u8>> {
    let directory = disk.lookup(disk.root(), OsStr::new("directory")).unwrap();
    let alive = disk.nodes.values().filter(|node| node.is_alive());
    assert_eq!(disk.used(), alive.map(Node::pages).sum::<u64>());
    let mut found = BTreeMap::new();
    for (name, entry) in NAMES.iter().enumerate() {
        if let Ok(ino) = disk.lookup([disk.root(), directory][name % DIRECTORIES], OsStr::new(entry)) {
            found.insert(name, disk.read(ino, 0, u64::MAX).unwrap());
        }
    }
    found
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Strict), Just(Mode::Journalled)]
}

fn pair(mode: Mode, steps: &[Step]) -> Pair {
    let mut pair = Pair::new(mode);
    for step in steps {
        pair.take(step);
    }
    pair
}

proptest! {
    #[test]
    fn a_reader_sees_every_change(mode in modes(), steps in vec(step(), 1..60)) {
        let pair = pair(mode, &steps);
        prop_assert_eq!(found(&pair.disk), pair.expected(&pair.reference.names, |file| file.current().clone()));
    }

    #[test]
    fn a_loss_leaves_what_was_synced(mode in modes(), steps in vec(step(), 1..60)) {
        let pair = pair(mode, &steps);
        let expected = pair.expected(&pair.reference.durable, |file| file.durable().clone());
        prop_assert_eq!(pair.after(&Loss::default()), expected);
    }

    #[test]
    fn a_loss_that_keeps_everything_changes_nothing(mode in modes(), steps in vec(step(), 1..60)) {
        let pair = pair(mode, &steps);
        prop_assert_eq!(pair.after(&Loss { keep: Keep::All, ..Loss::default() }), found(&pair.disk));
    }

    #[test]
    fn a_random_loss_leaves_a_prefix_of_the_names_and_versions_of_the_bytes(
        mode in modes(), steps in vec(step(), 1..60), seed: u64, torn: bool,
    ) {
        let pair = pair(mode, &steps);
        let loss = Loss { keep: Keep::Random, seed, torn };
        let found = pair.after(&loss);
        prop_assert_eq!(&found, &pair.after(&loss), "a seed replays a loss");

        let pending = &pair.reference.pending;
        let survivors = (0..=pending.len()).map(|count| {
            let mut names = pair.reference.durable.clone();
            pending[..count].iter().for_each(|transaction| apply(&mut names, transaction));
            names
        });
        let is_explained = |names: Namespace| {
            names.keys().eq(found.keys())
                && names.iter().all(|(name, file)| could_be(&pair.reference.files[*file], &found[name]))
        };
        prop_assert!(survivors.into_iter().any(is_explained));
    }

    #[test]
    fn nothing_is_lost_twice(steps in vec(step(), 1..60), seed: u64, cut: Index) {
        let pair = pair(Mode::Strict, &steps[..cut.index(steps.len())]);
        let mut disk = pair.disk.clone();
        disk.lose(&Loss { keep: Keep::Random, seed, torn: true });
        let survived = found(&disk);
        disk.lose(&Loss::default());
        prop_assert_eq!(found(&disk), survived);
    }
}

/// Whether each byte is one that the file had there since the last sync, or zero; and the size one that it had.
fn could_be(file: &Versions, found: &[u8]) -> bool {
    let sizes = file.0.iter().map(Vec::len);
    let byte_was_there =
        |(index, byte): (usize, &u8)| *byte == 0 || file.0.iter().any(|version| version.get(index) == Some(byte));
    sizes.into_iter().any(|size| size == found.len()) && found.iter().enumerate().all(byte_was_there)
}

#[test]
fn no_two_moves_leave_a_detached_ring() {
    let mut disk = Disk::new(1, Attributes::new(0o755, 0, 0));
    let root = disk.root();
    let directory = |disk: &mut Disk, parent: Ino, name: &str| {
        disk.create(parent, OsStr::new(name), Attributes::new(0o755, 0, 0), Kind::Directory).unwrap()
    };
    let outer = directory(&mut disk, root, "outer");
    let inner = directory(&mut disk, outer, "inner");
    disk.sync_all();
    let (inner_name, outer_name) = (OsStr::new("inner"), OsStr::new("outer"));
    disk.rename((outer, inner_name), (root, inner_name), Rename::Replace).unwrap();
    disk.rename((root, outer_name), (inner, outer_name), Rename::Replace).unwrap();
    disk.sync(inner).unwrap();
    disk.lose(&Loss::default());
    let inner = disk.lookup(disk.root(), inner_name).unwrap();
    assert!(disk.lookup(inner, outer_name).is_ok());
}

#[test]
fn what_nothing_can_bring_back_takes_no_memory() {
    let mut disk = Disk::new(1, Attributes::new(0o755, 0, 0));
    let (root, name) = (disk.root(), OsStr::new("file"));
    let kind = Kind::File(File::default());
    let ino = disk.create(root, name, Attributes::new(0o644, 0, 0), kind).unwrap();
    disk.sync(root).unwrap();
    disk.unlink(root, name).unwrap();
    assert_eq!(disk.inodes().count(), 2, "a loss would bring it back");
    assert_eq!(disk.used(), 1);
    assert_eq!(disk.node(ino).unwrap_err(), Errno::STALE);
    disk.sync(root).unwrap();
    assert_eq!(disk.inodes().count(), 1);
}
