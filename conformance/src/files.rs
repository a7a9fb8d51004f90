//! The files of a store: kept aside so that they can be damaged and restored, or removed beneath it.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, Permissions},
    io,
    path::{Path, PathBuf},
};

use crate::failure::{Failure, Outcome};

/// The regular files in a directory and below it, as they were.
pub(crate) struct Files {
    directory: PathBuf,
    files: Vec<Image>,
}

struct Image {
    path: PathBuf,
    bytes: Vec<u8>,
    permissions: Permissions,
}

/// A byte of one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    file: usize,
    offset: usize,
}

impl Files {
    /// Reads all of them.
    pub(crate) fn of(directory: &Path) -> Outcome<Self> {
        let mut files = Vec::new();
        collect(directory, &mut files).map_err(Failure::harness)?;
        // The order of a directory is not the same everywhere, and a seed is to choose the same file.
        files.sort_by(|one: &Image, other| one.path.cmp(&other.path));
        if files.iter().all(|file| file.bytes.is_empty()) {
            return Err(Failure::untested("the store keeps nothing in the directory that it was given"));
        }
        Ok(Self { directory: directory.to_owned(), files })
    }

    /// A file that is another than it was, or was or is not there.
    pub(crate) fn differs_from<'f>(&'f self, before: &'f Self) -> Option<&'f Path> {
        let is_in = |files: &Self, image: &Image| {
            files.files.iter().any(|other| other.path == image.path && other.bytes == image.bytes)
        };
        let changed = self.files.iter().find(|image| !is_in(before, image));
        changed.or_else(|| before.files.iter().find(|image| !is_in(self, image))).map(|image| &*image.path)
    }

    /// The paths of the files in the directory, but for those that no command can name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| file.path.to_str()).filter(|path| !path.contains(char::is_whitespace))
    }

    /// A random byte of a random file: small files matter as much as large ones.
    pub(crate) fn anywhere(&self, random: &mut fastrand::Rng) -> Position {
        loop {
            let file = random.usize(..self.files.len());
            let len = self.files[file].bytes.len();
            if len > 0 {
                return Position { file, offset: random.usize(..len) };
            }
        }
    }

    /// Where some bytes lie, as often as they are there.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<Position> {
        let found_in = |(file, image): (usize, &Image)| {
            let windows = image.bytes.windows(bytes.len()).enumerate();
            let found = windows.filter(|(_, window)| *window == bytes);
            found.map(|(offset, _)| Position { file, offset }).collect::<Vec<_>>()
        };
        self.files.iter().enumerate().flat_map(found_in).collect()
    }

    /// Leaves the files as they were, but for what `damage` does to the bytes from each of these positions to the end of
    /// their files.
    pub(crate) fn damaged(&self, positions: &[Position], mut damage: impl FnMut(&mut [u8])) -> Outcome {
        self.restore()?;
        for position in positions {
            let image = &self.files[position.file];
            let path = self.directory.join(&image.path);
            let damaged = fs::read(&path).and_then(|mut bytes| {
                damage(&mut bytes[position.offset..]);
                fs::write(&path, bytes)
            });
            damaged.map_err(Failure::harness)?;
        }
        Ok(())
    }

    /// The files that have any bytes, by their numbers.
    pub(crate) fn with_bytes(&self) -> impl Iterator<Item = usize> {
        (0..self.files.len()).filter(|file| !self.files[*file].bytes.is_empty())
    }

    /// The paths of all files in the directory.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    /// The names of the files, without those of their folders.
    pub(crate) fn file_names(&self) -> BTreeSet<String> {
        let names = self.files.iter().filter_map(|file| file.path.file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// The path of a file in the directory, for messages.
    pub(crate) fn path(&self, file: usize) -> impl fmt::Display {
        self.files[file].path.display()
    }

    /// Leaves the files as they were, but for what `change` does to one of them.
    pub(crate) fn changed(&self, file: usize, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
        self.restore()?;
        let image = &self.files[file];
        let mut bytes = image.bytes.clone();
        change(&mut bytes);
        fs::write(self.directory.join(&image.path), bytes).map_err(Failure::harness)
    }

    /// Leaves the files as they were, and no others.
    fn restore(&self) -> Outcome {
        let restore = || {
            empty(&self.directory)?;
            for image in &self.files {
                let path = self.directory.join(&image.path);
                fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
                fs::write(&path, &image.bytes)?;
                fs::set_permissions(&path, image.permissions.clone())?;
            }
            Ok(())
        };
        restore().map_err(|error: io::Error| Failure::harness(error))
    }

    /// The name of a file, and the offset, for messages.
    pub(crate) fn shown(&self, position: Position) -> String {
        format!("byte {} of {}", position.offset, self.files[position.file].path.display())
    }
}

/// Removes all that is in a directory.
pub(crate) fn empty(directory: &Path) -> io::Result<()> {
    empty_but_for(directory, &|_| false)
}

/// The same, but for the files with these names and the folders that they are in.
pub(crate) fn empty_but_for(directory: &Path, stays: &dyn Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            empty_but_for(&path, stays)?;
            match fs::remove_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                removed => removed?,
            }
        } else if !stays(&entry.file_name().to_string_lossy()) {
            unless_gone(fs::remove_file(&path))?;
        }
    }
    Ok(())
}

fn collect(root: &Path, files: &mut Vec<Image>) -> io::Result<()> {
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() {
                let read = || Ok((fs::read(&path)?, fs::metadata(&path)?.permissions()));
                let Some((bytes, permissions)) = unless_gone(read())? else { continue };
                let path = path.strip_prefix(root).expect("it lies below").to_owned();
                files.push(Image { path, bytes, permissions });
            }
        }
    }
    Ok(())
}

/// `None` for a file that is not there any more: a store that is open removes files of its own at any time.
pub(crate) fn unless_gone<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_came_or_went_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = || Files::of(directory.path()).expect("some files");
        let write = |file: &str, bytes: &str| fs::write(directory.path().join(file), bytes).expect("a file");
        write("a", "1");
        let before = files();
        assert_eq!(files().differs_from(&before), None);
        write("a", "2");
        assert_eq!(files().differs_from(&before), Some(Path::new("a")));
        write("a", "1");
        write("b", "1");
        assert_eq!(files().differs_from(&before), Some(Path::new("b")));
        assert_eq!(before.differs_from(&files()), Some(Path::new("b")));
    }

    #[test]
    fn what_stays_keeps_the_folders_that_it_is_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |path: &str| directory.path().join(path);
        for folder in ["folder/inner", "other"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        for file in ["a-db", "a-log", "folder/inner/b-log", "other/c-db"] {
            fs::write(at(file), "bytes").expect("a file");
        }
        empty_but_for(directory.path(), &|name| name.ends_with("-log")).expect("the rest is removed");
        let left = Files::of(directory.path()).expect("some are left");
        assert!(left.paths().eq(["a-log", "folder/inner/b-log"].map(Path::new)));
        assert!(!at("other").exists());
        empty(directory.path()).expect("all is removed");
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
