//! A store and its model, step by step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use stillpoint_engine::control::Control;
use stillpoint_engine::diff::Extent;
use stillpoint_engine::engine::{
    CollectOptions, CollectProgress, Collecting, CreateOptions, Diff, DiskReference, Engine, OpenOptions, Parts,
    PreparedPoint, ScanDisk,
};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::format::Codec;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::io::{Io, OpenMode};
use stillpoint_engine::restore::TargetRequest;
use stillpoint_engine::scan::SourceRequest;
use stillpoint_engine::units::Uid;

use super::history::{Op, Parent, Settings, Target};
use super::laws::check_diff;
use super::store::{OPEN, RESERVE_BYTES, STORE, disk_id, files_in, image_path, memory_parts, uid};

/// Points as frozen copies of their disks, by disk.
type Points = BTreeMap<Uid, BTreeMap<usize, Arc<Vec<u8>>>>;

type Checked = Result<(), String>;

/// A capture under way: its disks, and what they held.
type Begun = (PreparedPoint, Vec<usize>, Vec<Arc<Vec<u8>>>);

/// A diff that is open over several steps: what it gave so far, and both sides.
type Reading = (Diff, Vec<Extent>, Arc<Vec<u8>>, Arc<Vec<u8>>);

/// A store in memory and what it should hold.
pub(crate) struct World {
    settings: Settings,
    io: MemoryIo,
    parts: Parts,
    engine: Option<Arc<Engine>>,
    collecting: Option<Collecting>,
    begun: Option<Begun>,
    reading: Option<Reading>,
    disks: Vec<Arc<Vec<u8>>>,
    points: Points,
    points_made: u64,
    targets_made: u64,
}

macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}

fn told(error: Error) -> String {
    error.to_string()
}

impl World {
    pub(crate) fn new(settings: &Settings) -> Self {
        let io = MemoryIo::new();
        let parts = memory_parts(&io, settings.seed);
        let level = i8::from(settings.codec == Codec::Zstd);
        let create = CreateOptions { chunk_bytes: settings.chunk_bytes, codec: settings.codec, level };
        Engine::create(&parts, Path::new(STORE), &create).unwrap();
        let mut world = Self {
            settings: *settings,
            io,
            parts,
            engine: None,
            collecting: None,
            begun: None,
            reading: None,
            disks: Vec::new(),
            points: Points::new(),
            points_made: 0,
            targets_made: 0,
        };
        for disk in 0..settings.disk_count {
            let size = world.size_for(settings.seed.wrapping_mul(31) + disk as u64 * 7919);
            world.io.install_file(image_path(disk), b"").unwrap();
            world.disks.push(Arc::new(Vec::new()));
            world.resize(disk, size);
        }
        world.reopen(false).unwrap();
        world
    }

    /// Does one thing to the store and to the model, and compares.
    pub(crate) fn step(&mut self, op: &Op) -> Checked {
        match op {
            Op::Write { disk, at, length, content } => {
                let (disk, at, length) = self.range(*disk, *at, *length);
                let packs: Vec<Vec<u8>> =
                    files_in(&self.io, "packs").into_iter().filter_map(|path| self.io.read_file(path)).collect();
                let bytes = content.bytes(length, &self.disks[disk], &packs);
                Arc::make_mut(&mut self.disks[disk])[at..at + length].copy_from_slice(&bytes);
                self.image(disk).write_at(&bytes, at as u64).map_err(told)
            }
            Op::Punch { disk, at, length } => {
                let (disk, at, length) = self.range(*disk, *at, *length);
                Arc::make_mut(&mut self.disks[disk])[at..at + length].fill(0);
                self.image(disk).zero_range(at as u64, length as u64).map_err(told)
            }
            Op::Resize { disk, size } => {
                let disk = (*disk % self.disks.len() as u64) as usize;
                self.resize(disk, self.size_for(*size));
                Ok(())
            }
            Op::Capture { exclude, parent } => self.capture(*exclude, *parent),
            Op::Advance { steps } => self.advance(*steps),
            Op::Begin { exclude, parent } => self.begin(*exclude, *parent),
            Op::End { publish } => self.end(*publish),
            Op::Reencode { version, chunk, base } => self.reencode(*version, *chunk, *base),
            Op::Diff { before, after, granularity, page } => self.diff(*before, *after, *granularity, *page),
            Op::Restore { version, to } => self.restore(*version, *to),
            Op::Read { version, at, length } => self.read(*version, *at, *length),
            Op::Delete { point } => self.delete(*point),
            Op::Collect { dry_run } => self.collect(*dry_run),
            Op::Verify { read_data } => self.verify(*read_data),
            Op::Reopen { read_only } => self.reopen(*read_only),
            Op::OpenSecond => self.open_second(),
            Op::RemoveIndex { keep_list } => self.remove_index(*keep_list),
        }?;
        self.check_list()
    }

