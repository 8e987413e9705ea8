//! A machine as it was at any moment that its write log keeps, beside the simplest model: the list of all states that its disks
//! were in, each with the LSN and the time from which on it was so.
//!
//! Laws: a moment reads, differs, restores and clones as the last state at or below it, with the disks and sizes of then, whatever
//! was written, reset, moved, folded, deleted and collected since, also after crashes; outside the window it is
//! `MOMENT_NOT_KEPT`; a moment in use stays what it is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{
    Codec, CopyRequest, CreateOptions, CutRequest, DiskReference, Engine, LogWindow, Moment, NewDisk, OpenOptions,
    Parts, PendingCut, TargetRequest, WindowLimits,
};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, Uid};
use stillpoint_engine::write_log::LogParameters;

const STORE: &str = "/store";
const SECTOR: u64 = 512;
const SEGMENT: u64 = 64 << 10;

type Disks = BTreeMap<Uid, Vec<u8>>;
type Outcome = Result<(), Error>;

fn sized(quick: u64, full: u64) -> u64 {
    if std::env::var("STILLPOINT_TEST_SIZE").is_ok_and(|size| size == "full") { full } else { quick }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("STILLPOINT_SEED") {
        Ok(seed) => seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1,
        Err(_) => 0..count,
    }
}

/// The machine's disks from a record on.
#[derive(Clone)]
struct State {
    /// The record that made it so, or one behind it.
    lsn: Lsn,
    /// The record that made it so is above this.
    above: Lsn,
    time_ms: u64,
    disks: Disks,
}

struct World {
    seed: u64,
    random: Seeded,
    ids: Arc<Mutex<Seeded>>,
    memory: MemoryIo,
    clock: Arc<ManualClock>,
    window: WindowLimits,
    engine: Option<Arc<Engine>>,
    states: Vec<State>,
    /// Disks that are not the machine's now.
    detached: Disks,
    points: BTreeMap<Uid, Disks>,
    copied: Vec<Uid>,
    /// Moments in use.
    held: Vec<(Uid, Disks)>,
    next_id: u16,
    log: Vec<String>,
}

impl World {
    fn new(seed: u64, window: WindowLimits) -> Self {
        let mut world = Self {
            seed,
            random: Seeded::new(seed ^ 0x0717),
            ids: Arc::new(Mutex::new(Seeded::new(seed))),
            memory: MemoryIo::new(),
            clock: Arc::new(ManualClock::new(1_800_000_000_000_000_000)),
            window,
            engine: None,
            states: Vec::new(),
            detached: Disks::new(),
            points: BTreeMap::new(),
            copied: Vec::new(),
            held: Vec::new(),
            next_id: 10,
            log: Vec::new(),
        };
        let options = CreateOptions { chunk_bytes: 16 << 10, codec: Codec::Zstd, level: 1 };
        Engine::create(&world.parts(), Path::new(STORE), &options).unwrap();
        world.open().unwrap();
        world.engine().create_machine_log(&machine()).unwrap();
        world
    }

    fn parts(&self) -> Parts {
        let random = Arc::clone(&self.ids) as Arc<_>;
        Parts { io: Arc::new(self.memory.clone()), clock: Arc::clone(&self.clock) as Arc<_>, random }
    }

    fn open(&mut self) -> Outcome {
        let options = OpenOptions {
            pack_bytes_target: 64 << 10,
            reserve_bytes_max: 0,
            log: LogParameters { segment_bytes: SEGMENT },
            window: self.window,
            ..OpenOptions::default()
        };
        self.engine = None;
        self.engine = Some(Engine::open(self.parts(), Path::new(STORE), options)?);
        Ok(())
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\nSTILLPOINT_SEED={}\n{}", self.seed, self.log.join("\n"));
    }

