//! One record of a write log (format.md 13.3), and what records about membership, resets and cuts say.
//!
//! ```text
//! 0        80            80 + 8 n         88 + 8 n                 the next multiple of 8
//! | fields | n checksums | header checksum | payload                | next record
//! ```
//!
//! A record is one of its incarnation when the header checksum holds over salt and header; it follows another when it
//! names that one's header checksum and the next LSN. A guest chooses the payload and may put a record's image there,
//! but it cannot know the salt, and nobody looks for records anywhere but where the one before ends.

use std::borrow::Cow;

use super::superblock::BaseContent;
use super::{Defect, Fields, FieldsMut, RunningChecksum, checksum};
use crate::limits::{
    CUT_DETAIL_BYTES_MAX, DISK_BYTES_MAX, NAME_BYTES_MAX, POINT_DISKS_MAX, RECORD_BLOCK_BYTES, RECORD_BYTES_MAX,
    SECTOR_BYTES_ALLOWED,
};
use crate::units::{Lsn, Uid, u64_from};

/// Bytes in front of the checksums of the payload.
pub const FIELDS_BYTES: usize = 80;

const MAGIC: u32 = u32::from_le_bytes(*b"SPLR");
const LSN_AT: usize = 8;
const TIME_AT: usize = 56;
const DURABLE_AT: usize = 64;
const PREDECESSOR_AT: usize = 72;
const SUM_BYTES: usize = 8;

/// Random bytes of an incarnation, over which its header checksums are made.
pub type Salt = [u8; 16];

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Bytes at an offset of a disk.
    Write,
    /// Zeros that stay allocated.
    Zero,
    /// Zeros that are holes.
    Trim,
    /// A disk becomes larger.
    Grow,
    /// Disks get another content, all at once.
    Reset,
    /// A disk comes to the machine.
    Join,
    /// A disk leaves the machine.
    Leave,
    /// A position of the log that a restore point stands at.
    Cut,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 8] =
        [Self::Write, Self::Zero, Self::Trim, Self::Grow, Self::Reset, Self::Join, Self::Leave, Self::Cut];

    /// Its number in files.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Write => 1,
            Self::Zero => 2,
            Self::Trim => 3,
            Self::Grow => 4,
            Self::Reset => 5,
            Self::Join => 6,
            Self::Leave => 7,
            Self::Cut => 8,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether its payload says what the record means, so that opening reads it: the others' payload is a disk's bytes or
    /// nothing.
    #[must_use]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Reset | Self::Join | Self::Leave | Self::Cut)
    }
}

/// The fields of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// What it does.
    pub kind: RecordKind,
    /// Its number.
    pub lsn: Lsn,
    /// The disk, or zero where the body names several or none.
    pub disk_id: Uid,
    /// Where on the disk.
    pub offset: u64,
    /// How much of the disk; with `Grow` the new size.
    pub length: u64,
    /// Bytes behind the header.
    pub payload_bytes: u32,
    /// Milliseconds since 1970-01-01 UTC; never less than the record before.
    pub time_ms: u64,
    /// The highest LSN that was known durable when this one was given.
    pub durable: Lsn,
    /// The header checksum of the record before.
    pub predecessor: u64,
}

/// Checksums that a payload has.
#[must_use]
pub const fn block_count(payload_bytes: u32) -> usize {
    payload_bytes.div_ceil(RECORD_BLOCK_BYTES) as usize
}

/// Bytes in front of the payload.
#[must_use]
pub const fn header_bytes(payload_bytes: u32) -> usize {
    FIELDS_BYTES + SUM_BYTES * block_count(payload_bytes) + SUM_BYTES
}

/// From the start of a record to the start of the next.
#[must_use]
pub const fn record_bytes(payload_bytes: u32) -> u64 {
    (header_bytes(payload_bytes) as u64 + payload_bytes as u64).next_multiple_of(8)
}

/// A header without what only its place in the log gives it: LSN, time, durable LSN and predecessor are zero, the header
/// checksum is missing. The checksums of the payload, which cost most, are in it.
#[must_use]
pub fn encode_unchained(kind: RecordKind, disk_id: Uid, offset: u64, length: u64, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= RECORD_BYTES_MAX as usize, "a record's payload has a limit");
    let payload_bytes = payload.len() as u32;
    let mut fields = FieldsMut::with_capacity(header_bytes(payload_bytes));
    fields.u32(MAGIC).u8(kind.number()).zero_to(16).slice(&disk_id.0).u64(offset).u64(length);
    fields.u32(payload_bytes).u32(block_count(payload_bytes) as u32).zero_to(FIELDS_BYTES);
    for block in payload.chunks(RECORD_BLOCK_BYTES as usize) {
        fields.u64(checksum(block));
    }
    fields.u64(0);
    fields.finish()
}

