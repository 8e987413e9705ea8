//! From a log that was opened to the layers that it had.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use super::{Group, GroupParts};
use crate::cut::{Base, ExtentContent, Layer, Member, Stack, Touch};
use crate::error::{Code, Error, Result};
use crate::format::Defect;
use crate::format::superblock::{BaseContent, Superblock, SuperblockDisk};
use crate::units::{Lsn, Uid};
use crate::write_log::{CutBody, Membership, RecordKind, ReplayedRecord, ResetList};

/// Whether a leave that the log has counts: its disk's next log may never have got it (DESIGN, attach and detach).
pub type LeaveCounts<'a> = &'a dyn Fn(&Membership) -> bool;

impl Group {
    /// The group of a log that was just made.
    ///
    /// # Errors
    /// What pinning the bases gives.
    pub fn new(parts: GroupParts) -> Result<Arc<Self>> {
        let superblock = parts.log.superblock();
        Self::from_replay(parts, &superblock, &[], &|_| true)
    }

    /// The group as it was: each cut above the bases is a layer, with its records wherever they stand. Which of the cuts'
    /// points still count the caller says afterwards ([`crate::cut::Sealed::release_point`], [`Group::merge_layers`]).
    ///
    /// # Errors
    /// `LOG_DAMAGED` where a record's body is none, and what pinning the bases gives.
    pub fn from_replay(
        parts: GroupParts,
        superblock: &Superblock,
        records: &[ReplayedRecord],
        leave_counts: LeaveCounts<'_>,
    ) -> Result<Arc<Self>> {
        let first = superblock.disks.iter().map(|disk| disk.base_lsn).min();
        // Without disks the records that are left are of disks that left, which none does before its points are released.
        let floor = first.unwrap_or_else(|| parts.log.watermark());
        let gate = Arc::clone(&parts.gate);
        parts.log.ask_for_room(Box::new(move |bytes| gate.check_room(bytes)));
        let mut replaying = Replaying { parts: &parts, superblock, waiting: BTreeMap::new(), stack: None };
        replaying.begin(floor)?;
        for record in records {
            replaying.add(record, leave_counts)?;
        }
        let stack = replaying.end();
        for layer in stack.newest_first() {
            layer.keep(parts.log.hold(layer.floor()));
        }
        Ok(Arc::new(Self { parts, stack: RwLock::new(Arc::new(stack)), reshaping: Mutex::default() }))
    }
}

struct Replaying<'a> {
    parts: &'a GroupParts,
    superblock: &'a Superblock,
    /// Disks whose base is above what was replayed so far: they joined later.
    waiting: BTreeMap<Uid, &'a SuperblockDisk>,
    stack: Option<Stack>,
}

impl<'a> Replaying<'a> {
    fn begin(&mut self, floor: Lsn) -> Result<()> {
        let mut bases = BTreeMap::new();
        for disk in &self.superblock.disks {
            bases.insert(disk.disk_id, self.base(disk.base, disk.size, disk.base_lsn)?);
            self.waiting.insert(disk.disk_id, disk);
        }
        self.stack = Some(Stack::new(Layer::new(floor, self.parts.chunk_bytes), bases));
        self.admit(floor.next());
        Ok(())
    }

    fn stack(&mut self) -> &mut Stack {
        match &mut self.stack {
            Some(stack) => stack,
            None => unreachable!("it is made first"),
        }
    }

    /// Disks whose base is below `lsn` are attached.
    fn admit(&mut self, lsn: Lsn) {
        let due: Vec<&SuperblockDisk> = self.waiting.values().copied().filter(|disk| disk.base_lsn < lsn).collect();
        for disk in due {
            self.waiting.remove(&disk.disk_id);
            let SuperblockDisk { disk_id, generation, name, role, sector_bytes, size, .. } = disk;
            let member = Member::new(*disk_id, *generation, name.clone(), role.clone(), *sector_bytes, *size);
            self.stack().add_member(Arc::new(member));
        }
    }

    fn end(mut self) -> Stack {
        self.admit(Lsn(u64::MAX));
        match self.stack {
            Some(stack) => stack,
            None => unreachable!("it is made first"),
        }
    }

