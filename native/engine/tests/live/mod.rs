//! Live disks on a file system in memory, over bases that are byte vectors, beside a model: the log as a list of changes.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod model;
pub(crate) mod stamps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use stillpoint_engine::block_map::{LayerContent, LayerSource};
use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::cut::{Base, Layer, Pin, View};
use stillpoint_engine::disk::{BaseReader, Group, GroupParts, SpaceGate, ViewSource};
use stillpoint_engine::error::{Code, Error, Result};
use stillpoint_engine::format::node::{Entry, Root};
use stillpoint_engine::format::superblock::{BaseContent, SuperblockDisk};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{FaultIo, FaultPlan};
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{ContentId, Lsn, Uid};
use stillpoint_engine::write_log::{CutBody, LogIdentity, LogParameters, LogParts, Membership, Replay, WriteLog};

/// Chunks are small here, so that layers touch many.
pub(crate) const CHUNK_BYTES: u64 = 4096;
pub(crate) const SECTOR_BYTES: u32 = 512;

/// Bases: byte vectors with a number in place of a root.
#[derive(Default)]
pub(crate) struct Bases {
    contents: Mutex<Vec<Arc<Vec<u8>>>>,
    points: Mutex<BTreeMap<(Uid, Uid), BaseContent>>,
    pins: Arc<AtomicU64>,
}

struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Bases {
    pub(crate) fn add(&self, bytes: Vec<u8>) -> BaseContent {
        let mut contents = self.contents.lock().unwrap();
        let mut id = [0u8; 32];
        id[..8].copy_from_slice(&(contents.len() as u64).to_le_bytes());
        contents.push(Arc::new(bytes));
        BaseContent::Map(Root { entry: Entry::Id(ContentId(id)), height: 0 })
    }

    /// A point that stands for `content` until it is resolved.
    pub(crate) fn add_point(&self, point_id: Uid, disk_id: Uid, content: BaseContent) -> BaseContent {
        self.points.lock().unwrap().insert((point_id, disk_id), content);
        BaseContent::Point { point_id, disk_id }
    }

    pub(crate) fn bytes(&self, content: &BaseContent) -> Arc<Vec<u8>> {
        match content {
            BaseContent::Map(Root { entry: Entry::Id(id), .. }) => {
                let index = u64::from_le_bytes(id.0[..8].try_into().unwrap());
                Arc::clone(&self.contents.lock().unwrap()[usize::try_from(index).unwrap()])
            }
            BaseContent::Map(_) => Arc::default(),
            BaseContent::Point { point_id, disk_id } => {
                let named = self.points.lock().unwrap()[&(*point_id, *disk_id)];
                self.bytes(&named)
            }
        }
    }

    pub(crate) fn pin_count(&self) -> u64 {
        self.pins.load(Ordering::Relaxed)
    }
}

impl BaseReader for Bases {
    fn read(&self, base: &Base, offset: u64, buffer: &mut [u8]) -> Result<()> {
        assert!(offset + buffer.len() as u64 <= base.size, "the range lies inside the base");
        let bytes = self.bytes(&base.content);
        let offset = usize::try_from(offset).unwrap();
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = bytes.get(offset + at).copied().unwrap_or(0);
        }
        Ok(())
    }

    fn pin(&self, _content: &BaseContent) -> Result<Pin> {
        self.pins.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Counted(Arc::clone(&self.pins))))
    }
}

/// Counts, and refuses beyond a limit.
#[derive(Default)]
pub(crate) struct Gate {
    owed: AtomicU64,
    pub(crate) limit: AtomicU64, // zero: none
}

impl Gate {
    pub(crate) fn owed(&self) -> u64 {
        self.owed.load(Ordering::Relaxed)
    }
}

impl SpaceGate for Gate {
    fn charge(&self, bytes: u64) -> Result<()> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit > 0 && self.owed() + bytes > limit {
            return Err(Error::new(Code::NoSpace, "the test allows no more"));
        }
        self.charge_anyway(bytes);
        Ok(())
    }

    fn charge_anyway(&self, bytes: u64) {
        self.owed.fetch_add(bytes, Ordering::Relaxed);
    }

    fn repay(&self, bytes: u64) {
        let before = self.owed.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "nobody repays more than was charged");
    }
}