    fn id(&mut self) -> Uid {
        self.next_id += 1;
        uid(self.next_id)
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.random.below(of.len() as u64) as usize].clone())
    }

    fn now_ms(&self) -> u64 {
        (self.clock.now_ns() / 1_000_000) as u64
    }

    fn disks(&self) -> Disks {
        self.states.last().map(|state| state.disks.clone()).unwrap_or_default()
    }

    fn any_disk(&mut self) -> Option<(Uid, u64)> {
        let disks: Vec<(Uid, u64)> = self.disks().iter().map(|(id, bytes)| (*id, bytes.len() as u64)).collect();
        self.one_of(&disks)
    }

    /// A record has changed the machine's disks.
    fn changed(&mut self, lsn: Lsn, disks: Disks) {
        let time_ms = self.now_ms();
        self.states.push(State { lsn, above: Lsn(lsn.0 - 1), time_ms, disks });
    }

    /// Records have, of which the last one is not known.
    fn moved(&mut self, before: Lsn, disks: Disks) {
        let (lsn, time_ms) = (self.end(), self.now_ms());
        self.states.push(State { lsn, above: before, time_ms, disks });
    }

    /// The last record of the log.
    fn end(&mut self) -> Lsn {
        let point_id = self.id();
        match self.engine().point_in_time(hidden(point_id), Moment::TimeMs(u64::MAX)) {
            Ok(cut) => {
                self.engine().drop_cut(&point_id, &Control::default()).unwrap();
                cut.lsn
            }
            Err(error) if error.code() == Code::MomentNotKept => {
                let has_disks = self.engine().live_disks().iter().any(|disk| disk.machine_id.is_some());
                match self.start() {
                    // All of it is folded, and of the last record the time is not kept.
                    Some(start) if has_disks => Lsn(start.0 - 1),
                    _ => self.states.last().map_or(Lsn::ZERO, |state| state.lsn),
                }
            }
            Err(error) => self.fail(&format!("{error}")),
        }
    }

    fn step(&mut self) -> Outcome {
        if self.random.one_in(3) {
            self.clock.advance_ns(i128::from(self.random.below(5)) * 1_000_000);
        }
        match self.random.below(100) {
            0..=4 => self.create(),
            5..=44 => self.write(),
            45..=49 => self.zero(),
            50..=52 => self.grow(),
            53..=59 => self.cut(),
            60..=65 => self.copy_and_release(),
            66..=67 => self.delete(),
            68..=70 => self.reset(),
            71..=72 => self.attach(),
            73..=74 => self.detach(),
            75..=78 => {
                self.log.push("upkeep".into());
                self.engine().settle_logs(&Control::default()).or_else(busy)
            }
            79 => self.engine().collect(false, &Control::default()).map(drop),
            80..=82 => self.hold(),
            83..=84 => self.release_held(),
            85..=86 => self.clone_of_moment(),
            87 => self.copy_of_moment(),
            88 => self.check_held(),
            89..=96 => self.check_any(),
            _ => self.reopen(),
        }
    }

    fn history(&mut self, steps: u64) {
        for _ in 0..steps {
            if let Err(error) = self.step() {
                self.fail(&format!("{error}"));
            }
        }
        self.check_all();
    }

    fn create(&mut self) -> Outcome {
        if self.disks().len() + self.detached.len() >= 4 {
            return Ok(());
        }
        let (disk_id, sectors) = (self.id(), 8 + self.random.below(90));
        self.log.push(format!("create {disk_id} of {sectors} sectors"));
        self.engine().create_disk(&new_disk(disk_id), sectors * SECTOR, None)?;
        self.detached.insert(disk_id, vec![0; (sectors * SECTOR) as usize]);
        self.attach_to(disk_id)
    }

    fn write(&mut self) -> Outcome {
        let Some((disk_id, size)) = self.any_disk() else { return Ok(()) };
        let (offset, length) = self.any_range(size);
        let mut bytes = vec![self.random.below(3) as u8; length as usize];
        if !self.random.one_in(4) {
            self.random.fill(&mut bytes);
        }
        let lsn = self.engine().write_disk(&disk_id, offset, &bytes, self.random.clone().one_in(9))?;
        self.log.push(format!("{lsn}: write {disk_id} {length} at {offset}"));
        let mut disks = self.disks();
        disks.get_mut(&disk_id).unwrap()[offset as usize..(offset + length) as usize].copy_from_slice(&bytes);
        self.changed(lsn, disks);
        Ok(())
    }

    fn any_range(&mut self, size: u64) -> (u64, u64) {
        let sectors = size / SECTOR;
        let first = self.random.below(sectors);
        (first * SECTOR, (1 + self.random.below((sectors - first).min(24))) * SECTOR)
    }

    fn zero(&mut self) -> Outcome {
        let Some((disk_id, size)) = self.any_disk() else { return Ok(()) };
        let ((offset, length), trims) = (self.any_range(size), self.random.one_in(2));
        let lsn = self.engine().zero_disk(&disk_id, offset, length, trims, false)?;
        self.log.push(format!("{lsn}: zero {disk_id} {length} at {offset}"));
        let mut disks = self.disks();
        disks.get_mut(&disk_id).unwrap()[offset as usize..(offset + length) as usize].fill(0);
        self.changed(lsn, disks);
        Ok(())
    }

    fn grow(&mut self) -> Outcome {
        let Some((disk_id, size)) = self.any_disk() else { return Ok(()) };
        let size = size + (1 + self.random.below(40)) * SECTOR;
        let lsn = self.engine().grow_disk(&disk_id, size)?;
        self.log.push(format!("{lsn}: grow {disk_id} to {size}"));
        let mut disks = self.disks();
        disks.get_mut(&disk_id).unwrap().resize(size as usize, 0);
        self.changed(lsn, disks);
        Ok(())
    }

    fn cut(&mut self) -> Outcome {
        let disks = self.disks();
        if disks.is_empty() || self.points.len() >= 5 {
            return Ok(());
        }
        let point_id = self.id();
        let cut = match self.engine().cut(hidden(point_id)) {
            Err(error) if error.code() == Code::LayersFull => return Ok(()),
            cut => cut?,
        };
        self.engine().make_cut_durable(&point_id)?;
        self.log.push(format!("{}: cut {point_id}", cut.lsn));
        self.changed(cut.lsn, disks.clone());
        self.points.insert(point_id, disks);
        Ok(())
    }

    fn copy_and_release(&mut self) -> Outcome {
        let Some(oldest) = self.engine().pending_cuts().first().cloned() else { return Ok(()) };
        let point_id = oldest.point_id;
        self.log.push(format!("copy and release {point_id}"));
        let disks = oldest.disks.iter().map(|(disk_id, ..)| *disk_id).collect();
        let request = CopyRequest { point_id, created_ms: 1, detail: b"{}".to_vec(), disks };
        match self.engine().copy(&request, &Control::default()) {
            Ok(_) => self.copied.push(point_id),
            Err(error) => return busy(error),
        }
        self.engine().release_cut(&point_id)
    }

    fn delete(&mut self) -> Outcome {
        let points: Vec<Uid> = self.points.keys().copied().collect();
        let Some(point_id) = self.one_of(&points) else { return Ok(()) };
        self.log.push(format!("delete {point_id}"));
        let dropped = self.engine().drop_cut(&point_id, &Control::default());
        if dropped.as_ref().is_err_and(|error| error.code() == Code::StoreBusy) {
            return Ok(());
        }
        dropped?;
        self.engine().remove_point(&point_id)?;
        self.points.remove(&point_id);
        Ok(())
    }

    fn reset(&mut self) -> Outcome {
        let moments: Vec<(Uid, Disks)> =
            self.points.iter().map(|(id, disks)| (*id, disks.clone())).chain(self.held.iter().cloned()).collect();
        let (Some((disk_id, _)), Some((point_id, from))) = (self.any_disk(), self.one_of(&moments)) else {
            return Ok(());
        };
        let sources: Vec<Uid> = from.keys().copied().collect();
        let source = self.one_of(&sources).unwrap();
        let reference = DiskReference { point_id, disk_id: source };
        let lsn = match self.engine().reset_disks(&machine(), &[(disk_id, reference)]) {
            Err(error) => return busy(error),
            Ok(lsn) => lsn,
        };
        self.log.push(format!("{lsn}: reset {disk_id} to {point_id}/{source}"));
        let mut disks = self.disks();
        disks.insert(disk_id, from[&source].clone());
        self.changed(lsn, disks);
        Ok(())
    }

    fn attach(&mut self) -> Outcome {
        let detached: Vec<Uid> = self.detached.keys().copied().collect();
        match self.one_of(&detached) {
            Some(disk_id) => self.attach_to(disk_id),
            None => Ok(()),
        }
    }

    fn attach_to(&mut self, disk_id: Uid) -> Outcome {
        let before = self.end();
        self.engine().attach_disk(&disk_id, &machine(), &format!("r{disk_id}"))?;
        let mut disks = self.disks();
        disks.insert(disk_id, self.detached.remove(&disk_id).unwrap());
        self.moved(before, disks);
        self.log.push(format!("{}: attached {disk_id}", self.states.last().unwrap().lsn));
        Ok(())
    }

    fn detach(&mut self) -> Outcome {
        let Some((disk_id, _)) = self.any_disk() else { return Ok(()) };
        let before = self.end();
        if let Err(error) = self.engine().detach_disk(&disk_id) {
            return busy(error);
        }
        let mut disks = self.disks();
        self.detached.insert(disk_id, disks.remove(&disk_id).unwrap());
        self.moved(before, disks);
        self.log.push(format!("after {before}: detached {disk_id}"));
        Ok(())
    }

    /// A moment that is kept, with what it shows.
    fn any_moment(&mut self) -> Option<(Moment, Disks)> {
        let start = self.start()?;
        let kept: Vec<usize> = (0..self.states.len())
            .filter(|at| self.states[*at].lsn >= start && !self.states[*at].disks.is_empty())
            .collect();
        let at = self.one_of(&kept)?;
        let (state, next) = (&self.states[at], self.states.get(at + 1));
        if self.random.one_in(2) {
            let above = next.map_or(state.lsn, |next| next.above.max(state.lsn));
            let lsn = Lsn(state.lsn.0 + self.random.below(above.0 - state.lsn.0 + 1));
            return Some((Moment::Lsn(lsn), state.disks.clone()));
        }
        // Of those within one millisecond the last one.
        let time_ms = self.states[at].time_ms;
        let last = self.states.iter().rfind(|state| state.time_ms <= time_ms)?;
        (!last.disks.is_empty()).then(|| (Moment::TimeMs(time_ms), last.disks.clone()))
    }

    fn start(&self) -> Option<Lsn> {
        window_of(self.engine()).start
    }

    fn see(&mut self, moment: Moment) -> Result<(Uid, PendingCut), Error> {
        let point_id = self.id();
        self.log.push(format!("{moment:?} as {point_id}"));
        Ok((point_id, self.engine().point_in_time(hidden(point_id), moment)?))
    }

    fn check_any(&mut self) -> Outcome {
        let Some((moment, expected)) = self.any_moment() else { return Ok(()) };
        let (point_id, cut) = self.see(moment)?;
        let sizes: Vec<(Uid, u64)> = cut.disks.iter().map(|(disk_id, size, _)| (*disk_id, *size)).collect();
        let wanted: Vec<(Uid, u64)> = expected.iter().map(|(disk_id, bytes)| (*disk_id, bytes.len() as u64)).collect();
        if sizes != wanted {
            self.fail(&format!("{moment:?} has the disks {sizes:?}, not {wanted:?}"));
        }
        match moment {
            Moment::Lsn(lsn) if cut.lsn > lsn => self.fail("the LSN used is above the one asked for"),
            Moment::TimeMs(time_ms) if cut.time_ms > time_ms => self.fail("the time used is after the one asked for"),
            _ => {}
        }
        self.check_point(point_id, &expected)?;
        if self.random.one_in(4) {
            self.check_diff(point_id, &expected)?;
        }
        self.engine().drop_cut(&point_id, &Control::default())
    }

    fn check_point(&self, point_id: Uid, expected: &Disks) -> Outcome {
        for (disk_id, expected) in expected {
            let reference = DiskReference { point_id, disk_id: *disk_id };
            let found = self.engine().read(&reference, 0, expected.len() as u64)?;
            if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
                let what = format!("{} at {at}, not {}", found[at], expected[at]);
                self.fail(&format!("point {point_id} has of disk {disk_id} {what}"));
            }
        }
        Ok(())
    }

    /// Against another moment or point: what the diff says, and what is restored.
    fn check_diff(&mut self, after: Uid, expected: &Disks) -> Outcome {
        let others: Vec<(Uid, Disks)> =
            self.points.iter().map(|(id, disks)| (*id, disks.clone())).chain(self.held.iter().cloned()).collect();
        let Some((before, old)) = self.one_of(&others) else { return Ok(()) };
        let Some((disk_id, expected)) = expected.iter().find(|(id, _)| old.contains_key(id)) else { return Ok(()) };
        let reference = |point_id| DiskReference { point_id, disk_id: *disk_id };
        let mut diff = self.engine().diff(&reference(before), &reference(after), Some(512))?;
        let mut applied = old[disk_id].clone();
        applied.resize(expected.len(), 0);
        loop {
            let page = self.engine().diff_page(&mut diff, 7, &Control::default())?;
            if page.is_empty() {
                break;
            }
            for extent in page {
                let place = extent.offset as usize..(extent.offset + extent.length) as usize;
                applied[place.clone()].copy_from_slice(&expected[place]);
            }
        }
        if applied != *expected {
            self.fail("the diff leaves out something");
        }
        let target = TargetRequest { path: format!("/out{}", self.log.len()).into(), overwrite: false, sync: true };
        self.engine().restore(&reference(after), &target, &Control::default())?;
        if self.memory.read_file(&target.path).as_ref() != Some(expected) {
            self.fail("what was restored is not the moment");
        }
        Ok(())
    }

    fn hold(&mut self) -> Outcome {
        if self.held.len() >= 3 {
            return Ok(());
        }
        let Some((moment, expected)) = self.any_moment() else { return Ok(()) };
        let (point_id, _) = self.see(moment)?;
        self.held.push((point_id, expected));
        Ok(())
    }

    fn release_held(&mut self) -> Outcome {
        if self.held.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.held.len() as u64) as usize;
        let (point_id, expected) = self.held.remove(at);
        self.check_point(point_id, &expected)?;
        self.engine().drop_cut(&point_id, &Control::default())
    }

    fn check_held(&mut self) -> Outcome {
        self.held.iter().try_for_each(|(point_id, expected)| self.check_point(*point_id, expected))
    }

    /// A disk made from a moment stands when the moment is gone, and after a crash.
    fn clone_of_moment(&mut self) -> Outcome {
        if self.disks().len() + self.detached.len() >= 5 {
            return Ok(());
        }
        let Some((moment, expected)) = self.any_moment() else { return Ok(()) };
        let (point_id, _) = self.see(moment)?;
        let (sources, disk_id) = (expected.keys().copied().collect::<Vec<_>>(), self.id());
        let source = self.one_of(&sources).unwrap();
        self.check_point(point_id, &expected)?;
        let made = self.engine().create_disk(&new_disk(disk_id), 0, Some(&DiskReference { point_id, disk_id: source }));
        self.engine().drop_cut(&point_id, &Control::default())?;
        if let Err(error) = made {
            return busy(error);
        }
        self.log.push(format!("clone {disk_id} of {point_id}/{source}"));
        self.detached.insert(disk_id, expected[&source].clone());
        self.check_detached()
    }

    fn copy_of_moment(&mut self) -> Outcome {
        if self.points.len() >= 6 {
            return Ok(());
        }
        let Some((moment, expected)) = self.any_moment() else { return Ok(()) };
        let (point_id, _) = self.see(moment)?;
        self.log.push(format!("copy {point_id}"));
        let disks = expected.keys().copied().collect();
        let request = CopyRequest { point_id, created_ms: 1, detail: b"{}".to_vec(), disks };
        match self.engine().copy(&request, &Control::default()) {
            Ok(_) => {
                self.engine().release_cut(&point_id)?;
                self.points.insert(point_id, expected.clone());
                self.check_point(point_id, &expected)
            }
            Err(error) => {
                self.engine().drop_cut(&point_id, &Control::default())?;
                busy(error)
            }
        }
    }

    fn reopen(&mut self) -> Outcome {
        let choice = [CrashChoice::KeepAll, CrashChoice::ProcessKilled, CrashChoice::LoseUnsynced];
        let choice = choice[self.random.below(3) as usize];
        self.log.push(format!("reopen after {choice:?}"));
        let loses = matches!(choice, CrashChoice::LoseUnsynced);
        self.engine = None;
        self.memory = self.memory.crash(choice);
        self.open()?;
        self.held.clear();
        for cut in self.engine().pending_cuts() {
            if !self.points.contains_key(&cut.point_id) {
                self.engine().drop_cut(&cut.point_id, &Control::default()).or_else(busy)?;
            }
        }
        if loses {
            // Moves are durable, so what was lost are changes of disks behind the last of them.
            let end = self.end();
            self.states.retain(|state| state.lsn <= end);
            let listed = self.engine().live_disks();
            for (disk_id, bytes) in &mut self.detached {
                let size = listed.iter().find(|disk| disk.disk_id == *disk_id).unwrap().size;
                assert_eq!(size as usize, bytes.len());
            }
        }
        self.check_live()?;
        self.check_detached()
    }

    fn check_live(&self) -> Outcome {
        for (disk_id, expected) in self.disks() {
            let mut found = vec![0xaa; expected.len()];
            self.engine().read_disk(&disk_id, 0, &mut found)?;
            if found != expected {
                self.fail(&format!("the live disk {disk_id} is not as it was left"));
            }
        }
        Ok(())
    }

    fn check_detached(&self) -> Outcome {
        for (disk_id, expected) in &self.detached {
            let mut found = vec![0xaa; expected.len()];
            self.engine().read_disk(disk_id, 0, &mut found)?;
            if found != *expected {
                self.fail(&format!("the detached disk {disk_id} is not as it was left"));
            }
        }
        Ok(())
    }

    fn check_all(&mut self) {
        for (point_id, disks) in self.points.clone() {
            self.check_point(point_id, &disks).unwrap_or_else(|error| self.fail(&format!("{error}")));
        }
        let start = self.start().unwrap_or(Lsn(u64::MAX));
        for state in self.states.clone() {
            let seen = self.see(Moment::Lsn(state.lsn));
            match seen {
                Ok((point_id, _)) if state.lsn >= start => {
                    self.check_point(point_id, &state.disks).unwrap_or_else(|error| self.fail(&format!("{error}")));
                    self.engine().drop_cut(&point_id, &Control::default()).unwrap();
                }
                Err(error) if error.code() == Code::MomentNotKept && (state.lsn < start || state.disks.is_empty()) => {}
                Err(error) => self.fail(&format!("LSN {} with the window from {start}: {error}", state.lsn)),
                Ok(_) => self.fail(&format!("LSN {} is seen, and the window begins at {start}", state.lsn)),
            }
        }
    }
}