/// Gives a header its place, and returns its checksum. Allocates nothing: this runs under the sequencer's lock.
pub fn chain(header: &mut [u8], salt: &Salt, lsn: Lsn, time_ms: u64, durable: Lsn, predecessor: u64) -> u64 {
    put(header, LSN_AT, lsn.0);
    put(header, TIME_AT, time_ms);
    put(header, DURABLE_AT, durable.0);
    put(header, PREDECESSOR_AT, predecessor);
    let at = header.len() - SUM_BYTES;
    let sum = salted_checksum(salt, &header[..at]);
    put(header, at, sum);
    sum
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// The checksum that only who knows the salt can make.
#[must_use]
pub fn salted_checksum(salt: &Salt, bytes: &[u8]) -> u64 {
    let mut sum = RunningChecksum::default();
    sum.update(salt);
    sum.update(bytes);
    sum.value()
}

/// The length of the header that begins with these bytes, as far as they can be trusted without its checksum.
///
/// # Errors
/// No record begins so.
pub fn peek_header_bytes(bytes: &[u8]) -> Result<usize, Defect> {
    let mut fields = Fields::new(bytes);
    if fields.u32()? != MAGIC {
        return Err(Defect::Wrong("a record's magic is missing"));
    }
    fields.slice(44)?;
    let payload_bytes = fields.u32()?;
    if payload_bytes > RECORD_BYTES_MAX {
        return Err(Defect::Wrong("a record's payload is longer than allowed"));
    }
    Ok(header_bytes(payload_bytes))
}

impl RecordHeader {
    /// Reads the header that `bytes` begin with; what follows it is left alone. Also gives its checksum.
    ///
    /// # Errors
    /// It is none of this salt's, or contradicts itself.
    pub fn decode(bytes: &[u8], salt: &Salt) -> Result<(Self, u64), Defect> {
        let length = peek_header_bytes(bytes)?;
        let (body, rest) = bytes.split_at_checked(length - SUM_BYTES).ok_or(Defect::Wrong("it is too short"))?;
        let sum = Fields::new(rest).u64()?;
        if salted_checksum(salt, body) != sum {
            return Err(Defect::Wrong("a record's header checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        fields.slice(4)?;
        let kind = RecordKind::from_number(fields.u8()?).ok_or(Defect::Wrong("a record's kind is unknown"))?;
        fields.zero(3)?;
        let (lsn, disk_id) = (Lsn(fields.u64()?), Uid(fields.array()?));
        let (offset, length, payload_bytes) = (fields.u64()?, fields.u64()?, fields.u32()?);
        if fields.u32()? as usize != block_count(payload_bytes) {
            return Err(Defect::Wrong("a record's number of checksums contradicts its payload"));
        }
        let (time_ms, durable, predecessor) = (fields.u64()?, Lsn(fields.u64()?), fields.u64()?);
        let header = Self { kind, lsn, disk_id, offset, length, payload_bytes, time_ms, durable, predecessor };
        header.check()?;
        Ok((header, sum))
    }

    /// The checksum of block `index` of the payload, out of a header that was proven.
    #[must_use]
    pub fn block_sum(header: &[u8], index: usize) -> u64 {
        let mut sum = [0; SUM_BYTES];
        let at = FIELDS_BYTES + SUM_BYTES * index;
        sum.copy_from_slice(&header[at..at + SUM_BYTES]);
        u64::from_le_bytes(sum)
    }

    fn check(&self) -> Result<(), Defect> {
        let payload = u64::from(self.payload_bytes);
        let is_inside = self.offset.checked_add(self.length).is_some_and(|end| end <= DISK_BYTES_MAX);
        let fits = match self.kind {
            RecordKind::Write => is_inside && payload == self.length && payload > 0,
            RecordKind::Zero | RecordKind::Trim => is_inside && payload == 0,
            RecordKind::Grow => is_inside && payload == 0 && self.offset == 0,
            RecordKind::Reset | RecordKind::Join | RecordKind::Leave | RecordKind::Cut => {
                payload > 0 && self.offset == 0 && self.length == 0
            }
        };
        if !fits {
            return Err(Defect::Wrong("a record's range contradicts its kind"));
        }
        if self.lsn == Lsn::ZERO || self.durable >= self.lsn {
            return Err(Defect::Wrong("a record's LSNs contradict each other"));
        }
        Ok(())
    }
}

/// A record before it has its place: what is to be logged, with the checksums of its payload made.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub(crate) kind: RecordKind,
    pub(crate) disk_id: Uid,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) payload: Cow<'a, [u8]>,
    pub(crate) header: Vec<u8>,
}

impl<'a> Record<'a> {
    /// Bytes for a disk: 1 to [`RECORD_BYTES_MAX`].
    #[must_use]
    pub fn write(disk_id: Uid, offset: u64, payload: &'a [u8]) -> Self {
        assert!(!payload.is_empty(), "a write has bytes");
        Self::new(RecordKind::Write, disk_id, offset, u64_from(payload.len()), Cow::Borrowed(payload))
    }

    /// Zeros that stay allocated, of any length.
    #[must_use]
    pub fn zero(disk_id: Uid, offset: u64, length: u64) -> Self {
        Self::new(RecordKind::Zero, disk_id, offset, length, Cow::Borrowed(&[]))
    }

    /// Zeros that are holes, of any length.
    #[must_use]
    pub fn trim(disk_id: Uid, offset: u64, length: u64) -> Self {
        Self::new(RecordKind::Trim, disk_id, offset, length, Cow::Borrowed(&[]))
    }

    /// A larger size.
    #[must_use]
    pub fn grow(disk_id: Uid, size: u64) -> Self {
        Self::new(RecordKind::Grow, disk_id, 0, size, Cow::Borrowed(&[]))
    }

    /// Another content for several disks at once.
    #[must_use]
    pub fn reset(list: &ResetList) -> Self {
        Self::new(RecordKind::Reset, Uid::default(), 0, 0, Cow::Owned(list.encode()))
    }

    /// A disk comes.
    #[must_use]
    pub fn join(membership: &Membership) -> Self {
        Self::new(RecordKind::Join, membership.disk_id, 0, 0, Cow::Owned(membership.encode()))
    }

    /// A disk goes.
    #[must_use]
    pub fn leave(membership: &Membership) -> Self {
        Self::new(RecordKind::Leave, membership.disk_id, 0, 0, Cow::Owned(membership.encode()))
    }

    /// A position of the log.
    #[must_use]
    pub fn cut(body: &CutBody) -> Self {
        Self::new(RecordKind::Cut, Uid::default(), 0, 0, Cow::Owned(body.encode()))
    }

    fn new(kind: RecordKind, disk_id: Uid, offset: u64, length: u64, payload: Cow<'a, [u8]>) -> Self {
        let is_inside = offset.checked_add(length).is_some_and(|end| end <= DISK_BYTES_MAX);
        assert!(is_inside, "a record's range lies inside the largest disk");
        let header = encode_unchained(kind, disk_id, offset, length, &payload);
        Self { kind, disk_id, offset, length, payload, header }
    }

    /// Bytes that it takes in a segment.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        record_bytes(self.payload_bytes())
    }

    pub(crate) fn payload_bytes(&self) -> u32 {
        self.payload.len() as u32
    }
}

/// One disk of a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetDisk {
    /// The disk.
    pub disk_id: Uid,
    /// What it contains from now on.
    pub base: BaseContent,
    /// How large it is from now on.
    pub size: u64,
}

