//! Of several frames of one content: which is kept.
//!
//! Full frames go before deltas, so that of two contents that are each a delta on the other at least one stays full
//! (DESIGN section 4); among equals, those go first whose pack holds the least garbage. The first is kept, and each
//! further one until one of them could be read: a damaged frame must never be the reason to drop a sound one.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::contents::Contents;
use super::marks::Bits;
use crate::chunk_store::ChunkStore;
use crate::chunk_store::index::Location;
use crate::chunk_store::pack_set::{Pack, PackHandle};
use crate::control::Control;
use crate::error::Result;
use crate::format::pack::PackEntry;
use crate::units::ContentId;

/// Frames that are looked at more closely in one collection; the next one has a look at the rest.
const CANDIDATES_MAX: usize = 1 << 20;

/// A frame: its pack, and where it begins.
pub(super) type Place = (PackHandle, u32);

/// What going over the packs for some wanted content gave.
pub(super) struct Found {
    /// How many of the wanted contents have a frame.
    pub(super) count: usize,
    /// Frames of wanted content that are not needed, since others of it are kept.
    pub(super) superfluous: HashSet<Place>,
}

/// Looks for the frames of what `rank` numbers from 0 to `wanted_count`; several contents may share a number.
pub(super) fn find(
    store: &ChunkStore,
    contents: &mut Contents<'_>,
    packs: &[(PackHandle, Pack)],
    wanted_count: usize,
    rank: &dyn Fn(&Pack, &PackEntry) -> Option<usize>,
    control: &Control,
) -> Result<Found> {
    let (mut seen, mut repeated) = (Bits::new(wanted_count), Bits::new(wanted_count));
    let mut unwanted_bytes: HashMap<PackHandle, u64> = HashMap::new();
    for (handle, pack) in packs {
        control.check()?;
        let Some(content) = contents.of(*handle)? else { continue };
        for entry in &content.entries {
            match rank(pack, entry) {
                Some(rank) if seen.set(rank) => drop(repeated.set(rank)),
                Some(_) => {}
                None => *unwanted_bytes.entry(*handle).or_default() += entry.frame_bytes(),
            }
        }
    }
    let mut found = Found { count: seen.count(), superfluous: HashSet::new() };
    if repeated.count() == 0 {
        return Ok(found);
    }
    let mut by_id: BTreeMap<ContentId, Vec<Location>> = BTreeMap::new();
    let mut candidate_count = 0;
    for (handle, pack) in packs {
        control.check()?;
        let Some(content) = contents.of(*handle)? else { continue };
        let repeats = |entry: &&PackEntry| rank(pack, entry).is_some_and(|rank| repeated.get(rank));
        for entry in content.entries.iter().filter(repeats).take(CANDIDATES_MAX - candidate_count) {
            by_id.entry(entry.id).or_default().push(Location::of(*handle, entry));
            candidate_count += 1;
        }
    }
    for (id, mut locations) in by_id {
        let garbage = |pack| unwanted_bytes.get(&pack).copied().unwrap_or(0);
        locations.sort_by_key(|at| (at.base.is_some(), garbage(at.pack), at.pack, at.offset));
        let mut readable = false;
        for (index, location) in locations.iter().enumerate() {
            if readable {
                found.superfluous.insert((location.pack, location.offset));
            } else if locations.len() > index + 1 {
                control.check()?;
                readable = store.proves(location, &id)?;
            }
        }
    }
    Ok(found)
}
