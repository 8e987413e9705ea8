//! Opening a log for writing.
//!
//! Order: walk; write the records above D anew into segments of a new incarnation; sync them and the directory; both slots,
//! one after the other, name the new incarnation and end the old one at D. Only then is anything served, and only then do
//! segments go that hold nothing up to D. Cut off before the first slot is durable, the next opening finds what this one
//! found; after it, what this one made.
//!
//! So nothing is served that a power cut can take back: what lies above D may be in the page cache only, and is copied and
//! synced first (*serve before sync*). And no old tail can chain again: the old incarnation ends at D, the new one's salt
//! is another (*zombie tail*).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::carrying::{Carrier, new_salt};
use super::replay::{Dropped, Place, Replay, ReplayedRecord};
use super::segment::Segment;
use super::sequencer::{Filling, Sequencer};
use super::superblock_slots::SuperblockSlots;
use super::walk::{Found, Link, Walk, walk};
use super::window::Window;
use super::{LogIdentity, LogParameters, LogParts, WriteLog};
use crate::error::{Code, Error, Result};
use crate::format::log_record::record_bytes;
use crate::format::log_segment::{HEADER_BYTES, Incarnation, LSN_LIMIT, end_bytes, file_name, number_of};
use crate::format::superblock::{FirstRecord, ListedIncarnation, ListedLogSegment, Superblock};
use crate::io::{Io, OpenMode};
use crate::limits::{SEGMENT_BYTES_FIRST, SEGMENT_BYTES_MIN};
use crate::units::{Lsn, u64_from};

/// How far above every LSN that was seen new ones begin. More than what can have been given and lost: at most three segments
/// are unsynced at any time, and they hold fewer records.
const LSN_GAP: u64 = 1 << 32;

pub(super) fn open(
    parts: LogParts,
    directory: PathBuf,
    identity: LogIdentity,
    parameters: LogParameters,
) -> Result<(Arc<WriteLog>, Replay)> {
    parameters.check()?;
    let io = Arc::clone(&parts.io);
    let slots = own_slots(&*io, &directory, identity, OpenMode::ReadWrite)?;
    let superblock = slots.current.clone();
    let mut walk = walk(&*io, &directory, identity, &superblock)?;
    let opening = Opening { parts, directory, identity, parameters };
    match walk.damage.take() {
        Some(damage) => Ok(opening.read_only(slots, walk, damage)),
        None => opening.begin_incarnation(slots, walk),
    }
}

pub(super) fn look(io: &dyn Io, directory: &Path, identity: LogIdentity) -> Result<(Superblock, Result<Replay>)> {
    let superblock = own_slots(io, directory, identity, OpenMode::Read)?.current;
    let found = walk(io, directory, identity, &superblock).map(|mut walk| {
        let places: Vec<Place> = walk.records.iter().map(place_of).collect();
        let damage = walk.damage.take();
        replay(superblock.clone(), walk, &places, None, damage)
    });
    Ok((superblock, found))
}

fn own_slots(io: &dyn Io, directory: &Path, identity: LogIdentity, mode: OpenMode) -> Result<SuperblockSlots> {
    let slots = SuperblockSlots::open(io, directory, mode)?;
    if (slots.current.store_id, slots.current.log_id) != (identity.store_id, identity.log_id) {
        let message = format!("the write log in {} is another's", directory.display());
        return Err(Error::new(Code::LogDamaged, message).with("path", directory));
    }
    Ok(slots)
}

struct Opening {
    parts: LogParts,
    directory: PathBuf,
    identity: LogIdentity,
    parameters: LogParameters,
}

impl Opening {
    /// A damaged log: what comes before the damage can be read, and nothing is changed.
    fn read_only(self, slots: SuperblockSlots, walk: Walk, damage: Error) -> (Arc<WriteLog>, Replay) {
        let sequencer = Sequencer {
            next: walk.end.lsn.next(),
            predecessor: walk.end.sum,
            time_ms: 0,
            active: None,
            prepared: None,
            full: Vec::new(),
            is_awaited: false,
        };
        let superblock = slots.current.clone();
        let places: Vec<Place> = walk.records.iter().map(place_of).collect();
        let Self { parts, directory, identity, parameters } = self;
        let end = walk.end.lsn;
        let log =
            WriteLog::assemble(parts, directory, identity, parameters, sequencer, slots, walk.segments.clone(), end);
        log.fence_with(&damage);
        (log, replay(superblock, walk, &places, None, Some(damage)))
    }