/// The body of a reset: every disk that it sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetList {
    /// The disks.
    pub disks: Vec<ResetDisk>,
}

impl ResetList {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!((1..=POINT_DISKS_MAX).contains(&self.disks.len()));
        let mut fields = FieldsMut::with_capacity(8 + self.disks.len() * 72);
        fields.u32(self.disks.len() as u32).u32(0);
        for disk in &self.disks {
            fields.slice(&disk.disk_id.0).u64(disk.size);
            disk.base.encode_into(&mut fields);
        }
        fields.finish()
    }

    /// Reads a payload whose checksums hold.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(payload: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(payload);
        let count = fields.u32()? as usize;
        fields.zero(4)?;
        if !(1..=POINT_DISKS_MAX).contains(&count) {
            return Err(Defect::Wrong("a reset's number of disks is not allowed"));
        }
        let mut disks = Vec::with_capacity(count);
        for _ in 0..count {
            let (disk_id, size) = (Uid(fields.array()?), disk_size(&mut fields)?);
            disks.push(ResetDisk { disk_id, base: BaseContent::decode(&mut fields)?, size });
        }
        at_end(&fields)?;
        Ok(Self { disks })
    }
}

/// The body of a join or leave: the disk as it is then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The disk.
    pub disk_id: Uid,
    /// How often it changed hands, with this time; the highest one that is committed counts.
    pub generation: u64,
    /// Its name.
    pub name: String,
    /// Its role in the machine.
    pub role: String,
    /// Its sector size.
    pub sector_bytes: u32,
    /// Its size.
    pub size: u64,
    /// What it contains.
    pub base: BaseContent,
}

