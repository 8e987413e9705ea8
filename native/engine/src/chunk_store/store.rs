//! The store of chunks and nodes: opening, looking up, reading, adopting what a writer made durable.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::condemned::{Condemned, read_condemned};
use super::identity::Identity;
use super::index::{Changes, Index, IndexDamage, IndexLimits, Location, Lookup, Segment, Staged};
use super::pack_reader::{PackReader, expected_header};
use super::pack_set::{Pack, PackHandle, PackSet};
use super::pack_writer::{PackTarget, SealedPack};
use crate::error::{Code, Error, Result};
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind};
use crate::io::reserve::Reserve;
use crate::io::{FileKind, Io};
use crate::random::Random;
use crate::units::{ContentId, Uid, u64_from};

mod retiring;

use retiring::condemned_anomaly;

/// The directory of packs, below the region's.
pub(super) const PACKS: &str = "packs";

/// The directory of the index, below the region's.
const INDEX: &str = "index";

/// What a store's config says that chunks depend on.
#[derive(Clone)]
pub struct Parameters {
    /// The store.
    pub store_id: Uid,
    /// Its chunk size.
    pub chunk_bytes: u32,
    /// Codec for new chunks.
    pub codec: Codec,
    /// Its level.
    pub level: i32,
    /// Keys of the ids.
    pub identity: Identity,
    /// When packs are closed.
    pub pack_bytes_target: u64,
    /// How much of the index is in one piece.
    pub index_limits: IndexLimits,
    /// Space that is not for those who only add.
    pub reserve: Arc<Reserve>,
    /// Open for reading only: another process may write meanwhile, and is followed (`follow.rs`).
    pub follows: bool,
}

/// Something wrong that opening or a look-up found and went around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// The file, relative to the region.
    pub file: String,
    /// The code that it has for the caller.
    pub code: Code,
    /// In words.
    pub message: String,
}

/// Chunks and nodes of a region.
pub struct ChunkStore {
    pub(super) io: Arc<dyn Io>,
    random: Arc<dyn Random>,
    directory: PathBuf,
    parameters: Parameters,
    pub(super) packs: PackSet,
    pub(super) index: Index,
    condemned: RwLock<Arc<Condemned>>,
    pub(super) commit: Mutex<()>,
    pub(super) followed: AtomicU64, // how often something new of another process was taken in
    fenced: AtomicBool,
    anomalies: Mutex<Vec<Anomaly>>,
}

