//! A manifest: the commit of one restore point (format.md section 7).

use super::config::PLATFORM_DOMAIN;
use super::node::Root;
use super::{Defect, Fields, FieldsMut, VERSION, checksum};
use crate::limits::{DETAIL_BYTES_MAX, DISK_BYTES_MAX, POINT_DISKS_MAX, SECTOR_BYTES_ALLOWED};
use crate::units::Uid;

/// The longest manifest.
pub const BYTES_MAX: u64 = (HEADER_BYTES + POINT_DISKS_MAX * DISK_BYTES + DETAIL_BYTES_MAX + 8) as u64;

const MAGIC: &[u8; 8] = b"STILLMAN";
const HEADER_BYTES: usize = 64;
const DISK_BYTES: usize = 96;

/// One disk restore point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDisk {
    /// The disk.
    pub disk_id: Uid,
    /// Its size in bytes.
    pub size: u64,
    /// Its sector size.
    pub sector_bytes: u32,
    /// Its content.
    pub root: Root,
    /// LSN of the cut; 0 for an external disk.
    pub lsn: u64,
}

/// One restore point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The point.
    pub point_id: Uid,
    /// The store that it belongs to.
    pub store_id: Uid,
    /// When it was cut, milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// Chunk size of the store.
    pub chunk_bytes: u32,
    /// Its disks.
    pub disks: Vec<ManifestDisk>,
    /// Names, configuration, consistency: JSON that the engine keeps and does not read.
    pub detail: Vec<u8>,
}

impl Manifest {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!((1..=POINT_DISKS_MAX).contains(&self.disks.len()));
        assert!((2..=DETAIL_BYTES_MAX).contains(&self.detail.len()));
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES + self.disks.len() * DISK_BYTES + self.detail.len() + 8);
        fields.slice(MAGIC).u16(VERSION).u16(self.disks.len() as u16).u32(self.detail.len() as u32);
        fields.slice(&self.point_id.0).slice(&self.store_id.0).u64(self.created_ms).u32(self.chunk_bytes);
        fields.u32(PLATFORM_DOMAIN);
        for disk in &self.disks {
            let start = fields.len();
            fields.slice(&disk.disk_id.0).u64(disk.size).u32(disk.sector_bytes).u32(PLATFORM_DOMAIN);
            disk.root.encode_into(&mut fields);
            fields.u64(disk.lsn).zero_to(start + DISK_BYTES);
        }
        fields.slice(&self.detail).checksum_from(0);
        fields.finish()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is damaged, newer, or contradicts itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(bytes);
        let (body, sum) =
            bytes.split_at_checked(bytes.len().wrapping_sub(8)).ok_or(Defect::Wrong("it is too short"))?;
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("its checksum does not hold"));
        }
        fields.magic_and_version(MAGIC)?;
        let (disk_count, detail_bytes) = (usize::from(fields.u16()?), fields.u32()? as usize);
        if bytes.len() != HEADER_BYTES + disk_count * DISK_BYTES + detail_bytes + 8 {
            return Err(Defect::Wrong("its lengths contradict the file's"));
        }
        if !(1..=POINT_DISKS_MAX).contains(&disk_count) || !(2..=DETAIL_BYTES_MAX).contains(&detail_bytes) {
            return Err(Defect::Wrong("its number of disks or length of detail is not allowed"));
        }
        let (point_id, store_id) = (Uid(fields.array()?), Uid(fields.array()?));
        let (created_ms, chunk_bytes) = (fields.u64()?, fields.u32()?);
        domain(&mut fields)?;
        let mut disks = Vec::with_capacity(disk_count);
        for _ in 0..disk_count {
            let (disk_id, size, sector_bytes) = (Uid(fields.array()?), fields.u64()?, fields.u32()?);
            domain(&mut fields)?;
            let root = Root::decode(&mut fields)?;
            let lsn = fields.u64()?;
            fields.zero(16)?;
            if size > DISK_BYTES_MAX || !SECTOR_BYTES_ALLOWED.contains(&sector_bytes) {
                return Err(Defect::Wrong("a disk's size or sector size is not allowed"));
            }
            if chunk_bytes == 0 || root.height != Root::height_for(size, chunk_bytes) {
                return Err(Defect::Wrong("a disk's height does not fit its size"));
            }
            disks.push(ManifestDisk { disk_id, size, sector_bytes, root, lsn });
        }
        let detail = fields.slice(detail_bytes)?.to_vec();
        Ok(Self { point_id, store_id, created_ms, chunk_bytes, disks, detail })
    }
}

fn domain(fields: &mut Fields<'_>) -> Result<(), Defect> {
    match fields.u32()? {
        PLATFORM_DOMAIN => Ok(()),
        _ => Err(Defect::Wrong("it names an unknown key domain")),
    }
}
