//! The window: what a log keeps below its bases, so that its machine can be seen as it was at any moment since.
//!
//! What it is: when a base moves on, the one before goes into the superblock's list, and the log's records from the oldest one
//! in it on stay. `start` is the LSN from which on every record is kept and at which every disk that was attached has a
//! base. Such LSNs are cuts whose layers were folded; of them at most 64 are in the list.
//! What it guarantees: every moment from `start` to the log's end can be seen, whatever became of the disks since (I-61). What the
//! records name is pinned, and what they name by a point's id is a pin of that point.
//! What it costs: the log's length, at most what the opener allows; under pressure it is given up, oldest first, before a
//! writer is refused or slowed (I-62).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::Engine;
use super::log::{LiveLog, pin};
use super::upkeep::give_back;
use crate::cut::Pin;
use crate::disk::BaseReader;
use crate::error::{Code, Error, Result};
use crate::format::superblock::{BaseContent, Superblock, SuperblockDisk, WindowBase};
use crate::limits::{WINDOW_BYTES_DEFAULT, WINDOW_CUTS_MAX, WINDOW_MS_DEFAULT};
use crate::units::{Lsn, Uid};
use crate::write_log::{Membership, RecordKind, ReplayedRecord, ResetDisk, ResetList};

/// How much logs keep for points in time. With 0 for either they keep nothing for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// Bytes of segments of one log that nothing else needs.
    pub bytes: u64,
    /// Milliseconds.
    pub ms: u64,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl WindowLimits {
    /// A day, and as much as writers may be ahead of the copy.
    pub const DEFAULT: Self = Self { bytes: WINDOW_BYTES_DEFAULT, ms: WINDOW_MS_DEFAULT };

    /// Nothing.
    pub const NONE: Self = Self { bytes: 0, ms: 0 };

    fn is_none(self) -> bool {
        self.bytes == 0 || self.ms == 0
    }
}

/// What a log keeps for points in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWindow {
    /// The log.
    pub log_id: Uid,
    /// Its machine; none for a detached disk's.
    pub machine_id: Option<Uid>,
    /// Moments from here on are kept; none where no moment is.
    pub start: Option<Lsn>,
    /// Bytes of segments that only the window keeps.
    pub bytes: u64,
    /// How often it was made shorter since the store was opened because space was short.
    pub shrunk_count: u64,
}

/// The window of one log, beside what its superblock says.
pub(super) struct Window {
    /// All records above this are kept, and all disks that were attached at it have a base there; the highest LSN while none
    /// is known.
    start: Lsn,
    /// The time of the record at `start`; none where that is not known any more.
    start_ms: Option<u64>,
    /// Whether that record is kept, so that a later opening finds its time. Where nothing is kept it takes a segment for nothing.
    keeps_start: bool,
    /// Cuts above it of which the same is so, with their times.
    cuts: BTreeMap<Lsn, u64>,
    /// What records above `start` put disks onto.
    named: BTreeMap<Lsn, Vec<(BaseContent, Pin)>>,
    /// Leaves that never counted.
    void_leaves: BTreeSet<(Uid, u64)>,
    sector_bytes: BTreeMap<Uid, u32>,
    shrunk_count: u64,
}

/// What is to be done to a window.
struct Trim {
    start: Lsn,
    thinned: BTreeSet<Lsn>,
}

impl Window {
    /// Of a log that was just made.
    pub(super) fn new(superblock: &Superblock) -> Self {
        let sector_bytes = superblock.disks.iter().map(|disk| (disk.disk_id, disk.sector_bytes)).collect();
        Self {
            start: Lsn::ZERO,
            start_ms: None,
            keeps_start: true,
            cuts: BTreeMap::new(),
            named: BTreeMap::new(),
            void_leaves: BTreeSet::new(),
            sector_bytes,
            shrunk_count: 0,
        }
    }