impl Membership {
    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(92 + self.name.len() + self.role.len());
        fields.slice(&self.disk_id.0).u64(self.generation).u64(self.size).u32(self.sector_bytes).u32(0);
        self.base.encode_into(&mut fields);
        put_name(&mut fields, &self.name);
        put_name(&mut fields, &self.role);
        fields.finish()
    }

    /// Reads a payload whose checksums hold.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(payload: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(payload);
        let (disk_id, generation, size) = (Uid(fields.array()?), fields.u64()?, disk_size(&mut fields)?);
        let sector_bytes = sector_bytes(&mut fields)?;
        fields.zero(4)?;
        let base = BaseContent::decode(&mut fields)?;
        let (name, role) = (name(&mut fields)?, name(&mut fields)?);
        at_end(&fields)?;
        Ok(Self { disk_id, generation, name, role, sector_bytes, size, base })
    }
}

/// The body of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutBody {
    /// The point that it is made for; zero for a cut of the log's own.
    pub point_id: Uid,
    /// The machine.
    pub machine_id: Uid,
    /// Name of the point's collection.
    pub collection: String,
    /// Name of the point.
    pub point: String,
    /// What else a rebuilt catalog needs to know, opaque: at most 64 KiB.
    pub detail: Vec<u8>,
}

impl CutBody {
    /// A cut without a point, to fold what was logged.
    #[must_use]
    pub fn internal(machine_id: Uid) -> Self {
        let (collection, point) = (String::new(), String::new());
        Self { point_id: Uid([0; 16]), machine_id, collection, point, detail: Vec::new() }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.detail.len() <= CUT_DETAIL_BYTES_MAX);
        let mut fields = FieldsMut::with_capacity(44 + self.collection.len() + self.point.len() + self.detail.len());
        fields.slice(&self.point_id.0).slice(&self.machine_id.0).u32(self.detail.len() as u32).u32(0);
        put_name(&mut fields, &self.collection);
        put_name(&mut fields, &self.point);
        fields.slice(&self.detail);
        fields.finish()
    }

    /// Reads a payload whose checksums hold.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(payload: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(payload);
        let (point_id, machine_id) = (Uid(fields.array()?), Uid(fields.array()?));
        let detail_bytes = fields.u32()? as usize;
        fields.zero(4)?;
        if detail_bytes > CUT_DETAIL_BYTES_MAX {
            return Err(Defect::Wrong("a cut's detail is longer than allowed"));
        }
        let (collection, point) = (name(&mut fields)?, name(&mut fields)?);
        let detail = fields.slice(detail_bytes)?.to_vec();
        at_end(&fields)?;
        Ok(Self { point_id, machine_id, collection, point, detail })
    }
}

pub(super) fn put_name(fields: &mut FieldsMut, name: &str) {
    assert!(name.len() <= NAME_BYTES_MAX, "names have a limit");
    fields.u16(name.len() as u16).slice(name.as_bytes());
}

pub(super) fn name(fields: &mut Fields<'_>) -> Result<String, Defect> {
    let length = usize::from(fields.u16()?);
    if length > NAME_BYTES_MAX {
        return Err(Defect::Wrong("a name is longer than allowed"));
    }
    match std::str::from_utf8(fields.slice(length)?) {
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err(Defect::Wrong("a name is not UTF-8")),
    }
}

pub(super) fn disk_size(fields: &mut Fields<'_>) -> Result<u64, Defect> {
    match fields.u64()? {
        size @ 0..=DISK_BYTES_MAX => Ok(size),
        _ => Err(Defect::Wrong("a disk's size is not allowed")),
    }
}

pub(super) fn sector_bytes(fields: &mut Fields<'_>) -> Result<u32, Defect> {
    let sector_bytes = fields.u32()?;
    if !SECTOR_BYTES_ALLOWED.contains(&sector_bytes) {
        return Err(Defect::Wrong("a disk's sector size is not allowed"));
    }
    Ok(sector_bytes)
}

pub(super) fn at_end(fields: &Fields<'_>) -> Result<(), Defect> {
    if !fields.rest().is_empty() {
        return Err(Defect::Wrong("its lengths contradict each other"));
    }
    Ok(())
}
