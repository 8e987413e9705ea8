//! The walk along the chain: what a log holds, by format.md 13.5. It changes nothing.
//!
//! D, the highest LSN that anything whose checksum holds names as durable, divides the log. Up to D the chain is there, or
//! the log is damaged; headers are enough, and full segments' summaries. Above D a crash may have left any part of what
//! was written, so a record counts only if its payload checks, and the first that does not ends the log. Behind the end
//! nothing is looked for: a guest writes what it likes, also what looks like a record.

use std::path::Path;
use std::sync::Arc;

use super::LogIdentity;
use super::segment::Segment;
use super::window::Window;
use crate::error::{Code, Error, Result};
use crate::format::Defect;
use crate::format::log_record::{RecordHeader, record_bytes};
use crate::format::log_segment::{
    ENTRY_BYTES, FOOTER_BYTES, Footer, HEADER_BYTES, SegmentHeader, SummaryEntry, decode_summary, file_name,
};
use crate::format::superblock::{FirstRecord, ListedIncarnation, ListedLogSegment, Superblock};
use crate::io::{Io, OpenMode};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::units::{Lsn, u64_from};

/// A record of the chain.
pub(super) struct Found {
    pub(super) entry: SummaryEntry,
    /// Number of its segment.
    pub(super) segment: u64,
    /// Its header checksum, unless it is in the middle of a summary.
    pub(super) sum: Option<u64>,
    pub(super) body: Option<Vec<u8>>,
}

/// A place in the chain: behind this record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) lsn: Lsn,
    pub(super) sum: u64,
}

/// What was sequenced behind the end, as far as one can tell.
#[derive(Default)]
pub(super) struct Behind {
    pub(super) highest: Lsn,
    pub(super) bytes: u64,
    pub(super) last_time_ms: u64,
}

/// What the walk found.
pub(super) struct Walk {
    /// The segments that could be opened.
    pub(super) segments: Vec<Arc<Segment>>,
    /// The chain, all of it.
    pub(super) records: Vec<Found>,
    /// Before the first of them.
    pub(super) start: Link,
    /// Behind the last of them.
    pub(super) end: Link,
    /// D.
    pub(super) durable: Lsn,
    /// No LSN above this was ever seen.
    pub(super) highest: Lsn,
    pub(super) behind: Behind,
    pub(super) damage: Option<Error>,
}

struct Listed {
    listed: ListedLogSegment,
    /// Why it cannot be read, otherwise.
    segment: std::result::Result<Arc<Segment>, String>,
}

struct Walker {
    walk: Walk,
    /// Where the chain of headers stands; the same as `walk.end` until a payload fails.
    link: Link,
    /// The first payload that does not hold, and where.
    torn: Option<String>,
    /// Why the chain ended where it did.
    reason: String,
}

/// Walks the whole log.
pub(super) fn walk(io: &dyn Io, directory: &Path, identity: LogIdentity, superblock: &Superblock) -> Result<Walk> {
    let mut listed = Vec::new();
    for segment in &superblock.segments {
        listed.push(open_segment(io, directory, identity, superblock, *segment)?);
    }
    let Some(start) = start_of(superblock) else {
        return Err(Error::new(Code::LogDamaged, "the superblock lists no segment")); // decoding refuses such a one
    };
    let walk = Walk {
        segments: listed.iter().filter_map(|each| each.segment.as_ref().ok().cloned()).collect(),
        records: Vec::new(),
        start,
        end: start,
        durable: superblock.durable,
        highest: superblock.durable,
        behind: Behind::default(),
        damage: None,
    };
    let reason = "no record follows".to_owned();
    let mut walker = Walker { walk, link: start, torn: None, reason };
    walker.look_at_first_headers(&listed, superblock)?;
    walker.run(&listed, superblock)?;
    Ok(walker.walk)
}

fn start_of(superblock: &Superblock) -> Option<Link> {
    let segment = superblock.segments.first()?;
    let first = segment.first?;
    let incarnation = incarnation_of(superblock, segment)?.incarnation;
    Some(Link { lsn: incarnation.before(first.lsn), sum: first.predecessor })
}

fn incarnation_of<'a>(superblock: &'a Superblock, segment: &ListedLogSegment) -> Option<&'a ListedIncarnation> {
    superblock.incarnations.iter().find(|listed| listed.incarnation.counter == segment.incarnation)
}