#[test]
fn any_moment_in_the_window_reads_as_it_was() {
    for seed in seeds(sized(60, 5_000)) {
        let mut world = World::new(seed, WindowLimits::default());
        world.history(90);
        let first = world.states.iter().find(|state| !state.disks.is_empty()).map(|state| state.lsn);
        if first.is_some_and(|first| Some(first) < world.start()) {
            world.fail("without pressure, and within its time, the window loses nothing");
        }
    }
}

#[test]
fn a_short_window_gives_up_its_oldest_moments_and_keeps_the_others() {
    let mut given_up = 0;
    for seed in seeds(sized(30, 1_500)) {
        let bytes = [0, SEGMENT, 4 * SEGMENT][(seed % 3) as usize];
        let mut world = World::new(seed ^ 0x5000, WindowLimits { bytes, ms: 60 });
        world.history(90);
        let start = world.start().unwrap_or_default();
        given_up += world.states.iter().filter(|state| state.lsn < start).count();
    }
    assert!(given_up > 100, "{given_up} moments were given up");
}

#[test]
fn a_moment_above_the_end_or_before_the_log_is_not_kept() {
    let mut world = simple(WindowLimits::default());
    let lsn = write(&mut world, 1);
    for moment in [Moment::Lsn(lsn.next()), Moment::Lsn(Lsn(u64::MAX)), Moment::Lsn(Lsn::ZERO), Moment::TimeMs(0)] {
        let refused = world.engine().point_in_time(hidden(uid(999)), moment).unwrap_err();
        assert_eq!(refused.code(), Code::MomentNotKept, "{moment:?}");
    }
    assert_eq!(world.engine().point_in_time(hidden(uid(999)), Moment::Lsn(lsn)).unwrap().lsn, lsn);
    assert!(world.engine().pending_cuts().is_empty(), "a hidden point waits for nobody");
}