    /// Every disk of every point once more, after a last reopening; then everything goes.
    pub(crate) fn finish(mut self) -> Checked {
        self.reopen(false)?;
        for (version, bytes) in self.versions() {
            let restored = self.restored(&version)?;
            ensure!(restored == *bytes, "at the end {version:?} differs");
        }
        self.verify(true)?;
        for point_id in self.points.keys() {
            self.engine().remove_point(point_id).map_err(told)?;
        }
        self.points.clear();
        self.collect(false)?;
        let usage = self.engine().usage().map_err(told)?;
        ensure!(usage.pack_bytes == 0 && usage.frame_count == 0, "without points there is still {usage:?}");
        let left = super::store::store_files(&self.io).len();
        ensure!(left <= 3, "config, lock and an index list may be left, there are {left} files");
        Ok(())
    }

    /// Some steps; a diff that was opened before goes on beside them.
    fn advance(&mut self, steps: u64) -> Checked {
        if self.engine().read_only() {
            return expect(self.engine().begin_collect(CollectOptions::default()), Code::StoreReadOnly);
        }
        let mut collecting = match self.collecting.take() {
            Some(collecting) => collecting,
            None => self.engine().begin_collect(CollectOptions::default()).map_err(told)?,
        };
        for _ in 0..steps {
            let progress = collecting.step(&Control::default()).map_err(told)?;
            self.read_on()?;
            match progress {
                CollectProgress::Working => {}
                CollectProgress::Waiting(_) => {
                    ensure!(self.begun.is_some(), "a collection waits, and no capture is under way");
                    break;
                }
                CollectProgress::Ended => return Ok(()),
            }
        }
        self.collecting = Some(collecting);
        Ok(())
    }

    /// One extent more of the diff that is open; at its end it is checked, and another one is opened.
    fn read_on(&mut self) -> Checked {
        if self.reading.is_none() {
            let versions = self.versions();
            let (Some((before, older)), Some((after, newer))) = (versions.first(), versions.last()) else {
                return Ok(());
            };
            let diff = self.engine().diff(before, after, Some(512)).map_err(told)?;
            self.reading = Some((diff, Vec::new(), Arc::clone(older), Arc::clone(newer)));
        }
        let engine = Arc::clone(self.engine());
        let Some((diff, extents, older, newer)) = &mut self.reading else { return Ok(()) };
        let page = engine.diff_page(diff, 1, &Control::default()).map_err(told)?;
        if page.is_empty() {
            check_diff(older, newer, extents, 512, false)?;
            self.reading = None;
        } else {
            extents.extend(page);
        }
        Ok(())
    }

    fn begin(&mut self, exclude: u64, parent: Parent) -> Checked {
        self.begun = None;
        let included: Vec<usize> = (0..self.disks.len()).filter(|disk| exclude >> disk & 1 == 0).collect();
        if self.engine().read_only() || included.is_empty() {
            return Ok(());
        }
        let requests = self.requests(&included, parent);
        let prepared = self.engine().scan(&requests, &Control::default()).map_err(told)?;
        let content = included.iter().map(|disk| Arc::clone(&self.disks[*disk])).collect();
        self.begun = Some((prepared, included, content));
        Ok(())
    }

    fn end(&mut self, publish: bool) -> Checked {
        let Some((prepared, included, content)) = self.begun.take() else { return Ok(()) };
        if publish {
            let point_id = uid(self.points_made);
            prepared.publish(point_id, self.points_made, b"{}".to_vec()).map_err(told)?;
            self.points_made += 1;
            self.points.insert(point_id, included.into_iter().zip(content).collect());
        }
        Ok(())
    }