    fn begin_incarnation(self, mut slots: SuperblockSlots, mut walk: Walk) -> Result<(Arc<WriteLog>, Replay)> {
        let superblock = slots.current.clone();
        let before = ended_at(&walk);
        let incarnation = self.incarnation(&superblock, &walk, before)?;
        let made = match self.make(&mut slots, &walk, incarnation, before, self.first_segment_bytes()) {
            Err(error) if error.code() == Code::NoSpace && !error.is_failed_sync() => {
                self.give_back_unused(&mut slots, &mut walk)?;
                self.make(&mut slots, &walk, incarnation, before, self.least_segment_bytes(&walk, before))
            }
            made => made,
        };
        let Made { places, kept, mut filled, predecessor, superblock: next } = made?;
        slots.write(next)?;
        self.remove_unlisted(&slots.current)?;

        let segments: Vec<_> =
            kept.into_iter().chain(filled.iter().map(|filling| Arc::clone(&filling.segment))).collect();
        let sequencer = Sequencer {
            next: incarnation.lowest,
            predecessor,
            time_ms: walk.records.last().map_or(0, |found| found.entry.time_ms),
            active: filled.pop(),
            prepared: None,
            full: Vec::new(),
            is_awaited: false,
        };
        let dropped = dropped(&superblock, &walk);
        let Self { parts, directory, identity, parameters } = self;
        // Everything that is there is durable, and between that and the lowest new LSN there is nothing.
        let durable = Lsn(incarnation.lowest.0 - 1);
        let log = WriteLog::assemble(parts, directory, identity, parameters, sequencer, slots, segments, durable);
        Ok((log, replay(superblock, walk, &places, dropped, None)))
    }

    /// On a full disk: segments behind the chain's end, such as one that was only prepared, are forgotten, then removed.
    /// What they say of D goes into the superblock first. LSNs that their remains show are far below the new ones anyway.
    fn give_back_unused(&self, slots: &mut SuperblockSlots, walk: &mut Walk) -> Result<()> {
        let mut next = slots.current.clone();
        let used = walk.records.last().map(|found| found.segment).or(next.segments.first().map(|first| first.number));
        next.segments.retain(|listed| Some(listed.number) <= used);
        next.durable = walk.durable;
        slots.write(next)?; // shorter than before: there is room
        walk.segments.retain(|segment| Some(segment.number) <= used); // an open file keeps its space
        self.remove_unlisted(&slots.current)
    }

    /// As for a new log.
    fn first_segment_bytes(&self) -> u64 {
        self.parameters.segment_bytes.min(SEGMENT_BYTES_FIRST)
    }

    /// A segment that takes what must be carried, and a little more.
    fn least_segment_bytes(&self, walk: &Walk, before: Link) -> u64 {
        let carried = walk.records.iter().filter(|found| found.entry.lsn > before.lsn);
        let bytes: u64 = carried.map(|found| record_bytes(found.entry.payload_bytes) + end_bytes(1)).sum();
        let least = (bytes + u64_from(HEADER_BYTES)).next_multiple_of(4096);
        least.clamp(SEGMENT_BYTES_MIN, self.parameters.segment_bytes)
    }

    fn incarnation(&self, superblock: &Superblock, walk: &Walk, before: Link) -> Result<Incarnation> {
        let last = superblock.incarnations.last().map(|listed| listed.incarnation);
        let (counter, lowest_before) = last.map_or((0, Lsn::ZERO), |last| (last.counter, last.lowest));
        let highest = walk.highest.max(lowest_before).max(walk.end.lsn);
        let lowest = highest.0.saturating_add(LSN_GAP);
        if lowest >= LSN_LIMIT {
            return Err(Error::new(Code::LogDamaged, "the write log has no more LSNs").with("lsn", highest.0));
        }
        let lowest = Lsn(lowest);
        let carried_first = walk.records.iter().map(|found| found.entry.lsn).find(|lsn| *lsn > before.lsn);
        Ok(Incarnation {
            counter: counter + 1,
            salt: new_salt(&*self.parts.random),
            predecessor_lsn: before.lsn,
            predecessor_sum: before.sum,
            carried_first: carried_first.unwrap_or(lowest),
            carried_last: walk.end.lsn,
            lowest,
        })
    }

