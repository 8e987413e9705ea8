//! The engine's top: the only file that knows all stages, and the only one that turns their values into commits.
//!
//! The order of syncs, which is the order of everything that must survive a crash:
//!
//! | call | durable, in this order |
//! | --- | --- |
//! | `create` | directories, `lock`; then `config` under its final name: the store exists |
//! | `open` for writing | whatever names a killed process left, before anything is built on them |
//! | `scan` | packs of chunks and nodes (each synced, renamed; their directory synced); index segments; index list |
//! | `publish` | the manifest (synced, renamed, directory synced): the point exists |
//! | `remove_point` | the manifest's name is gone, directory synced: the point is gone |
//! | `collect`, each step | new packs; index with them; `condemned` names the old packs; the old packs' names are gone |
//! | `collect`, at its end | index without what is gone; `condemned` is gone |
//!
//! `scan` holds a lease until its value is published or dropped, readers hold one while they read: `collect` runs beside
//! all of them (`collect/leases.rs`).

mod live;
mod options;
mod space;
mod statistics;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::block_map::{DiskVersion, MapReader};
use crate::chunk_store::identity::Identity;
use crate::chunk_store::index::IndexLimits;
use crate::chunk_store::writer::Writer;
use crate::chunk_store::{Anomaly, ChunkStore, Parameters};
use crate::collect::{Lease, Leases, Purpose};
use crate::control::Control;
use crate::cut::Pin;
use crate::diff::DiffCursor;
use crate::error::{Code, Error, Result};
use crate::format::Defect;
use crate::format::config::BLOCK_BYTES;
use crate::io::parents::{directory_above, make_parents};
use crate::io::reserve::Reserve;
use crate::io::{FileKind, Io, LockGuard, OpenMode};
use crate::limits::{
    CHUNK_BYTES_ALLOWED, DETAIL_BYTES_MAX, PACK_CAPACITY_SHARE, PACK_FRAMES_MIN, POINT_DISKS_MAX, READ_BYTES_MAX,
    SECTOR_BYTES_ALLOWED, THREADS_MAX,
};
use crate::points::{DamagedManifest, MANIFESTS, Points, QUARANTINE};
use crate::restore::{Restorer, read_range};
use crate::scan::{ScanRequest, Scanner};
use crate::units::Uid;
use crate::verify::{Verifier, code_of};
pub use crate::write_log::LogParameters;

mod collecting;

pub use collecting::Collecting;

// The words of this file's calls, so that its callers need not know the stages.
pub use crate::background_copy::Folded;
pub use crate::block_map::ChunkCounts;
pub use crate::collect::{Options as CollectOptions, Progress as CollectProgress, Report as CollectReport};
pub use crate::diff::{Extent, ExtentKind};
pub use crate::format::config::Config;
pub use crate::format::manifest::{Manifest, ManifestDisk};
pub use crate::format::{Codec, VERSION as FORMAT_VERSION};
pub use crate::io::reserve::Loan;
pub use crate::restore::{Restored, TargetRequest};
pub use crate::scan::{Scanned, SourceRequest};
pub use crate::verify::{Finding, Hit, Report as VerifyReport};
pub use live::{
    CopiedDisk, CopyRequest, Cost, CutRequest, DiskLimits, DiskRequest, ExportBitmap, ExportLabel, LiveDisk, LogWindow,
    Moment, NewDisk, PendingCut, Pressure, Turn, Turns, UnavailableLog, UncleanLog, WindowLimits,
};
pub use options::{CreateOptions, OpenOptions, Parts};
pub use statistics::{MachineStatistics, PointStatistics, Statistics};
pub use usage::Usage;

/// The home region's directory in a store.
pub const HOME: &str = "home";

const CONFIG: &str = "config";
const LOCK: &str = "lock";
const RESERVE: &str = "reserve";
const TEMPORARY: &str = ".tmp";

