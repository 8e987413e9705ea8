//! What records about resets, joins, leaves and cuts say: their payload (format.md 13.3).
//!
//! The record's checksums prove these bytes; decoding checks that they mean something.

use super::superblock::BaseContent;
use super::{Defect, Fields, FieldsMut};
use crate::limits::{CUT_DETAIL_BYTES_MAX, DISK_BYTES_MAX, NAME_BYTES_MAX, POINT_DISKS_MAX, SECTOR_BYTES_ALLOWED};
use crate::units::Uid;

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
        Self { point_id: Uid::default(), machine_id, collection, point, detail: Vec::new() }
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
