//! The store of chunks and nodes: opening, looking up, reading, adopting what a writer made durable.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::Decoder;
use super::identity::Identity;
use super::index::{Changes, Index, IndexDamage, IndexLimits, Location, Lookup, Segment, Staged};
use super::pack_reader::{PackReader, check_frame_into, expected_header, plain_bytes_max, stored_bytes};
use super::pack_set::{Pack, PackHandle, PackSet};
use super::pack_writer::{PackTarget, SealedPack};
use crate::error::{Code, Error, Kind, Result};
use crate::format::frame::FrameHeader;
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind};
use crate::io::{FileKind, Io};
use crate::limits::NODE_BYTES_MAX;
use crate::random::Random;
use crate::units::{ContentId, Uid, u64_from, usize_from};

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
    /// How much of the index is in one piece.
    pub index_limits: IndexLimits,
    /// Nothing may be written, not even an index that is lost.
    pub read_only: bool,
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
    kind: PackKind,
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
    commit: Mutex<()>,
    fenced: AtomicBool,
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
        for entry in io.list_directory(packs.directory())? {
            if let Some((id, kind)) = parse_pack_name(&entry.name)
                && entry.kind == FileKind::Regular
            {
                packs.add(Pack { id, kind, bytes: entry.size });
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
            commit: Mutex::new(()),
            fenced: AtomicBool::new(false),
            anomalies: Mutex::default(),
        };
        for damage in damage {
            store.report_index(&damage);
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

    /// Whether the store holds this content, as far as the index knows.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn contains(&self, id: &ContentId) -> Result<bool> {
        self.looked_up(|| self.index.knows(id))
    }

    /// Whether the store holds each of these contents. Cheaper than one by one.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn contains_each(&self, ids: &[ContentId]) -> Result<Vec<bool>> {
        let found = self.looked_up(|| self.index.lookup_each(ids))?;
        Ok(found.iter().map(|locations| !locations.is_empty()).collect())
    }

    /// Where this content lies; empty when nobody knows.
    ///
    /// # Errors
    /// What reading the index gives.
    pub fn locate(&self, id: &ContentId) -> Result<Vec<Location>> {
        self.looked_up(|| self.index.lookup(id))
    }

    /// Looks up, going around damaged segments.
    fn looked_up<T>(&self, look_up: impl Fn() -> Result<Lookup<T>>) -> Result<T> {
        loop {
            match look_up()? {
                Lookup::Found(found) => return Ok(found),
                Lookup::Damaged(segment, damage) => {
                    let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
                    self.go_around(&segment, &damage, &HashSet::new())?;
                }
            }
        }
    }

    /// Reads one content, whole.
    ///
    /// # Errors
    /// `CHUNK_MISSING` or `NODE_MISSING`, `CHUNK_DAMAGED` or `NODE_DAMAGED`, and what reading gives.
    pub fn get(&self, kind: PackKind, id: &ContentId, batch: &mut Batch) -> Result<Vec<u8>> {
        let locations = self.locate(id)?;
        self.get_from(kind, id, &locations, batch)
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
        Ok(Located { tag, id, plain_bytes_max, kind: PackKind::Chunks, locations })
    }

    /// Looks up nodes for [`ChunkStore::read_batch`], tagged by their place in `ids`.
    ///
    /// # Errors
    /// `NODE_MISSING`, and what reading the index gives.
    pub fn locate_nodes(&self, ids: &[ContentId]) -> Result<Vec<Located>> {
        let (kind, plain_bytes_max) = (PackKind::Nodes, NODE_BYTES_MAX as u32);
        let found = self.looked_up(|| self.index.lookup_each(ids))?;
        let located = found.into_iter().zip(ids).enumerate().map(|(tag, (locations, id))| {
            if locations.is_empty() {
                Err(missing(kind, id))
            } else {
                Ok(Located { tag, id: *id, plain_bytes_max, kind, locations })
            }
        });
        located.collect()
    }

    /// Reads many chunks or nodes in the order in which they lie, neighbours with one call, and hands each to `take` as
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

    /// Takes over packs that a writer made durable: they are indexed, and from now on found by everyone.
    ///
    /// # Errors
    /// What writing the index gives. The packs are then still the writer's, and nobody else has heard of them.
    pub fn adopt(&self, sealed: &[SealedPack], staged: &[Staged]) -> Result<()> {
        self.commit_packs(sealed, staged, None).map(drop)
    }

    /// Takes over `added`, rewrites the index without the frames in the `retired` packs, and forgets those packs.
    /// Returns them: their files are the caller's to remove, now that nothing durable names them.
    ///
    /// # Errors
    /// What reading and writing the index give. All packs are then as before.
    pub fn replace_packs(&self, added: &[SealedPack], retired: &HashSet<PackHandle>) -> Result<Vec<Pack>> {
        self.commit_packs(added, &[], Some(retired))
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

    fn commit_packs(
        &self,
        added: &[SealedPack],
        staged: &[Staged],
        retired: Option<&HashSet<PackHandle>>,
    ) -> Result<Vec<Pack>> {
        let _one_at_a_time = self.commit.lock().unwrap_or_else(PoisonError::into_inner);
        self.guarded(|| {
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
            Ok(retired.into_iter().flatten().filter_map(|handle| self.packs.remove(*handle)).collect())
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
        Ok(())
    }

    /// Reads the trailers of all packs that neither a segment nor the table of recent frames covers. Few are kept in
    /// memory for the next commit; many, as when the index is lost, go into segments of their own as they come, so
    /// that memory stays bounded and the next open finds them.
    fn cover_packs(&self) -> Result<()> {
        let covered: HashSet<PackHandle> = self.index.covered_packs(None).into_iter().collect();
        let (mut waiting, mut entry_count, mut staged) = (Vec::new(), 0, Vec::new());
        for (handle, pack) in self.packs.all() {
            if covered.contains(&handle) {
                continue;
            }
            let entries = self.pack_entries(handle)?;
            if self.parameters.read_only {
                self.index.add_recent(handle, &entries);
                continue;
            }
            entry_count += u64_from(entries.len());
            waiting.push((handle, SealedPack { pack, entries }));
            if entry_count > 0 && entry_count >= self.index.limits().staged_entries {
                let sealed: Vec<SealedPack> =
                    std::mem::take(&mut waiting).into_iter().map(|(_, sealed)| sealed).collect();
                staged.push(self.index.stage(&self.packs, &sealed)?);
                entry_count = 0;
            }
        }
        for (handle, sealed) in &waiting {
            self.index.add_recent(*handle, &sealed.entries);
        }
        if staged.is_empty() {
            return Ok(());
        }
        let committed = self.commit_index(&Changes { staged: &staged, ..Changes::default() }, &HashSet::new());
        committed.inspect_err(|_| staged.iter().for_each(|staged| self.index.discard(staged)))
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
            let kind = located.kind;
            let checked = self.open_frame(kind, &located.id, &location, frame, batch, &mut plain)?;
            match checked {
                Ok(()) => {}
                // The frame is damaged. Another frame of the same content may be sound.
                Err(_) => plain = self.get_from(kind, &located.id, &located.locations, batch)?,
            }
            if plain.len() > located.plain_bytes_max as usize {
                let message = format!("{} {} is longer than its place", kind_name(kind), located.id);
                return Err(Error::new(damaged_code(kind), message).with("chunk", located.id.to_string()));
            }
            take(located.tag, &plain)?;
        }
        batch.plain = plain;
        batch.bytes = bytes;
        Ok(())
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
            Some(base) => {
                // Depth one: a base is looked for among full frames only, so this does not recurse further.
                let full = self.locate(&base)?;
                let full: Vec<Location> = full.into_iter().filter(|at| at.codec != Codec::ZstdDelta).collect();
                match self.get_from(kind, &base, &full, &mut Batch::default()) {
                    Ok(base) => Some(base),
                    Err(error) if error.kind() == Kind::FixData => return Ok(Err("its base cannot be read")),
                    Err(error) => return Err(error),
                }
            }
        };
        plain.resize(header.plain_bytes as usize, 0);
        Ok(check_frame_into(&header, stored, &self.parameters.identity, &mut batch.decoder, base.as_deref(), plain))
    }

    fn report_index(&self, damage: &IndexDamage) {
        self.report(Anomaly {
            file: format!("{INDEX}/{}", damage.file),
            code: Code::IndexDamaged,
            message: format!("{}; the packs' trailers are used instead", damage.defect),
        });
    }

    fn report(&self, anomaly: Anomaly) {
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

const _: () = assert!(u64_from(NODE_BYTES_MAX) < COALESCE_BYTES_MAX);