    fn reencode(&self, version: u64, chunk: u64, base: Option<u64>) -> Checked {
        let versions = self.versions();
        let Some((version, bytes)) = pick(&versions, version) else { return Ok(()) };
        let chunks = (bytes.len() as u64).div_ceil(u64::from(self.settings.chunk_bytes));
        let done = self.engine().reencode(version, chunk % chunks, base.map(|base| base % chunks));
        if self.engine().read_only() { expect(done, Code::StoreReadOnly) } else { done.map(drop).map_err(told) }
    }

    fn requests(&self, included: &[usize], parent: Parent) -> Vec<ScanDisk> {
        let request = |disk: &usize| ScanDisk {
            disk_id: disk_id(*disk),
            source: SourceRequest { path: image_path(*disk), sector_bytes: self.settings.sector_bytes, frozen: false },
            parent: self.parent(*disk, parent),
        };
        included.iter().map(request).collect()
    }

    fn close(&mut self) {
        self.collecting = None;
        self.begun = None;
        self.reading = None;
        self.engine = None;
    }

    fn capture(&mut self, exclude: u64, parent: Parent) -> Checked {
        let included: Vec<usize> = (0..self.disks.len()).filter(|disk| exclude >> disk & 1 == 0).collect();
        let requests = self.requests(&included, parent);
        let point_id = uid(self.points_made);
        let published = self
            .engine()
            .scan(&requests, &Control::default())
            .and_then(|prepared| prepared.publish(point_id, self.points_made, b"{}".to_vec()));
        if self.engine().read_only() {
            return expect(published, Code::StoreReadOnly);
        }
        if included.is_empty() {
            return expect(published, Code::ArgumentInvalid);
        }
        published.map_err(told)?;
        self.points_made += 1;
        let disks = included.iter().map(|disk| (*disk, Arc::clone(&self.disks[*disk])));
        self.points.insert(point_id, disks.collect());
        Ok(())
    }

    fn diff(&self, before: u64, after: u64, granularity: Option<u64>, page: usize) -> Checked {
        let versions = self.versions();
        let (Some((before, older)), Some((after, newer))) = (pick(&versions, before), pick(&versions, after)) else {
            return Ok(());
        };
        let mut diff = self.engine().diff(before, after, granularity).map_err(told)?;
        ensure!(diff.size_before == older.len() as u64 && diff.size_after == newer.len() as u64, "wrong sizes");
        let mut extents = Vec::new();
        loop {
            let next = self.engine().diff_page(&mut diff, page, &Control::default()).map_err(told)?;
            ensure!(next.len() <= page, "a page of {page} has {} extents", next.len());
            if next.is_empty() {
                break;
            }
            extents.extend(next);
        }
        ensure!(before != after || extents.is_empty(), "a version differs from itself");
        let block = granularity.unwrap_or(u64::from(self.settings.chunk_bytes));
        check_diff(older, newer, &extents, block, granularity.is_none())
    }

    fn restore(&mut self, version: u64, to: Target) -> Checked {
        let versions = self.versions();
        let Some((version, bytes)) = pick(&versions, version) else { return Ok(()) };
        self.targets_made += 1;
        let path = format!("/restored/{}.raw", self.targets_made);
        let overwrite = !matches!(to, Target::NewFile);
        let mut beyond = Vec::new();
        match to {
            Target::NewFile => self.io.install_file("/restored/.keep", b"").map_err(told)?,
            Target::LargerFile(more) => {
                let old = vec![0xA5; bytes.len() + (more % 70_000) as usize];
                self.io.install_file(&path, &old).map_err(told)?;
            }
            Target::Device(more) => {
                beyond = vec![0x5A; (more % 70_000) as usize / 512 * 512];
                let old = [vec![0x5A; bytes.len()], beyond.clone()].concat();
                self.io.install_device(&path, &old).map_err(told)?;
            }
        }
        let target = TargetRequest { path: path.clone().into(), overwrite, sync: more_or_less(self.targets_made) };
        self.engine().restore(version, &target, &Control::default()).map_err(told)?;
        let restored = self.io.read_file(&path).unwrap_or_default();
        let (disk, rest) = restored.split_at(bytes.len().min(restored.len()));
        ensure!(disk == bytes.as_slice(), "{version:?} restored to {to:?} differs");
        ensure!(rest == beyond, "what lies behind the disk on its target was changed");
        self.io.remove_file(Path::new(&path)).map_err(told)
    }

