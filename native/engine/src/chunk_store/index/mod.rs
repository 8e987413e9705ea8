//! The chunk index: from an id to the frames that hold it.
//!
//! What it is: immutable segments listed in `index/list`, and entries in memory of the frames in packs that no segment
//! covers yet (`recent`). It is a cache: whatever is wrong with it is answered by reading packs' trailers.
//! What it guarantees: it never names a pack that does not exist. It may miss a content that is there; it may not
//! prove that a frame is sound (its reader does).
//! The list is replaced only after the segments it names are durable, names included.
//! What it costs: 1.6 bytes of memory an entry (26 MiB for 1 TiB in chunks of 64 KiB) beside the packs' table. A look-up
//! asks each segment's filter, and reads a page where one says that the id may be there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

mod commit;
mod list;
mod merge;
mod plan;
mod run;
mod segment;
mod segment_writer;
mod staged;

pub use commit::Changes;
pub use segment::{Segment, SegmentStream};
pub use staged::Staged;

use super::pack_set::{PackHandle, PackSet};
use crate::error::Result;
use crate::format::index_list::IndexList;
use crate::format::pack::PackEntry;
use crate::format::{Codec, Defect};
use crate::io::Io;
use crate::limits::{INDEX_SEGMENT_ENTRIES_MAX, INDEX_STAGED_ENTRIES, PACK_BYTES_TARGET};
use crate::units::{ContentId, Uid};
use list::{FoundList, LIST, file_name, segment_number};
use run::Recent;
use segment::PageBuffer;

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: PackHandle,
    /// Where the frame begins in it.
    pub offset: u32,
    /// Bytes behind the frame's header.
    pub stored_bytes: u32,
    /// How they are stored.
    pub codec: Codec,
    /// With a delta: its base.
    pub base: Option<ContentId>,
}

impl Location {
    /// Where an entry of a trailer lies.
    #[must_use]
    pub fn of(pack: PackHandle, entry: &PackEntry) -> Self {
        Self { pack, offset: entry.offset, stored_bytes: entry.stored_bytes, codec: entry.codec, base: entry.base }
    }
}

/// How much of the index is in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexLimits {
    /// Entries that wait in memory before a segment is staged of them.
    pub staged_entries: u64,
    /// Segments are not merged beyond this many entries.
    pub segment_entries: u64,
}

impl IndexLimits {
    /// What fits packs of this length: the usual limits for packs of the usual one, so that tests that make packs small
    /// have many segments too.
    #[must_use]
    pub const fn for_packs_of(pack_bytes_target: u64) -> Self {
        const STAGED_SHARE: u64 = PACK_BYTES_TARGET / INDEX_STAGED_ENTRIES;
        const SEGMENT_SHARE: u64 = PACK_BYTES_TARGET / INDEX_SEGMENT_ENTRIES_MAX;
        Self { staged_entries: pack_bytes_target / STAGED_SHARE, segment_entries: pack_bytes_target / SEGMENT_SHARE }
    }
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self::for_packs_of(PACK_BYTES_TARGET)
    }
}

/// Something wrong with a file of the index.
#[derive(Clone, Debug)]
pub struct IndexDamage {
    /// The file's name in `index/`.
    pub file: String,
    /// What.
    pub defect: Defect,
}

struct State {
    sequence: u64,
    segment_number_next: u64,
    segments: Vec<Arc<Segment>>, // oldest first
    recent: Recent,
}

/// The index of a region.
pub struct Index {
    io: Arc<dyn Io>,
    directory: PathBuf,
    store_id: Uid,
    limits: IndexLimits,
    state: RwLock<State>,
}

/// What a merge gives, or the damaged segment that it met.
pub type Merged<T> = std::result::Result<T, (Arc<Segment>, IndexDamage)>;

/// What a look-up ran into.
pub enum Lookup<T> {
    /// What was looked for.
    Found(T),
    /// A damaged segment; [`Index::replace_segment`] it by its packs' frames, and look again.
    Damaged(Arc<Segment>, IndexDamage),
}

impl Index {
    /// Opens the index. Segments that are damaged are left out and reported; their packs are then not covered.
    ///
    /// # Errors
    /// What reading gives.
    pub fn open(
        io: Arc<dyn Io>,
        directory: PathBuf,
        store_id: Uid,
        limits: IndexLimits,
        packs: &PackSet,
    ) -> Result<(Self, Vec<IndexDamage>)> {
        let (list, segments, damage) = read_segments(io.as_ref(), &directory, store_id, packs)?;
        let segments = segments.into_iter().map(Arc::new).collect();
        let present = match io.list_directory(&directory) {
            Err(error) if error.is_not_found() => Vec::new(), // a lost cache; whoever writes has made the directory anew
            listed => listed?,
        };
        let on_disk = present.iter().filter_map(|entry| segment_number(&entry.name));
        let segment_number_next =
            on_disk.chain(list.segments.iter().map(|listed| listed.number)).max().map_or(0, |number| number + 1);
        let state = State { sequence: list.sequence, segment_number_next, segments, recent: Recent::default() };
        Ok((Self { io, directory, store_id, limits, state: RwLock::new(state) }, damage))
    }