/// How often a verification beside a writer begins anew: each time needs a collection that ended meanwhile.
const VERIFY_ATTEMPTS_MAX: u32 = 5;

/// A disk of a restore point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReference {
    /// The point.
    pub point_id: Uid,
    /// The disk.
    pub disk_id: Uid,
}

/// A disk to scan.
#[derive(Clone, Debug)]
pub struct ScanDisk {
    /// The disk.
    pub disk_id: Uid,
    /// Where its bytes are.
    pub source: SourceRequest,
    /// The point that it is compared with first.
    pub parent: Option<Uid>,
}

/// A scanned disk with its id.
#[derive(Clone, Copy, Debug)]
pub struct ScannedDisk {
    /// The disk.
    pub disk_id: Uid,
    /// Its sector size.
    pub sector_bytes: u32,
    /// Content and counts.
    pub scanned: Scanned,
}

/// A finished scan, durable but for the manifest. Publishing or dropping it ends its lease.
pub struct PreparedPoint {
    engine: Arc<Engine>,
    _lease: Lease,
    disks: Vec<ScannedDisk>,
    started_ms: u64,
    ended_ms: u64,
}

impl PreparedPoint {
    /// The disks.
    #[must_use]
    pub fn disks(&self) -> &[ScannedDisk] {
        &self.disks
    }

    /// Before the first byte was read, milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// After the last byte was read and everything was durable.
    #[must_use]
    pub fn ended_ms(&self) -> u64 {
        self.ended_ms
    }

    /// Makes the restore point: when this returns, it exists and survives a power cut.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID`, what writing gives. Whether the point exists is then known after the next open.
    pub fn publish(&self, point_id: Uid, created_ms: u64, detail: Vec<u8>) -> Result<()> {
        if !(2..=DETAIL_BYTES_MAX).contains(&detail.len()) {
            let message = format!("a point's detail is {} bytes; it may be {DETAIL_BYTES_MAX}", detail.len());
            return Err(Error::new(Code::ArgumentInvalid, message));
        }
        let engine = &self.engine;
        let disks = self.disks.iter().map(|disk| ManifestDisk {
            disk_id: disk.disk_id,
            size: disk.scanned.version.size,
            sector_bytes: disk.sector_bytes,
            root: disk.scanned.version.root,
            lsn: 0,
        });
        let manifest = Manifest {
            point_id,
            store_id: engine.config.store_id,
            created_ms,
            chunk_bytes: engine.config.chunk_bytes,
            disks: disks.collect(),
            detail,
        };
        engine.store.adding(|| engine.points.publish(manifest))
    }
}

/// An open store.
pub struct Engine {
    parts: Parts,
    directory: PathBuf,
    options: OpenOptions,
    config: Config,
    store: Arc<ChunkStore>,
    maps: Arc<MapReader>,
    points: Arc<Points>,
    reserve: Arc<Reserve>,
    damaged_manifests: Vec<DamagedManifest>,
    config_damage: Option<Defect>,
    leases: Arc<Leases>,
    collecting: Arc<AtomicBool>,
    live: Option<live::Live>, // made when everything below it is open
    _lock: Option<Box<dyn LockGuard>>,
}