fn open_segment(
    io: &dyn Io,
    directory: &Path,
    identity: LogIdentity,
    superblock: &Superblock,
    listed: ListedLogSegment,
) -> Result<Listed> {
    let number = listed.number;
    let unreadable = |why: &str| Ok(Listed { listed, segment: Err(format!("segment {number:016x}: {why}")) });
    let file = match io.open(&directory.join(file_name(number)), OpenMode::Read) {
        Err(error) if error.is_not_found() => return unreadable("it is missing"),
        opened => opened?,
    };
    let Some(ListedIncarnation { incarnation, .. }) = incarnation_of(superblock, &listed).copied() else {
        return unreadable("its incarnation is not listed"); // decoding refuses such a superblock
    };
    let mut bytes = vec![0; HEADER_BYTES];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    let segment_bytes = file.identity()?.size;
    let LogIdentity { store_id, log_id, .. } = identity;
    match SegmentHeader::decode(&bytes) {
        Ok(header) => {
            let whose = (header.store_id, header.log_id, header.number, header.incarnation, header.segment_bytes);
            if whose != (store_id, log_id, number, incarnation, segment_bytes) {
                return unreadable("it is another's");
            }
        }
        // The superblock says all that its records are proven with, so they are read all the same.
        Err(Defect::Wrong(_)) if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) => {}
        Err(defect) => return unreadable(&defect.to_string()),
    }
    let segment = Segment::new(number, incarnation.counter, incarnation.salt, segment_bytes, file);
    Ok(Listed { listed, segment: Ok(Arc::new(segment)) })
}

impl Walker {
    /// What the first record of each segment says of D: the later ones' say most, and they are few.
    fn look_at_first_headers(&mut self, listed: &[Listed], superblock: &Superblock) -> Result<()> {
        for each in listed {
            let Ok(segment) = &each.segment else { continue };
            let first = u64_from(HEADER_BYTES);
            let Some((header, _)) = Window::narrow(segment).header(first, &segment.salt)? else { continue };
            let is_open = incarnation_of(superblock, &each.listed).is_some_and(|listed| listed.end.is_none());
            self.take_note(&header, is_open);
        }
        Ok(())
    }

    fn take_note(&mut self, header: &RecordHeader, is_open: bool) {
        self.walk.durable = self.walk.durable.max(header.durable);
        self.walk.highest = self.walk.highest.max(header.lsn);
        if is_open {
            let behind = &mut self.walk.behind;
            behind.highest = behind.highest.max(header.lsn);
            behind.last_time_ms = behind.last_time_ms.max(header.time_ms);
        }
    }

