//! The whole file system in memory: nodes, names, and the calls on them, with the errors that Linux gives.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::content::{Content, PAGE_BYTES};
use super::names::{Move, Place, Tree};
use super::node::{Change, Node};
use crate::io::{DirectoryEntry, FileKind, Identity, OpenMode};
use crate::units::u64_from;

/// The inode of `/`, which always exists.
pub(super) const ROOT: u64 = 1;

/// As in Linux: a file's offsets fit a signed 64-bit number.
const LENGTH_MAX: u64 = i64::MAX.unsigned_abs();

pub(super) type Outcome<T> = Result<T, Errno>;

#[derive(Clone)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) tree: Tree,
    pub(super) now_ns: i128,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) network: Option<&'static str>,
    next_inode: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let root = Node::new(FileKind::Directory, Arc::default(), 0);
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            tree: Tree::default(),
            now_ns: 0,
            capacity_bytes: None,
            network: None,
            next_inode: ROOT + 1,
        }
    }

    /// The same clock, capacity and inode numbers without any file.
    pub(super) fn emptied(&self) -> Self {
        Self { nodes: BTreeMap::new(), tree: Tree::default(), ..*self }
    }

    pub(super) fn node(&self, inode: u64) -> Outcome<&Node> {
        self.nodes.get(&inode).ok_or(Errno::NOENT)
    }

    pub(super) fn node_mut(&mut self, inode: u64) -> Outcome<&mut Node> {
        self.nodes.get_mut(&inode).ok_or(Errno::NOENT)
    }

    /// The inode that `path` leads to.
    pub(super) fn resolve(&self, path: &Path) -> Outcome<u64> {
        let mut above = Vec::new();
        let mut inode = ROOT;
        for component in path.components() {
            match component {
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
                Component::ParentDir => inode = above.pop().unwrap_or(ROOT),
                Component::Normal(name) => {
                    if self.node(inode)?.kind != FileKind::Directory {
                        return Err(Errno::NOTDIR);
                    }
                    let name = name.to_str().ok_or(Errno::ILSEQ)?;
                    above.push(inode);
                    inode = self.tree.visible.lookup(inode, name).ok_or(Errno::NOENT)?;
                }
            }
        }
        Ok(inode)
    }

    /// The directory and the name that `path` ends in, whether or not there is such an entry.
    pub(super) fn place(&self, path: &Path) -> Outcome<Place> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_str().ok_or(Errno::ILSEQ)?;
        let directory = self.resolve(path.parent().unwrap_or(Path::new("/")))?;
        if self.node(directory)?.kind != FileKind::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(Place { directory, name: Arc::from(name) })
    }

    /// Opens, and counts the holder.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> Outcome<u64> {
        if mode == OpenMode::CreateNew {
            let inode = self.create(path, FileKind::Regular)?;
            self.node_mut(inode)?.holders += 1;
            return Ok(inode);
        }
        let inode = self.resolve(path)?;
        let node = self.node_mut(inode)?;
        let exclusive = matches!(mode, OpenMode::ReadExclusive | OpenMode::ReadWriteExclusive);
        let writing = matches!(mode, OpenMode::ReadWrite | OpenMode::ReadWriteExclusive);
        if node.kind == FileKind::Directory && writing {
            return Err(Errno::ISDIR);
        }
        if exclusive && node.kind == FileKind::BlockDevice {
            if node.held_exclusively {
                return Err(Errno::BUSY);
            }
            node.held_exclusively = true;
        }
        node.holders += 1;
        Ok(inode)
    }

    /// Ends what [`State::open`] or [`State::lock`] began.
    pub(super) fn release(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.holders = node.holders.saturating_sub(1);
        }
        self.forget_if_unreachable(inode);
    }

    pub(super) fn create(&mut self, path: &Path, kind: FileKind) -> Outcome<u64> {
        let place = self.place(path)?;
        if self.tree.visible.lookup(place.directory, &place.name).is_some() {
            return Err(Errno::EXIST);
        }
        let inode = self.add_node(Node::new(kind, Arc::default(), self.now_ns));
        self.tree.make(Move::new(inode, None, Some(place)));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> Outcome<()> {
        let inode = self.resolve(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        let target = self.tree.visible.lookup(to.directory, &to.name);
        if target.is_some() && !replace {
            return Err(Errno::EXIST);
        }
        if target == Some(inode) {
            return Ok(());
        }
        let is_directory = self.node(inode)?.kind == FileKind::Directory;
        if is_directory && from.directory != to.directory {
            // Moving directories around would need a rule against cycles after a cut. The engine does not do it.
            return Err(Errno::XDEV);
        }
        if let Some(target) = target {
            match (is_directory, self.node(target)?.kind == FileKind::Directory) {
                (false, true) => return Err(Errno::ISDIR),
                (true, false) => return Err(Errno::NOTDIR),
                (true, true) if self.tree.visible.children(target).next().is_some() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
        }
        self.node_mut(inode)?.changed_ns = self.now_ns;
        self.tree.make(Move::new(inode, Some(from), Some(to)));
        if let Some(target) = target {
            self.forget_if_unreachable(target);
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> Outcome<()> {
        let inode = self.resolve(path)?;
        if self.node(inode)?.kind == FileKind::Directory {
            return Err(Errno::ISDIR);
        }
        let place = self.place(path)?;
        self.tree.make(Move::new(inode, Some(place), None));
        self.forget_if_unreachable(inode);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> Outcome<()> {
        let inode = self.directory(path)?;
        if self.tree.visible.children(inode).next().is_some() {
            return Err(Errno::NOTEMPTY);
        }
        let place = self.place(path)?;
        self.tree.make(Move::new(inode, Some(place), None));
        self.forget_if_unreachable(inode);
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> Outcome<Vec<DirectoryEntry>> {
        let directory = self.directory(path)?;
        let children = self.tree.visible.children(directory);
        children
            .map(|(name, inode)| {
                let node = self.node(inode)?;
                Ok(DirectoryEntry { name: name.to_string(), kind: node.kind, size: node.visible.length() })
            })
            .collect()
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> Outcome<()> {
        let directory = self.directory(path)?;
        for inode in self.tree.sync(directory) {
            self.forget_if_unreachable(inode);
        }
        Ok(())
    }

    /// Takes the lock unless it is held, and counts the holder.
    pub(super) fn lock(&mut self, path: &Path) -> Outcome<Option<u64>> {
        let inode = self.resolve(path)?;
        let node = self.node_mut(inode)?;
        if node.kind == FileKind::Directory {
            return Err(Errno::ISDIR);
        }
        if node.locked {
            return Ok(None);
        }
        node.locked = true;
        node.holders += 1;
        Ok(Some(inode))
    }

    pub(super) fn identity(&self, inode: u64) -> Outcome<Identity> {
        let node = self.node(inode)?;
        Ok(Identity {
            kind: node.kind,
            device: 1,
            inode,
            size: node.visible.length(),
            modified_ns: node.modified_ns,
            changed_ns: node.changed_ns,
        })
    }

    pub(super) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> Outcome<()> {
        let end = offset.checked_add(u64_from(bytes.len())).filter(|&end| end <= LENGTH_MAX).ok_or(Errno::INVAL)?;
        let node = self.node(inode)?;
        if node.kind == FileKind::BlockDevice && end > node.visible.length() {
            return Err(Errno::NOSPC);
        }
        let pages_max = self.pages_free();
        let now_ns = self.now_ns;
        let count = self.node_mut(inode)?.write(bytes, offset, pages_max, now_ns);
        if count < bytes.len() { Err(Errno::NOSPC) } else { Ok(()) }
    }

    pub(super) fn set_length(&mut self, inode: u64, length: u64) -> Outcome<()> {
        let now_ns = self.now_ns;
        let node = self.node_mut(inode)?;
        if node.kind != FileKind::Regular || length > LENGTH_MAX {
            return Err(Errno::INVAL);
        }
        node.change(Change::SetLength { length }, now_ns);
        Ok(())
    }

    /// Lengthens a file by pages that are really there.
    pub(super) fn allocate(&mut self, inode: u64, length: u64) -> Outcome<()> {
        let (now_ns, pages_free) = (self.now_ns, self.pages_free());
        let node = self.node_mut(inode)?;
        if node.kind != FileKind::Regular || length > LENGTH_MAX {
            return Err(Errno::INVAL);
        }
        let size = node.visible.length();
        if length <= size {
            return Ok(());
        }
        if length.div_ceil(PAGE_BYTES) - size / PAGE_BYTES > pages_free {
            return Err(Errno::NOSPC);
        }
        node.change(Change::Allocate { length }, now_ns);
        Ok(())
    }

    pub(super) fn zero(&mut self, inode: u64, offset: u64, length: u64) -> Outcome<()> {
        let now_ns = self.now_ns;
        self.node_mut(inode)?.change(Change::Zero { offset, length }, now_ns);
        Ok(())
    }

    pub(super) fn available_bytes(&self) -> u64 {
        self.pages_free().saturating_mul(PAGE_BYTES)
    }

    pub(super) fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes.unwrap_or(LENGTH_MAX)
    }

    /// Puts a durable file or device at `path`, with the directories above it, in place of what was there.
    pub(super) fn install(&mut self, path: &Path, kind: FileKind, content: Content) -> Outcome<()> {
        let mut above = PathBuf::new();
        for component in path.parent().unwrap_or(Path::new("/")).components() {
            above.push(component);
            if self.resolve(&above) == Err(Errno::NOENT) {
                self.install_node(&above, Node::new(FileKind::Directory, Arc::default(), self.now_ns))?;
            }
        }
        self.install_node(path, Node::new(kind, Arc::new(content), self.now_ns))
    }

    /// Every file and directory with its path, sorted.
    pub(super) fn walk(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, directory)) = open.pop() {
            for (name, inode) in self.tree.visible.children(directory) {
                let path = path.join(&**name);
                if self.nodes.get(&inode).is_some_and(|node| node.kind == FileKind::Directory) {
                    open.push((path.clone(), inode));
                }
                found.insert(path, inode);
            }
        }
        found
    }

    /// Drops a node that no name leads to, no holder keeps and no power cut can bring back.
    pub(super) fn forget_if_unreachable(&mut self, inode: u64) {
        let held = self.nodes.get(&inode).is_some_and(|node| node.holders > 0);
        if inode != ROOT && !held && !self.tree.mentions(inode) {
            self.nodes.remove(&inode);
        }
    }

    fn install_node(&mut self, path: &Path, node: Node) -> Outcome<()> {
        let place = self.place(path)?;
        let replaced = self.tree.visible.lookup(place.directory, &place.name);
        let inode = self.add_node(node);
        self.tree.visible.put(inode, Some(place.clone()));
        self.tree.durable.put(inode, Some(place));
        if let Some(replaced) = replaced {
            self.forget_if_unreachable(replaced);
        }
        Ok(())
    }

    fn add_node(&mut self, node: Node) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        inode
    }

    fn directory(&self, path: &Path) -> Outcome<u64> {
        let inode = self.resolve(path)?;
        if self.node(inode)?.kind == FileKind::Directory { Ok(inode) } else { Err(Errno::NOTDIR) }
    }

    /// Counted anew each time, and only when there is a limit: a running count would have to follow every change.
    fn pages_free(&self) -> u64 {
        let Some(capacity_bytes) = self.capacity_bytes else { return LENGTH_MAX / PAGE_BYTES };
        let occupies = |(inode, node): &(&u64, &Node)| {
            node.kind == FileKind::Regular && (node.holders > 0 || self.tree.visible.place_of(**inode).is_some())
        };
        let used: u64 = self.nodes.iter().filter(occupies).map(|(_, node)| node.visible.page_count()).sum();
        (capacity_bytes / PAGE_BYTES).saturating_sub(used)
    }
}
