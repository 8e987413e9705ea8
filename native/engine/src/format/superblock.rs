//! The superblock of a write log: what the log is made of and what lies below it (format.md 13.1).
//!
//! It is written whole to two slots in turn, each synced before the other is touched; the valid one with the higher
//! sequence counts. So one slot is whole whatever a crash leaves of the other.

use super::log_body::{at_end, disk_size, name, put_name, sector_bytes};
use super::log_segment::{INCARNATION_BYTES, Incarnation};
use super::node::Root;
use super::{Defect, Fields, FieldsMut, VERSION, checksum};
use crate::limits::SUPERBLOCK_BYTES_MAX;
use crate::units::{Lsn, Uid, u64_from, usize_from};

const MAGIC: &[u8; 8] = b"STILLSUP";
const HEADER_BYTES: usize = 104;
const MAP: u8 = 1;
const POINT: u8 = 2;

/// The names of the two slots.
pub const SLOT_NAMES: [&str; 2] = ["superblock.a", "superblock.b"];

/// What a disk contains below all records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseContent {
    /// A block map.
    Map(Root),
    /// A disk of a restore point whose copy may still run: a durable pin of it.
    Point {
        /// The point.
        point_id: Uid,
        /// The disk as the point knows it.
        disk_id: Uid,
    },
}

impl BaseContent {
    /// Bytes of it in files.
    pub const BYTES: usize = 48;

    pub(super) fn encode_into(&self, fields: &mut FieldsMut) {
        let start = fields.len();
        match self {
            Self::Map(root) => {
                fields.u8(MAP).zero_to(start + 8);
                root.encode_into(fields);
            }
            Self::Point { point_id, disk_id } => {
                fields.u8(POINT).zero_to(start + 8).slice(&point_id.0).slice(&disk_id.0);
            }
        }
        fields.zero_to(start + Self::BYTES);
    }

    pub(super) fn decode(fields: &mut Fields<'_>) -> Result<Self, Defect> {
        let tag = fields.u8()?;
        fields.zero(7)?;
        match tag {
            MAP => Ok(Self::Map(Root::decode(fields)?)),
            POINT => {
                let (point_id, disk_id) = (Uid(fields.array()?), Uid(fields.array()?));
                fields.zero(8)?;
                Ok(Self::Point { point_id, disk_id })
            }
            _ => Err(Defect::Wrong("a base's tag is unknown")),
        }
    }
}

/// An incarnation whose records the log still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedIncarnation {
    /// What its segments say too.
    pub incarnation: Incarnation,
    /// The last LSN that counts of it; `None` for the last, which is being written.
    pub end: Option<Lsn>,
}

/// A segment in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedLogSegment {
    /// Names its file; never used twice.
    pub number: u64,
    /// Counter of its incarnation.
    pub incarnation: u64,
    /// What its first record is, once there is one or where it follows from the incarnation.
    pub first: Option<FirstRecord>,
}

/// Where a segment takes up the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstRecord {
    /// LSN of the first record.
    pub lsn: Lsn,
    /// What that record names as its predecessor's header checksum.
    pub predecessor: u64,
}

/// A live disk of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperblockDisk {
    /// The disk.
    pub disk_id: Uid,
    /// How often it changed hands.
    pub generation: u64,
    /// Its name.
    pub name: String,
    /// Its role in the machine.
    pub role: String,
    /// Its sector size.
    pub sector_bytes: u32,
    /// Its size at the base.
    pub size: u64,
    /// What it contained at the base.
    pub base: BaseContent,
    /// The LSN up to which records are in the base.
    pub base_lsn: Lsn,
}

/// An older base that the window keeps, for points in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowBase {
    /// The disk.
    pub disk_id: Uid,
    /// Its content.
    pub root: Root,
    /// Its size.
    pub size: u64,
    /// The LSN up to which records are in it.
    pub lsn: Lsn,
}

/// What a symbolic base came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The point.
    pub point_id: Uid,
    /// The disk as the point knows it.
    pub disk_id: Uid,
    /// Its content.
    pub root: Root,
    /// Its size.
    pub size: u64,
}

/// How far the background copy came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyCursor {
    /// The cut of the layer that it folds.
    pub cut: Lsn,
    /// The disk.
    pub disk_id: Uid,
    /// The partial map.
    pub root: Root,
    /// The first chunk that is not in it.
    pub next_chunk: u64,
}