#[test]
fn what_a_moment_shows_survives_a_power_cut() {
    let mut world = simple(WindowLimits::default());
    let lsn = write(&mut world, 7);
    world.see(Moment::Lsn(lsn)).unwrap();
    world.engine = None;
    world.memory = world.memory.crash(CrashChoice::LoseUnsynced);
    world.open().unwrap();
    assert_eq!(world.end(), lsn);
}

#[test]
fn a_moment_in_use_keeps_its_records_when_the_window_does_not() {
    let mut world = simple(WindowLimits { bytes: 0, ms: 0 });
    let lsn = write(&mut world, 3);
    let expected = world.disks();
    let (held, _) = world.see(Moment::Lsn(lsn)).unwrap();
    for value in 0..60 {
        write(&mut world, value);
        world.engine().settle_logs(&Control::default()).unwrap();
    }
    assert_eq!(world.see(Moment::Lsn(lsn)).unwrap_err().code(), Code::MomentNotKept);
    world.engine().collect(false, &Control::default()).unwrap();
    world.check_point(held, &expected).unwrap();
    let long = world.engine().pressure().unwrap().log_bytes;
    world.engine().drop_cut(&held, &Control::default()).unwrap();
    write(&mut world, 1);
    world.engine().settle_logs(&Control::default()).unwrap();
    assert!(world.engine().pressure().unwrap().log_bytes < long, "its records went with it");
}