    /// Everything up to, but without, the commit: the new segments durable, the superblock that names them, and room for it.
    fn make(
        &self,
        slots: &mut SuperblockSlots,
        walk: &Walk,
        incarnation: Incarnation,
        before: Link,
        segment_bytes: u64,
    ) -> Result<Made> {
        let numbers = numbers_in(&*self.parts.io, &self.directory)?;
        let listed = slots.current.segments.iter().map(|segment| segment.number);
        let first_number = numbers.iter().copied().chain(listed).max().unwrap_or(0) + 1;
        let mut carrier = Carrier {
            parts: &self.parts,
            directory: &self.directory,
            identity: self.identity,
            segment_bytes,
            incarnation,
            next_number: first_number,
            predecessor: before.sum,
            filled: Vec::new(),
        };
        let carried = carry_all(&mut carrier, walk, before).and_then(|places| {
            let kept = kept_segments(walk, before);
            let superblock = superblock_after(&slots.current, &carrier, &kept, before);
            slots.make_room(&superblock)?;
            Ok((places, kept, superblock))
        });
        match carried {
            Ok((places, kept, superblock)) => {
                let Carrier { filled, predecessor, .. } = carrier;
                Ok(Made { places, kept, filled, predecessor, superblock })
            }
            Err(error) => {
                self.remove_made(first_number..carrier.next_number + 1);
                Err(error)
            }
        }
    }

    /// Removes what an opening that failed has made; what cannot be removed the next one removes.
    fn remove_made(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let _ = self.parts.io.remove_file(&self.directory.join(file_name(number)));
        }
    }

    fn remove_unlisted(&self, superblock: &Superblock) -> Result<()> {
        let listed: BTreeSet<u64> = superblock.segments.iter().map(|segment| segment.number).collect();
        let numbers = numbers_in(&*self.parts.io, &self.directory)?;
        for number in numbers.difference(&listed) {
            self.parts.io.remove_file(&self.directory.join(file_name(*number)))?;
        }
        self.parts.io.sync_directory(&self.directory)
    }
}

/// What an opening has made before its commit.
struct Made {
    /// Where each record lies from now on.
    places: Vec<Place>,
    /// Old segments that stay.
    kept: Vec<Arc<Segment>>,
    /// New ones; the last is to be filled on.
    filled: Vec<Filling>,
    /// Header checksum of the last record.
    predecessor: u64,
    superblock: Superblock,
}

/// Writes the records above D anew, durably; tells where each of all records lies.
fn carry_all(carrier: &mut Carrier<'_>, walk: &Walk, before: Link) -> Result<Vec<Place>> {
    let mut places = Vec::with_capacity(walk.records.len());
    carrier.begin_segment()?;
    for (segment, records) in by_segment(walk) {
        let mut window = Window::new(segment);
        for found in records {
            let is_carried = found.entry.lsn > before.lsn;
            places.push(if is_carried { carrier.carry(found, &mut window)? } else { place_of(found) });
        }
    }
    carrier.sync()?;
    Ok(places)
}

/// Where the old incarnation ends: behind the last record that was known durable.
fn ended_at(walk: &Walk) -> Link {
    let durable = walk.records.iter().rev().find(|found| found.entry.lsn <= walk.durable);
    match durable {
        None => walk.start,
        // A record in the middle of a summary is followed by one that was durable too, so it is not the last.
        Some(found) => Link { lsn: found.entry.lsn, sum: found.sum.unwrap_or_default() },
    }
}

