//! The collector: what no point reaches goes, and packs that are mostly garbage are rewritten.
//!
//! What it is: mark (all nodes and chunks that the manifests reach), then sweep by packs. The caller holds the
//! store's write lock for all of it.
//! What it guarantees: a root, manifest or node that cannot be read stops it before anything is removed. Order of
//! the sweep: rewritten packs durable, index without the removed entries durable, then the old files go; so a crash
//! anywhere leaves every live chunk findable.
//! What it must not import: `scan`, `restore`, the engine's top.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::block_map::{MapReader, Reached};
use crate::chunk_store::index::Location;
use crate::chunk_store::pack_reader::stored_bytes;
use crate::chunk_store::pack_set::{Pack, PackHandle};
use crate::chunk_store::pack_writer::{PackWriter, SealedPack};
use crate::chunk_store::{ChunkStore, damaged_code};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::format::frame::FrameHeader;
use crate::format::manifest::Manifest;
use crate::format::pack::PackEntry;
use crate::format::{Codec, PackKind, checksum};
use crate::units::{ContentId, usize_from};

mod full_disk;

/// A pack is rewritten when at least this part of it is garbage: rewriting costs what is live, and frees what is not.
const REWRITE_GARBAGE_SHARE: u64 = 4; // one in four

/// What collecting did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Packs without any live frame, removed.
    pub packs_removed: u64,
    /// Packs whose live frames were moved to new ones.
    pub packs_rewritten: u64,
    /// Frames removed.
    pub chunks_removed: u64,
    /// Bytes of packs and index before, less those after.
    pub bytes_freed: u64,
    /// Bytes of frames moved.
    pub bytes_rewritten: u64,
}

/// What is live.
struct Marked {
    reached: Reached,
    bases: HashSet<ContentId>, // chunks that must stay as full frames
}

struct Plan {
    remove: Vec<(PackHandle, Pack)>,
    rewrite: Vec<(PackHandle, Pack, Vec<PackEntry>)>, // with their live frames
    frames_removed: u64,
    frames_dead: u64, // those of them in the packs to remove
    bytes_moved: u64,
}

/// Where the live contents are kept. Of several frames of one content the first is, and each further one until one
/// of them could be read: a damaged frame must never be the reason to drop a sound one.
///
/// What live deltas stand on is kept as a full frame whatever deltas of it there are, so those are not chosen between.
struct Kept<'a> {
    store: &'a ChunkStore,
    bases: &'a HashSet<ContentId>,
    places: HashMap<ContentId, (Location, bool)>, // whether it is known that it can be read
}

impl Kept<'_> {
    /// Whether the frame at this place is to be kept.
    fn keep(&mut self, location: Location, id: &ContentId) -> Result<bool> {
        if location.codec == Codec::ZstdDelta && self.bases.contains(id) {
            return Ok(true);
        }
        match self.places.entry(*id) {
            Entry::Vacant(vacant) => {
                vacant.insert((location, false));
                Ok(true)
            }
            Entry::Occupied(mut occupied) => {
                let (before, readable) = occupied.get_mut();
                *readable = *readable || self.store.proves(before, id)?;
                if *readable {
                    return Ok(false);
                }
                *before = location;
                Ok(true)
            }
        }
    }
}

/// Collects a region against these manifests, which must be all of its points.
pub struct Collector<'a> {
    /// Block maps, and the store behind them.
    pub maps: &'a MapReader,
    /// All points.
    pub manifests: &'a [Arc<Manifest>],
}

