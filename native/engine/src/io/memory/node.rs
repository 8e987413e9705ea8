//! One inode: what a power cut leaves of its bytes for certain, what a reader sees now, and the changes between.
//!
//! Invariant, unless a sync failed: `visible` is `durable` with every change of `unsynced` applied in order.

use std::sync::Arc;

use super::content::Content;
use crate::io::FileKind;

/// One change that is not durable yet.
#[derive(Clone)]
pub(super) enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLength { length: u64 },
    Allocate { length: u64 },
    Zero { offset: u64, length: u64 },
}

impl Change {
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Write { offset, bytes } => {
                content.write(bytes, *offset, u64::MAX);
            }
            Self::SetLength { length } => content.set_length(*length),
            Self::Allocate { length } => content.allocate(*length),
            Self::Zero { offset, length } => content.zero(*offset, *length),
        }
    }
}

/// A file, a device or a directory. A directory has no bytes; its entries are in [`names`](super::names).
#[derive(Clone)]
pub(super) struct Node {
    pub(super) kind: FileKind,
    pub(super) durable: Arc<Content>,
    pub(super) visible: Arc<Content>,
    pub(super) unsynced: Vec<Change>,
    /// How many of the first changes of `unsynced` a failed sync has given up.
    abandoned: usize,
    /// Whether `visible` shows bytes that were given up, so that it no longer follows from `durable`.
    diverged: bool,
    pub(super) modified_ns: i128,
    pub(super) changed_ns: i128,
    /// Handles and lock guards that keep the node when its name goes.
    pub(super) holders: u32,
    pub(super) held_exclusively: bool,
    pub(super) locked: bool,
}

impl Node {
    /// A node whose content is durable.
    pub(super) fn new(kind: FileKind, content: Arc<Content>, now_ns: i128) -> Self {
        Self {
            kind,
            durable: Arc::clone(&content),
            visible: content,
            unsynced: Vec::new(),
            abandoned: 0,
            diverged: false,
            modified_ns: now_ns,
            changed_ns: now_ns,
            holders: 0,
            held_exclusively: false,
            locked: false,
        }
    }

    /// Writes a front part of `bytes` in at most `pages_max` new pages; returns its length.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, pages_max: u64, now_ns: i128) -> usize {
        let count = Arc::make_mut(&mut self.visible).write(bytes, offset, pages_max);
        if count > 0 {
            self.unsynced.push(Change::Write { offset, bytes: Arc::from(&bytes[..count]) });
            self.touch(now_ns);
        }
        count
    }

    /// Applies a change that cannot fail.
    pub(super) fn change(&mut self, change: Change, now_ns: i128) {
        change.apply(Arc::make_mut(&mut self.visible));
        self.unsynced.push(change);
        self.touch(now_ns);
    }

    /// Makes everything durable that no failed sync has given up.
    pub(super) fn sync(&mut self) {
        self.diverged |= self.abandoned > 0;
        if self.diverged {
            let durable = Arc::make_mut(&mut self.durable);
            self.unsynced[self.abandoned..].iter().for_each(|change| change.apply(durable));
        } else {
            self.durable = Arc::clone(&self.visible);
        }
        self.unsynced.clear();
        self.abandoned = 0;
    }

    /// What Linux does when writeback fails: the pages stay readable and count as clean, so that a later sync
    /// succeeds without writing them (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
    pub(super) fn abandon_unsynced(&mut self) {
        self.abandoned = self.unsynced.len();
    }

    /// The content when every unsynced change reached the disk.
    pub(super) fn all_kept(&self) -> Arc<Content> {
        if !self.diverged {
            return Arc::clone(&self.visible);
        }
        let mut content = Arc::clone(&self.durable);
        if !self.unsynced.is_empty() {
            let changed = Arc::make_mut(&mut content);
            self.unsynced.iter().for_each(|change| change.apply(changed));
        }
        content
    }

    fn touch(&mut self, now_ns: i128) {
        self.modified_ns = now_ns;
        self.changed_ns = now_ns;
    }
}
