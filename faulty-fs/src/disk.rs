//! A disk as a data structure: inodes, names, what of them is durable, and what a power loss leaves. It knows neither
//! FUSE nor faults.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use rustix::io::Errno;

use crate::{
    content::PAGE,
    file::File,
    loss::{Keep, Loss, Luck},
    names::{Change, Entries, Ino, Names},
};

type Result<T> = std::result::Result<T, Errno>;

/// The longest name of an entry, in bytes.
pub(crate) const NAME_MAX: u32 = 255;

/// The largest file, in bytes.
const FILE_MAX: u64 = 1 << 46;

/// When the names of files become durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// With a sync of their directory, as POSIX has it: the sync of a file makes no name durable.
    #[default]
    Strict,
    /// With any sync on the disk, which commits the journal of all names, as ext4 and XFS do.
    Journalled,
}

/// What is known of an inode beside its data. None of it is lost with the power.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    /// The permission bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) accessed: SystemTime,
    pub(crate) modified: SystemTime,
    pub(crate) changed: SystemTime,
}

impl Attributes {
    pub(crate) fn new(mode: u16, uid: u32, gid: u32) -> Self {
        let time = SystemTime::now();
        Self { mode, uid, gid, accessed: time, modified: time, changed: time }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) attributes: Attributes,
    pub(crate) kind: Kind,
    /// The entries that name it.
    pub(crate) links: u32,
    /// The handles that are open on it.
    handles: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(File),
    Directory,
    Symlink(OsString),
}

impl Node {
    fn new(attributes: Attributes, kind: Kind) -> Self {
        Self { attributes, kind, links: 0, handles: 0 }
    }

    /// As it is found after a loss, before its links are counted.
    fn survivor(self, keep: Keep, luck: &mut Luck) -> Self {
        let kind = match self.kind {
            Kind::File(file) => Kind::File(file.survivor(keep, luck)),
            other => other,
        };
        Self::new(self.attributes, kind)
    }

    fn is_alive(&self) -> bool {
        self.links > 0 || self.handles > 0
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.content().size(),
            Kind::Directory => PAGE,
            Kind::Symlink(target) => target.len() as u64,
        }
    }

    /// The pages that it takes of the capacity: its data, and one for itself.
    pub(crate) fn pages(&self) -> u64 {
        1 + match &self.kind {
            Kind::File(file) => file.content().allocated(),
            Kind::Directory | Kind::Symlink(_) => 0,
        }
    }
}

/// How the destination of a rename is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rename {
    Replace,
    KeepExisting,
    Exchange,
}

/// The disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    mode: Mode,
    capacity: Option<u64>,
    nodes: HashMap<Ino, Node>,
    names: Names,
    root: Ino,
    next: Ino,
    /// What nothing refers to any more, and a loss may bring back.
    buried: Vec<Ino>,
    /// The sum of the pages of all nodes that are alive.
    used: u64,
}

impl Disk {
    /// An empty disk, durable as it is. Its inodes are numbered from `first` on.
    pub(crate) fn new(first: Ino, root: Attributes) -> Self {
        let mut disk = Self {
            mode: Mode::default(),
            capacity: None,
            nodes: HashMap::new(),
            names: Names::default(),
            root: first,
            next: first,
            buried: Vec::new(),
            used: 0,
        };
        disk.root = disk.add(Node { links: 1, ..Node::new(root, Kind::Directory) });
        disk
    }

    pub(crate) fn root(&self) -> Ino {
        self.root
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Limits the bytes that the disk holds.
    pub(crate) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    /// The capacity in pages, if there is one.
    pub(crate) fn capacity(&self) -> Option<u64> {
        self.capacity.map(|bytes| bytes / PAGE)
    }

    /// The pages in use.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn inodes(&self) -> impl Iterator<Item = Ino> {
        self.nodes.keys().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.entries(self.root).is_none_or(Entries::is_empty)
    }

    /// The bytes that were written and not synced, and the changes of names.
    pub(crate) fn unsynced(&self) -> (u64, usize) {
        let files = self.nodes.values().filter_map(|node| match &node.kind {
            Kind::File(file) => Some(file.unsynced()),
            Kind::Directory | Kind::Symlink(_) => None,
        });
        (files.sum(), self.names.unsynced())
    }