impl ChunkStore {
    /// The directories below a region's that this stage owns.
    pub const DIRECTORIES: [&'static str; 2] = [PACKS, INDEX];

    /// The one of them that holds nothing but a cache.
    pub const CACHE_DIRECTORY: &'static str = INDEX;

    /// Opens the packs and the index below `directory`. Packs that no segment covers are read by their trailer.
    ///
    /// # Errors
    /// What reading gives. Damage is not an error here but an anomaly: the rest of the store stays readable.
    pub fn open(io: Arc<dyn Io>, random: Arc<dyn Random>, directory: PathBuf, parameters: Parameters) -> Result<Self> {
        let packs = PackSet::new(Arc::clone(&io), directory.join(PACKS));
        let condemned = read_condemned(io.as_ref(), &directory, parameters.store_id)?;
        let gone: HashSet<(Uid, PackKind)> =
            condemned.as_ref().ok().into_iter().flatten().flat_map(|found| found.packs.iter().copied()).collect();
        for pack in listed_packs(io.as_ref(), packs.directory())? {
            if !gone.contains(&(pack.id, pack.kind)) {
                packs.add(pack);
            }
        }
        let Parameters { store_id, index_limits, .. } = parameters;
        let (index, damage) = Index::open(Arc::clone(&io), directory.join(INDEX), store_id, index_limits, &packs)?;
        let store = Self {
            io,
            random,
            directory,
            parameters,
            packs,
            index,
            condemned: RwLock::default(),
            commit: Mutex::new(()),
            followed: AtomicU64::new(0),
            fenced: AtomicBool::new(false),
            anomalies: Mutex::default(),
        };
        for damage in damage {
            store.report_index(&damage);
        }
        if let Err(defect) = condemned {
            store.report(condemned_anomaly(defect));
        }
        store.cover_packs()?;
        Ok(store)
    }

    /// What opening and look-ups found wrong so far.
    #[must_use]
    pub fn anomalies(&self) -> Vec<Anomaly> {
        self.anomalies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store's parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The packs.
    #[must_use]
    pub fn packs(&self) -> &PackSet {
        &self.packs
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The files.
    #[must_use]
    pub fn io(&self) -> &Arc<dyn Io> {
        &self.io
    }

    /// The region's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a writer of packs puts them.
    #[must_use]
    pub fn pack_target(&self) -> PackTarget {
        PackTarget {
            io: Arc::clone(&self.io),
            random: Arc::clone(&self.random),
            directory: self.packs.directory().to_owned(),
            store_id: self.parameters.store_id,
            chunk_bytes: self.parameters.chunk_bytes,
            pack_bytes_target: self.parameters.pack_bytes_target,
        }
    }

    /// Runs something that writes; a failure of the device, or of a sync, fences the store, so that nothing is built
    /// on what may not have reached the disk. A full disk or a refused name alone does not: what was written then lies
    /// under a temporary name, and the caller removes it ([`Error::leaves_unknown`]).
    ///
    /// # Errors
    /// `STORE_FENCED` after an earlier failure; else what `write` gives.
    pub fn guarded<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(Error::new(Code::StoreFenced, "a write to the store failed earlier; it takes no more writes"));
        }
        let result = write();
        if result.as_ref().is_err_and(Error::leaves_unknown) {
            self.fenced.store(true, Ordering::Release);
        }
        result
    }

    /// As [`ChunkStore::guarded`], for what only adds to the store: it does not take from the reserve.
    ///
    /// # Errors
    /// `NO_SPACE` while the reserve is lent; as [`ChunkStore::guarded`].
    pub fn adding<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<T> {
        self.guarded(|| {
            self.parameters.reserve.check_not_lent()?;
            write()
        })
    }

    /// Whether the store holds this content, so that a writer may count on it: in a frame that is not condemned, and,
    /// where that is a delta, with a base that is neither. The writer holds a lease since before it asked (I-16).
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn contains(&self, id: &ContentId) -> Result<bool> {
        self.any_counts(&self.locate(id)?)
    }

    /// As [`ChunkStore::contains`], for many contents. Cheaper than one by one.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn contains_each(&self, ids: &[ContentId]) -> Result<Vec<bool>> {
        self.locate_each(ids)?.iter().map(|locations| self.any_counts(locations)).collect()
    }