    fn read(&self, version: u64, at: u64, length: u64) -> Checked {
        let versions = self.versions();
        let Some((version, bytes)) = pick(&versions, version) else { return Ok(()) };
        let at = at % (bytes.len() as u64 + 1);
        let length = length % (bytes.len() as u64 + 1 - at);
        let read = self.engine().read(version, at, length).map_err(told)?;
        let range = at as usize..(at + length) as usize;
        ensure!(read == bytes[range.clone()], "{range:?} of {version:?} differs");
        expect(self.engine().read(version, at, bytes.len() as u64 - at + 1), Code::ArgumentInvalid)
    }

    fn delete(&mut self, point: u64) -> Checked {
        let ids: Vec<Uid> = self.points.keys().copied().collect();
        let Some(point_id) = pick(&ids, point) else { return Ok(()) };
        let removed = self.engine().remove_point(point_id);
        if self.engine().read_only() {
            return expect(removed, Code::StoreReadOnly);
        }
        removed.map_err(told)?;
        self.points.remove(point_id);
        expect(
            self.engine().read(&DiskReference { point_id: *point_id, disk_id: disk_id(0) }, 0, 0),
            Code::PointNotFound,
        )
    }

    fn collect(&mut self, dry_run: bool) -> Checked {
        self.collecting = None;
        self.begun = None; // a collection would wait for it for ever, here on the one thread
        let before = self.io.digest();
        let planned = self.engine().collect(true, &Control::default()).map_err(told)?;
        ensure!(self.io.digest() == before, "a dry run changed the store");
        if dry_run {
            return Ok(());
        }
        let collected = self.engine().collect(false, &Control::default());
        if self.engine().read_only() {
            return expect(collected, Code::StoreReadOnly);
        }
        let collected = collected.map_err(told)?;
        ensure!(
            (planned.packs_removed, planned.packs_rewritten, planned.chunks_removed)
                == (collected.packs_removed, collected.packs_rewritten, collected.chunks_removed),
            "planned {planned:?}, did {collected:?}"
        );
        let usage = self.engine().usage().map_err(told)?;
        let on_disk: u64 = self.file_bytes("packs");
        ensure!(usage.pack_bytes == on_disk, "{usage:?}, but packs take {on_disk}");
        Ok(())
    }

    fn verify(&self, read_data: bool) -> Checked {
        let report = self.engine().verify(read_data, &Control::default()).map_err(told)?;
        ensure!(report.findings.is_empty(), "a sound store: {:?}", report.findings);
        ensure!(report.points_checked == self.points.len() as u64, "{} points checked", report.points_checked);
        Ok(())
    }

    fn reopen(&mut self, read_only: bool) -> Checked {
        self.close();
        let options = OpenOptions {
            read_only,
            thread_count: self.settings.thread_count,
            pack_bytes_target: self.settings.pack_bytes_target,
            reserve_bytes_max: RESERVE_BYTES,
            ..OPEN
        };
        let engine = Engine::open(self.parts.clone(), Path::new(STORE), options).map_err(told)?;
        let findings = engine.findings();
        self.engine = Some(engine);
        ensure!(findings.is_empty(), "opening a sound store: {findings:?}");
        Ok(())
    }

    fn open_second(&self) -> Checked {
        let second = Engine::open(self.parts.clone(), Path::new(STORE), OpenOptions::default());
        if self.engine().read_only() { second.map(drop).map_err(told) } else { expect(second, Code::StoreLocked) }
    }

    /// Takes away what is a cache.
    fn remove_index(&mut self, keep_list: bool) -> Checked {
        self.close();
        let files = files_in(&self.io, "index");
        if keep_list && files.len() > 1 {
            // A list whose segments are gone is damage, and said to be; the store reads on all the same.
            for path in files.iter().filter(|path| !path.ends_with("list")) {
                self.io.remove_file(path).map_err(told)?;
            }
            let engine = Engine::open(self.parts.clone(), Path::new(STORE), OpenOptions::default()).map_err(told)?;
            ensure!(!engine.findings().is_empty(), "segments are gone and nobody says so");
            for (version, bytes) in self.versions() {
                let read = engine.read(&version, 0, bytes.len() as u64).map_err(told)?;
                ensure!(read == *bytes, "without segments {version:?} differs");
            }
        }
        for path in files_in(&self.io, "index") {
            self.io.remove_file(&path).map_err(told)?;
        }
        self.reopen(false)
    }