    fn add(&mut self, record: &ReplayedRecord, leave_counts: LeaveCounts<'_>) -> Result<()> {
        let lsn = record.lsn;
        if lsn <= self.stack().active().floor() {
            return Ok(()); // all bases hold it
        }
        self.admit(lsn);
        let (disk_id, range) = (record.disk_id, record.offset..record.offset.saturating_add(record.length));
        match record.kind {
            RecordKind::Write | RecordKind::Zero | RecordKind::Trim => {
                let Some(member) = self.member_at(&disk_id, lsn).filter(|member| member.takes(&range)) else {
                    return Ok(());
                };
                let (content, touch) = match record.kind {
                    RecordKind::Write => (ExtentContent::Data { place: record.place, skip: 0 }, Touch::Writes),
                    RecordKind::Zero => (ExtentContent::Zero, Touch::Empties),
                    _ => (ExtentContent::Hole, Touch::Empties),
                };
                self.touch(&member.disk_id, &range, touch)?;
                self.stack().active().insert(&disk_id, range, lsn, content);
            }
            RecordKind::Grow => {
                let Some(member) = self.member_at(&disk_id, lsn) else { return Ok(()) };
                let before = member.size();
                if record.length >= before {
                    member.set_size(record.length);
                    self.touch(&disk_id, &(before.saturating_sub(1)..before), Touch::Writes)?;
                    self.touch(&disk_id, &(before..record.length), Touch::Empties)?;
                    self.stack().active().grow(&disk_id, lsn, record.length);
                }
            }
            RecordKind::Reset => {
                for reset in decoded(record, ResetList::decode)?.disks {
                    let Some(member) = self.member_at(&reset.disk_id, lsn) else { continue };
                    member.set_size(reset.size);
                    let base = self.base(reset.base, reset.size, lsn)?;
                    self.stack().active().reset(&reset.disk_id, lsn, base);
                }
            }
            // One that counts is in the superblock, with its LSN for its base's, and waits here; any other is void.
            RecordKind::Join => {}
            RecordKind::Leave => {
                let membership = decoded(record, Membership::decode)?;
                let is_here = self.member_at(&membership.disk_id, lsn).is_some();
                if is_here && leave_counts(&membership) {
                    self.stack().remove_member(&membership.disk_id);
                }
            }
            RecordKind::Cut => {
                let (body, chunk_bytes) = (decoded(record, CutBody::decode)?, self.parts.chunk_bytes);
                self.stack().seal(lsn, body, chunk_bytes);
            }
        }
        Ok(())
    }

    /// The disk, if it is attached at this LSN and its base does not hold it already.
    fn member_at(&mut self, disk_id: &Uid, lsn: Lsn) -> Option<Arc<Member>> {
        let stack = self.stack();
        let is_above = stack.base(disk_id).is_none_or(|base| base.lsn < lsn);
        stack.members().get(disk_id).filter(|_| is_above).cloned()
    }

    fn touch(&mut self, disk_id: &Uid, range: &std::ops::Range<u64>, touch: Touch) -> Result<()> {
        let parts = self.parts;
        self.stack().active().touch(disk_id, range, touch, |bytes| {
            parts.gate.charge_anyway(bytes); // it is in the log already
            Ok(())
        })
    }

    /// A base, pinned; a point that was resolved is its map.
    fn base(&self, content: BaseContent, size: u64, lsn: Lsn) -> Result<Arc<Base>> {
        let content = match content {
            BaseContent::Point { point_id, disk_id } => {
                let mut resolutions = self.superblock.resolutions.iter();
                let found = resolutions.find(|each| each.point_id == point_id && each.disk_id == disk_id);
                found.map_or(content, |resolution| BaseContent::Map(resolution.root))
            }
            BaseContent::Map(_) => content,
        };
        let pin = self.parts.bases.pin(&content)?;
        Ok(Arc::new(Base { content, size, lsn, pin }))
    }
}

fn decoded<T>(record: &ReplayedRecord, decode: impl FnOnce(&[u8]) -> std::result::Result<T, Defect>) -> Result<T> {
    decode(record.body.as_deref().unwrap_or_default()).map_err(|defect| {
        let message = format!("the body of the record with LSN {} is damaged: {defect}", record.lsn);
        Error::new(Code::LogDamaged, message).with("lsn", record.lsn.0)
    })
}