    /// A chunk that a writer may build on and that is the given one, or is what the given one stands on itself: deltas
    /// are one deep. With the length of its stored form. `None` when there is no full frame of either.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn base_near(&self, id: &ContentId) -> Result<Option<(ContentId, u32)>> {
        if let Some(full) = self.locate_base(id)?.first() {
            return Ok(Some((*id, full.stored_bytes)));
        }
        for base in self.locate(id)?.iter().filter_map(|location| location.base) {
            if let Some(full) = self.locate_base(&base)?.first() {
                return Ok(Some((base, full.stored_bytes)));
            }
        }
        Ok(None)
    }

    /// Where this content lies; empty when nobody knows.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn locate(&self, id: &ContentId) -> Result<Vec<Location>> {
        self.looked_up(|| self.index.lookup(id), |locations| self.retain_present(locations))
    }

    /// Where each of these contents lies. Cheaper than one by one.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn locate_each(&self, ids: &[ContentId]) -> Result<Vec<Vec<Location>>> {
        let retain_present = |found: &mut Vec<Vec<Location>>| {
            for locations in &mut *found {
                self.retain_present(locations);
            }
            found.iter().all(|locations| !locations.is_empty())
        };
        self.looked_up(|| self.index.lookup_each(ids), retain_present)
    }

    /// Looks up, going around damaged segments. `retain_present` leaves out what lies in packs that are gone, and says
    /// whether every content is left.
    fn looked_up<T>(
        &self,
        look_up: impl Fn() -> Result<Lookup<T>>,
        retain_present: impl Fn(&mut T) -> bool,
    ) -> Result<T> {
        loop {
            let removed_before = self.packs.removed_count();
            match look_up()? {
                Lookup::Found(mut found) => {
                    // The index may name packs that are gone. If they went since it was asked, it knows better now.
                    if retain_present(&mut found) || self.packs.removed_count() == removed_before {
                        return Ok(found);
                    }
                }
                Lookup::Damaged(segment, damage) => {
                    let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
                    self.go_around(&segment, &damage, &HashSet::new())?;
                }
            }
        }
    }

    /// Leaves out what lies in packs that are gone; whether something is left.
    fn retain_present(&self, locations: &mut Vec<Location>) -> bool {
        locations.retain(|location| self.packs.get(location.pack).is_some());
        !locations.is_empty()
    }

    fn any_counts(&self, locations: &[Location]) -> Result<bool> {
        for location in locations {
            let counts = self.counts(location);
            if counts && (location.codec != Codec::ZstdDelta || self.may_be_base(&location.base)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The index as it is on the disk now: segments whose tables are sound, and what is wrong with the rest.
    ///
    /// # Errors
    /// What reading gives.
    pub fn reread_index(&self) -> Result<(Vec<Segment>, Vec<IndexDamage>)> {
        // Not beside a commit, which removes the files that a list read before it names.
        let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        self.index.reread(&self.packs)
    }

    /// Takes over packs that a writer made durable, and those of its staged segments: they are indexed, and from now on
    /// found by everyone. Returns by how many bytes the index grew.
    ///
    /// # Errors
    /// What writing the index gives. The packs are then still the writer's, and nobody else has heard of them.
    pub fn adopt(&self, sealed: &[SealedPack], staged: &[Arc<Staged>]) -> Result<i64> {
        self.commit_packs(sealed, staged, None)
    }

    /// Removes packs that were not adopted. Errors are not of interest: what stays is garbage for the collector.
    pub fn discard(&self, sealed: &[SealedPack]) {
        for sealed in sealed {
            let _ = self.io.remove_file(&self.packs.path(&sealed.pack));
        }
    }

    /// The frames of a pack: by its trailer, or salvaged when that is damaged.
    ///
    /// # Errors
    /// What reading gives.
    pub fn pack_entries(&self, handle: PackHandle) -> Result<Vec<PackEntry>> {
        Ok(self.pack_content(handle)?.map_or_else(Vec::new, |(entries, _)| entries))
    }

    /// As [`ChunkStore::pack_entries`], and whether those are all frames for certain, which only a trailer can say.
    /// `None` when the pack is gone.
    ///
    /// # Errors
    /// What reading gives.
    pub fn pack_content(&self, handle: PackHandle) -> Result<Option<(Vec<PackEntry>, bool)>> {
        let Some(reader) = self.pack_reader(handle)? else { return Ok(None) };
        match reader.trailer()? {
            Ok(entries) => {
                let ours = reader.check_header(&self.expected_header(&reader.pack))?.is_ok();
                Ok(Some((entries, ours)))
            }
            Err(found) => {
                self.report(Anomaly {
                    file: format!("{PACKS}/{}", reader.pack.file_name()),
                    code: damaged_code(reader.pack.kind),
                    message: format!("{}; its frames were searched for", found.defect),
                });
                Ok(Some((reader.salvage(&self.parameters.identity, |id| self.find_base(id))?, false)))
            }
        }
    }

    /// A pack as a whole; `None` when it is gone.
    ///
    /// # Errors
    /// What opening gives.
    pub fn pack_reader(&self, handle: PackHandle) -> Result<Option<PackReader>> {
        let (Some(pack), Some(file)) = (self.packs.get(handle), self.packs.file(handle)?) else { return Ok(None) };
        Ok(Some(PackReader { pack, file }))
    }

    /// The header that a pack must have.
    #[must_use]
    pub fn expected_header(&self, pack: &Pack) -> crate::format::pack::PackHeader {
        expected_header(pack, self.parameters.store_id, self.parameters.chunk_bytes)
    }

    fn commit_packs(
        &self,
        added: &[SealedPack],
        staged: &[Arc<Staged>],
        retired: Option<&HashSet<PackHandle>>,
    ) -> Result<i64> {
        let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        self.guarded(|| {
            let bytes_before = self.index.bytes();
            let added: Vec<(PackHandle, &[PackEntry])> =
                added.iter().map(|sealed| (self.packs.add(sealed.pack), sealed.entries.as_slice())).collect();
            let in_staged = staged.iter().flat_map(|staged| staged.packs());
            let mut new: HashSet<PackHandle> = in_staged.map(|pack| self.packs.add(*pack)).collect();
            new.extend(added.iter().map(|(handle, _)| *handle));
            if let Err(error) = self.commit_index(&Changes { added: &added, staged, retired }, &new) {
                for handle in new {
                    self.packs.remove(handle);
                }
                return Err(error);
            }
            Ok(self.index.bytes().cast_signed() - bytes_before.cast_signed())
        })
    }

    fn commit_index(&self, changes: &Changes<'_>, new: &HashSet<PackHandle>) -> Result<()> {
        while let Err((segment, damage)) = self.index.commit(&self.packs, changes)? {
            self.go_around(&segment, &damage, new)?;
        }
        Ok(())
    }

    /// Puts the frames of its packs in the place of a damaged segment; `new` packs are not yet anybody's. The caller
    /// holds `commit`, so a segment is replaced once, and never while another one is made of it.
    fn go_around(&self, segment: &Arc<Segment>, damage: &IndexDamage, new: &HashSet<PackHandle>) -> Result<()> {
        if !self.index.holds(segment) {
            return Ok(()); // another thread has done it
        }
        self.report_index(damage);
        let elsewhere: HashSet<PackHandle> = self.index.covered_packs(Some(segment)).into_iter().collect();
        let mut found = Vec::new();
        for (handle, _) in self.packs.all() {
            if !elsewhere.contains(&handle) && !new.contains(&handle) {
                found.push((handle, self.pack_entries(handle)?));
            }
        }
        self.index.replace_segment(segment, &found);
        self.cover_deltas(found.iter().map(|(handle, entries)| (*handle, entries.as_slice())))
    }

    /// Reads the trailers of all packs that neither a segment nor the table of recent frames covers. Few are kept in
    /// memory for the next commit; many, as when the index is lost, go into segments of their own as they come, so
    /// that memory stays bounded and the next open finds them. A store that may not write, or has no room to, keeps all
    /// of them in memory.
    pub(super) fn cover_packs(&self) -> Result<()> {
        if self.parameters.follows {
            return self.cover_packs_staging(u64::MAX);
        }
        match self.cover_packs_staging(self.index.limits().staged_entries) {
            Err(error) if error.code() == Code::NoSpace && !error.leaves_unknown() => {
                self.cover_packs_staging(u64::MAX)
            }
            covered => covered,
        }
    }

    /// As [`ChunkStore::cover_packs`], with so many entries in memory before a segment is made of them.
    fn cover_packs_staging(&self, staged_entries: u64) -> Result<()> {
        let mut staged = Vec::new();
        let read = self.read_uncovered(staged_entries, &mut staged).and_then(|searched| {
            if !staged.is_empty() {
                self.commit_index(&Changes { staged: &staged, ..Changes::default() }, &HashSet::new())?;
            }
            Ok(searched)
        });
        let searched = read.inspect_err(|_| staged.iter().for_each(|staged| self.index.discard(staged)))?;
        // Not before that commit: a segment covers a pack for good, and their deltas are not all found yet.
        for (handle, entries) in &searched {
            self.index.add_recent(*handle, entries);
        }
        self.cover_deltas(searched.iter().map(|(handle, entries)| (*handle, entries.as_slice())))
    }

    /// Reads the packs that are not covered: into `staged`, and the rest into the table of recent frames. Returns those
    /// without a sound trailer, with the frames that were found in them.
    fn read_uncovered(
        &self,
        staged_entries: u64,
        staged: &mut Vec<Arc<Staged>>,
    ) -> Result<Vec<(PackHandle, Vec<PackEntry>)>> {
        let covered: HashSet<PackHandle> = self.index.covered_packs(None).into_iter().collect();
        let (mut waiting, mut searched, mut entry_count) = (Vec::new(), Vec::new(), 0);
        for (handle, pack) in self.packs.all() {
            if covered.contains(&handle) {
                continue;
            }
            let Some((entries, is_certain)) = self.pack_content(handle)? else { continue };
            if !is_certain {
                searched.push((handle, entries));
                continue;
            }
            entry_count += u64_from(entries.len());
            waiting.push((handle, SealedPack { pack, entries }));
            if entry_count > 0 && entry_count >= staged_entries {
                let sealed: Vec<_> = std::mem::take(&mut waiting).into_iter().map(|(_, sealed)| sealed).collect();
                staged.push(Arc::new(self.index.stage(&self.packs, &sealed)?));
                entry_count = 0;
            }
        }
        for (handle, sealed) in &waiting {
            self.index.add_recent(*handle, &sealed.entries);
        }
        Ok(searched)
    }

    /// Adds the deltas of packs without a sound trailer whose bases were not known yet when their frames were searched
    /// for. Bases are full frames, so all that can be found are known by now.
    fn cover_deltas<'e>(&self, searched: impl Iterator<Item = (PackHandle, &'e [PackEntry])>) -> Result<()> {
        for (handle, before) in searched {
            let Some(reader) = self.pack_reader(handle)? else { continue };
            if reader.pack.kind == PackKind::Nodes || reader.trailer()?.is_ok() {
                continue;
            }
            let known: HashSet<u32> = before.iter().map(|entry| entry.offset).collect();
            let mut entries = self.pack_entries(handle)?;
            entries.retain(|entry| !known.contains(&entry.offset));
            self.index.add_recent(handle, &entries);
        }
        Ok(())
    }

    pub(super) fn report_index(&self, damage: &IndexDamage) {
        self.report(Anomaly {
            file: format!("{INDEX}/{}", damage.file),
            code: Code::IndexDamaged,
            message: format!("{}; the packs' trailers are used instead", damage.defect),
        });
    }

    /// Notes something wrong that a stage found and went around.
    pub fn report(&self, anomaly: Anomaly) {
        let mut anomalies = self.anomalies.lock().unwrap_or_else(PoisonError::into_inner);
        if !anomalies.contains(&anomaly) {
            anomalies.push(anomaly);
        }
    }
}