#[test]
fn more_cuts_than_the_window_lists_make_no_moment_unreadable() {
    let mut world = simple(WindowLimits::default());
    for value in 0..200 {
        write(&mut world, value);
        if value % 2 == 0 {
            world.engine().settle_logs(&Control::default()).unwrap();
        }
    }
    world.check_all();
    world.open().unwrap();
    world.check_all();
}

#[test]
fn age_ends_a_moment() {
    let mut world = simple(WindowLimits { bytes: 1 << 30, ms: 1000 });
    let old = write(&mut world, 1);
    world.engine().settle_logs(&Control::default()).unwrap();
    world.clock.advance_ns(600_000_000);
    let newer = write(&mut world, 2);
    world.engine().settle_logs(&Control::default()).unwrap();
    assert!(world.see(Moment::Lsn(old)).is_ok());
    world.clock.advance_ns(600_000_000);
    world.engine().upkeep(&Control::default()).unwrap();
    assert_eq!(world.see(Moment::Lsn(old)).unwrap_err().code(), Code::MomentNotKept);
    assert!(world.see(Moment::Lsn(newer)).is_ok());
    assert_eq!(window_of(world.engine()).shrunk_count, 0, "age is no pressure");
}

#[test]
fn a_full_disk_shrinks_the_window_before_a_writer_is_refused() {
    let mut world = simple(WindowLimits::default());
    for value in 0..60 {
        write(&mut world, value);
        world.engine().settle_logs(&Control::default()).unwrap();
    }
    let before = window_of(world.engine());
    assert!(before.bytes >= 4 * SEGMENT, "{before:?}");
    world.memory.set_capacity(Some(1 << 40));
    let used = (1 << 40) - world.memory.available_bytes(Path::new(STORE)).unwrap();
    world.memory.set_capacity(Some(used + SEGMENT / 2));
    let start = before.start.unwrap();
    for value in 0..20 {
        write(&mut world, value);
    }
    let after = window_of(world.engine());
    assert!(after.shrunk_count > 0 && after.start.unwrap() > start && after.bytes < before.bytes, "{after:?}");
    world.check_all();
}