    /// Of a log that was opened. `end` is where it ends, `oldest` its first record.
    pub(super) fn replayed(
        superblock: &Superblock,
        records: &[ReplayedRecord],
        (oldest, end): (Option<Lsn>, Lsn),
        bases: &dyn BaseReader,
    ) -> Result<Self> {
        let mut window = Self::new(superblock);
        let bases_at: BTreeSet<Lsn> =
            superblock.disks.iter().map(|disk| disk.base_lsn).chain(window_lsns(superblock)).collect();
        let is_kept = |lsn: &Lsn| oldest.is_none_or(|oldest| lsn.next() >= oldest);
        let cuts = records.iter().filter(|record| record.kind == RecordKind::Cut && bases_at.contains(&record.lsn));
        window.cuts = cuts.map(|record| (record.lsn, record.time_ms)).collect();
        let first = bases_at.first().copied().filter(is_kept);
        // Disks only leave after a fold, so none has left since the oldest base that a disk stands on.
        let oldest_base = superblock.disks.iter().map(|disk| disk.base_lsn).min().filter(is_kept);
        let empty = superblock.disks.is_empty().then_some(end); // none was attached there
        let later = window.cuts.keys().copied().find(is_kept);
        window.start = first.or(later).or(oldest_base).or(empty).unwrap_or(Lsn(u64::MAX));
        let start = window.start;
        window.start_ms = records.iter().find(|record| record.lsn == start).map(|record| record.time_ms);
        window.cuts.retain(|cut, _| *cut > start);
        window.note_memberships(superblock, records)?;
        for record in records.iter().filter(|record| record.kind == RecordKind::Reset && record.lsn > start) {
            let list = ResetList::decode(record.body.as_deref().unwrap_or_default());
            let list = list.map_err(|defect| damaged_body(record.lsn, &defect))?;
            window.name(record.lsn, &list.disks, superblock, bases)?;
        }
        Ok(window)
    }

    /// A leave behind which its disk was still here never counted: another leave follows, or the superblock has it yet.
    fn note_memberships(&mut self, superblock: &Superblock, records: &[ReplayedRecord]) -> Result<()> {
        let mut last: BTreeMap<Uid, (RecordKind, u64)> = BTreeMap::new();
        for record in records.iter().filter(|record| matches!(record.kind, RecordKind::Join | RecordKind::Leave)) {
            let membership = Membership::decode(record.body.as_deref().unwrap_or_default());
            let membership = membership.map_err(|defect| damaged_body(record.lsn, &defect))?;
            let disk_id = membership.disk_id;
            self.sector_bytes.insert(disk_id, membership.sector_bytes);
            let before = last.insert(disk_id, (record.kind, membership.generation));
            if let (RecordKind::Leave, Some((RecordKind::Leave, generation))) = (record.kind, before) {
                self.void_leaves.insert((disk_id, generation));
            }
        }
        for disk in &superblock.disks {
            if let Some((RecordKind::Leave, generation)) = last.get(&disk.disk_id)
                && disk.generation < *generation
            {
                self.void_leaves.insert((disk.disk_id, *generation));
            }
        }
        Ok(())
    }

    /// Notes what a reset put disks onto, pinned.
    fn name(&mut self, lsn: Lsn, disks: &[ResetDisk], superblock: &Superblock, bases: &dyn BaseReader) -> Result<()> {
        let mut contents = Vec::with_capacity(disks.len());
        for reset in disks {
            let content = resolved(reset.base, superblock);
            contents.push((content, bases.pin(&content)?));
        }
        self.named.insert(lsn, contents);
        Ok(())
    }

    /// A disk joined.
    pub(super) fn note_joined(&mut self, membership: &Membership) {
        self.sector_bytes.insert(membership.disk_id, membership.sector_bytes);
    }

    /// Sector size of a disk that was ever here since the window's start.
    pub(super) fn sector_bytes(&self, disk_id: &Uid) -> Option<u32> {
        self.sector_bytes.get(disk_id).copied()
    }

    /// A disk that left came back, because no other log got it.
    pub(super) fn note_void_leave(&mut self, left: &Membership) {
        self.void_leaves.insert((left.disk_id, left.generation));
    }

    /// Records up to here nobody needs.
    pub(super) fn released_up_to(&self, base: Lsn) -> Lsn {
        base.min(if self.keeps_start { Lsn(self.start.0.saturating_sub(1)) } else { self.start })
    }