impl Collector<'_> {
    /// Marks and sweeps.
    ///
    /// # Errors
    /// `NODE_MISSING` and `NODE_DAMAGED` before anything is removed; `CANCELLED`; what reading and writing give.
    pub fn run(&self, dry_run: bool, control: &Control) -> Result<Report> {
        let plan = self.plan(&self.mark(control)?, control)?;
        let mut report = Report {
            dry_run,
            packs_removed: plan.remove.len() as u64,
            packs_rewritten: plan.rewrite.len() as u64,
            chunks_removed: plan.frames_removed,
            bytes_rewritten: plan.bytes_moved,
            ..Report::default()
        };
        let packs_bytes: u64 = plan.remove.iter().map(|(_, pack)| pack.bytes).sum::<u64>()
            + plan.rewrite.iter().map(|(_, pack, _)| pack.bytes).sum::<u64>();
        if dry_run {
            report.bytes_freed = packs_bytes.saturating_sub(plan.bytes_moved);
            return Ok(report);
        }
        let index_before = self.store().index().bytes();
        let written = self.sweep(&plan, control)?;
        let before = packs_bytes + index_before;
        report.bytes_freed = before.saturating_sub(written + self.store().index().bytes());
        Ok(report)
    }

    fn store(&self) -> &ChunkStore {
        self.maps.store()
    }

    /// What the points reach, and what the deltas of that stand on, of every delta that there is.
    fn mark(&self, control: &Control) -> Result<Marked> {
        let mut reached = Reached::default();
        for disk in self.manifests.iter().flat_map(|manifest| &manifest.disks) {
            reached.add(self.maps, &disk.root, control, Err)?;
        }
        let mut bases = HashSet::new();
        for id in &reached.chunks {
            control.check()?;
            bases.extend(self.store().locate(id)?.iter().filter_map(|location| location.base));
        }
        reached.chunks.extend(&bases);
        Ok(Marked { reached, bases })
    }

    fn plan(&self, Marked { reached, bases }: &Marked, control: &Control) -> Result<Plan> {
        let mut plan =
            Plan { remove: Vec::new(), rewrite: Vec::new(), frames_removed: 0, frames_dead: 0, bytes_moved: 0 };
        let mut kept = Kept { store: self.store(), bases, places: HashMap::new() };
        let mut cut_off = Vec::new(); // packs that may hold more than could be found in them
        for (handle, pack) in self.store().packs().all() {
            control.check()?;
            let Some((entries, complete)) = self.store().pack_content(handle)? else { continue };
            let (frame_count, mut frame_bytes) = (entries.len() as u64, 0);
            let mut live = Vec::new();
            let mut live_bytes = 0;
            for entry in entries {
                frame_bytes += entry.frame_bytes();
                let wanted = match pack.kind {
                    PackKind::Chunks => reached.chunks.contains(&entry.id),
                    PackKind::Nodes => reached.nodes.contains(&entry.id),
                };
                if wanted && kept.keep(Location::of(handle, &entry), &entry.id)? {
                    live_bytes += entry.frame_bytes();
                    live.push(entry);
                }
            }
            let garbage = frame_bytes - live_bytes;
            if !complete {
                cut_off.push(handle);
            }
            if live.is_empty() {
                plan.frames_removed += frame_count;
                plan.frames_dead += frame_count;
                plan.remove.push((handle, pack));
            } else if garbage > 0 && garbage >= frame_bytes / REWRITE_GARBAGE_SHARE && self.sound(handle, &live)? {
                plan.frames_removed += frame_count - live.len() as u64;
                plan.bytes_moved += live_bytes;
                plan.rewrite.push((handle, pack, live));
            }
        }
        let found = kept.places.len();
        if found < reached.chunks.len() + reached.nodes.len() {
            // Something live is nowhere to be found. A pack that is damaged may hold it, so such packs stay as they are.
            plan.remove.retain(|(handle, _)| !cut_off.contains(handle));
            plan.rewrite.retain(|(handle, ..)| !cut_off.contains(handle));
        }
        Ok(plan)
    }

    /// Whether all of these frames can be read: a pack with a damaged live frame stays as it is, for whoever may
    /// mend it.
    fn sound(&self, handle: PackHandle, live: &[PackEntry]) -> Result<bool> {
        for entry in live {
            let location = Location::of(handle, entry);
            if !self.store().proves(&location, &entry.id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the bytes of the packs written.
    fn sweep(&self, plan: &Plan, control: &Control) -> Result<u64> {
        let store = self.store();
        let moved = self.move_frames(plan, control)?;
        let written = moved.iter().map(|sealed| sealed.pack.bytes).sum();
        let retired: HashSet<PackHandle> = plan
            .remove
            .iter()
            .map(|(handle, _)| *handle)
            .chain(plan.rewrite.iter().map(|(handle, ..)| *handle))
            .collect();
        if retired.is_empty() {
            return Ok(0);
        }
        let forgotten = store.replace_packs(&moved, &retired).inspect_err(|_| store.discard(&moved))?;
        store.guarded(|| {
            for pack in &forgotten {
                match store.io().remove_file(&store.packs().path(pack)) {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            store.io().sync_directory(store.packs().directory())
        })?;
        Ok(written)
    }

    fn move_frames(&self, plan: &Plan, control: &Control) -> Result<Vec<SealedPack>> {
        let store = self.store();
        let mut sealed: Vec<SealedPack> = Vec::new();
        for kind in PackKind::ALL {
            let mut writer = PackWriter::new(store.pack_target(), kind);
            let moved = store.guarded(|| {
                for (handle, pack, live) in &plan.rewrite {
                    if pack.kind != kind {
                        continue;
                    }
                    let Some(reader) = store.pack_reader(*handle)? else { return Err(unlike_before(pack)) };
                    for entry in live {
                        control.check()?;
                        let mut frame = vec![0; usize_from(entry.frame_bytes())];
                        let length = reader.file.read_at(&mut frame, u64::from(entry.offset))?;
                        if !is_frame(&frame[..length], entry) {
                            return Err(unlike_before(pack));
                        }
                        writer.append(&frame, *entry)?;
                    }
                }
                writer.finish()
            });
            if let Err(error) = moved {
                writer.discard();
                store.discard(&sealed);
                return Err(error);
            }
            sealed.extend(writer.take_sealed());
        }
        Ok(sealed)
    }
}

/// Whether these bytes are the frame that `entry` means. That it can be decoded was proven when the plan was made; the
/// checksums say that the bytes at hand are the same ones.
fn is_frame(frame: &[u8], entry: &PackEntry) -> bool {
    let Ok(header) = FrameHeader::decode(frame) else { return false };
    header.id == entry.id
        && header.stored_bytes == entry.stored_bytes
        && stored_bytes(frame, &header).is_some_and(|stored| checksum(stored) == header.stored_checksum)
}

fn unlike_before(pack: &Pack) -> Error {
    let message = format!("{} reads otherwise than a moment ago; nothing was collected", pack.file_name());
    Error::new(damaged_code(pack.kind), message)
}
