//! The chunk index: from an id to the frames that hold it.
//!
//! What it is: immutable segments listed in `index/list`, and a table in memory of the frames in packs that no
//! segment covers yet (`recent`). It is a cache: whatever is wrong with it is answered by reading packs' trailers.
//! What it guarantees: it never names a pack that does not exist. It may miss a content that is there; it may not
//! prove that a frame is sound (its reader does).
//! The list is replaced only after the segments it names are durable, names included.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

mod segment;
mod segment_writer;

pub use segment::{Segment, SegmentStream};
pub use segment_writer::SegmentWriter;

use super::pack_set::{PackHandle, PackSet};
use crate::error::{Code, Error, Result};
use crate::format::index_list::{self, IndexList, ListedSegment};
use crate::format::pack::PackEntry;
use crate::format::{Codec, Defect};
use crate::io::{Io, OpenMode, read_whole};
use crate::units::{ContentId, Uid};

/// A segment is merged with the newer ones once they hold a quarter of what it does: the number of segments grows
/// with the logarithm of the entries, and each entry is rewritten about as often.
const MERGE_RATIO: u64 = 4;

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
    recent: HashMap<ContentId, Vec<Location>>,
    recent_packs: Vec<PackHandle>,
}

impl State {
    fn add_recent(&mut self, pack: PackHandle, entries: &[PackEntry]) {
        for entry in entries {
            self.recent.entry(entry.id).or_default().push(Location::of(pack, entry));
        }
        self.recent_packs.push(pack);
    }

    fn recent_entries(&self) -> Vec<(ContentId, Location)> {
        let recent = self.recent.iter();
        recent.flat_map(|(id, locations)| locations.iter().map(|location| (*id, *location))).collect()
    }

    /// Sequence of the next list and number of the next segment: new ones for every attempt, because a failed one may
    /// have left a file behind.
    fn draw_numbers(&mut self) -> (u64, u64) {
        self.sequence += 1;
        self.segment_number_next += 1;
        (self.sequence, self.segment_number_next - 1)
    }
}

/// The index of a region.
pub struct Index {
    io: Arc<dyn Io>,
    directory: PathBuf,
    store_id: Uid,
    state: RwLock<State>,
}

/// What a merge gives, or the damaged segment that it met.
pub type Merged<T> = std::result::Result<T, (Arc<Segment>, IndexDamage)>;