    /// The time of the record at which disks have a base.
    pub(super) fn time_at(&self, base: Lsn) -> Option<u64> {
        if base == self.start { self.start_ms } else { self.cuts.get(&base).copied() }
    }

    /// Where the window starts, if that was not after a time.
    pub(super) fn start_at(&self, time_ms: u64) -> Option<Lsn> {
        self.start_ms.filter(|start_ms| *start_ms <= time_ms).map(|_| self.start)
    }

    /// The first moment that can be seen.
    fn first(&self) -> Option<Lsn> {
        let first = if self.start_ms.is_some() { self.start } else { self.start.next() };
        Some(first).filter(|_| self.start < Lsn(u64::MAX))
    }

    /// Whether a leave in the log counts.
    pub(super) fn void_leaves(&self) -> BTreeSet<(Uid, u64)> {
        self.void_leaves.clone()
    }

    /// The newest LSN at or below `lsn` at which all disks have a base; none outside the window.
    pub(super) fn base_before(&self, lsn: Lsn) -> Option<Lsn> {
        let cut = self.cuts.range(..=lsn).next_back().map(|(cut, _)| *cut);
        cut.or_else(|| Some(self.start).filter(|start| *start <= lsn))
    }

    /// Keeps what records in a range name.
    pub(super) fn pins(&self, after: Lsn, last: Lsn) -> Vec<Pin> {
        let named = self.named.range(after..=last).flat_map(|(_, contents)| contents);
        named.map(|(_, pin)| Arc::clone(pin)).collect()
    }

    /// Pins no more: the store is closed.
    pub(super) fn forget_named(&mut self) {
        self.named.clear();
    }

    /// The points that records below `before` name by their ids.
    pub(super) fn points_named(&self, before: Lsn) -> impl Iterator<Item = Uid> {
        self.named.range(..before).flat_map(|(_, contents)| contents).filter_map(|(content, _)| match content {
            BaseContent::Point { point_id, .. } => Some(*point_id),
            BaseContent::Map(_) => None,
        })
    }

    /// What a point is, in place of its id.
    pub(super) fn exchange(
        &mut self,
        point_id: &Uid,
        maps: &BTreeMap<Uid, BaseContent>,
        bases: &dyn BaseReader,
    ) -> Result<()> {
        for (content, pin) in self.named.values_mut().flatten() {
            if let BaseContent::Point { point_id: named, disk_id } = content
                && named == point_id
                && let Some(map) = maps.get(disk_id)
            {
                (*content, *pin) = (*map, bases.pin(map)?);
            }
        }
        Ok(())
    }

    /// What the limits ask for: where the window is to start, and which bases go because there are too many.
    fn trim(&self, limits: WindowLimits, now_ms: u64, bytes_from: impl Fn(Lsn) -> u64) -> Trim {
        let mut start = self.start;
        if limits.is_none() {
            start = self.cuts.keys().next_back().copied().unwrap_or(start);
        } else {
            let is_old = |time: u64| time <= now_ms.saturating_sub(limits.ms);
            start = self.cuts.iter().rev().find(|(_, time)| is_old(**time)).map_or(start, |(cut, _)| *cut);
            let longer = self.cuts.range(start..).map(|(cut, _)| *cut);
            start = [start]
                .into_iter()
                .chain(longer)
                .find(|from| bytes_from(*from) <= limits.bytes)
                .unwrap_or_else(|| self.cuts.keys().next_back().copied().unwrap_or(start));
        }
        let above: Vec<Lsn> = self.cuts.keys().copied().filter(|cut| *cut > start).collect();
        // Every second of the older half: the newest base, and one in any range that there was, stay.
        let is_full = above.len() >= WINDOW_CUTS_MAX;
        let older = above.iter().take(if is_full { WINDOW_CUTS_MAX / 2 } else { 0 });
        Trim { start, thinned: older.step_by(2).copied().collect() }
    }

    fn trimmed(&mut self, trim: &Trim) {
        let Trim { start, thinned } = trim;
        if *start > self.start {
            (self.start, self.start_ms) = (*start, self.cuts.get(start).copied());
            self.keeps_start = self.cuts.range(start.next()..).next().is_some();
        }
        self.cuts.retain(|cut, _| cut > start && !thinned.contains(cut));
        self.named.retain(|lsn, _| lsn > start);
    }
}