#[test]
fn a_full_disk_shrinks_the_window_before_a_copy_is_refused() {
    let mut world = simple(WindowLimits::default());
    for value in 0..60 {
        write(&mut world, value);
        world.engine().settle_logs(&Control::default()).unwrap();
    }
    write(&mut world, 60);
    let point_id = world.id();
    let cut = world.engine().cut(hidden(point_id)).unwrap();
    let disks: Vec<Uid> = cut.disks.iter().map(|disk| disk.0).collect();
    world.memory.set_capacity(Some(1 << 40));
    let used = (1 << 40) - world.memory.available_bytes(Path::new(STORE)).unwrap();
    world.memory.set_capacity(Some(used));
    assert_eq!(window_of(world.engine()).shrunk_count, 0);
    let folded = world.engine().fold(&point_id, &disks, &Control::default()).unwrap();
    assert_eq!(folded.len(), 1);
    assert!(window_of(world.engine()).shrunk_count > 0);
    world.memory.set_capacity(None);
    world.engine().drop_cut(&point_id, &Control::default()).unwrap();
    world.check_all();
}

#[test]
fn a_moment_can_be_found_right_after_a_crash_that_left_records_to_carry_over() {
    let mut world = simple(WindowLimits::default());
    let (lsn, time_ms) = (write(&mut world, 7), world.now_ms());
    world.engine = None;
    world.memory = world.memory.crash(CrashChoice::ProcessKilled);
    world.open().unwrap();
    let (_, cut) = world.see(Moment::TimeMs(time_ms)).unwrap();
    assert_eq!((cut.lsn, cut.time_ms), (lsn, time_ms));
}