    /// How much of it is in one piece.
    #[must_use]
    pub const fn limits(&self) -> IndexLimits {
        self.limits
    }

    /// Packs that a segment (other than `without`) or the table of recent frames covers.
    #[must_use]
    pub fn covered_packs(&self, without: Option<&Arc<Segment>>) -> Vec<PackHandle> {
        let state = self.read();
        let segments = state.segments.iter().filter(|segment| without.is_none_or(|out| !Arc::ptr_eq(segment, out)));
        segments.flat_map(|segment| segment.packs()).chain(state.recent.packs()).collect()
    }

    /// Whether a segment, or the table of recent frames, covers a pack that is gone.
    #[must_use]
    pub fn names_gone_packs(&self, packs: &PackSet) -> bool {
        let state = self.read();
        let gone = |pack: PackHandle| packs.get(pack).is_none();
        state.segments.iter().any(|segment| segment.names_gone_packs(packs)) || state.recent.packs().any(gone)
    }

    /// Bytes of all segments in force.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.read().segments.iter().map(|segment| segment.listed().file_bytes).sum()
    }

    /// Entries of all segments and of the table of recent frames.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        let state = self.read();
        let segments: u64 = state.segments.iter().map(|segment| segment.listed().entry_count).sum();
        segments + state.recent.entry_count()
    }

    /// Adds the frames of a pack that no segment covers.
    pub fn add_recent(&self, pack: PackHandle, entries: &[PackEntry]) {
        self.write().recent.add(pack, entries);
    }

    /// Looks an id up: the frames that hold it; none when the index does not know it.
    ///
    /// # Errors
    /// What reading gives.
    pub fn lookup(&self, id: &ContentId) -> Result<Lookup<Vec<Location>>> {
        let mut found = Vec::new();
        let state = self.read();
        state.recent.lookup(id, &mut |location| found.push(location));
        let mut buffer = PageBuffer::default();
        for segment in state.segments.iter().rev() {
            buffer.clear();
            if let Err(defect) = segment.lookup(id, &mut buffer, &mut |location| found.push(location))? {
                return Ok(damaged(segment, defect));
            }
        }
        Ok(Lookup::Found(found))
    }

    /// Looks many ids up. Segment by segment and in the order of the ids, so that a filter's and the fences' lines, and
    /// pages that several ids share, are fetched once.
    ///
    /// # Errors
    /// What reading gives.
    pub fn lookup_each(&self, ids: &[ContentId]) -> Result<Lookup<Vec<Vec<Location>>>> {
        let mut order: Vec<u32> = (0..ids.len() as u32).collect();
        order.sort_unstable_by_key(|index| ids[*index as usize].prefix());
        let mut found = vec![Vec::new(); ids.len()];
        let state = self.read();
        for index in 0..ids.len() {
            state.recent.lookup(&ids[index], &mut |location| found[index].push(location));
        }
        let mut buffer = PageBuffer::default();
        for segment in state.segments.iter().rev() {
            buffer.clear();
            for index in order.iter().map(|index| *index as usize) {
                let found = &mut found[index];
                if let Err(defect) = segment.lookup(&ids[index], &mut buffer, &mut |location| found.push(location))? {
                    return Ok(damaged(segment, defect));
                }
            }
        }
        Ok(Lookup::Found(found))
    }

    /// Whether a segment is in force.
    #[must_use]
    pub fn holds(&self, segment: &Arc<Segment>) -> bool {
        self.read().segments.iter().any(|present| Arc::ptr_eq(present, segment))
    }

    /// Takes a damaged segment out of force in memory. What it covered comes in at the same moment, so that no look-up
    /// in between misses a content that is there.
    pub fn replace_segment(&self, damaged: &Arc<Segment>, packs: &[(PackHandle, Vec<PackEntry>)]) {
        let mut state = self.write();
        state.segments.retain(|segment| !Arc::ptr_eq(segment, damaged));
        for (pack, entries) in packs {
            state.recent.add(*pack, entries);
        }
    }

    /// The frames that segments and the table of recent frames place in a pack. Their plain length is not known here,
    /// and 0. What a damaged segment says is left out.
    ///
    /// # Errors
    /// What reading gives.
    pub fn entries_in(&self, pack: PackHandle) -> Result<Vec<PackEntry>> {
        let (segments, recent) = {
            let state = self.read();
            (state.segments.clone(), state.recent.clone())
        };
        let mut found = recent.entries_in(pack);
        for segment in segments.iter().filter(|segment| segment.packs().any(|covered| covered == pack)) {
            let mut stream = segment.stream();
            while let Ok(Some((id, location))) = stream.next()? {
                if location.pack == pack {
                    found.push((id, location));
                }
            }
        }
        let entry = |(id, location): (ContentId, Location)| PackEntry {
            id,
            offset: location.offset,
            stored_bytes: location.stored_bytes,
            plain_bytes: 0,
            codec: location.codec,
            base: location.base,
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// Removes segment files that are not in force: unfinished or retired.
    ///
    /// # Errors
    /// What listing and removing give.
    pub fn remove_retired(&self) -> Result<()> {
        let in_force: HashSet<u64> = self.read().segments.iter().map(|segment| segment.listed().number).collect();
        for entry in self.io.list_directory(&self.directory)? {
            if segment_number(&entry.name).is_some_and(|number| !in_force.contains(&number)) {
                self.io.remove_file(&self.directory.join(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Opens everything that the list names anew, for a check of what is on the disk now: segments, and what is wrong.
    ///
    /// # Errors
    /// What reading gives.
    pub fn reread(&self, packs: &PackSet) -> Result<(Vec<Segment>, Vec<IndexDamage>)> {
        let (_, segments, damage) = read_segments(self.io.as_ref(), &self.directory, self.store_id, packs)?;
        Ok((segments, damage))
    }

    /// Puts what the list names now in the place of everything known, and returns what is wrong with it. What no segment
    /// covers is the caller's to bring in again.
    ///
    /// # Errors
    /// What reading gives.
    pub fn reload(&self, packs: &PackSet) -> Result<Vec<IndexDamage>> {
        let (list, segments, damage) = read_segments(self.io.as_ref(), &self.directory, self.store_id, packs)?;
        let mut state = self.write();
        state.sequence = list.sequence;
        state.segments = segments.into_iter().map(Arc::new).collect();
        state.recent = Recent::default();
        Ok(damage)
    }

    /// All segments in force, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.read().segments.clone()
    }

    /// The file name of a segment.
    #[must_use]
    pub fn file_name(segment: &Segment) -> String {
        file_name(segment.listed().number)
    }

    /// Number of the next segment: a new one for every attempt, because a failed one may have left a file behind.
    fn draw_segment_number(&self) -> u64 {
        let mut state = self.write();
        state.segment_number_next += 1;
        state.segment_number_next - 1
    }

    /// Sequence of the next list, new for every attempt too.
    fn draw_list_sequence(&self) -> u64 {
        let mut state = self.write();
        state.sequence += 1;
        state.sequence
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(file_name(number))
    }

    fn temporary_path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}.tmp", file_name(number)))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn damaged<T>(segment: &Arc<Segment>, defect: Defect) -> Lookup<T> {
    let file = file_name(segment.listed().number);
    Lookup::Damaged(Arc::clone(segment), IndexDamage { file, defect })
}

/// The list, and what it names: sound segments, and what is wrong with the others.
type Contents = (IndexList, Vec<Segment>, Vec<IndexDamage>);

/// Reads the index. Another process may replace the list and remove what the old one named, so damage counts only when
/// the list that leads to it is still in place.
fn read_segments(io: &dyn Io, directory: &Path, store_id: Uid, packs: &PackSet) -> Result<Contents> {
    loop {
        let found = list::read(io, directory)?;
        let contents = segments_of(found.clone(), io, directory, store_id, packs)?;
        if contents.2.is_empty() || list::read(io, directory)? == found {
            return Ok(contents);
        }
    }
}

fn segments_of(found: FoundList, io: &dyn Io, directory: &Path, store_id: Uid, packs: &PackSet) -> Result<Contents> {
    let (mut segments, mut damage) = (Vec::new(), Vec::new());
    let none = IndexList { store_id, sequence: 0, segments: Vec::new() };
    let list = match found {
        Ok(Some(list)) if list.store_id == store_id => Ok(list),
        Ok(Some(_)) => Err(Defect::Wrong("the list belongs to another store")),
        Ok(None) => Ok(none.clone()),
        Err(defect) => Err(defect),
    };
    let list = list.unwrap_or_else(|defect| {
        damage.push(IndexDamage { file: LIST.into(), defect });
        none
    });
    for listed in &list.segments {
        let name = file_name(listed.number);
        match Segment::open(io, &directory.join(&name), *listed, store_id, packs)? {
            Ok(segment) => segments.push(segment),
            Err(defect) => damage.push(IndexDamage { file: name, defect }),
        }
    }
    Ok((list, segments, damage))
}