impl Trim {
    fn apply(&self, superblock: &mut Superblock) {
        // Of a log without disks the last bases stay, which say from where on a replay counts.
        let last = superblock.window.iter().map(|base| base.lsn).max().filter(|_| superblock.disks.is_empty());
        let is_kept = |lsn: Lsn| Some(lsn) == last || (lsn >= self.start && !self.thinned.contains(&lsn));
        superblock.window.retain(|base| is_kept(base.lsn));
    }
}

impl Engine {
    /// The base of a log has moved on to a cut: `change` says so in the superblock; the bases before it go into the window,
    /// and what is beyond it goes. The caller holds the folding lock.
    ///
    /// # Errors
    /// What writing the superblock and removing segments give.
    pub(super) fn move_base(
        &self,
        log: &LiveLog,
        (cut, time_ms): (Lsn, u64),
        change: impl Fn(&mut Superblock),
        installed: impl FnOnce(),
    ) -> Result<()> {
        let mut window = log.window();
        let is_first = window.start == Lsn(u64::MAX);
        window.cuts.insert(cut, time_ms);
        if is_first {
            (window.start, window.start_ms) = (cut, Some(time_ms));
        }
        let mut trim = window.trim(self.options.window, self.now_ms(), |from| bytes_between(log, from, cut));
        let now = log.log().superblock();
        if now.disks.iter().any(|disk| disk.base_lsn < cut && base_of(disk, &now).is_none()) {
            trim.start = cut; // what a disk stands on by an id that nobody resolved cannot be kept
        }
        let written = log.change_superblock(&self.leases, |superblock| {
            let resolutions = superblock.clone();
            let before: Vec<WindowBase> =
                superblock.disks.iter().filter_map(|disk| base_of(disk, &resolutions)).collect();
            change(superblock);
            for base in before {
                let moved =
                    superblock.disks.iter().any(|disk| disk.disk_id == base.disk_id && disk.base_lsn > base.lsn);
                if moved {
                    superblock.window.push(base);
                }
            }
            trim.apply(superblock);
            log.forget_resolutions(superblock, trim.start);
        });
        if let Err(error) = written {
            window.cuts.remove(&cut);
            if is_first {
                window.start = Lsn(u64::MAX);
            }
            return Err(error);
        }
        window.trimmed(&trim);
        log.set_base(cut);
        installed();
        drop(window);
        give_back(log).map(drop)
    }

    /// Gives up what the limits do not allow any more; returns whether there was something.
    ///
    /// # Errors
    /// What writing the superblock and removing segments give.
    pub(super) fn trim_window(&self, log: &LiveLog) -> Result<bool> {
        let mut window = log.window();
        let base = log.base();
        let trim = window.trim(self.options.window, self.now_ms(), |from| bytes_between(log, from, base));
        if trim.start <= window.start {
            return Ok(false);
        }
        self.apply_trim(log, &mut window, &trim)?;
        Ok(true)
    }

    /// Gives up the oldest part of the window that is worth a segment, of whichever log has the oldest; returns whether there was
    /// any. Segments that somebody reads stay until he has ended.
    ///
    /// # Errors
    /// What writing the superblock and removing segments give.
    pub(super) fn shrink_windows(&self) -> Result<bool> {
        loop {
            let mut oldest: Option<(u64, Arc<LiveLog>)> = None;
            for log in self.live().all_logs() {
                let next = log.window().cuts.first_key_value().map(|(_, time_ms)| *time_ms);
                if let Some(next) = next.filter(|_| log.log().is_fenced().is_none())
                    && oldest.as_ref().is_none_or(|(time_ms, _)| next < *time_ms)
                {
                    oldest = Some((next, log));
                }
            }
            let Some((_, log)) = oldest else { return Ok(false) };
            let mut window = log.window();
            let Some(start) = window.cuts.keys().next().copied() else { continue };
            window.shrunk_count += 1;
            if self.apply_trim(&log, &mut window, &Trim { start, thinned: BTreeSet::new() })? > 0 {
                return Ok(true);
            }
        }
    }