impl Engine {
    /// Makes a store. The directory is made, with its parents, or must hold nothing else.
    ///
    /// # Errors
    /// `STORE_EXISTS`, `ARGUMENT_INVALID`, what writing gives.
    pub fn create(parts: &Parts, directory: &Path, options: &CreateOptions) -> Result<()> {
        check_create_options(options)?;
        let io = parts.io.as_ref();
        prepare_directory(io, directory)?;
        let (mut store_id, mut identity_key) = ([0; 16], [0; 32]);
        parts.random.fill(&mut store_id);
        parts.random.fill(&mut identity_key);
        let config = Config {
            store_id: Uid(store_id),
            created_ms: milliseconds(parts.clock.now_ns()),
            chunk_bytes: options.chunk_bytes,
            codec: options.codec,
            level: options.level,
            identity_key,
        };
        let home = directory.join(HOME);
        for path in [home.clone()].into_iter().chain(region_directories(&home)) {
            match io.create_directory(&path) {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
        }
        match io.open(&directory.join(LOCK), OpenMode::CreateNew) {
            Ok(lock) => lock.sync()?,
            Err(error) if error.is_already_exists() => {} // an earlier `create` was cut off
            Err(error) => return Err(error),
        }
        // Everything else is durable before `config` gets its name: a store is whole or is none.
        for path in [home, directory.to_owned()] {
            io.sync_directory(&path)?;
        }
        let temporary = directory.join("config.tmp");
        match io.remove_file(&temporary) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let file = io.open(&temporary, OpenMode::CreateNew)?;
        file.write_at(&config.encode(), 0)?;
        file.sync()?;
        io.rename_new(&temporary, &directory.join(CONFIG))?;
        io.sync_directory(directory)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// `STORE_NOT_FOUND`, `STORE_LOCKED`, `STORE_NEWER_FORMAT`, `STORE_DAMAGED`, what reading gives.
    pub fn open(parts: Parts, directory: &Path, options: OpenOptions) -> Result<Arc<Self>> {
        if !(1..=THREADS_MAX).contains(&options.thread_count) {
            let message = format!("{} threads asked for; 1 to {THREADS_MAX} are possible", options.thread_count);
            return Err(Error::new(Code::ArgumentInvalid, message));
        }
        let io = &parts.io;
        let (config, config_damage) = read_config(io.as_ref(), directory)?;
        let lock = if options.read_only { None } else { Some(take_lock(io.as_ref(), directory)?) };
        let home = directory.join(HOME);
        if !options.read_only {
            make_lost_directories(io.as_ref(), &home)?;
            remove_temporaries(io.as_ref(), directory)?;
            remove_temporaries(io.as_ref(), &home)?;
            for path in region_directories(&home).filter(|path| !path.ends_with(QUARANTINE)) {
                remove_temporaries(io.as_ref(), &path)?;
            }
            // What a killed process renamed or removed last may not be durable yet. From here on it is built upon.
            for path in [home.clone(), directory.to_owned()].into_iter().chain(region_directories(&home)) {
                io.sync_directory(&path)?;
            }
        }
        let reserve_bytes_max = if options.read_only { 0 } else { options.reserve_bytes_max };
        let reserve = Arc::new(Reserve::new(Arc::clone(io), directory.join(RESERVE), reserve_bytes_max));
        reserve.refill(); // after the unfinished files have gone, before anything is written
        let parameters = Parameters {
            store_id: config.store_id,
            chunk_bytes: config.chunk_bytes,
            codec: config.codec,
            level: i32::from(config.level),
            identity: Identity::new(&config.identity_key),
            pack_bytes_target: pack_bytes_target(io.as_ref(), directory, config.chunk_bytes, options)?,
            index_limits: IndexLimits::for_packs_of(options.pack_bytes_target),
            reserve: Arc::clone(&reserve),
            follows: options.read_only,
        };
        let random = Arc::clone(&parts.random);
        let store = Arc::new(ChunkStore::open(Arc::clone(io), random, home.clone(), parameters)?);
        if !options.read_only {
            store.index().remove_retired()?;
            store.finish_retiring()?;
        }
        let (points, damaged_manifests) =
            Points::open(Arc::clone(io), home, config.store_id, config.chunk_bytes, options.read_only)?;
        let mut engine = Arc::new(Self {
            directory: directory.to_owned(),
            maps: Arc::new(MapReader::with_threads(Arc::clone(&store), options.thread_count)),
            parts,
            options,
            config,
            store,
            points: Arc::new(points),
            reserve,
            damaged_manifests,
            config_damage,
            leases: Arc::default(),
            collecting: Arc::default(),
            live: None,
            _lock: lock,
        });
        engine.open_live()?;
        Ok(engine)
    }

    /// The store's parameters.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether nothing can be written.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// What opening, and reading since, found wrong and went around.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.config_damage.iter().map(config_finding).collect();
        findings.extend(self.damaged_manifests.iter().map(manifest_finding));
        findings.extend(self.store.anomalies().into_iter().map(anomaly_finding));
        findings.extend(self.live.iter().flat_map(|live| live.findings()));
        findings
    }

    /// All points, by id.
    #[must_use]
    pub fn manifests(&self) -> Vec<Arc<Manifest>> {
        self.points.all()
    }

    /// Scans all disks as one and makes everything but the manifest durable.
    ///
    /// # Errors
    /// `SOURCE_*`, `STORE_READ_ONLY`, `ARGUMENT_INVALID`, `CANCELLED`, what reading and writing give. The store is then
    /// as it was.
    pub fn scan(self: &Arc<Self>, disks: &[ScanDisk], control: &Control) -> Result<PreparedPoint> {
        self.check_writable()?;
        check_disks(disks)?;
        let (parents, lease) = self.leases.open(Purpose::Write, || {
            let parent = |disk: &ScanDisk| match disk.parent {
                Some(point_id) => self.points.disk(&point_id, &disk.disk_id).map(Some),
                None => Ok(None),
            };
            let parents = disks.iter().map(parent).collect::<Result<Vec<_>>>()?;
            let roots = parents.iter().flatten().map(|version| version.root).collect();
            Ok((parents, roots))
        })?;
        // The lease ends when `prepared` is dropped, whatever happens.
        let mut prepared = PreparedPoint {
            engine: Arc::clone(self),
            _lease: lease,
            disks: Vec::with_capacity(disks.len()),
            started_ms: milliseconds(self.parts.clock.now_ns()),
            ended_ms: 0,
        };
        let requests = disks.iter().zip(parents);
        let requests: Vec<ScanRequest> =
            requests.map(|(disk, parent)| ScanRequest { source: disk.source.clone(), parent }).collect();
        let scanner = Scanner {
            io: &self.parts.io,
            clock: self.parts.clock.as_ref(),
            maps: &self.maps,
            thread_count: self.options.thread_count,
        };
        let mut writer = Writer::new(&self.store);
        let scanned = scanner.scan(&requests, &mut writer, control)?;
        writer.commit()?;
        prepared.ended_ms = milliseconds(self.parts.clock.now_ns());
        for (disk, scanned) in disks.iter().zip(scanned) {
            let (disk_id, sector_bytes) = (disk.disk_id, disk.source.sector_bytes);
            prepared.disks.push(ScannedDisk { disk_id, sector_bytes, scanned });
        }
        Ok(prepared)
    }

    /// Removes a point, durably. Its space is the collector's.
    ///
    /// # Errors
    /// `STORE_READ_ONLY`, what removing gives; `STORE_BUSY` while a write log that takes no more writes names it.
    pub fn remove_point(&self, point_id: &Uid) -> Result<()> {
        self.check_writable()?;
        self.check_not_stood_on(point_id)?;
        self.store.guarded(|| self.points.remove(point_id))
    }

    /// Moves a point's manifest into quarantine, durably.
    ///
    /// # Errors
    /// `STORE_READ_ONLY`, what renaming gives.
    pub fn quarantine_point(&self, point_id: &Uid) -> Result<()> {
        self.check_writable()?;
        self.store.guarded(|| self.points.quarantine(point_id))
    }

    /// Bytes of a disk of a point.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `ARGUMENT_INVALID` past the end or over the limit, missing or damaged content.
    pub fn read(&self, disk: &DiskReference, offset: u64, length: u64) -> Result<Vec<u8>> {
        let pinned = self.pinned(disk, &Control::default())?;
        let version = &pinned.version;
        if length > READ_BYTES_MAX || offset.checked_add(length).is_none_or(|end| end > version.size) {
            let message = format!(
                "{length} bytes at {offset} asked for; the disk is {} bytes long, and one call reads {READ_BYTES_MAX} at most",
                version.size
            );
            return Err(Error::new(Code::ArgumentInvalid, message).with("sizeBytes", version.size));
        }
        read_range(&pinned.maps, version, offset, length)
    }

    /// A cursor over the ranges in which two disk versions differ, with both sizes.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `ARGUMENT_INVALID` for the granularity.
    pub fn diff(&self, before: &DiskReference, after: &DiskReference, granularity: Option<u64>) -> Result<Diff> {
        let chunk_bytes = u64::from(self.config.chunk_bytes);
        if granularity.is_some_and(|bytes| !bytes.is_power_of_two() || !(512..=chunk_bytes).contains(&bytes)) {
            let message = format!("a granularity is a power of two from 512 to {chunk_bytes} bytes");
            return Err(Error::new(Code::ArgumentInvalid, message));
        }
        let before = self.pinned(before, &Control::default())?;
        let after = self.pinned_by(&before.maps, after, &Control::default())?;
        let cursor = DiffCursor::new(Arc::clone(&after.maps), before.version, after.version, granularity);
        let (size_before, size_after) = (before.version.size, after.version.size);
        Ok(Diff { size_before, size_after, cursor, _pins: [before.pin, after.pin] })
    }

    /// The next extents of a diff; none at the end.
    ///
    /// # Errors
    /// As [`DiffCursor::next_page`].
    pub fn diff_page(&self, diff: &mut Diff, extent_count_max: usize, control: &Control) -> Result<Vec<Extent>> {
        diff.cursor.next_page(extent_count_max, control)
    }

    /// Writes a disk of a point to a target.
    ///
    /// # Errors
    /// `POINT_NOT_FOUND`, `TARGET_*`, `CANCELLED`, missing or damaged content, what writing gives.
    pub fn restore(&self, disk: &DiskReference, target: &TargetRequest, control: &Control) -> Result<Restored> {
        let Pinned { version, maps, pin: _pin } = self.pinned(disk, control)?;
        let restorer = Restorer {
            io: &self.parts.io,
            random: self.parts.random.as_ref(),
            maps: &maps,
            thread_count: self.options.thread_count,
        };
        restorer.restore(version, target, control)
    }

    /// Checks the whole store as it is on the disk now.
    ///
    /// # Errors
    /// `CANCELLED`, what reading gives. Damage is no error but a finding.
    pub fn verify(&self, read_data: bool, control: &Control) -> Result<VerifyReport> {
        let (_, config_damage) = read_config(self.parts.io.as_ref(), &self.directory)?;
        let (mut report, damaged) = self.verify_region(read_data, control)?;
        let condemned = self.store.condemned_damage()?.map(anomaly_finding);
        let top = config_damage.iter().map(config_finding).chain(damaged.iter().map(manifest_finding)).chain(condemned);
        report.findings.splice(0..0, top.collect::<Vec<_>>());
        for finding in &mut report.findings {
            self.add_manifest_hits(finding);
        }
        Ok(report)
    }

    /// Beside another process that writes, what seems damaged may only have gone by its hand or come after the packs
    /// were listed; so damage counts once nothing has changed since then, or after several attempts.
    fn verify_region(&self, read_data: bool, control: &Control) -> Result<(VerifyReport, Vec<DamagedManifest>)> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (sound, damaged) = self.points.read_all()?;
            self.store.catch_up()?; // after the manifests, so that what they name is there
            // What was deleted since is not looked at; the others are pinned.
            let (manifests, _pin) = self.leases.open(Purpose::Read, || {
                let is_there =
                    |manifest: &Arc<Manifest>| self.read_only() || self.points.get(&manifest.point_id).is_ok();
                let manifests: Vec<Arc<Manifest>> = sound.into_values().filter(is_there).collect();
                let roots = manifests.iter().flat_map(|manifest| manifest.disks.iter().map(|disk| disk.root)).collect();
                Ok((manifests, roots))
            })?;
            let verifier = Verifier { maps: &self.maps, manifests: &manifests, region: HOME };
            let report = verifier.run(read_data, control)?;
            if report.findings.is_empty() || attempts == VERIFY_ATTEMPTS_MAX || !self.store.catch_up()? {
                return Ok((report, damaged));
            }
        }
    }

    /// Puts the reserve at the disposal of whoever frees space, if space is short, until the loan is dropped.
    #[must_use]
    pub fn borrow_reserve(&self) -> Loan {
        self.reserve.borrow()
    }

    /// As [`Engine::borrow_reserve`], where that takes no time.
    #[must_use]
    pub fn borrow_reserve_unless_short(&self) -> Option<Loan> {
        self.reserve.borrow_unless_short()
    }

    /// As [`Engine::borrow_reserve`], for who ran out of space however much there seemed to be.
    fn borrow_reserve_at_once(&self) -> Loan {
        self.reserve.borrow_at_once()
    }

    /// A disk of a point, held until the pin is dropped, whatever becomes of the point.
    fn pinned(&self, disk: &DiskReference, control: &Control) -> Result<Pinned> {
        self.pinned_by(&self.maps, disk, control)
    }

    /// As [`Engine::pinned`], for who reads by these maps already.
    fn pinned_by(&self, maps: &Arc<MapReader>, disk: &DiskReference, control: &Control) -> Result<Pinned> {
        let published = || {
            let (version, lease) = self.leases.open(Purpose::Read, || {
                let version = self.version(disk)?;
                Ok((version, vec![version.root]))
            })?;
            Ok(Pinned { version, maps: Arc::clone(maps), pin: Arc::new(lease) })
        };
        let cut = match (published(), self.live.as_ref().and_then(|live| live.cut(&disk.point_id))) {
            (Err(_), Some(cut)) => cut,
            // It became a point in between, or is none.
            (Err(_), None) => return published().map_err(|error| self.live().explain(error)),
            (found, _) => return found,
        };
        let (version, maps, pin) = self.cut_version(&cut, &disk.disk_id, maps, control)?;
        Ok(Pinned { version, maps, pin })
    }

    fn version(&self, disk: &DiskReference) -> Result<DiskVersion> {
        self.points.disk(&disk.point_id, &disk.disk_id)
    }

    /// A damaged manifest hits all of its point, if the point was whole when the store was opened.
    fn add_manifest_hits(&self, finding: &mut Finding) {
        if !finding.hits.is_empty() || !finding.file.starts_with(&format!("{HOME}/{MANIFESTS}/")) {
            return;
        }
        let name = finding.file.rsplit('/').next().and_then(|name| name.split('.').next());
        let Some(Ok(manifest)) = name.and_then(Uid::parse).map(|point_id| self.points.get(&point_id)) else { return };
        finding.hits = whole_point(&manifest);
    }

    fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(Error::new(Code::StoreReadOnly, "the store is open for reading only"));
        }
        Ok(())
    }
}