/// The whole superblock. What the log itself keeps: ids, sequence, durable LSN, incarnations, segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The store.
    pub store_id: Uid,
    /// The log.
    pub log_id: Uid,
    /// The machine; zero for a detached disk's log.
    pub machine_id: Uid,
    /// Higher each time it is written; odd where the first slot was written before the second, even the other way round.
    pub sequence: u64,
    /// The highest LSN known durable.
    pub durable: Lsn,
    /// Incarnations of the listed segments, ascending; the last one is open.
    pub incarnations: Vec<ListedIncarnation>,
    /// Segments in the order of the log, with the one prepared to come next.
    pub segments: Vec<ListedLogSegment>,
    /// The live disks.
    pub disks: Vec<SuperblockDisk>,
    /// Bases of the window.
    pub window: Vec<WindowBase>,
    /// Resolved symbolic bases that records may still name.
    pub resolutions: Vec<Resolution>,
    /// Copies under way.
    pub cursors: Vec<CopyCursor>,
}

impl Superblock {
    /// The slot's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(4096);
        fields.slice(MAGIC).u16(VERSION).zero_to(16).u64(0).u64(self.sequence);
        fields.slice(&self.store_id.0).slice(&self.log_id.0).slice(&self.machine_id.0);
        // All six counts, so that their sum of lengths is checked before anything is allocated for them.
        fields.u32(self.incarnations.len() as u32).u32(self.segments.len() as u32).u32(self.disks.len() as u32);
        fields.u32(self.window.len() as u32).u32(self.resolutions.len() as u32).u32(self.cursors.len() as u32);
        assert_eq!(fields.len(), HEADER_BYTES);
        fields.u64(self.durable.0);
        for listed in &self.incarnations {
            listed.incarnation.encode_into(&mut fields);
            fields.u64(u64::from(listed.end.is_some())).u64(listed.end.unwrap_or_default().0);
        }
        for segment in &self.segments {
            let first = segment.first.unwrap_or(FirstRecord { lsn: Lsn::ZERO, predecessor: 0 });
            fields.u64(segment.number).u64(segment.incarnation).u64(first.lsn.0).u64(first.predecessor);
        }
        for disk in &self.disks {
            fields.slice(&disk.disk_id.0).u64(disk.generation).u64(disk.size).u64(disk.base_lsn.0);
            fields.u32(disk.sector_bytes).u32(0);
            disk.base.encode_into(&mut fields);
            put_name(&mut fields, &disk.name);
            put_name(&mut fields, &disk.role);
        }
        for base in &self.window {
            fields.slice(&base.disk_id.0).u64(base.size).u64(base.lsn.0);
            base.root.encode_into(&mut fields);
        }
        for resolution in &self.resolutions {
            fields.slice(&resolution.point_id.0).slice(&resolution.disk_id.0).u64(resolution.size);
            resolution.root.encode_into(&mut fields);
        }
        for cursor in &self.cursors {
            fields.slice(&cursor.disk_id.0).u64(cursor.cut.0).u64(cursor.next_chunk);
            cursor.root.encode_into(&mut fields);
        }
        let mut bytes = fields.finish();
        let length = u64_from(bytes.len() + 8);
        bytes[16..24].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a slot; bytes behind the length that it names are left over from a longer one.
    ///
    /// # Errors
    /// It is damaged, torn or newer.
    pub fn decode(slot: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(slot);
        fields.magic_and_version(MAGIC)?;
        fields.zero(6)?;
        let length = fields.u64()?;
        if length > SUPERBLOCK_BYTES_MAX || length < u64_from(HEADER_BYTES + 16) {
            return Err(Defect::Wrong("its length is not allowed"));
        }
        let bytes = slot.get(..usize_from(length)).ok_or(Defect::Wrong("it is too short"))?;
        let (body, sum) = bytes.split_at(bytes.len() - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("its checksum does not hold"));
        }
        Self::decode_body(&mut Fields::new(&body[24..]), body.len())
    }

    fn decode_body(fields: &mut Fields<'_>, length: usize) -> Result<Self, Defect> {
        let sequence = fields.u64()?;
        let (store_id, log_id, machine_id) = (Uid(fields.array()?), Uid(fields.array()?), Uid(fields.array()?));
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = fields.u32()? as usize;
        }
        let [incarnation_count, segment_count, disk_count, window_count, resolution_count, cursor_count] = counts;
        let least = [(incarnation_count, INCARNATION_BYTES + 16), (segment_count, 32), (disk_count, 100)];
        let others = [(window_count, 72), (resolution_count, 80), (cursor_count, 72)];
        let bytes: usize = least.into_iter().chain(others).map(|(count, bytes)| count * bytes).sum();
        if bytes > length {
            return Err(Defect::Wrong("its counts contradict its length"));
        }
        let durable = Lsn(fields.u64()?);
        let superblock = Self {
            store_id,
            log_id,
            machine_id,
            sequence,
            durable,
            incarnations: many(incarnation_count, || listed_incarnation(fields))?,
            segments: many(segment_count, || listed_segment(fields))?,
            disks: many(disk_count, || disk(fields))?,
            window: many(window_count, || window_base(fields))?,
            resolutions: many(resolution_count, || resolution(fields))?,
            cursors: many(cursor_count, || cursor(fields))?,
        };
        at_end(fields)?;
        superblock.check()?;
        Ok(superblock)
    }

    fn check(&self) -> Result<(), Defect> {
        let ascend = |pair: &[ListedIncarnation]| pair[0].incarnation.counter < pair[1].incarnation.counter;
        let ended = self
            .incarnations
            .split_last()
            .is_some_and(|(last, before)| last.end.is_none() && before.iter().all(|listed| listed.end.is_some()));
        if !ended || !self.incarnations.windows(2).all(ascend) {
            return Err(Defect::Wrong("its incarnations are not in order"));
        }
        let segments = self.segments.windows(2);
        let in_order =
            |pair: &[ListedLogSegment]| pair[0].number < pair[1].number && pair[0].incarnation <= pair[1].incarnation;
        let known = |segment: &ListedLogSegment| {
            self.incarnations.iter().any(|listed| listed.incarnation.counter == segment.incarnation)
        };
        if !segments.into_iter().all(in_order) || !self.segments.iter().all(known) {
            return Err(Defect::Wrong("its segments are not in order"));
        }
        if self.segments.first().is_none_or(|segment| segment.first.is_none()) {
            return Err(Defect::Wrong("where its first segment begins is missing"));
        }
        Ok(())
    }
}