/// The code for damaged content of this kind.
#[must_use]
pub const fn damaged_code(kind: PackKind) -> Code {
    match kind {
        PackKind::Chunks => Code::ChunkDamaged,
        PackKind::Nodes => Code::NodeDamaged,
    }
}

/// The code for missing content of this kind.
#[must_use]
pub const fn missing_code(kind: PackKind) -> Code {
    match kind {
        PackKind::Chunks => Code::ChunkMissing,
        PackKind::Nodes => Code::NodeMissing,
    }
}

pub(super) const fn kind_name(kind: PackKind) -> &'static str {
    match kind {
        PackKind::Chunks => "chunk",
        PackKind::Nodes => "block map node",
    }
}

pub(super) fn missing(kind: PackKind, id: &ContentId) -> Error {
    Error::new(missing_code(kind), format!("no pack of the store holds {} {id}", kind_name(kind)))
        .with("id", id.to_string())
}

/// The packs that lie in a directory.
pub(super) fn listed_packs(io: &dyn Io, directory: &Path) -> Result<Vec<Pack>> {
    let entries = io.list_directory(directory)?.into_iter().filter(|entry| entry.kind == FileKind::Regular);
    let pack = |(id, kind), bytes| Pack { id, kind, bytes };
    Ok(entries.filter_map(|entry| Some(pack(parse_pack_name(&entry.name)?, entry.size))).collect())
}

fn parse_pack_name(name: &str) -> Option<(Uid, PackKind)> {
    let (id, extension) = name.split_once('.')?;
    let kind = PackKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    Some((Uid::parse(id)?, kind))
}
