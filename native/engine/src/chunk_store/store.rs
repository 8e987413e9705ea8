//! The store of chunks and nodes: opening, looking up, reading, adopting what a writer made durable.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::condemned::{Condemned, read_condemned};
use super::identity::Identity;
use super::index::{Index, IndexDamage, Location, Lookup, Segment};
use super::pack_reader::{PackReader, expected_header};
use super::pack_set::{Pack, PackHandle, PackSet};
use super::pack_writer::{PackTarget, SealedPack};
use crate::error::{Code, Error, Result};
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind};
use crate::io::reserve::Reserve;
use crate::io::{FileKind, Io};
use crate::random::Random;
use crate::units::{ContentId, Uid};

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
        let (index, damage) = Index::open(Arc::clone(&io), directory.join(INDEX), parameters.store_id, &packs)?;
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
        for location in self.locate(id)? {
            let counts = self.counts(&location);
            if counts && (location.codec != Codec::ZstdDelta || self.may_be_base(&location.base)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A chunk that a writer may build on and that is the given one, or is what the given one stands on itself: deltas
    /// are one deep. `None` when there is no full frame of either.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn base_near(&self, id: &ContentId) -> Result<Option<ContentId>> {
        if !self.locate_base(id)?.is_empty() {
            return Ok(Some(*id));
        }
        for base in self.locate(id)?.iter().filter_map(|location| location.base) {
            if !self.locate_base(&base)?.is_empty() {
                return Ok(Some(base));
            }
        }
        Ok(None)
    }

    /// Where this content lies; empty when nobody knows.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn locate(&self, id: &ContentId) -> Result<Vec<Location>> {
        loop {
            let removed_before = self.packs.removed_count();
            match self.index.lookup(id)? {
                Lookup::Found(mut locations) => {
                    // The index may name packs that are gone. If they went since it was asked, it knows better now.
                    locations.retain(|location| self.packs.get(location.pack).is_some());
                    if !locations.is_empty() || self.packs.removed_count() == removed_before {
                        return Ok(locations);
                    }
                }
                Lookup::Damaged(segment, damage) => {
                    let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
                    self.go_around(&segment, &damage, &[])?;
                }
            }
        }
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

    /// Takes over packs that a writer made durable: they are indexed, and from now on found by everyone. Returns by how
    /// many bytes the index grew.
    ///
    /// # Errors
    /// What writing the index gives. The packs are then still the writer's, and nobody else has heard of them.
    pub fn adopt(&self, sealed: &[SealedPack]) -> Result<i64> {
        self.commit_packs(sealed, None)
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

    fn commit_packs(&self, added: &[SealedPack], retired: Option<&HashSet<PackHandle>>) -> Result<i64> {
        let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        self.guarded(|| {
            let bytes_before = self.index.bytes();
            let added: Vec<(PackHandle, &[PackEntry])> =
                added.iter().map(|sealed| (self.packs.add(sealed.pack), sealed.entries.as_slice())).collect();
            if let Err(error) = self.commit_index(&added, retired) {
                for (handle, _) in added {
                    self.packs.remove(handle);
                }
                return Err(error);
            }
            Ok(self.index.bytes().cast_signed() - bytes_before.cast_signed())
        })
    }

    fn commit_index(&self, added: &[(PackHandle, &[PackEntry])], retired: Option<&HashSet<PackHandle>>) -> Result<()> {
        while let Err((segment, damage)) = self.index.commit(&self.packs, added, retired)? {
            self.go_around(&segment, &damage, added)?;
        }
        Ok(())
    }

    /// Puts the frames of its packs in the place of a damaged segment. The caller holds `commit`, so a segment is
    /// replaced once, and never while another one is made of it.
    fn go_around(
        &self,
        segment: &Arc<Segment>,
        damage: &IndexDamage,
        added: &[(PackHandle, &[PackEntry])],
    ) -> Result<()> {
        if !self.index.holds(segment) {
            return Ok(()); // another thread has done it
        }
        self.report_index(damage);
        let elsewhere: HashSet<PackHandle> = self.index.covered_packs(Some(segment)).into_iter().collect();
        let mut found = Vec::new();
        for (handle, _) in self.packs.all() {
            if !elsewhere.contains(&handle) && added.iter().all(|(added, _)| *added != handle) {
                found.push((handle, self.pack_entries(handle)?));
            }
        }
        self.index.replace_segment(segment, &found);
        self.cover_deltas(found.iter().map(|(handle, entries)| (*handle, entries.as_slice())))
    }

    /// Reads the trailers of all packs that neither a segment nor the table of recent frames covers.
    pub(super) fn cover_packs(&self) -> Result<()> {
        let covered: HashSet<PackHandle> = self.index.covered_packs(None).into_iter().collect();
        let mut found = Vec::new();
        for (handle, _) in self.packs.all() {
            if !covered.contains(&handle) {
                let entries = self.pack_entries(handle)?;
                self.index.add_recent(handle, &entries);
                found.push((handle, entries));
            }
        }
        self.cover_deltas(found.iter().map(|(handle, entries)| (*handle, entries.as_slice())))
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