fn many<T>(count: usize, one: impl FnMut() -> Result<T, Defect>) -> Result<Vec<T>, Defect> {
    std::iter::repeat_with(one).take(count).collect()
}

fn listed_incarnation(fields: &mut Fields<'_>) -> Result<ListedIncarnation, Defect> {
    let incarnation = Incarnation::decode(fields)?;
    let end = match (fields.u64()?, fields.u64()?) {
        (0, 0) => None,
        (1, end) if Lsn(end) >= incarnation.predecessor_lsn => Some(Lsn(end)),
        _ => return Err(Defect::Wrong("an incarnation's end contradicts its beginning")),
    };
    Ok(ListedIncarnation { incarnation, end })
}

fn listed_segment(fields: &mut Fields<'_>) -> Result<ListedLogSegment, Defect> {
    let (number, incarnation) = (fields.u64()?, fields.u64()?);
    let first = match (Lsn(fields.u64()?), fields.u64()?) {
        (Lsn::ZERO, 0) => None,
        (Lsn::ZERO, _) => return Err(Defect::Wrong("a segment's beginning contradicts itself")),
        (lsn, predecessor) => Some(FirstRecord { lsn, predecessor }),
    };
    Ok(ListedLogSegment { number, incarnation, first })
}

fn disk(fields: &mut Fields<'_>) -> Result<SuperblockDisk, Defect> {
    let (disk_id, generation, size) = (Uid(fields.array()?), fields.u64()?, disk_size(fields)?);
    let (base_lsn, sector_bytes) = (Lsn(fields.u64()?), sector_bytes(fields)?);
    fields.zero(4)?;
    let base = BaseContent::decode(fields)?;
    let (name, role) = (name(fields)?, name(fields)?);
    Ok(SuperblockDisk { disk_id, generation, name, role, sector_bytes, size, base, base_lsn })
}

fn window_base(fields: &mut Fields<'_>) -> Result<WindowBase, Defect> {
    let (disk_id, size, lsn) = (Uid(fields.array()?), disk_size(fields)?, Lsn(fields.u64()?));
    Ok(WindowBase { disk_id, root: Root::decode(fields)?, size, lsn })
}

fn resolution(fields: &mut Fields<'_>) -> Result<Resolution, Defect> {
    let (point_id, disk_id, size) = (Uid(fields.array()?), Uid(fields.array()?), disk_size(fields)?);
    Ok(Resolution { point_id, disk_id, root: Root::decode(fields)?, size })
}

fn cursor(fields: &mut Fields<'_>) -> Result<CopyCursor, Defect> {
    let (disk_id, cut, next_chunk) = (Uid(fields.array()?), Lsn(fields.u64()?), fields.u64()?);
    Ok(CopyCursor { cut, disk_id, root: Root::decode(fields)?, next_chunk })
}
