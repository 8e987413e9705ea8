//! The store of chunks and nodes: opening, looking up, reading, adopting what a writer made durable.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::codec::Decoder;
use super::condemned::{Condemned, read_condemned};
use super::identity::Identity;
use super::index::{Index, IndexDamage, Location, Lookup, Segment};
use super::pack_reader::{PackReader, check_frame_into, expected_header, plain_bytes_max, stored_bytes};
use super::pack_set::{Pack, PackHandle, PackSet};
use super::pack_writer::{PackTarget, SealedPack};
use crate::error::{Code, Error, Kind, Result};
use crate::format::frame::FrameHeader;
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind};
use crate::io::{FileKind, Io};
use crate::random::Random;
use crate::units::{ContentId, Uid, u64_from, usize_from};

mod retiring;

use retiring::condemned_anomaly;

/// The directory of packs, below the region's.
const PACKS: &str = "packs";

/// The directory of the index, below the region's.
const INDEX: &str = "index";

/// Frames this close together in a pack are read with one call.
const COALESCE_GAP_BYTES: u64 = 32 << 10;

/// One coalesced read is at most this long: a leaf's worth of chunks.
const COALESCE_BYTES_MAX: u64 = 4 << 20;

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

/// An id to read, with its place.
#[derive(Clone, Debug)]
pub struct Located {
    /// What the caller calls it: an index into its own list.
    pub tag: usize,
    /// The content.
    pub id: ContentId,
    /// The plain length expected at most.
    pub plain_bytes_max: u32,
    locations: Vec<Location>,
}

/// Buffers and contexts of one reading thread.
#[derive(Default)]
pub struct Batch {
    decoder: Decoder,
    bytes: Vec<u8>,
    plain: Vec<u8>,
}

/// Chunks and nodes of a region.
pub struct ChunkStore {
    io: Arc<dyn Io>,
    random: Arc<dyn Random>,
    directory: PathBuf,
    parameters: Parameters,
    packs: PackSet,
    index: Index,
    condemned: RwLock<Arc<Condemned>>,
    commit: Mutex<()>,
    fenced: AtomicBool,
    is_follower: AtomicBool,
    anomalies: Mutex<Vec<Anomaly>>,
}

