//! A block map node, and the root entry that manifests hold (format.md section 6).

use super::{Defect, Fields, FieldsMut};
use crate::limits::{NODE_BYTES_MAX, NODE_FAN_OUT, NODE_LEVEL_MAX};
use crate::units::ContentId;

/// Bytes of a root in a manifest.
pub const ROOT_BYTES: usize = 40;

const MARK: u8 = b'N';
const HEADER_BYTES: usize = 8;
const HOLE: u8 = 0;
const FILL: u8 = 1;
const ID: u8 = 2;

/// What a place in a block map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Everything below reads as zero and is unallocated.
    Hole,
    /// Everything below has this value.
    Fill(u8),
    /// A chunk at level 0, a node above.
    Id(ContentId),
}

impl Entry {
    /// Whether everything below reads as zero.
    #[must_use]
    pub const fn reads_zero(&self) -> bool {
        matches!(self, Self::Hole | Self::Fill(0))
    }
}

/// A node: up to 64 entries of the level below its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    level: u8,
    entries: Vec<Entry>, // without trailing holes
}

impl Node {
    /// The canonical entry and node for these entries: no node where a hole or a fill says the same.
    ///
    /// # Errors
    /// Instead of a node: the entry that stands in its place.
    pub fn canonical(level: u8, entries: &[Entry]) -> Result<Self, Entry> {
        assert!((1..=NODE_LEVEL_MAX).contains(&level) && entries.len() <= NODE_FAN_OUT);
        let length = entries.iter().rposition(|entry| *entry != Entry::Hole).map_or(0, |last| last + 1);
        match entries.first() {
            _ if length == 0 => Err(Entry::Hole),
            Some(first @ Entry::Fill(_)) if length == NODE_FAN_OUT && entries.iter().all(|entry| entry == first) => {
                Err(*first)
            }
            _ => Ok(Self { level, entries: entries[..length].to_vec() }),
        }
    }

    /// The node's level, 1 or more.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// Entry `index` of 64.
    #[must_use]
    pub fn entry(&self, index: usize) -> Entry {
        assert!(index < NODE_FAN_OUT);
        self.entries.get(index).copied().unwrap_or(Entry::Hole)
    }

    /// The entries up to the last that is not a hole.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The plain bytes, over which the id is made.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let fill_count = self.entries.iter().filter(|entry| matches!(entry, Entry::Fill(_))).count();
        let id_count = self.entries.iter().filter(|entry| matches!(entry, Entry::Id(_))).count();
        let mut fields = FieldsMut::with_capacity(NODE_BYTES_MAX);
        fields.u8(MARK).u8(self.level).u8(self.entries.len() as u8).u8(fill_count as u8).u8(id_count as u8);
        fields.zero_to(HEADER_BYTES);
        for entry in &self.entries {
            fields.u8(match entry {
                Entry::Hole => HOLE,
                Entry::Fill(_) => FILL,
                Entry::Id(_) => ID,
            });
        }
        for entry in &self.entries {
            if let Entry::Fill(value) = entry {
                fields.u8(*value);
            }
        }
        for entry in &self.entries {
            if let Entry::Id(id) = entry {
                fields.slice(&id.0);
            }
        }
        fields.finish()
    }

    /// Reads a node.
    ///
    /// # Errors
    /// It is not one, or not the canonical form of what it says.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(bytes);
        if fields.u8()? != MARK {
            return Err(Defect::Wrong("the node's mark is missing"));
        }
        let (level, count) = (fields.u8()?, usize::from(fields.u8()?));
        let (fill_count, id_count) = (usize::from(fields.u8()?), usize::from(fields.u8()?));
        fields.zero(3)?;
        if !(1..=NODE_LEVEL_MAX).contains(&level) || !(1..=NODE_FAN_OUT).contains(&count) {
            return Err(Defect::Wrong("the node's level or number of entries is not allowed"));
        }
        let (tags, values) = (fields.slice(count)?, fields.slice(fill_count)?);
        let (mut values, mut ids) = (values.iter(), Fields::new(fields.slice(id_count * 32)?));
        let mut entries = Vec::with_capacity(count);
        for tag in tags {
            entries.push(match *tag {
                HOLE => Entry::Hole,
                FILL => Entry::Fill(*values.next().ok_or(Defect::Wrong("the node has too few fills"))?),
                ID => Entry::Id(ContentId(ids.array()?)),
                _ => return Err(Defect::Wrong("the node has an unknown tag")),
            });
        }
        if values.next().is_some() || !ids.rest().is_empty() || !fields.rest().is_empty() {
            return Err(Defect::Wrong("the node's counts contradict its length"));
        }
        match Self::canonical(level, &entries) {
            Ok(node) if node.entries.len() == count => Ok(node),
            _ => Err(Defect::Wrong("the node is not canonical")),
        }
    }
}

/// A block map's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    /// The root entry, of level `height`.
    pub entry: Entry,
    /// Levels of nodes below and including the root.
    pub height: u8,
}

impl Root {
    /// The root of a disk on which nothing was ever written.
    #[must_use]
    pub fn empty(size: u64, chunk_bytes: u32) -> Self {
        Self { entry: Entry::Hole, height: Self::height_for(size, chunk_bytes) }
    }

    /// The height that a disk of this size has.
    #[must_use]
    pub fn height_for(size: u64, chunk_bytes: u32) -> u8 {
        let chunk_count = size.div_ceil(u64::from(chunk_bytes));
        let mut height = 0;
        while chunk_count > 1u64 << (6 * u32::from(height)) {
            height += 1;
        }
        height
    }

    pub(super) fn encode_into(self, fields: &mut FieldsMut) {
        let (tag, value, id) = match self.entry {
            Entry::Hole => (HOLE, 0, [0; 32]),
            Entry::Fill(value) => (FILL, value, [0; 32]),
            Entry::Id(id) => (ID, 0, id.0),
        };
        fields.u8(tag).u8(self.height).u8(value).slice(&[0; 5]).slice(&id);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self, Defect> {
        let (tag, height, value) = (fields.u8()?, fields.u8()?, fields.u8()?);
        fields.zero(5)?;
        let id: [u8; 32] = fields.array()?;
        let entry = match (tag, value) {
            (HOLE, 0) => Entry::Hole,
            (FILL, value) => Entry::Fill(value),
            (ID, 0) => Entry::Id(ContentId(id)),
            _ => return Err(Defect::Wrong("a root's tag is unknown")),
        };
        if height > NODE_LEVEL_MAX || (tag != ID && id != [0; 32]) {
            return Err(Defect::Wrong("a root contradicts itself"));
        }
        Ok(Self { entry, height })
    }
}