    /// Does it again for as long as space is short and a window can be made shorter.
    pub(super) fn relieved<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error) if error.code() == Code::NoSpace => {
                    if !self.shrink_windows().unwrap_or(false) {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    fn apply_trim(&self, log: &LiveLog, window: &mut Window, trim: &Trim) -> Result<u64> {
        log.change_superblock(&self.leases, |superblock| {
            trim.apply(superblock);
            log.forget_resolutions(superblock, trim.start);
        })?;
        window.trimmed(trim);
        log.log().release(window.released_up_to(log.base()))
    }

    /// What each log keeps for points in time.
    #[must_use]
    pub fn windows(&self) -> Vec<LogWindow> {
        let Some(live) = &self.live else { return Vec::new() };
        let window_of = |log: Arc<LiveLog>| {
            let (start, shrunk_count) = {
                let window = log.window();
                (window.first(), window.shrunk_count)
            };
            LogWindow { log_id: log.log_id, machine_id: log.machine_id, start, bytes: log.window_bytes(), shrunk_count }
        };
        live.all_logs().into_iter().map(window_of).collect()
    }

    /// Notes what a reset put disks onto. The caller has it pinned.
    pub(super) fn note_reset(&self, log: &LiveLog, lsn: Lsn, disks: &[ResetDisk]) -> Result<()> {
        log.window().name(lsn, disks, &log.log().superblock(), &*self.live().bases)
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.parts.clock.now_ns() / 1_000_000).unwrap_or(0)
    }
}

impl LiveLog {
    /// Bytes of segments that only the window keeps, or who reads.
    pub(super) fn window_bytes(&self) -> u64 {
        self.log().bytes_up_to(self.base())
    }

    /// Bytes of segments besides what the window keeps, as far as it may: nobody waits, and nothing hurries, for that.
    pub(super) fn needed_bytes(&self, limits: WindowLimits) -> u64 {
        self.log().retained_bytes().saturating_sub(self.window_bytes().min(limits.bytes))
    }
}

/// A disk goes out of a superblock: what it stood on stays in the window, for its cut is kept whole (I-61).
pub(super) fn let_go(superblock: &mut Superblock, goes: impl Fn(&SuperblockDisk) -> bool) {
    let resolutions = superblock.clone();
    let gone = resolutions.disks.iter().filter(|disk| goes(disk));
    superblock.window.extend(gone.filter_map(|disk| base_of(disk, &resolutions)));
    superblock.disks.retain(|disk| !goes(disk));
}

/// Pins a window's roots for who is about to read at a moment.
pub(super) fn pin_bases(engine: &Engine, bases: &[SuperblockDisk]) -> Pin {
    let roots = bases.iter().filter_map(|disk| match disk.base {
        BaseContent::Map(root) => Some(root),
        BaseContent::Point { .. } => None,
    });
    Arc::new(pin(&engine.leases, roots.collect()))
}

fn bytes_between(log: &LiveLog, from: Lsn, to: Lsn) -> u64 {
    log.log().bytes_up_to(to).saturating_sub(log.log().bytes_up_to(from))
}

fn window_lsns(superblock: &Superblock) -> impl Iterator<Item = Lsn> {
    superblock.window.iter().map(|base| base.lsn)
}

fn base_of(disk: &SuperblockDisk, resolutions: &Superblock) -> Option<WindowBase> {
    match resolved(disk.base, resolutions) {
        BaseContent::Map(root) => Some(WindowBase { disk_id: disk.disk_id, root, size: disk.size, lsn: disk.base_lsn }),
        BaseContent::Point { .. } => None,
    }
}

/// A point that was resolved is its map.
fn resolved(content: BaseContent, superblock: &Superblock) -> BaseContent {
    let BaseContent::Point { point_id, disk_id } = content else { return content };
    let mut resolutions = superblock.resolutions.iter();
    let found = resolutions.find(|each| each.point_id == point_id && each.disk_id == disk_id);
    found.map_or(content, |resolution| BaseContent::Map(resolution.root))
}

fn damaged_body(lsn: Lsn, defect: &crate::format::Defect) -> Error {
    let message = format!("the body of the record with LSN {lsn} is damaged: {defect}");
    Error::new(Code::LogDamaged, message).with("lsn", lsn.0)
}