    /// The store lists exactly the model's points.
    fn check_list(&self) -> Checked {
        let manifests = self.engine().manifests();
        let listed: Vec<Uid> = manifests.iter().map(|manifest| manifest.point_id).collect();
        let expected: Vec<Uid> = self.points.keys().copied().collect();
        ensure!(listed == expected, "listed {listed:?}, expected {expected:?}");
        for (manifest, disks) in manifests.iter().zip(self.points.values()) {
            let sizes: Vec<u64> = manifest.disks.iter().map(|disk| disk.size).collect();
            let expected: Vec<u64> = disks.values().map(|bytes| bytes.len() as u64).collect();
            ensure!(sizes == expected, "sizes {sizes:?}, expected {expected:?}");
        }
        Ok(())
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("open but while it is reopened")
    }

    fn versions(&self) -> Vec<(DiskReference, Arc<Vec<u8>>)> {
        let points = self.points.iter();
        let disks = points.flat_map(|(point_id, disks)| disks.iter().map(|(disk, bytes)| (*point_id, *disk, bytes)));
        disks
            .map(|(point_id, disk, bytes)| (DiskReference { point_id, disk_id: disk_id(disk) }, Arc::clone(bytes)))
            .collect()
    }

    fn restored(&self, version: &DiskReference) -> Result<Vec<u8>, String> {
        self.io.install_file("/restored/.keep", b"").map_err(told)?;
        let path = "/restored/last.raw";
        let target = TargetRequest { path: path.into(), overwrite: false, sync: false };
        self.engine().restore(version, &target, &Control::default()).map_err(told)?;
        let bytes = self.io.read_file(path).unwrap_or_default();
        self.io.remove_file(Path::new(path)).map_err(told)?;
        Ok(bytes)
    }

    fn parent(&self, disk: usize, parent: Parent) -> Option<Uid> {
        let holding = self.points.iter().filter(|(_, disks)| disks.contains_key(&disk));
        let ids: Vec<Uid> = holding.map(|(point_id, _)| *point_id).collect();
        match parent {
            Parent::None => None,
            Parent::Newest => ids.last().copied(),
            Parent::Any(number) => pick(&ids, number).copied(),
        }
    }

    fn resize(&mut self, disk: usize, size: u64) {
        Arc::make_mut(&mut self.disks[disk]).resize(size as usize, 0);
        self.image(disk).set_length(size).unwrap();
    }

    fn size_for(&self, number: u64) -> u64 {
        let sector = u64::from(self.settings.sector_bytes);
        (1 + number % (self.settings.disk_bytes_max / sector)) * sector
    }

    fn image(&self, disk: usize) -> Arc<dyn stillpoint_engine::io::IoFile> {
        self.io.open(&image_path(disk), OpenMode::ReadWrite).unwrap()
    }

    /// A disk and a range inside it.
    fn range(&self, disk: u64, at: u64, length: u64) -> (usize, usize, usize) {
        let disk = (disk % self.disks.len() as u64) as usize;
        let size = self.disks[disk].len() as u64;
        let at = at % size;
        (disk, at as usize, length.min(size - at) as usize)
    }

    fn file_bytes(&self, directory: &str) -> u64 {
        let files = files_in(&self.io, directory).into_iter();
        files.filter_map(|path| self.io.read_file(path)).map(|bytes| bytes.len() as u64).sum()
    }
}

fn pick<T>(from: &[T], number: u64) -> Option<&T> {
    if from.is_empty() { None } else { from.get((number % from.len() as u64) as usize) }
}

fn more_or_less(number: u64) -> bool {
    number.is_multiple_of(2)
}

fn expect<T>(result: Result<T, Error>, code: Code) -> Checked {
    match result {
        Err(error) if error.code() == code => Ok(()),
        Err(error) => Err(format!("{} expected: {error}", code.name())),
        Ok(_) => Err(format!("{} expected, but it worked", code.name())),
    }
}