pub(crate) fn uid(number: u64) -> Uid {
    let mut bytes = [7u8; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Uid(bytes)
}

/// A log of live disks and what it stands on.
pub(crate) struct World {
    pub(crate) memory: MemoryIo,
    pub(crate) io: FaultIo,
    pub(crate) clock: Arc<ManualClock>,
    random: Arc<Mutex<Seeded>>,
    pub(crate) bases: Arc<Bases>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) segment_bytes: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let memory = MemoryIo::new();
        memory.create_directory(Path::new("/live")).unwrap();
        memory.sync_directory(Path::new("/")).unwrap();
        Self::on(memory, seed, FaultPlan::none())
    }

    /// The same where something goes wrong.
    pub(crate) fn faulty(seed: u64, plan: FaultPlan) -> Self {
        let sound = Self::new(seed);
        Self::on(sound.memory, seed, plan)
    }

    /// What a crash left, opened by a new process. Bases are durable elsewhere.
    pub(crate) fn after(&self, memory: MemoryIo, seed: u64, plan: FaultPlan) -> Self {
        let mut after = Self::on(memory, seed, plan);
        after.bases = Arc::clone(&self.bases);
        after.segment_bytes = self.segment_bytes;
        after
    }

    fn on(memory: MemoryIo, seed: u64, plan: FaultPlan) -> Self {
        Self {
            io: FaultIo::over_memory(&memory, plan),
            memory,
            clock: Arc::new(ManualClock::new(1_000_000_000)),
            random: Arc::new(Mutex::new(Seeded::new(seed ^ 0x5eed))),
            bases: Arc::default(),
            gate: Arc::default(),
            segment_bytes: 64 << 10,
        }
    }

    fn log_parts(&self) -> LogParts {
        let random: Arc<Mutex<Seeded>> = Arc::clone(&self.random);
        LogParts { io: Arc::new(self.io.clone()), clock: Arc::clone(&self.clock) as _, random, writeback_due: None }
    }

    pub(crate) fn log_directory(&self) -> PathBuf {
        PathBuf::from("/live").join(identity().log_id.to_string())
    }

    fn parameters(&self) -> LogParameters {
        LogParameters { segment_bytes: self.segment_bytes }
    }

    fn group_parts(&self, log: Arc<WriteLog>) -> GroupParts {
        GroupParts {
            log,
            bases: Arc::clone(&self.bases) as _,
            gate: Arc::clone(&self.gate) as _,
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// A new log with these disks.
    pub(crate) fn create(&self, disks: &[(Uid, Vec<u8>)]) -> Arc<Group> {
        self.try_create(disks).unwrap()
    }

    /// The same where something may go wrong.
    pub(crate) fn try_create(&self, disks: &[(Uid, Vec<u8>)]) -> Result<Arc<Group>> {
        let disks = disks.iter().map(|(disk_id, bytes)| self.superblock_disk(*disk_id, bytes, Lsn::ZERO, 1)).collect();
        let log = WriteLog::create(self.log_parts(), self.log_directory(), identity(), self.parameters(), disks)?;
        Group::new(self.group_parts(log))
    }

    pub(crate) fn superblock_disk(&self, disk_id: Uid, bytes: &[u8], base_lsn: Lsn, generation: u64) -> SuperblockDisk {
        SuperblockDisk {
            disk_id,
            generation,
            name: format!("web1-{disk_id}"),
            role: disk_id.to_string(),
            sector_bytes: SECTOR_BYTES,
            size: bytes.len() as u64,
            base: self.bases.add(bytes.to_vec()),
            base_lsn,
        }
    }

    /// Opens the log again. The group before must be gone.
    pub(crate) fn open(&self) -> Result<(Arc<Group>, Replay)> {
        let (log, replay) = WriteLog::open(self.log_parts(), self.log_directory(), identity(), self.parameters())?;
        let group = Group::from_replay(self.group_parts(log), &replay.superblock, &replay.records, &|_| true)?;
        Ok((group, replay))
    }

    /// What the engine does when a copy ended: new bases in the superblock, then in the group. Each comes from the old base and
    /// the touched extents alone, as a copy makes it. `false` when there is nothing to fold yet.
    pub(crate) fn fold_oldest(&self, group: &Arc<Group>) -> bool {
        self.try_fold_oldest(group).unwrap()
    }

    pub(crate) fn try_fold_oldest(&self, group: &Arc<Group>) -> Result<bool> {
        let Some(layer) = group.oldest_sealed() else { return Ok(false) };
        let sealed = Arc::clone(layer.sealed().unwrap());
        if group.log().watermark() < sealed.cut {
            return Ok(false);
        }
        group.log().flush(sealed.cut)?;
        let mut bases = BTreeMap::new();
        for disk_id in sealed.members.keys().filter(|disk_id| layer.disk(disk_id).is_some()) {
            let bytes = self.folded(group, &layer, disk_id)?;
            let size = bytes.len() as u64;
            let content = self.bases.add(bytes);
            let pin = self.bases.pin(&content).unwrap();
            bases.insert(*disk_id, Base { content, size, lsn: sealed.cut, pin });
        }
        let change = |disk: &mut SuperblockDisk| {
            if !sealed.members.contains_key(&disk.disk_id) || disk.base_lsn > sealed.cut {
                return;
            }
            disk.base_lsn = sealed.cut;
            if let Some(base) = bases.get(&disk.disk_id) {
                (disk.base, disk.size) = (base.content, base.size);
            }
        };
        group.log().change_superblock(|superblock| superblock.disks.iter_mut().for_each(change))?;
        assert!(group.replace_base(&layer, bases));
        group.log().release(sealed.cut)?;
        Ok(true)
    }

    fn folded(&self, group: &Arc<Group>, layer: &Arc<Layer>, disk_id: &Uid) -> Result<Vec<u8>> {
        let view = group.view_at(layer, disk_id).unwrap();
        let size = usize::try_from(view.size()).unwrap();
        let mut bytes = view.bottom().map(|base| self.bases.bytes(&base.content).to_vec()).unwrap_or_default();
        bytes.resize(size, 0);
        let before = bytes.clone();
        overlay(&ViewSource::new(Arc::clone(group.log()), view), &mut bytes)?;
        let chunks = before.chunks(4096).zip(bytes.chunks(4096));
        let changed = chunks.filter(|(old, new)| old != new && new.iter().any(|byte| *byte != 0)).count() as u64;
        assert!(changed * CHUNK_BYTES <= layer.debt_bytes(), "the debt covers what folding stores");
        Ok(bytes)
    }
}

/// A view of a cut is its bottom with what its layers say over it.
pub(crate) fn over_bottom(world: &World, group: &Arc<Group>, view: &View) -> Vec<u8> {
    let size = usize::try_from(view.size()).unwrap();
    let mut bytes = view.bottom().map(|base| world.bases.bytes(&base.content).to_vec()).unwrap_or_default();
    bytes.resize(size, 0);
    overlay(&ViewSource::new(Arc::clone(group.log()), view.clone()), &mut bytes).unwrap();
    bytes
}

fn overlay(source: &ViewSource, bytes: &mut [u8]) -> Result<()> {
    let mut at = 0;
    loop {
        let ranges = source.ranges(at, 3)?;
        if ranges.is_empty() {
            return Ok(());
        }
        for range in ranges {
            assert!(range.offset >= at && range.length > 0 && range.end() <= bytes.len() as u64, "in order, inside");
            at = range.end();
            let part = &mut bytes[usize::try_from(range.offset).unwrap()..usize::try_from(range.end()).unwrap()];
            match range.content {
                LayerContent::Data => source.read(range.offset, part)?,
                LayerContent::Zero | LayerContent::Hole => part.fill(0),
            }
        }
    }
}

pub(crate) fn identity() -> LogIdentity {
    LogIdentity { store_id: uid(1), log_id: uid(2), machine_id: uid(2) }
}

pub(crate) fn cut_body(point: u64) -> CutBody {
    let point_id = if point == 0 { Uid::default() } else { uid(point) };
    let (collection, point) = ("default".to_owned(), format!("point-{point}"));
    CutBody { point_id, machine_id: uid(2), collection, point, detail: Vec::new() }
}

pub(crate) fn membership(disk: &SuperblockDisk) -> Membership {
    Membership {
        disk_id: disk.disk_id,
        generation: disk.generation,
        name: disk.name.clone(),
        role: disk.role.clone(),
        sector_bytes: disk.sector_bytes,
        size: disk.size,
        base: disk.base,
    }
}
