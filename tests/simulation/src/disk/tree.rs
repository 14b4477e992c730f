//! Files and directories, found by their paths.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use gapless_common::seam::Random;

use super::content::{FileContent, Toll};
use super::names::{Directory, InodeId};
use super::survival::Survival;

const ROOT: InodeId = 0;

#[derive(Clone)]
enum Node {
    File(FileContent),
    Directory(Directory),
}

#[derive(Clone)]
pub(super) struct Tree {
    nodes: BTreeMap<InodeId, Node>,
    next: InodeId,
}

/// As the kernel would say it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errno {
    NotFound = 2,
    Io = 5,
    Exists = 17,
    NotADirectory = 20,
    IsADirectory = 21,
    NoSpace = 28,
    NotEmpty = 39,
    QuotaExceeded = 122,
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno as i32)
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]), next: ROOT + 1 }
    }
}

impl Tree {
    fn find(&self, path: &Path) -> Result<InodeId, Errno> {
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { return Err(Errno::NotFound) };
            at = self.directory(at)?.get(&name.to_string_lossy()).ok_or(Errno::NotFound)?;
        }
        Ok(at)
    }

    /// The directory that a path is in, and the name there.
    fn parent(&self, path: &Path) -> Result<(InodeId, String), Errno> {
        let name = path.file_name().ok_or(Errno::Exists)?.to_string_lossy().into_owned();
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.directory(parent)?;
        Ok((parent, name))
    }

    fn directory(&self, inode: InodeId) -> Result<&Directory, Errno> {
        match self.nodes.get(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(Errno::NotADirectory),
            None => Err(Errno::NotFound),
        }
    }

    fn directory_mut(&mut self, inode: InodeId) -> Result<&mut Directory, Errno> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(Errno::NotADirectory),
            None => Err(Errno::NotFound),
        }
    }

    pub(super) fn file(&self, inode: InodeId) -> Result<&FileContent, Errno> {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(Errno::IsADirectory),
            None => Err(Errno::NotFound),
        }
    }

    pub(super) fn file_mut(&mut self, inode: InodeId) -> Result<&mut FileContent, Errno> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(Errno::IsADirectory),
            None => Err(Errno::NotFound),
        }
    }

    pub(super) fn open(&self, path: &Path) -> Result<InodeId, Errno> {
        let inode = self.find(path)?;
        self.file(inode).map(|_| inode)
    }

    pub(super) fn create(&mut self, path: &Path) -> Result<InodeId, Errno> {
        self.add(path, Node::File(FileContent::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> Result<(), Errno> {
        self.add(path, Node::Directory(Directory::default())).map(drop)
    }

    fn add(&mut self, path: &Path, node: Node) -> Result<InodeId, Errno> {
        let (parent, name) = self.parent(path)?;
        let inode = self.next;
        let directory = self.directory_mut(parent)?;
        if directory.get(&name).is_some() {
            return Err(Errno::Exists);
        }
        directory.set(&name, inode);
        self.nodes.insert(inode, node);
        self.next += 1;
        Ok(inode)
    }

    /// A file that is there with these bytes, durably, whatever was there before.
    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>) -> Result<(), Errno> {
        let inode = match self.open(path) {
            Err(Errno::NotFound) => self.create(path)?,
            found => found?,
        };
        *self.file_mut(inode)? = FileContent::durable(bytes);
        let (parent, _) = self.parent(path)?;
        let directory = self.directory_mut(parent)?;
        directory.synced(directory.next_change());
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let inode = self.find(from)?;
        let (old_parent, old_name) = self.parent(from)?;
        let (new_parent, new_name) = self.parent(to)?;
        if let Some(replaced) = self.directory(new_parent)?.get(&new_name) {
            match (self.nodes.get(&inode), self.nodes.get(&replaced)) {
                (Some(Node::File(_)), Some(Node::Directory(_))) => return Err(Errno::IsADirectory),
                (Some(Node::Directory(_)), Some(Node::File(_))) => return Err(Errno::NotADirectory),
                (_, Some(Node::Directory(directory))) if directory.names().next().is_some() => {
                    return Err(Errno::NotEmpty);
                }
                _ => {}
            }
        }
        if old_parent == new_parent {
            self.directory_mut(old_parent)?.rename(&old_name, &new_name);
        } else {
            self.directory_mut(new_parent)?.set(&new_name, inode);
            self.directory_mut(old_parent)?.unset(&old_name);
        }
        Ok(())
    }

    /// The bytes that this gives free.
    pub(super) fn remove(&mut self, path: &Path) -> Result<u64, Errno> {
        let inode = self.open(path)?;
        let (parent, name) = self.parent(path)?;
        self.directory_mut(parent)?.unset(&name);
        self.file(inode).map(FileContent::size)
    }

    /// What removing a directory removes one after the other: what is in it comes first.
    pub(super) fn removals(&self, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        let directory = self.directory(self.find(path)?)?;
        let mut removals = Vec::new();
        for (name, inode) in directory.names() {
            let inner = path.join(name);
            if self.directory(inode).is_ok() {
                removals.extend(self.removals(&inner)?);
            } else {
                removals.push(inner);
            }
        }
        removals.push(path.to_owned());
        Ok(removals)
    }

    /// One of [`Tree::removals`]. The bytes that this gives free.
    pub(super) fn remove_any(&mut self, path: &Path) -> Result<u64, Errno> {
        if self.directory(self.find(path)?).is_err() {
            return self.remove(path);
        }
        let (parent, name) = self.parent(path)?;
        self.directory_mut(parent)?.unset(&name);
        Ok(0)
    }

    /// Names, and whether each is a directory.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<(String, bool)>, Errno> {
        let directory = self.directory(self.find(path)?)?;
        let entry = |(name, inode): (&str, _)| (name.to_owned(), self.directory(inode).is_ok());
        Ok(directory.names().map(entry).collect())
    }

    /// The directory, and what a sync that begins now makes durable.
    pub(super) fn begin_sync(&self, path: &Path) -> Result<(InodeId, u64), Errno> {
        let inode = self.find(path)?;
        self.directory(inode).map(|directory| (inode, directory.next_change()))
    }

    pub(super) fn end_sync(&mut self, inode: InodeId, before: u64, failed: Option<&Random>) {
        if let Ok(directory) = self.directory_mut(inode) {
            match failed {
                None => directory.synced(before),
                Some(random) => directory.sync_failed(before, random),
            }
        }
    }

    /// All files that have a name, in the order of their paths.
    pub(super) fn files(&self) -> Vec<(PathBuf, InodeId)> {
        let mut files = Vec::new();
        self.gather(Path::new(""), ROOT, &mut files);
        files
    }

    fn gather(&self, path: &Path, inode: InodeId, files: &mut Vec<(PathBuf, InodeId)>) {
        match self.nodes.get(&inode) {
            Some(Node::File(_)) => files.push((path.to_owned(), inode)),
            Some(Node::Directory(directory)) => {
                for (name, inode) in directory.names() {
                    self.gather(&path.join(name), inode, files);
                }
            }
            None => {}
        }
    }

    pub(super) fn process_killed(&mut self, random: &Random) {
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node {
                file.process_killed(random);
            }
        }
        self.forget_unreachable();
    }

    /// What was lost: of sectors, and of names.
    pub(super) fn power_lost(&mut self, random: &Random) -> (Toll, u64) {
        let survival = Survival::of_a_power_loss(random);
        let (mut toll, mut names) = (Toll::default(), 0);
        for node in self.nodes.values_mut() {
            let survival = survival.of_one(random);
            match node {
                Node::Directory(directory) => names += directory.power_lost(survival, random),
                Node::File(file) => {
                    let Toll { lost, torn } = file.power_lost(survival, random);
                    toll.lost += lost;
                    toll.torn += torn;
                }
            }
        }
        self.give_directories_one_parent(random);
        self.forget_unreachable();
        (toll, names)
    }

    /// Of a directory's rename to another one both sides are on their own, and no file system lets a directory be in two
    /// places.
    fn give_directories_one_parent(&mut self, random: &Random) {
        let mut places: BTreeMap<InodeId, Vec<(InodeId, String)>> = BTreeMap::new();
        for (parent, node) in &self.nodes {
            let Node::Directory(directory) = node else { continue };
            for (name, inode) in directory.names().filter(|(_, inode)| self.directory(*inode).is_ok()) {
                places.entry(inode).or_default().push((*parent, name.to_owned()));
            }
        }
        for mut places in places.into_values().filter(|places| places.len() > 1) {
            let stays = usize::try_from(random.below(places.len() as u64)).unwrap_or(0);
            places.remove(stays);
            for (parent, name) in places {
                if let Ok(directory) = self.directory_mut(parent) {
                    directory.drop_durably(&name);
                }
            }
        }
    }

    /// Nobody has anything open any more: what has no name, and cannot get one back, is gone.
    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut to_visit = vec![ROOT];
        while let Some(inode) = to_visit.pop() {
            if let Ok(directory) = self.directory(inode) {
                to_visit.extend(directory.inodes().filter(|inner| reached.insert(*inner)));
            }
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
    }

    pub(super) fn evict(&mut self) {
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node {
                file.evict();
            }
        }
    }
}