fn simple(window: WindowLimits) -> World {
    let mut world = World::new(1, window);
    let disk_id = world.id();
    world.engine().create_disk(&new_disk(disk_id), 64 << 10, None).unwrap();
    world.detached.insert(disk_id, vec![0; 64 << 10]);
    world.attach_to(disk_id).unwrap();
    world
}

/// Writes a sixteenth of the disk.
fn write(world: &mut World, value: u64) -> Lsn {
    let (disk_id, _) = world.any_disk().unwrap();
    let (mut bytes, at) = (vec![0; 4096], (value as usize % 16) * 4096);
    Seeded::new(value + 1).fill(&mut bytes);
    world.clock.advance_ns(1_000_000);
    let lsn = world.engine().write_disk(&disk_id, at as u64, &bytes, false).unwrap();
    let mut disks = world.disks();
    disks.get_mut(&disk_id).unwrap()[at..at + 4096].copy_from_slice(&bytes);
    world.changed(lsn, disks);
    lsn
}

fn window_of(engine: &Engine) -> LogWindow {
    engine.windows().into_iter().find(|window| window.machine_id == Some(machine())).unwrap()
}

fn busy(error: Error) -> Outcome {
    if error.code() == Code::StoreBusy { Ok(()) } else { Err(error) }
}

fn hidden(point_id: Uid) -> CutRequest {
    let (collection, name) = ("default".to_owned(), String::new());
    CutRequest { machine_id: machine(), point_id, collection, name, detail: Vec::new() }
}

fn new_disk(disk_id: Uid) -> NewDisk {
    NewDisk { disk_id, name: format!("d{disk_id}"), role: "data".into(), sector_bytes: 512 }
}

fn machine() -> Uid {
    uid(1)
}

fn uid(number: u16) -> Uid {
    let mut bytes = [0; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    bytes[0] = 1;
    Uid(bytes)
}