/// What a look-up ran into.
pub enum Lookup {
    /// The frames that hold the id; none when the index does not know it.
    Found(Vec<Location>),
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
        let state = State {
            sequence: list.sequence,
            segment_number_next,
            segments,
            recent: HashMap::new(),
            recent_packs: Vec::new(),
        };
        Ok((Self { io, directory, store_id, state: RwLock::new(state) }, damage))
    }

    /// Packs that a segment (other than `without`) or the table of recent frames covers.
    #[must_use]
    pub fn covered_packs(&self, without: Option<&Arc<Segment>>) -> Vec<PackHandle> {
        let state = self.read();
        let segments = state.segments.iter().filter(|segment| without.is_none_or(|out| !Arc::ptr_eq(segment, out)));
        segments.flat_map(|segment| segment.packs()).chain(state.recent_packs.iter().copied()).collect()
    }

    /// Whether a segment, or the table of recent frames, covers a pack that is gone.
    #[must_use]
    pub fn names_gone_packs(&self, packs: &PackSet) -> bool {
        let state = self.read();
        let gone = |pack: &PackHandle| packs.get(*pack).is_none();
        state.segments.iter().any(|segment| segment.names_gone_packs(packs)) || state.recent_packs.iter().any(gone)
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
        segments + state.recent.values().map(Vec::len).sum::<usize>() as u64
    }

    /// Adds the frames of a pack that no segment covers.
    pub fn add_recent(&self, pack: PackHandle, entries: &[PackEntry]) {
        self.write().add_recent(pack, entries);
    }

    /// Looks an id up.
    ///
    /// # Errors
    /// What reading gives.
    pub fn lookup(&self, id: &ContentId) -> Result<Lookup> {
        let state = self.read();
        let mut found = state.recent.get(id).cloned().unwrap_or_default();
        for segment in state.segments.iter().rev() {
            if let Err(defect) = segment.lookup(id, &mut found)? {
                let file = segment_name(segment.listed().number);
                return Ok(Lookup::Damaged(Arc::clone(segment), IndexDamage { file, defect }));
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
            state.add_recent(*pack, entries);
        }
    }

    /// Brings everything recent and the frames of the `added` packs into a new segment, merged with what is small
    /// beside it, and makes it durable. With `retired`, rewrites all segments into one without the frames in these
    /// packs. One call at a time; the `added` packs are known to look-ups when it has succeeded, not before.
    ///
    /// # Errors
    /// What reading and writing give; a damaged segment is an error here, inside. The index is then as before.
    pub fn commit(
        &self,
        packs: &PackSet,
        added: &[(PackHandle, &[PackEntry])],
        retired: Option<&HashSet<PackHandle>>,
    ) -> Result<Merged<()>> {
        let (segments, mut recent, mut recent_packs) = {
            let state = self.read();
            (state.segments.clone(), state.recent_entries(), state.recent_packs.clone())
        };
        for (pack, entries) in added {
            recent.extend(entries.iter().map(|entry| (entry.id, Location::of(*pack, entry))));
            recent_packs.push(*pack);
        }
        let merged_from = match retired {
            Some(_) => 0,
            None => first_merged(&segments, recent.len() as u64),
        };
        let (kept, merged) = segments.split_at(merged_from);
        if merged.is_empty() && recent_packs.is_empty() {
            return Ok(Ok(()));
        }
        let (sequence, number) = self.write().draw_numbers();
        let written = match self.write_segment(number, merged, recent, &recent_packs, packs, retired)? {
            Ok(written) => written,
            Err(damage) => return Ok(Err(damage)),
        };
        let list = IndexList {
            store_id: self.store_id,
            sequence,
            segments: kept.iter().map(|segment| segment.listed()).chain(written).collect(),
        };
        if let Err(error) = self.replace_list(&list) {
            if let Some(listed) = written {
                let _ = self.io.remove_file(&self.directory.join(segment_name(listed.number))); // nobody lists it
            }
            return Err(error);
        }
        self.io.sync_directory(&self.directory)?;
        let segment = match written {
            Some(listed) => Some(self.reopen(listed, packs)?),
            None => None,
        };
        let mut state = self.write();
        state.segments = kept.iter().cloned().chain(segment).collect();
        state.recent.clear();
        state.recent_packs.clear();
        drop(state);
        for retired in merged {
            let _ = self.io.remove_file(&self.directory.join(segment_name(retired.listed().number)));
        }
        Ok(Ok(()))
    }

    /// The frames that segments and the table of recent frames place in a pack. Their plain length is not known here,
    /// and 0. What a damaged segment says is left out.
    ///
    /// # Errors
    /// What reading gives.
    pub fn entries_in(&self, pack: PackHandle) -> Result<Vec<PackEntry>> {
        let (segments, recent) = {
            let state = self.read();
            (state.segments.clone(), state.recent_entries())
        };
        let mut found: Vec<(ContentId, Location)> = recent.into_iter().filter(|(_, at)| at.pack == pack).collect();
        for segment in segments {
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
        state.recent.clear();
        state.recent_packs.clear();
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
        segment_name(segment.listed().number)
    }

    fn reopen(&self, listed: ListedSegment, packs: &PackSet) -> Result<Arc<Segment>> {
        let path = self.directory.join(segment_name(listed.number));
        Segment::open(self.io.as_ref(), &path, listed, self.store_id, packs)?.map(Arc::new).map_err(|defect| {
            let message = format!("{} does not read back as it was written: {defect}", path.display());
            Error::new(Code::IoFailed, message).with("path", path.as_path())
        })
    }

    /// Writes one segment of `merged` and `recent`, durable under its final name; none when there is nothing to cover.
    fn write_segment(
        &self,
        number: u64,
        merged: &[Arc<Segment>],
        recent: Vec<(ContentId, Location)>,
        recent_packs: &[PackHandle],
        packs: &PackSet,
        retired: Option<&HashSet<PackHandle>>,
    ) -> Result<Merged<Option<ListedSegment>>> {
        let mut covered: Vec<PackHandle> = merged.iter().flat_map(|segment| segment.packs()).collect();
        covered.extend_from_slice(recent_packs);
        covered.retain(|pack| packs.get(*pack).is_some() && retired.is_none_or(|retired| !retired.contains(pack)));
        covered.sort_unstable();
        covered.dedup();
        if covered.is_empty() {
            return Ok(Ok(None));
        }
        let temporary = self.directory.join(format!("{}.tmp", segment_name(number)));
        let written = self.merge(&temporary, number, merged, recent, &covered, packs);
        if !matches!(written, Ok(Ok(_))) {
            let _ = self.io.remove_file(&temporary); // the next open would
            return written.map(|inner| inner.map(Some));
        }
        // Its name is made durable before the list may say it: no power cut leaves a list that names a missing file.
        let named = self
            .io
            .rename_new(&temporary, &self.directory.join(segment_name(number)))
            .and_then(|()| self.io.sync_directory(&self.directory));
        if let Err(error) = named {
            let _ = self.io.remove_file(&temporary);
            return Err(error);
        }
        written.map(|inner| inner.map(Some))
    }

    fn merge(
        &self,
        path: &Path,
        number: u64,
        merged: &[Arc<Segment>],
        mut recent: Vec<(ContentId, Location)>,
        covered: &[PackHandle],
        packs: &PackSet,
    ) -> Result<Merged<ListedSegment>> {
        let entries: u64 = merged.iter().map(|segment| segment.listed().entry_count).sum();
        let entry_count_max = entries + recent.len() as u64;
        recent.sort_unstable_by_key(|(id, location)| (*id, location.pack, location.offset));
        let mut writer = SegmentWriter::create(self.io.as_ref(), path, packs, covered, entry_count_max)?;
        let mut sources: Vec<Source<'_>> =
            merged.iter().map(|segment| Source::Segment(segment, segment.stream())).collect();
        sources.push(Source::Recent(recent.into_iter()));
        let mut heads = Vec::with_capacity(sources.len());
        for source in &mut sources {
            match source.next()? {
                Ok(head) => heads.push(head),
                Err(damage) => return Ok(Err(damage)),
            }
        }
        // Few sources (logarithmically many segments), so the smallest head is found by looking at all.
        while let Some((index, (id, location))) = smallest(&heads) {
            writer.push(id, &location)?; // leaves out what lies in a pack that is not covered
            match sources[index].next()? {
                Ok(head) => heads[index] = head,
                Err(damage) => return Ok(Err(damage)),
            }
        }
        Ok(Ok(writer.finish(self.store_id, number)?))
    }

    /// Puts the list in place. Its name is durable with the next sync of the directory.
    fn replace_list(&self, list: &IndexList) -> Result<()> {
        let temporary = self.directory.join("list.tmp");
        let placed = self
            .write_list(&temporary, list)
            .and_then(|()| self.io.rename_replace(&temporary, &self.directory.join(LIST)));
        if placed.is_err() {
            let _ = self.io.remove_file(&temporary); // the next attempt would, or the next open
        }
        placed
    }

    fn write_list(&self, temporary: &Path, list: &IndexList) -> Result<()> {
        let file = match self.io.open(temporary, OpenMode::CreateNew) {
            Err(error) if error.is_already_exists() => {
                self.io.remove_file(temporary)?; // left by an earlier failure of this process
                self.io.open(temporary, OpenMode::CreateNew)?
            }
            opened => opened?,
        };
        file.write_at(&list.encode(), 0)?;
        file.sync()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list's name in `index/`.
pub const LIST: &str = "list";

enum Source<'a> {
    Segment(&'a Arc<Segment>, SegmentStream<'a>),
    Recent(std::vec::IntoIter<(ContentId, Location)>),
}

type Head = Option<(ContentId, Location)>;

impl Source<'_> {
    fn next(&mut self) -> Result<Merged<Head>> {
        match self {
            Self::Recent(entries) => Ok(Ok(entries.next())),
            Self::Segment(segment, stream) => Ok(stream.next()?.map_err(|defect| {
                let file = segment_name(segment.listed().number);
                (Arc::clone(segment), IndexDamage { file, defect })
            })),
        }
    }
}

fn smallest(heads: &[Head]) -> Option<(usize, (ContentId, Location))> {
    let present = heads.iter().enumerate().filter_map(|(index, head)| head.map(|head| (index, head)));
    present.min_by_key(|(_, (id, location))| (*id, location.pack, location.offset))
}

/// The first segment that is merged when `added` entries come in.
fn first_merged(segments: &[Arc<Segment>], added: u64) -> usize {
    let mut newer = added;
    let mut first = segments.len();
    while first > 0 {
        let older = segments[first - 1].listed().entry_count;
        if newer.saturating_mul(MERGE_RATIO) < older {
            break;
        }
        newer += older;
        first -= 1;
    }
    first
}

/// The list, and what it names: sound segments, and what is wrong with the others.
type Contents = (IndexList, Vec<Segment>, Vec<IndexDamage>);

/// Reads the index. Another process may replace the list and remove what the old one named, so damage counts only when
/// the list that leads to it is still in place.
fn read_segments(io: &dyn Io, directory: &Path, store_id: Uid, packs: &PackSet) -> Result<Contents> {
    loop {
        let found = read_list(io, directory)?;
        let contents = segments_of(found.clone(), io, directory, store_id, packs)?;
        if contents.2.is_empty() || read_list(io, directory)? == found {
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
        let name = segment_name(listed.number);
        match Segment::open(io, &directory.join(&name), *listed, store_id, packs)? {
            Ok(segment) => segments.push(segment),
            Err(defect) => damage.push(IndexDamage { file: name, defect }),
        }
    }
    Ok((list, segments, damage))
}

/// What stands in the list's place: a list, nothing, or something damaged.
type FoundList = std::result::Result<Option<IndexList>, Defect>;

fn read_list(io: &dyn Io, directory: &Path) -> Result<FoundList> {
    match read_whole(io, &directory.join(LIST), index_list::BYTES_MAX) {
        Ok(Some(bytes)) => Ok(IndexList::decode(&bytes).map(Some)),
        Ok(None) => Ok(Err(Defect::Wrong("it is too long"))),
        Err(error) if error.is_not_found() => Ok(Ok(None)),
        Err(error) => Err(error),
    }
}

fn segment_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let number = (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())??;
    (number < index_list::NUMBER_LIMIT).then_some(number) // another name is no segment's
}