/// A disk of a point, and who reads it.
struct Pinned {
    version: DiskVersion,
    maps: Arc<MapReader>,
    pin: Pin,
}

/// A diff under way.
pub struct Diff {
    /// Size of the older version.
    pub size_before: u64,
    /// Size of the newer version.
    pub size_after: u64,
    cursor: DiffCursor,
    _pins: [Pin; 2],
}

fn check_create_options(options: &CreateOptions) -> Result<()> {
    let fail = |message: String| Err(Error::new(Code::ArgumentInvalid, message));
    if !CHUNK_BYTES_ALLOWED.contains(&options.chunk_bytes) {
        return fail(format!("a chunk size is one of {CHUNK_BYTES_ALLOWED:?}, not {}", options.chunk_bytes));
    }
    match (options.codec, options.level) {
        (Codec::None | Codec::Lz4, 0) | (Codec::Zstd, 1..=19) => Ok(()),
        (codec, level) => fail(format!("codec {codec:?} does not go with level {level}; zstd has 1 to 19, others 0")),
    }
}

fn check_disks(disks: &[ScanDisk]) -> Result<()> {
    let fail = |message: String| Err(Error::new(Code::ArgumentInvalid, message));
    if !(1..=POINT_DISKS_MAX).contains(&disks.len()) {
        return fail(format!("{} disks asked for; a point has 1 to {POINT_DISKS_MAX}", disks.len()));
    }
    for (index, disk) in disks.iter().enumerate() {
        if !SECTOR_BYTES_ALLOWED.contains(&disk.source.sector_bytes) {
            return fail(format!("a sector size is one of {SECTOR_BYTES_ALLOWED:?}, not {}", disk.source.sector_bytes));
        }
        if disks[..index].iter().any(|earlier| earlier.disk_id == disk.disk_id) {
            return fail(format!("disk {} is named twice", disk.disk_id));
        }
    }
    Ok(())
}