impl ChunkStore {
    /// The directories below a region's that this stage owns.
    pub const DIRECTORIES: [&'static str; 2] = [PACKS, INDEX];

    /// Opens the packs and the index below `directory`. Packs that no segment covers are read by their trailer.
    ///
    /// # Errors
    /// What reading gives. Damage is not an error here but an anomaly: the rest of the store stays readable.
    pub fn open(io: Arc<dyn Io>, random: Arc<dyn Random>, directory: PathBuf, parameters: Parameters) -> Result<Self> {
        let packs = PackSet::new(Arc::clone(&io), directory.join(PACKS));
        let condemned = read_condemned(io.as_ref(), &directory, parameters.store_id)?;
        let gone: HashSet<(Uid, PackKind)> =
            condemned.as_ref().ok().into_iter().flatten().flat_map(|found| found.packs.iter().copied()).collect();
        for entry in io.list_directory(packs.directory())? {
            if let Some((id, kind)) = parse_pack_name(&entry.name)
                && entry.kind == FileKind::Regular
                && !gone.contains(&(id, kind))
            {
                packs.add(Pack { id, kind, bytes: entry.size });
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
            fenced: AtomicBool::new(false),
            is_follower: AtomicBool::new(false),
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

    /// Runs something that writes; a failure of the device, or of any sync, fences the store, so that nothing is built
    /// on what may not have reached the disk. A full disk or a refused name alone does not: what was written then lies
    /// under a temporary name, and the caller removes it.
    ///
    /// # Errors
    /// `STORE_FENCED` after an earlier failure; else what `write` gives.
    pub fn guarded<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(Error::new(Code::StoreFenced, "a write to the store failed earlier; it takes no more writes"));
        }
        let result = write();
        if result.as_ref().is_err_and(|error| error.code() == Code::IoFailed || error.is_failed_sync()) {
            self.fenced.store(true, Ordering::Release);
        }
        result
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
                    let is_latest = self.packs.removed_count() == removed_before;
                    if !locations.is_empty() || (is_latest && !self.follow()?) {
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

    /// Reads one content, whole.
    ///
    /// # Errors
    /// `CHUNK_MISSING` or `NODE_MISSING`, `CHUNK_DAMAGED` or `NODE_DAMAGED`, and what reading gives.
    pub fn get(&self, kind: PackKind, id: &ContentId, batch: &mut Batch) -> Result<Vec<u8>> {
        self.get_following(kind, id, self.locate(id)?, batch)
    }

    /// Looks up a chunk for [`ChunkStore::read_batch`].
    ///
    /// # Errors
    /// `CHUNK_MISSING`, and what reading the index gives.
    pub fn locate_chunk(&self, tag: usize, id: ContentId, plain_bytes_max: u32) -> Result<Located> {
        let locations = self.locate(&id)?;
        if locations.is_empty() {
            return Err(missing(PackKind::Chunks, &id));
        }
        Ok(Located { tag, id, plain_bytes_max, locations })
    }

    /// Reads many chunks in the order in which they lie, neighbours with one call, and hands each to `take` as
    /// (tag, plain bytes).
    ///
    /// # Errors
    /// As [`ChunkStore::get`]; what `take` gives.
    pub fn read_batch(
        &self,
        mut wanted: Vec<Located>,
        batch: &mut Batch,
        mut take: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let first = |located: &Located| located.locations[0];
        wanted.sort_by_key(|located| (first(located).pack, first(located).offset));
        let mut rest = wanted.as_slice();
        while let Some(head) = rest.first() {
            let pack = first(head).pack;
            let start = u64::from(first(head).offset);
            let mut end = start;
            let mut count = 0;
            for located in rest {
                let location = first(located);
                let offset = u64::from(location.offset);
                let frame_end = offset + FrameHeader::frame_bytes(location.codec, location.stored_bytes);
                let near = offset <= end + COALESCE_GAP_BYTES && frame_end <= start + COALESCE_BYTES_MAX;
                if location.pack != pack || (count > 0 && !near) {
                    break;
                }
                end = end.max(frame_end);
                count += 1;
            }
            let (run, later) = rest.split_at(count);
            self.read_run(pack, start, end, run, batch, &mut take)?;
            rest = later;
        }
        Ok(())
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

    /// Whether the frame at this place can be read and is what the id says.
    ///
    /// # Errors
    /// What reading gives.
    pub fn proves(&self, location: &Location, id: &ContentId) -> Result<bool> {
        let Some(pack) = self.packs.get(location.pack) else { return Ok(false) };
        match self.get_from(pack.kind, id, &[*location], &mut Batch::default()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::FixData => Ok(false),
            Err(error) => Err(error),
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
                Ok(Some((reader.salvage(&self.parameters.identity)?, false)))
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
        Ok(())
    }

    /// Reads the trailers of all packs that neither a segment nor the table of recent frames covers.
    fn cover_packs(&self) -> Result<()> {
        let covered: HashSet<PackHandle> = self.index.covered_packs(None).into_iter().collect();
        for (handle, _) in self.packs.all() {
            if !covered.contains(&handle) {
                let entries = self.pack_entries(handle)?;
                self.index.add_recent(handle, &entries);
            }
        }
        Ok(())
    }

    fn read_run(
        &self,
        pack: PackHandle,
        start: u64,
        end: u64,
        run: &[Located],
        batch: &mut Batch,
        take: &mut impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = std::mem::take(&mut batch.bytes);
        bytes.resize(usize_from(end - start), 0);
        let length = match self.packs.file(pack)? {
            Some(file) => file.read_at(&mut bytes, start)?,
            None => 0,
        };
        let mut plain = std::mem::take(&mut batch.plain);
        for located in run {
            let location = located.locations[0];
            let at = usize_from(u64::from(location.offset) - start);
            let frame = bytes[..length].get(at..).unwrap_or_default();
            let kind = PackKind::Chunks;
            let checked = self.open_frame(kind, &located.id, &location, frame, batch, &mut plain)?;
            match checked {
                Ok(()) => {}
                // The frame is damaged. Another frame of the same content may be sound.
                // Or its pack is gone, and it lies in another one by now.
                Err(_) => plain = self.get_following(kind, &located.id, located.locations.clone(), batch)?,
            }
            if plain.len() > located.plain_bytes_max as usize {
                return Err(Error::new(Code::ChunkDamaged, format!("chunk {} is longer than its place", located.id))
                    .with("chunk", located.id.to_string()));
            }
            take(located.tag, &plain)?;
        }
        batch.plain = plain;
        batch.bytes = bytes;
        Ok(())
    }

    /// As [`ChunkStore::get_from`]; when a pack went meanwhile, its frames are looked for where they were moved to.
    fn get_following(
        &self,
        kind: PackKind,
        id: &ContentId,
        mut locations: Vec<Location>,
        batch: &mut Batch,
    ) -> Result<Vec<u8>> {
        loop {
            match self.get_from(kind, id, &locations, batch) {
                Err(error) if error.kind() == Kind::FixData => {
                    let gone = |location: &Location| self.packs.get(location.pack).is_none();
                    if !self.follow()? && !locations.iter().any(gone) {
                        return Err(error);
                    }
                    locations = self.locate(id)?; // without packs that are gone; each round needs another one to go
                }
                read => return read,
            }
        }
    }

    fn get_from(&self, kind: PackKind, id: &ContentId, locations: &[Location], batch: &mut Batch) -> Result<Vec<u8>> {
        let mut failure = None;
        let mut plain = Vec::new();
        for location in locations {
            let (Some(pack), Some(file)) = (self.packs.get(location.pack), self.packs.file(location.pack)?) else {
                continue;
            };
            let mut frame = vec![0; usize_from(FrameHeader::frame_bytes(location.codec, location.stored_bytes))];
            let length = file.read_at(&mut frame, u64::from(location.offset))?;
            match self.open_frame(kind, id, location, &frame[..length], batch, &mut plain)? {
                Ok(()) => return Ok(plain),
                Err(what) => failure = Some((pack, *location, what)),
            }
        }
        let Some((pack, location, what)) = failure else { return Err(missing(kind, id)) };
        let file = format!("{PACKS}/{}", pack.file_name());
        Err(Error::new(damaged_code(kind), format!("{} {id} in {file} is damaged: {what}", kind_name(kind)))
            .with("id", id.to_string())
            .with("file", file)
            .with("offset", u64::from(location.offset)))
    }

    /// Proves a frame that stands at the front of `frame`, into `plain`. Outside: reading a delta's base failed.
    fn open_frame(
        &self,
        kind: PackKind,
        id: &ContentId,
        location: &Location,
        frame: &[u8],
        batch: &mut Batch,
        plain: &mut Vec<u8>,
    ) -> Result<std::result::Result<(), &'static str>> {
        let header = match FrameHeader::decode(frame) {
            Ok(header) => header,
            Err(_) => return Ok(Err("its frame header is damaged")),
        };
        if header.id != *id
            || header.kind != kind
            || header.codec != location.codec
            || header.stored_bytes != location.stored_bytes
            || header.base != location.base
        {
            return Ok(Err("another frame stands in its place"));
        }
        if header.plain_bytes > plain_bytes_max(kind, self.parameters.chunk_bytes) {
            return Ok(Err("it is longer than the store's chunks"));
        }
        let Some(stored) = stored_bytes(frame, &header) else { return Ok(Err("its frame is cut off")) };
        let base = match header.base {
            None => None,
            Some(base) => match self.get_base(&base) {
                Ok(base) => Some(base),
                Err(error) if error.kind() == Kind::FixData => return Ok(Err("its base cannot be read")),
                Err(error) => return Err(error),
            },
        };
        plain.resize(header.plain_bytes as usize, 0);
        Ok(check_frame_into(&header, stored, &self.parameters.identity, &mut batch.decoder, base.as_deref(), plain))
    }

    /// Depth one: a base is looked for among full frames only.
    fn get_base(&self, base: &ContentId) -> Result<Vec<u8>> {
        loop {
            let removed_before = self.packs.removed_count();
            let mut full = self.locate(base)?;
            full.retain(|at| at.codec != Codec::ZstdDelta);
            match self.get_from(PackKind::Chunks, base, &full, &mut Batch::default()) {
                Err(error) if error.kind() == Kind::FixData => {
                    if !self.follow()? && self.packs.removed_count() == removed_before {
                        return Err(error);
                    }
                }
                read => return read,
            }
        }
    }

    fn report_index(&self, damage: &IndexDamage) {
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

const fn kind_name(kind: PackKind) -> &'static str {
    match kind {
        PackKind::Chunks => "chunk",
        PackKind::Nodes => "block map node",
    }
}

fn missing(kind: PackKind, id: &ContentId) -> Error {
    Error::new(missing_code(kind), format!("no pack of the store holds {} {id}", kind_name(kind)))
        .with("id", id.to_string())
}

fn parse_pack_name(name: &str) -> Option<(Uid, PackKind)> {
    let (id, extension) = name.split_once('.')?;
    let kind = PackKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    Some((Uid::parse(id)?, kind))
}

const _: () = assert!(u64_from(crate::limits::NODE_BYTES_MAX) < COALESCE_BYTES_MAX);