    /// The inode, or `ESTALE` when it is one of before a loss, or was removed.
    pub(crate) fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).filter(|node| node.is_alive()).ok_or(Errno::STALE)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).filter(|node| node.is_alive()).ok_or(Errno::STALE)
    }

    /// The attributes, to be changed.
    pub(crate) fn attributes(&mut self, ino: Ino) -> Result<&mut Attributes> {
        Ok(&mut self.node_mut(ino)?.attributes)
    }

    fn file(&self, ino: Ino) -> Result<&File> {
        match &self.node(ino)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Directory => Err(Errno::ISDIR),
            Kind::Symlink(_) => Err(Errno::INVAL),
        }
    }

    fn file_mut(&mut self, ino: Ino) -> Result<&mut File> {
        match &mut self.node_mut(ino)?.kind {
            Kind::File(file) => Ok(file),
            Kind::Directory => Err(Errno::ISDIR),
            Kind::Symlink(_) => Err(Errno::INVAL),
        }
    }

    /// The entries of a directory.
    pub(crate) fn entries(&self, dir: Ino) -> Result<&Entries> {
        self.node(dir)?;
        self.names.entries(dir).ok_or(Errno::NOTDIR)
    }

    pub(crate) fn lookup(&self, dir: Ino, name: &OsStr) -> Result<Ino> {
        self.entries(dir)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// The paths of an inode from the disk's root.
    pub(crate) fn paths(&self, ino: Ino) -> Vec<String> {
        self.names.paths(self.root, ino)
    }

    /// Keeps an inode while a handle is open on it.
    pub(crate) fn open(&mut self, ino: Ino) -> Result<()> {
        self.node_mut(ino)?.handles += 1;
        Ok(())
    }

    /// Ends a handle. One of before a loss has nothing to end.
    pub(crate) fn release(&mut self, ino: Ino) {
        if let Ok(node) = self.node_mut(ino) {
            node.handles -= 1;
            self.bury(ino);
        }
    }

    pub(crate) fn read(&self, ino: Ino, offset: u64, len: u64) -> Result<Vec<u8>> {
        Ok(self.file(ino)?.content().read(offset..offset.saturating_add(len)))
    }

    /// Writes all of the bytes, or nothing.
    pub(crate) fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= FILE_MAX).ok_or(Errno::FBIG)?;
        let added = self.file(ino)?.content().missing(&(offset..end));
        self.reserve(added)?;
        self.file_mut(ino)?.write(offset, bytes);
        self.used += added;
        self.touch(ino);
        Ok(())
    }

    pub(crate) fn resize(&mut self, ino: Ino, size: u64) -> Result<()> {
        if size > FILE_MAX {
            return Err(Errno::FBIG);
        }
        let file = self.file_mut(ino)?;
        let before = file.content().allocated();
        file.resize(size);
        let after = file.content().allocated();
        self.used -= before - after;
        self.touch(ino);
        Ok(())
    }

    /// Makes a file's data durable, or a directory's entries.
    pub(crate) fn sync(&mut self, ino: Ino) -> Result<()> {
        if let Kind::File(file) = &mut self.node_mut(ino)?.kind {
            file.sync();
        }
        match self.mode {
            Mode::Strict => self.names.sync(ino),
            Mode::Journalled => self.names.sync_all(),
        }
        self.sweep();
        Ok(())
    }

    /// A sync that failed: the dirty pages are clean and not durable, as in Linux.
    pub(crate) fn give_up(&mut self, ino: Ino) -> Result<()> {
        self.file_mut(ino)?.give_up();
        Ok(())
    }

    /// Makes everything durable.
    pub(crate) fn sync_all(&mut self) {
        for node in self.nodes.values_mut() {
            if let Kind::File(file) = &mut node.kind {
                file.sync();
            }
        }
        self.names.sync_all();
        self.sweep();
    }

    pub(crate) fn create(&mut self, dir: Ino, name: &OsStr, attributes: Attributes, kind: Kind) -> Result<Ino> {
        self.vacant(dir, name)?;
        self.reserve(1)?;
        let ino = self.add(Node::new(attributes, kind));
        self.change(vec![Change::set(dir, name, ino)], false);
        Ok(ino)
    }

    pub(crate) fn link(&mut self, ino: Ino, dir: Ino, name: &OsStr) -> Result<()> {
        if self.node(ino)?.is_directory() {
            return Err(Errno::PERM);
        }
        self.vacant(dir, name)?;
        self.change(vec![Change::set(dir, name, ino)], false);
        self.attributes(ino)?.changed = SystemTime::now();
        Ok(())
    }

    pub(crate) fn unlink(&mut self, dir: Ino, name: &OsStr) -> Result<()> {
        let ino = self.lookup(dir, name)?;
        if self.node(ino)?.is_directory() {
            return Err(Errno::ISDIR);
        }
        self.change(vec![Change::unset(dir, name)], false);
        Ok(())
    }

    pub(crate) fn rmdir(&mut self, dir: Ino, name: &OsStr) -> Result<()> {
        let ino = self.lookup(dir, name)?;
        self.must_be_empty(ino)?;
        self.change(vec![Change::unset(dir, name)], false);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr), how: Rename) -> Result<()> {
        let moved = self.lookup(from.0, from.1)?;
        check_name(to.1)?;
        let replaced = self.entries(to.0)?.get(to.1).copied();
        self.must_be_outside(moved, to.0)?;
        let mut moves_directory = self.node(moved)?.is_directory();
        let vacated = match (how, replaced) {
            (Rename::KeepExisting, Some(_)) => return Err(Errno::EXIST),
            (Rename::Exchange, None) => return Err(Errno::NOENT),
            (Rename::Exchange, Some(other)) => {
                self.must_be_outside(other, from.0)?;
                moves_directory |= self.node(other)?.is_directory();
                Change::set(from.0, from.1, other)
            }
            (Rename::Replace, Some(other)) if other == moved => return Ok(()),
            (Rename::Replace, Some(other)) => {
                self.must_be_replaceable(moved, other)?;
                Change::unset(from.0, from.1)
            }
            (Rename::Replace | Rename::KeepExisting, None) => Change::unset(from.0, from.1),
        };
        self.change(vec![vacated, Change::set(to.0, to.1, moved)], moves_directory);
        Ok(())
    }

    /// The power loss. All inodes have other numbers afterwards; those of before are stale for ever.
    pub(crate) fn lose(&mut self, loss: &Loss) {
        let mut luck = Luck::new(loss);
        let found = std::mem::take(&mut self.names).survivors(loss.keep, &mut luck);
        let mut before = std::mem::take(&mut self.nodes);
        self.buried.clear();

        let mut renumbered = vec![(self.root, self.number())];
        let mut numbers: HashMap<Ino, Ino> = renumbered.iter().copied().collect();
        let mut tree = HashMap::new();
        let mut walked = 0;
        while let Some(&(old, new)) = renumbered.get(walked) {
            walked += 1;
            if !before[&old].is_directory() {
                continue;
            }
            let mut entries = Entries::new();
            for (name, child) in found.get(&old).into_iter().flatten() {
                let number = *numbers.entry(*child).or_insert_with(|| {
                    let number = self.number();
                    renumbered.push((*child, number));
                    number
                });
                entries.insert(name.clone(), number);
            }
            tree.insert(new, entries);
        }

        for (old, new) in renumbered {
            let node = before.remove(&old).expect("a durable entry names a node");
            self.nodes.insert(new, node.survivor(loss.keep, &mut luck));
        }
        for number in tree.values().flat_map(Entries::values) {
            self.nodes.get_mut(number).expect("every entry was walked").links += 1;
        }
        self.root = numbers[&self.root];
        self.nodes.get_mut(&self.root).expect("the walk began at the root").links = 1;
        self.used = self.nodes.values().map(Node::pages).sum();
        self.names = Names::settled(tree);
    }

    fn number(&mut self) -> Ino {
        self.next += 1;
        self.next - 1
    }

    fn add(&mut self, node: Node) -> Ino {
        let ino = self.number();
        self.used += node.pages();
        if node.is_directory() {
            self.names.add_directory(ino);
        }
        self.nodes.insert(ino, node);
        ino
    }

    /// Changes entries in one step, and the links of the inodes that they named and name.
    fn change(&mut self, changes: Vec<Change>, moves_directory: bool) {
        let before: Vec<Ino> = changes.iter().filter_map(|change| self.names.find(change.dir, &change.name)).collect();
        for named in changes.iter().filter_map(|change| change.to) {
            self.nodes.get_mut(&named).expect("an entry names a node").links += 1;
        }
        for change in &changes {
            self.touch(change.dir);
        }
        self.names.change(changes, moves_directory);
        for ino in before {
            self.nodes.get_mut(&ino).expect("an entry names a node").links -= 1;
            self.bury(ino);
        }
    }

    /// Gives the space of an inode back once nothing refers to it. Its data stay while a loss could bring it back.
    fn bury(&mut self, ino: Ino) {
        let node = &self.nodes[&ino];
        if !node.is_alive() {
            self.used -= node.pages();
            self.buried.push(ino);
        }
    }

    /// Drops the buried inodes that no loss can bring back.
    fn sweep(&mut self) {
        if self.buried.is_empty() {
            return;
        }
        let recoverable = self.names.recoverable();
        self.buried.retain(|ino| {
            let keep = recoverable.contains(ino);
            if !keep {
                self.nodes.remove(ino);
                self.names.forget_directory(*ino);
            }
            keep
        });
    }

    fn touch(&mut self, ino: Ino) {
        if let Ok(attributes) = self.attributes(ino) {
            attributes.modified = SystemTime::now();
            attributes.changed = attributes.modified;
        }
    }

    fn reserve(&self, pages: u64) -> Result<()> {
        match self.capacity() {
            Some(capacity) if pages > 0 && self.used + pages > capacity => Err(Errno::NOSPC),
            _ => Ok(()),
        }
    }

    fn vacant(&self, dir: Ino, name: &OsStr) -> Result<()> {
        check_name(name)?;
        if self.entries(dir)?.contains_key(name) { Err(Errno::EXIST) } else { Ok(()) }
    }

    fn must_be_empty(&self, dir: Ino) -> Result<()> {
        if self.entries(dir)?.is_empty() { Ok(()) } else { Err(Errno::NOTEMPTY) }
    }

    fn must_be_outside(&self, moved: Ino, dir: Ino) -> Result<()> {
        let inside = self.node(moved)?.is_directory() && self.names.is_within(dir, moved);
        if inside { Err(Errno::INVAL) } else { Ok(()) }
    }

    fn must_be_replaceable(&self, by: Ino, replaced: Ino) -> Result<()> {
        match (self.node(by)?.is_directory(), self.node(replaced)?.is_directory()) {
            (true, true) => self.must_be_empty(replaced),
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            (false, false) => Ok(()),
        }
    }
}

fn check_name(name: &OsStr) -> Result<()> {
    if name.len() > NAME_MAX as usize { Err(Errno::NAMETOOLONG) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