fn region_directories(home: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let home = home.to_owned();
    ChunkStore::DIRECTORIES.into_iter().chain([MANIFESTS, QUARANTINE]).map(move |name| home.join(name))
}

/// Makes those directories anew that hold nothing anybody needs: of the index, and the quarantine. The next sync of the
/// region makes them durable.
fn make_lost_directories(io: &dyn Io, home: &Path) -> Result<()> {
    for name in [ChunkStore::CACHE_DIRECTORY, QUARANTINE] {
        match io.create_directory(&home.join(name)) {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes the directory and its parents, durably, or checks that it holds nothing but what a cut-off `create` left.
fn prepare_directory(io: &dyn Io, directory: &Path) -> Result<()> {
    let exists = |what: &str| {
        let message = format!("{} {what}", directory.display());
        Err(Error::new(Code::StoreExists, message).with("path", directory))
    };
    match io.identify(directory)?.map(|identity| identity.kind) {
        None => {
            make_parents(io, directory)?;
            io.create_directory(directory)?;
            io.sync_directory(&directory_above(directory))
        }
        Some(FileKind::Directory) => {
            let entries = io.list_directory(directory)?;
            if entries.iter().any(|entry| entry.name == CONFIG) {
                return exists("holds a store already");
            }
            if entries.iter().any(|entry| ![HOME, LOCK, "config.tmp"].contains(&entry.name.as_str())) {
                return exists("is not empty");
            }
            make_parents(io, directory)
        }
        Some(_) => exists("is not a directory"),
    }
}

/// On a small file system packs are short, so that a collection moves what is live in one of them into what little is free.
fn pack_bytes_target(io: &dyn Io, directory: &Path, chunk_bytes: u32, options: OpenOptions) -> Result<u64> {
    let shortest = PACK_FRAMES_MIN * u64::from(chunk_bytes);
    if options.pack_bytes_target <= shortest {
        return Ok(options.pack_bytes_target);
    }
    let share = io.capacity_bytes(directory)? / PACK_CAPACITY_SHARE;
    Ok(options.pack_bytes_target.min(share.max(shortest)))
}

/// Reads `config`: the first sound copy, and what is wrong with the other.
fn read_config(io: &dyn Io, directory: &Path) -> Result<(Config, Option<Defect>)> {
    let path = directory.join(CONFIG);
    let mut bytes = vec![0; 2 * BLOCK_BYTES]; // what may stand behind the two copies is nobody's
    let length =
        match io.open(&path, OpenMode::Read).and_then(|file| Ok((file.read_at(&mut bytes, 0)?, file.identity()?.size)))
        {
            Ok((_, size)) if size > 2 * BLOCK_BYTES as u64 => 2 * BLOCK_BYTES + 1,
            Ok((length, _)) => length,
            Err(error) if error.is_not_found() || error.is_not_a_directory() => {
                let message = format!("there is no store at {}", directory.display());
                return Err(Error::new(Code::StoreNotFound, message).with("path", directory));
            }
            Err(error) => return Err(error),
        };
    bytes.truncate(length);
    let longer = (length > 2 * BLOCK_BYTES).then_some(Defect::Wrong("something stands behind the two copies"));
    let copy =
        |at: usize| Config::decode_block(bytes.get(at..).map_or(&[], |rest| &rest[..rest.len().min(BLOCK_BYTES)]));
    match (copy(0), copy(BLOCK_BYTES)) {
        (Err(Defect::Newer(version)), _) | (_, Err(Defect::Newer(version))) => {
            let message =
                format!("{} has format version {version}; this Stillpoint reads version 1", directory.display());
            Err(Error::new(Code::StoreNewerFormat, message).with("path", directory).with("version", u64::from(version)))
        }
        (Ok(first), Ok(second)) if first == second => Ok((first, longer)),
        (Ok(first), Ok(_)) => Ok((first, Some(Defect::Wrong("the two copies differ")))),
        (Ok(config), Err(defect)) | (Err(defect), Ok(config)) => Ok((config, Some(defect))),
        (Err(first), Err(_)) => {
            let message = format!("both copies of {} are damaged: {first}", path.display());
            Err(Error::new(Code::StoreDamaged, message).with("path", path.as_path()))
        }
    }
}

fn take_lock(io: &dyn Io, directory: &Path) -> Result<Box<dyn LockGuard>> {
    let path = directory.join(LOCK);
    let guard = match io.lock(&path) {
        Err(error) if error.is_not_found() => {
            io.open(&path, OpenMode::CreateNew)?; // its content says nothing, so a lost one is simply made again
            io.lock(&path)?
        }
        taken => taken?,
    };
    guard.ok_or_else(|| {
        let message = format!("another process has the store at {} open", directory.display());
        Error::new(Code::StoreLocked, message).with("path", directory)
    })
}

fn remove_temporaries(io: &dyn Io, directory: &Path) -> Result<()> {
    for entry in io.list_directory(directory)? {
        if entry.name.ends_with(TEMPORARY) && entry.kind == FileKind::Regular {
            io.remove_file(&directory.join(&entry.name))?;
        }
    }
    Ok(())
}

fn anomaly_finding(anomaly: Anomaly) -> Finding {
    let file = format!("{HOME}/{}", anomaly.file);
    Finding { file, place: None, code: anomaly.code, message: anomaly.message, hits: Vec::new() }
}

fn config_finding(defect: &Defect) -> Finding {
    let message = format!("the file is damaged: {defect}; a sound copy in it is used");
    Finding { file: CONFIG.into(), place: None, code: Code::StoreDamaged, message, hits: Vec::new() }
}

fn manifest_finding(damaged: &DamagedManifest) -> Finding {
    let message = format!("restore point {} cannot be listed: {}", damaged.point_id, damaged.defect);
    let file = format!("{HOME}/{}", damaged.file);
    let code = code_of(damaged.defect, Code::ManifestDamaged);
    Finding { file, place: None, code, message, hits: Vec::new() }
}

fn whole_point(manifest: &Manifest) -> Vec<Hit> {
    let whole = |disk: &ManifestDisk| Hit {
        point_id: manifest.point_id,
        disk_id: disk.disk_id,
        ranges: std::iter::once(0..disk.size).collect(),
    };
    manifest.disks.iter().map(whole).collect()
}

fn milliseconds(nanoseconds: i128) -> u64 {
    u64::try_from(nanoseconds / 1_000_000).unwrap_or(0) // a clock before 1970 is no clock
}