    fn run(&mut self, listed: &[Listed], superblock: &Superblock) -> Result<()> {
        let mut is_first = true;
        for each in &superblock.incarnations {
            let ListedIncarnation { incarnation, end } = each;
            let mut segments =
                listed.iter().filter(|segment| segment.listed.incarnation == incarnation.counter).peekable();
            if segments.peek().is_none() {
                continue;
            }
            let before = Link { lsn: incarnation.predecessor_lsn, sum: incarnation.predecessor_sum };
            if !is_first && self.link != before {
                self.reason = format!("incarnation {} continues something else", incarnation.counter);
                self.damaged(before.lsn);
                return Ok(());
            }
            is_first = false;
            for segment in segments {
                match &segment.segment {
                    Ok(segment) => self.walk_segment(segment, each)?,
                    Err(why) => self.reason.clone_from(why),
                }
            }
            let (reached, next) = (self.walk.end.lsn, incarnation.after(self.walk.end.lsn));
            match end {
                // All of it was durable when it was ended.
                Some(end) if reached == *end => {}
                None if next > self.walk.durable => {}
                Some(_) | None => {
                    self.damaged(next);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The chain has ended before `next`, which was durable.
    fn damaged(&mut self, next: Lsn) {
        let why = self.torn.as_ref().unwrap_or(&self.reason);
        let (durable, end) = (self.walk.durable, self.walk.end.lsn);
        let message = format!(
            "everything up to LSN {durable} of the write log was durable, and record {next} cannot be read behind \
             {end}: {why}"
        );
        let error = Error::new(Code::LogDamaged, message).with("lsn", next.0).with("durable", durable.0);
        self.walk.damage = Some(error);
    }

    /// Follows the chain through one segment, as far as it goes.
    fn walk_segment(&mut self, segment: &Arc<Segment>, listed: &ListedIncarnation) -> Result<()> {
        if listed.end.is_some_and(|end| self.link.lsn >= end) {
            return Ok(());
        }
        let mut window = Window::new(segment);
        if self.torn.is_none() && self.take_summary(segment, &mut window, listed)? {
            return Ok(());
        }
        let mut position = u64_from(HEADER_BYTES);
        while listed.end.is_none_or(|end| self.link.lsn < end) {
            let stands = window.header(position, &segment.salt)?;
            let next = listed.incarnation.after(self.link.lsn);
            let Some((header, sum)) =
                stands.filter(|(header, _)| header.lsn == next && header.predecessor == self.link.sum)
            else {
                self.reason = format!("segment {:016x} has no such record at byte {position}", segment.number);
                return Ok(());
            };
            self.take_note(&header, listed.end.is_none());
            self.link = Link { lsn: header.lsn, sum };
            self.take(segment, &mut window, &header, position, sum)?;
            position += record_bytes(header.payload_bytes);
        }
        Ok(())
    }

    /// Takes a record whose header holds, unless its payload is needed and does not.
    fn take(
        &mut self,
        segment: &Segment,
        window: &mut Window<'_>,
        header: &RecordHeader,
        position: u64,
        sum: u64,
    ) -> Result<()> {
        if self.torn.is_none() {
            let is_needed = header.lsn > self.walk.durable || header.kind.has_body();
            let payload = if is_needed { window.payload(position, header.payload_bytes)? } else { Some(&[][..]) };
            match payload {
                Some(payload) => {
                    let body = header.kind.has_body().then(|| payload.to_vec());
                    self.push(segment, SummaryEntry::new(header, position as u32), Some(sum), header.predecessor, body);
                    return Ok(());
                }
                None => {
                    let number = segment.number;
                    self.torn = Some(format!("the payload at byte {position} of segment {number:016x} is damaged"));
                }
            }
        }
        self.walk.behind.bytes += u64::from(header.payload_bytes);
        Ok(())
    }

    fn push(
        &mut self,
        segment: &Segment,
        entry: SummaryEntry,
        sum: Option<u64>,
        predecessor: u64,
        body: Option<Vec<u8>>,
    ) {
        segment.first.get_or_init(|| FirstRecord { lsn: entry.lsn, predecessor });
        self.walk.highest = self.walk.highest.max(entry.lsn);
        if let Some(sum) = sum {
            self.walk.end = Link { lsn: entry.lsn, sum };
        }
        self.walk.records.push(Found { entry, segment: segment.number, sum, body });
    }

    /// Takes a whole segment by its summary, if that counts and fits the chain; says whether it did.
    fn take_summary(&mut self, segment: &Segment, window: &mut Window<'_>, listed: &ListedIncarnation) -> Result<bool> {
        let Some((entries, footer)) = read_summary(segment, window)? else { return Ok(false) };
        let Some(last) = entries.last() else { return Ok(false) };
        let counts = last.lsn <= self.walk.durable && listed.end.is_none_or(|end| last.lsn <= end);
        if !counts || footer.predecessor != self.link.sum || !is_chain(&entries, listed, self.link.lsn) {
            return Ok(false);
        }
        let mut bodies = Vec::with_capacity(entries.len());
        for entry in &entries {
            bodies.push(if entry.kind.has_body() {
                let position = u64::from(entry.position);
                // The header is looked at too: its checksums of the payload are what the body is checked by.
                let header = window.header(position, &segment.salt)?;
                let is_same = header.is_some_and(|(header, _)| SummaryEntry::new(&header, entry.position) == *entry);
                let Some(body) = window.payload(position, entry.payload_bytes)?.filter(|_| is_same) else {
                    return Ok(false); // walking will find the damage
                };
                Some(body.to_vec())
            } else {
                None
            });
        }
        let last = last.lsn;
        for (entry, body) in entries.into_iter().zip(bodies) {
            let sum = (entry.lsn == last).then_some(footer.last);
            self.push(segment, entry, sum, footer.predecessor, body);
        }
        self.link = self.walk.end;
        Ok(true)
    }
}

pub(super) fn read_summary(segment: &Segment, window: &mut Window<'_>) -> Result<Option<(Vec<SummaryEntry>, Footer)>> {
    let at = segment.segment_bytes - u64_from(FOOTER_BYTES);
    let footer = window.get(at, FOOTER_BYTES)?;
    let decoded = footer.map(|bytes| Footer::decode(bytes, &segment.salt, segment.segment_bytes));
    let Some(Ok(footer)) = decoded else { return Ok(None) };
    let summary = window.get(u64::from(footer.position), footer.count as usize * ENTRY_BYTES)?;
    Ok(summary.and_then(|bytes| decode_summary(bytes, &footer).ok()).map(|entries| (entries, footer)))
}

/// Whether these are the records that come behind `before`, without a gap in LSNs or places.
fn is_chain(entries: &[SummaryEntry], listed: &ListedIncarnation, before: Lsn) -> bool {
    let mut link = before;
    let mut position = u64_from(HEADER_BYTES);
    entries.iter().all(|entry| {
        let fits = entry.lsn == listed.incarnation.after(link) && u64::from(entry.position) == position;
        link = entry.lsn;
        position += record_bytes(entry.payload_bytes);
        fits
    })
}