/// Those that hold a record of what stays, closed.
fn kept_segments(walk: &Walk, before: Link) -> Vec<Arc<Segment>> {
    let mut kept = Vec::new();
    for (segment, records) in by_segment(walk) {
        let last = records.iter().rev().map(|found| found.entry.lsn).find(|lsn| *lsn <= before.lsn);
        if let Some(last) = last {
            segment.last.get_or_init(|| last);
            kept.push(Arc::clone(segment));
        }
    }
    kept
}

/// The segments that hold records, with these.
fn by_segment(walk: &Walk) -> impl Iterator<Item = (&Arc<Segment>, &[Found])> {
    walk.records.chunk_by(|one, other| one.segment == other.segment).filter_map(|records| {
        let number = records.first()?.segment;
        let segment = walk.segments.iter().find(|segment| segment.number == number)?;
        Some((segment, records))
    })
}

fn superblock_after(current: &Superblock, carrier: &Carrier<'_>, kept: &[Arc<Segment>], before: Link) -> Superblock {
    let incarnation = carrier.incarnation;
    let mut next = current.clone();
    next.durable = incarnation.carried_last;
    let listed = |segment: &Arc<Segment>| ListedLogSegment {
        number: segment.number,
        incarnation: segment.incarnation,
        first: segment.first.get().copied(),
    };
    next.segments = kept.iter().map(listed).collect();
    let first = FirstRecord { lsn: incarnation.after(before.lsn), predecessor: before.sum };
    for (index, filling) in carrier.filled.iter().enumerate() {
        let first = if index == 0 { Some(first) } else { filling.segment.first.get().copied() };
        next.segments.push(ListedLogSegment { first, ..listed(&filling.segment) });
    }
    for listed in &mut next.incarnations {
        listed.end.get_or_insert(before.lsn);
    }
    next.incarnations.retain(|listed| kept.iter().any(|segment| segment.incarnation == listed.incarnation.counter));
    next.incarnations.push(ListedIncarnation { incarnation, end: None });
    next
}

fn numbers_in(io: &dyn Io, directory: &Path) -> Result<BTreeSet<u64>> {
    let entries = io.list_directory(directory)?;
    Ok(entries.into_iter().filter_map(|entry| number_of(&entry.name)).collect())
}

fn place_of(found: &Found) -> Place {
    let entry = &found.entry;
    Place { segment: found.segment, position: entry.position, payload_bytes: entry.payload_bytes }
}

fn dropped(superblock: &Superblock, walk: &Walk) -> Option<Dropped> {
    let (end, highest) = (walk.end.lsn, walk.behind.highest);
    if highest <= end {
        return None;
    }
    let incarnation = superblock.incarnations.last()?.incarnation;
    let first = incarnation.after(end);
    // Of the gap between what was carried and what was given anew nothing is missing.
    let gap = if first < incarnation.lowest && highest >= incarnation.lowest {
        incarnation.lowest.0 - incarnation.carried_last.next().0
    } else {
        0
    };
    let records = highest.0.saturating_sub(first.0).saturating_add(1).saturating_sub(gap);
    let Walk { behind, .. } = walk;
    Some(Dropped { durable: end, records, bytes: behind.bytes, last_time_ms: behind.last_time_ms })
}

fn replay(
    superblock: Superblock,
    walk: Walk,
    places: &[Place],
    dropped: Option<Dropped>,
    damage: Option<Error>,
) -> Replay {
    // D may stand in a gap of LSNs; without damage the record that it means is there.
    let durable = if damage.is_some() { walk.durable } else { ended_at(&walk).lsn };
    let bases = superblock.disks.iter().map(|disk| disk.base_lsn);
    let oldest = bases.chain(superblock.window.iter().map(|base| base.lsn)).min().unwrap_or(Lsn::ZERO);
    // With the record at which the oldest base stands: it tells when that was.
    let records = walk.records.into_iter().zip(places).filter(|(found, _)| found.entry.lsn >= oldest);
    let records = records.map(|(found, place)| {
        let entry = found.entry;
        ReplayedRecord {
            lsn: entry.lsn,
            time_ms: entry.time_ms,
            kind: entry.kind,
            disk_id: entry.disk_id,
            offset: entry.offset,
            length: entry.length,
            place: *place,
            body: found.body,
        }
    });
    Replay { superblock, durable, records: records.collect(), dropped, damage }
}
