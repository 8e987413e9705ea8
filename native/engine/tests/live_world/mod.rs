//! A store with live disks on a file system in memory, and its model. One seed drives everything:
//! `STILLPOINT_SEED=n` repeats one history.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod short;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{
    Codec, CopyRequest, CreateOptions, CutRequest, DiskReference, Engine, NewDisk, OpenOptions, Parts, TargetRequest,
};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::io::Io;
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;
use stillpoint_engine::write_log::LogParameters;

const STORE: &str = "/store";
const CHUNK_BYTES: u32 = 16 << 10;
const SECTOR: u64 = 512;
const MACHINES: u64 = 2;

/// What became of a point, as the coordinator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked for; nobody was answered.
    Unsure,
    Cut,
    Copied,
    /// Deleting it was begun.
    Deleting,
}

type Disks = BTreeMap<Uid, Vec<u8>>;

#[derive(Clone, Debug)]
struct Point {
    state: State,
    disks: Disks,
}

/// A log as a list of what its disks were after each change.
#[derive(Clone, Debug)]
struct Log {
    states: Vec<Disks>,
    /// The last one that was acknowledged.
    acknowledged: usize,
    /// The last one that was flushed.
    durable: usize,
}

impl Log {
    fn of(disks: Disks) -> Self {
        Self { states: vec![disks], acknowledged: 0, durable: 0 }
    }

    fn now(&self) -> &Disks {
        &self.states[self.acknowledged]
    }

    fn flushed(&mut self) {
        self.states.drain(..self.acknowledged);
        (self.acknowledged, self.durable) = (0, 0);
        self.states.truncate(1);
    }
}

pub(crate) struct World {
    seed: u64,
    random: Seeded,
    ids: Arc<Mutex<Seeded>>,
    memory: MemoryIo,
    faults: Option<FaultIo>,
    clock: Arc<ManualClock>,
    engine: Option<Arc<Engine>>,
    logs: BTreeMap<Uid, Log>,
    points: BTreeMap<Uid, Point>,
    /// The disk that comes, moves or goes.
    moving: Option<Uid>,
    next_id: u8,
    /// How many crashes it lived through: ids are new after each.
    crashes: u64,
    log: Vec<String>,
}

type Outcome = Result<(), Error>;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000_000));
        let mut world = Self {
            seed,
            random: Seeded::new(seed ^ 0x11fe),
            ids: Arc::new(Mutex::new(Seeded::new(seed))),
            memory: MemoryIo::new(),
            faults: None,
            clock,
            engine: None,
            logs: BTreeMap::new(),
            points: BTreeMap::new(),
            moving: None,
            next_id: 10,
            crashes: 0,
            log: Vec::new(),
        };
        let options = CreateOptions { chunk_bytes: CHUNK_BYTES, codec: Codec::Zstd, level: 1 };
        Engine::create(&world.parts(), Path::new(STORE), &options).unwrap();
        world.open().unwrap();
        for machine in 1..=MACHINES {
            world.engine().create_machine_log(&uid(machine as u8)).unwrap();
            world.logs.insert(uid(machine as u8), Log::of(BTreeMap::new()));
        }
        world
    }

    fn parts(&self) -> Parts {
        let random = Arc::clone(&self.ids) as Arc<_>;
        let io: Arc<dyn Io> = match &self.faults {
            Some(faults) => Arc::new(faults.clone()),
            None => Arc::new(self.memory.clone()),
        };
        Parts { io, clock: Arc::clone(&self.clock) as Arc<_>, random }
    }

    fn open(&mut self) -> Outcome {
        let options = OpenOptions {
            pack_bytes_target: 64 << 10,
            reserve_bytes_max: 0,
            log: LogParameters { segment_bytes: 64 << 10 },
            ..OpenOptions::default()
        };
        self.engine = None;
        self.engine = Some(Engine::open(self.parts(), Path::new(STORE), options)?);
        Ok(())
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\nSTILLPOINT_SEED={}\n{}", self.seed, self.log.join("\n"));
    }

    fn id(&mut self) -> Uid {
        self.next_id += 1;
        uid(self.next_id)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.random.below(of.len() as u64) as usize])
    }

    fn all_disks(&self) -> Vec<(Uid, Uid)> {
        self.logs.iter().flat_map(|(log_id, log)| log.now().keys().map(|disk_id| (*log_id, *disk_id))).collect()
    }

    /// A disk, with its log.
    fn any_disk(&mut self, wanted: impl Fn(&Uid) -> bool) -> Option<(Uid, Uid)> {
        let disks: Vec<(Uid, Uid)> = self.all_disks().into_iter().filter(|(log_id, _)| wanted(log_id)).collect();
        self.one_of(&disks)
    }

    fn any_machine(&mut self) -> Uid {
        uid(1 + self.random.below(MACHINES) as u8)
    }

    fn any_point(&mut self, wanted: impl Fn(&Point) -> bool) -> Option<Uid> {
        let ids: Vec<Uid> = self.points.iter().filter(|(_, point)| wanted(point)).map(|(id, _)| *id).collect();
        self.one_of(&ids)
    }

    /// Does something to the disks of a log, which is in its list of states from before it begins.
    fn change(
        &mut self,
        log_id: Uid,
        change: impl FnOnce(&mut Disks),
        work: impl FnOnce(&Engine) -> Result<(), Error>,
    ) -> Outcome {
        let log = self.logs.get_mut(&log_id).unwrap();
        let mut state = log.now().clone();
        change(&mut state);
        log.states.push(state);
        work(self.engine.as_ref().unwrap())?;
        let log = self.logs.get_mut(&log_id).unwrap();
        log.acknowledged = log.states.len() - 1;
        Ok(())
    }

    fn any_range(&mut self, size: u64) -> (u64, u64) {
        let sectors = size / SECTOR;
        let first = self.random.below(sectors);
        let most = (sectors - first).min(if self.random.one_in(4) { 200 } else { 16 });
        (first * SECTOR, (1 + self.random.below(most)) * SECTOR)
    }

    fn any_bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; length as usize];
        match self.random.below(4) {
            0 => bytes.fill(self.random.below(3) as u8),
            _ => self.random.fill(&mut bytes),
        }
        bytes
    }

    fn step(&mut self) -> Outcome {
        match self.random.below(100) {
            0..=4 => self.create_disk(),
            5..=44 => self.write(),
            45..=50 => self.zero(),
            51..=52 => self.grow(),
            53..=62 => self.cut(),
            63..=68 => self.copy(),
            69..=74 => self.release(),
            75..=78 => self.delete(),
            79..=81 => self.clone_disk(),
            82..=83 => self.reset(),
            84..=86 => self.attach(),
            87..=88 => self.detach(),
            89 => self.delete_disk(),
            90..=91 => {
                self.log.push("upkeep".into());
                busy_is_fine(self.engine().upkeep(&Control::default()).map(drop))
            }
            92 => {
                self.log.push("collect".into());
                self.engine().collect(false, &Control::default()).map(drop)
            }
            93..=94 => self.check_any_point(),
            95 => self.check_diff(),
            96 => self.flush(),
            _ => self.reopen(),
        }
    }

    /// Steps without faults, with a look at everything at the end.
    pub(crate) fn history(&mut self, steps: u64) {
        for _ in 0..steps {
            if let Err(error) = self.step() {
                self.fail(&format!("{error}"));
            }
        }
        self.check_all();
    }

    fn create_disk(&mut self) -> Outcome {
        if self.all_disks().len() >= 5 {
            return Ok(());
        }
        let (disk_id, sectors) = (self.id(), 1 + self.random.below(400));
        self.log.push(format!("create {disk_id} of {sectors} sectors"));
        self.moving = Some(disk_id);
        self.engine().create_disk(&new_disk(disk_id), sectors * SECTOR, None)?;
        self.moving = None;
        let bytes = vec![0; (sectors * SECTOR) as usize];
        self.logs.insert(disk_id, Log::of([(disk_id, bytes)].into()));
        if self.random.one_in(3) {
            return Ok(());
        }
        let machine = self.any_machine();
        self.attach_to(disk_id, machine)
    }

    fn write(&mut self) -> Outcome {
        let Some((log_id, disk_id)) = self.any_disk(|_| true) else { return Ok(()) };
        let (offset, length) = self.any_range(self.logs[&log_id].now()[&disk_id].len() as u64);
        let (bytes, fua) = (self.any_bytes(length), self.random.one_in(10));
        self.log.push(format!("write {disk_id} {length} at {offset} fua {fua}"));
        let place = offset as usize..(offset + length) as usize;
        self.change(
            log_id,
            |disks| disks.get_mut(&disk_id).unwrap()[place].copy_from_slice(&bytes),
            |engine| engine.write_disk(&disk_id, offset, &bytes, fua).map(drop),
        )?;
        if fua {
            self.logs.get_mut(&log_id).unwrap().flushed();
        }
        if self.random.one_in(4) {
            self.check_disk(log_id, disk_id)?;
        }
        Ok(())
    }

    fn zero(&mut self) -> Outcome {
        let Some((log_id, disk_id)) = self.any_disk(|_| true) else { return Ok(()) };
        let (offset, length) = self.any_range(self.logs[&log_id].now()[&disk_id].len() as u64);
        let trims = self.random.one_in(2);
        self.log.push(format!("zero {disk_id} {length} at {offset} {trims}"));
        let place = offset as usize..(offset + length) as usize;
        self.change(
            log_id,
            |disks| disks.get_mut(&disk_id).unwrap()[place].fill(0),
            |engine| engine.zero_disk(&disk_id, offset, length, trims, false).map(drop),
        )
    }

    fn grow(&mut self) -> Outcome {
        let Some((log_id, disk_id)) = self.any_disk(|_| true) else { return Ok(()) };
        let size = self.logs[&log_id].now()[&disk_id].len() as u64 + self.random.below(100) * SECTOR;
        self.log.push(format!("grow {disk_id} to {size}"));
        self.change(
            log_id,
            |disks| disks.get_mut(&disk_id).unwrap().resize(size as usize, 0),
            |engine| engine.grow_disk(&disk_id, size).map(drop),
        )
    }

    fn flush(&mut self) -> Outcome {
        let Some((log_id, disk_id)) = self.any_disk(|_| true) else { return Ok(()) };
        self.log.push(format!("flush {disk_id}"));
        self.engine().flush_disk(&disk_id)?;
        self.logs.get_mut(&log_id).unwrap().flushed();
        Ok(())
    }

    fn cut(&mut self) -> Outcome {
        let machine_id = self.any_machine();
        if self.logs[&machine_id].now().is_empty() {
            return Ok(());
        }
        self.cut_of(machine_id)
    }

    fn cut_of(&mut self, machine_id: Uid) -> Outcome {
        let point_id = self.id();
        self.log.push(format!("cut {machine_id} as {point_id}"));
        let (collection, name) = ("default".to_owned(), format!("p{point_id}"));
        let request = CutRequest { machine_id, point_id, collection, name, detail: b"{}".to_vec() };
        let disks = self.logs[&machine_id].now().clone();
        self.points.insert(point_id, Point { state: State::Unsure, disks });
        let answered = self.engine().cut(request).and_then(|_| self.engine().make_cut_durable(&point_id));
        if answered.as_ref().is_err_and(|error| error.code() == Code::LayersFull) {
            self.points.remove(&point_id);
            return Ok(());
        }
        answered?;
        self.points.get_mut(&point_id).unwrap().state = State::Cut;
        self.logs.get_mut(&machine_id).unwrap().flushed();
        Ok(())
    }

    /// Copies the oldest cut of a machine.
    fn copy(&mut self) -> Outcome {
        let machine = self.any_machine();
        let pending = self.engine().pending_cuts();
        let oldest = pending.iter().find(|cut| cut.machine_id == machine);
        let Some(oldest) = oldest.filter(|cut| self.points.contains_key(&cut.point_id)) else { return Ok(()) };
        let point_id = oldest.point_id;
        self.copy_of(point_id).map(drop)
    }

    /// Copies a cut; returns whether that was possible now.
    fn copy_of(&mut self, point_id: Uid) -> Result<bool, Error> {
        let created_ms = 1_800_000_000_000;
        self.log.push(format!("copy {point_id}"));
        let disks = self.points[&point_id].disks.keys().copied().collect();
        let request = CopyRequest { point_id, created_ms, detail: b"{}".to_vec(), disks };
        match self.engine().copy(&request, &Control::default()) {
            Ok(_) => {
                self.points.get_mut(&point_id).unwrap().state = State::Copied;
                Ok(true)
            }
            // A disk of it stands on a point of the other machine, before which older ones wait.
            Err(error) => busy_is_fine(Err(error)).map(|()| false),
        }
    }

    fn release(&mut self) -> Outcome {
        let Some(point_id) = self.any_point(|point| point.state == State::Copied) else { return Ok(()) };
        self.log.push(format!("release {point_id}"));
        self.engine().release_cut(&point_id)
    }

    fn delete(&mut self) -> Outcome {
        let Some(point_id) = self.any_point(|_| true) else { return Ok(()) };
        self.log.push(format!("delete {point_id}"));
        let state = self.points[&point_id].state;
        self.points.get_mut(&point_id).unwrap().state = State::Deleting;
        if state == State::Copied {
            self.engine().release_cut(&point_id)?;
            self.engine().remove_point(&point_id)?;
        } else if let Err(error) = self.engine().drop_cut(&point_id, &Control::default()) {
            if error.code() == Code::StoreBusy {
                self.points.get_mut(&point_id).unwrap().state = state; // something stands on it, and older ones wait
                return Ok(());
            }
            return Err(error);
        }
        self.points.remove(&point_id);
        Ok(())
    }

    fn clone_disk(&mut self) -> Outcome {
        if self.all_disks().len() >= 6 {
            return Ok(());
        }
        let Some(point_id) = self.any_point(|_| true) else { return Ok(()) };
        let ids: Vec<Uid> = self.points[&point_id].disks.keys().copied().collect();
        let (from, disk_id) = (self.one_of(&ids).unwrap(), self.id());
        self.log.push(format!("clone {disk_id} from {point_id}/{from}"));
        self.moving = Some(disk_id);
        self.engine().create_disk(&new_disk(disk_id), 0, Some(&DiskReference { point_id, disk_id: from }))?;
        self.moving = None;
        let bytes = self.points[&point_id].disks[&from].clone();
        self.logs.insert(disk_id, Log::of([(disk_id, bytes)].into()));
        self.check_disk(disk_id, disk_id)?;
        if self.random.one_in(2) {
            return Ok(());
        }
        let machine = self.any_machine();
        self.attach_to(disk_id, machine)
    }

    fn reset(&mut self) -> Outcome {
        let Some(point_id) = self.any_point(|_| true) else { return Ok(()) };
        let machine = self.any_machine();
        let targets: Vec<Uid> = self.logs[&machine].now().keys().copied().collect();
        if targets.is_empty() {
            return Ok(());
        }
        let sources: Vec<Uid> = self.points[&point_id].disks.keys().copied().collect();
        let mut list = Vec::new();
        for target in &targets {
            let from = self.one_of(&sources).unwrap();
            list.push((*target, DiskReference { point_id, disk_id: from }));
        }
        self.log.push(format!("reset {list:?}"));
        let contents = self.points[&point_id].disks.clone();
        self.change(
            machine,
            |disks| disks.extend(list.iter().map(|(target, from)| (*target, contents[&from.disk_id].clone()))),
            |engine| engine.reset_disks(&machine, &list).map(drop),
        )?;
        targets.iter().try_for_each(|target| self.check_disk(machine, *target))
    }

    fn attach(&mut self) -> Outcome {
        let Some((_, disk_id)) = self.any_disk(|log_id| !is_machine(log_id)) else { return Ok(()) };
        let machine = self.any_machine();
        self.attach_to(disk_id, machine)
    }

    fn attach_to(&mut self, disk_id: Uid, machine: Uid) -> Outcome {
        self.log.push(format!("attach {disk_id} to {machine}"));
        self.moved(disk_id, disk_id, machine, |engine| engine.attach_disk(&disk_id, &machine, &format!("r{disk_id}")))
    }

    fn detach(&mut self) -> Outcome {
        let Some((machine, disk_id)) = self.any_disk(is_machine) else { return Ok(()) };
        self.detach_of(disk_id, machine)
    }

    fn detach_of(&mut self, disk_id: Uid, machine: Uid) -> Outcome {
        self.log.push(format!("detach {disk_id}"));
        self.moved(disk_id, machine, disk_id, |engine| engine.detach_disk(&disk_id))
    }

    fn moved(&mut self, disk_id: Uid, from: Uid, to: Uid, work: impl FnOnce(&Engine) -> Outcome) -> Outcome {
        self.moving = Some(disk_id);
        if let Err(error) = work(self.engine.as_ref().unwrap()) {
            if [Code::StoreBusy, Code::LayersFull].contains(&error.code()) {
                self.moving = None;
                return self.check_disk(from, disk_id);
            }
            return Err(error);
        }
        self.moving = None;
        for log_id in [from, to] {
            if let Some(log) = self.logs.get_mut(&log_id) {
                log.flushed();
            }
        }
        let bytes = self.logs.get_mut(&from).unwrap().states[0].remove(&disk_id).unwrap();
        if !is_machine(&from) {
            self.logs.remove(&from);
        }
        self.logs.entry(to).or_insert_with(|| Log::of(BTreeMap::new())).states[0].insert(disk_id, bytes);
        self.check_disk(to, disk_id)
    }

    fn delete_disk(&mut self) -> Outcome {
        let Some((_, disk_id)) = self.any_disk(|log_id| !is_machine(log_id)) else { return Ok(()) };
        self.log.push(format!("delete {disk_id}"));
        self.moving = Some(disk_id);
        self.engine().delete_disk(&disk_id)?;
        self.moving = None;
        self.logs.remove(&disk_id);
        Ok(())
    }

    /// Closes the store, or kills the process, and opens it again.
    fn reopen(&mut self) -> Outcome {
        let kills = self.faults.is_none() && self.random.one_in(2);
        self.log.push(format!("reopen, killed: {kills}"));
        if kills {
            self.memory = self.memory.crash(CrashChoice::ProcessKilled);
        } else {
            self.engine().close();
        }
        self.open()?;
        self.drop_unknown_cuts()?;
        self.check_everything()
    }

    /// As the coordinator does: cuts that nobody was answered about are dropped.
    fn drop_unknown_cuts(&mut self) -> Outcome {
        for cut in self.engine().pending_cuts() {
            if !self.points.contains_key(&cut.point_id) {
                busy_is_fine(self.engine().drop_cut(&cut.point_id, &Control::default()))?;
            }
        }
        Ok(())
    }

    fn check_all(&mut self) {
        if let Err(error) = self.check_everything() {
            self.fail(&format!("{error}"));
        }
    }

    fn check_everything(&self) -> Outcome {
        for (log_id, disk_id) in self.all_disks() {
            self.check_disk(log_id, disk_id)?;
        }
        for disk in self.engine().live_disks() {
            let log_id = disk.machine_id.unwrap_or(disk.disk_id);
            if !self.logs.get(&log_id).is_some_and(|log| log.now().contains_key(&disk.disk_id)) {
                self.fail(&format!("{disk:?} is not where it should be"));
            }
        }
        self.check_points()
    }

    fn check_points(&self) -> Outcome {
        let pending: Vec<Uid> = self.engine().pending_cuts().iter().map(|cut| cut.point_id).collect();
        for (point_id, point) in &self.points {
            let has_manifest = self.engine().manifests().iter().any(|manifest| manifest.point_id == *point_id);
            match point.state {
                State::Cut if !pending.contains(point_id) => self.fail(&format!("the cut {point_id} is lost")),
                State::Copied if !has_manifest => self.fail(&format!("the point {point_id} is lost")),
                _ => {}
            }
        }
        self.points.keys().try_for_each(|point_id| self.check_point(*point_id))
    }

    fn read_disk(&self, disk_id: Uid, length: usize) -> Result<Vec<u8>, Error> {
        let mut found = vec![0xaa; length];
        self.engine().read_disk(&disk_id, 0, &mut found)?;
        Ok(found)
    }

    fn check_disk(&self, log_id: Uid, disk_id: Uid) -> Outcome {
        let expected = &self.logs[&log_id].now()[&disk_id];
        let found = self.read_disk(disk_id, expected.len())?;
        if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
            self.fail(&format!("disk {disk_id} has {} at {at}, not {}", found[at], expected[at]));
        }
        Ok(())
    }

    fn check_any_point(&mut self) -> Outcome {
        let Some(point_id) = self.any_point(|_| true) else { return Ok(()) };
        self.log.push(format!("check {point_id}"));
        self.check_point(point_id)
    }

    fn check_point(&self, point_id: Uid) -> Outcome {
        for (disk_id, expected) in &self.points[&point_id].disks {
            let reference = DiskReference { point_id, disk_id: *disk_id };
            let found = self.engine().read(&reference, 0, expected.len() as u64)?;
            if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
                let what = format!("{} at {at}, not {}", found[at], expected[at]);
                self.fail(&format!("point {point_id} has of disk {disk_id} {what}"));
            }
        }
        Ok(())
    }

    /// What a diff says has changed is what has changed, and what is restored is the point.
    fn check_diff(&mut self) -> Outcome {
        let (Some(after), Some(before)) = (self.any_point(|_| true), self.any_point(|_| true)) else { return Ok(()) };
        let shared = self.points[&after].disks.keys().find(|id| self.points[&before].disks.contains_key(id)).copied();
        let Some(disk_id) = shared else { return Ok(()) };
        self.log.push(format!("diff {before} {after} of {disk_id}"));
        let reference = |point_id| DiskReference { point_id, disk_id };
        let mut diff = self.engine().diff(&reference(before), &reference(after), Some(512))?;
        let mut applied = self.points[&before].disks[&disk_id].clone();
        let expected = self.points[&after].disks[&disk_id].clone();
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
        if applied != expected {
            self.fail("the diff leaves out something");
        }
        drop(diff);
        let target = TargetRequest { path: format!("/out{}", self.log.len()).into(), overwrite: false, sync: true };
        self.engine().restore(&reference(after), &target, &Control::default())?;
        if self.memory.read_file(&target.path) != Some(expected) {
            self.fail("what was restored is not the point");
        }
        Ok(())
    }

    /// The same world, closed, on what a crash left.
    fn after(&self, memory: MemoryIo) -> Self {
        Self {
            memory,
            faults: None,
            engine: None,
            ids: Arc::new(Mutex::new(Seeded::new(self.seed ^ 0xdead ^ ((self.crashes + 1) << 20)))),
            crashes: self.crashes + 1,
            clock: Arc::clone(&self.clock),
            random: self.random.clone(),
            logs: self.logs.clone(),
            points: self.points.clone(),
            log: self.log.clone(),
            ..*self
        }
    }

    /// What is there is what may be: for each log the disks as after some change, none before the last flush.
    fn settle(&mut self, killed: bool) -> Outcome {
        self.open()?;
        let listed = self.engine().live_disks();
        for (log_id, log) in &self.logs {
            let first = if killed { log.acknowledged } else { log.durable };
            for disk_id in log.now().keys().filter(|disk_id| self.moving != Some(**disk_id)) {
                let disk = listed.iter().find(|disk| disk.disk_id == *disk_id);
                let place = disk.map(|disk| disk.machine_id.unwrap_or(disk.disk_id));
                if place != Some(*log_id) {
                    self.fail(&format!("disk {disk_id} is in {place:?}, not in {log_id}"));
                }
            }
            let mut there = Disks::new();
            for disk in
                listed.iter().filter(|disk| log.states[first..].iter().any(|state| state.contains_key(&disk.disk_id)))
            {
                there.insert(disk.disk_id, self.read_disk(disk.disk_id, disk.size as usize)?);
            }
            let is = |state: &Disks| there.iter().all(|(disk_id, bytes)| state.get(disk_id) == Some(bytes));
            let found = log.states[first..].iter().any(is)
                || log.states[first..].windows(2).any(|pair| is_partly(&there, &pair[0], &pair[1]));
            if !found {
                self.fail(&format!("the disks of log {log_id} are not as any change since {first} left them"));
            }
        }
        self.points.retain(|_, point| matches!(point.state, State::Cut | State::Copied));
        self.check_points()?;
        self.drop_unknown_cuts()?;
        // What it is from here on.
        let mut logs: BTreeMap<Uid, Log> = BTreeMap::new();
        for machine in 1..=MACHINES {
            logs.insert(uid(machine as u8), Log::of(BTreeMap::new()));
        }
        for disk in listed {
            let bytes = self.read_disk(disk.disk_id, disk.size as usize)?;
            let log_id = disk.machine_id.unwrap_or(disk.disk_id);
            logs.entry(log_id).or_insert_with(|| Log::of(BTreeMap::new())).states[0].insert(disk.disk_id, bytes);
        }
        (self.logs, self.moving) = (logs, None);
        Ok(())
    }
}

/// Runs a history, and again cut off at its calls, at most `cuts_max` of them; returns how often it was cut off.
pub(crate) fn crash_everywhere(seed: u64, steps: u64, cuts_max: u64) -> u64 {
    let run = |call: Option<u64>| {
        let mut world = World::new(seed);
        let plan = call.map_or_else(FaultPlan::none, |call| {
            FaultPlan::one(Fault::Crash { call, torn: (call % 2 == 0).then_some(seed ^ call) })
        });
        world.memory = world.memory.crash(CrashChoice::ProcessKilled);
        let faults = FaultIo::over_memory(&world.memory, plan);
        world.faults = Some(faults.clone());
        let outcome = world.open().and_then(|()| (0..steps).try_for_each(|_| world.step()));
        (world, faults, outcome)
    };
    let (world, faults, outcome) = run(None);
    if let Err(error) = outcome {
        world.fail(&format!("{error}"));
    }
    let calls = faults.counts().calls;
    let mut random = Seeded::new(seed ^ 0xc4a5);
    let mut cuts = 0;
    for number in 0..calls.min(cuts_max) {
        let call = if calls <= cuts_max { number } else { random.below(calls) };
        let (mut world, faults, outcome) = run(Some(call));
        assert!(outcome.is_err() || faults.has_crashed(), "the crash stops the history");
        world.engine = None;
        let choices = [
            CrashChoice::ProcessKilled,
            CrashChoice::LoseUnsynced,
            CrashChoice::KeepAll,
            CrashChoice::Seeded(seed ^ call),
        ];
        for choice in choices {
            cuts += 1;
            let mut after = world.after(world.memory.crash(choice));
            after.log.push(format!(
                "crash at call {call}: {choice:?}\n{}",
                faults.log().lines().rev().take(12).collect::<Vec<_>>().join("\n")
            ));
            let is_kill = matches!(choice, CrashChoice::ProcessKilled);
            if let Err(error) = after.settle(is_kill) {
                after.fail(&format!("{error}"));
            }
            after.history(6);
            for log in after.logs.values_mut() {
                log.durable = log.acknowledged; // flushed just below
            }
            for (_, disk_id) in after.all_disks() {
                after.engine().flush_disk(&disk_id).unwrap();
            }
            let later = after.memory.crash(CrashChoice::LoseUnsynced);
            let mut later = after.after(later);
            later.log.push("power cut".into());
            if let Err(error) = later.settle(false) {
                later.fail(&format!("{error}"));
            }
        }
    }
    cuts
}

/// Whether a change of one state to the next, which may be several records, has come to somewhere in the middle.
fn is_partly(there: &Disks, before: &Disks, after: &Disks) -> bool {
    there.iter().all(|(disk_id, bytes)| match (before.get(disk_id), after.get(disk_id)) {
        (Some(before), Some(after)) if before.len() == after.len() && bytes.len() == after.len() => {
            let end = (0..bytes.len()).find(|at| bytes[*at] != after[*at]).unwrap_or(bytes.len());
            bytes[end..] == before[end..]
        }
        (before, _) => before == Some(bytes),
    })
}

fn busy_is_fine(outcome: Outcome) -> Outcome {
    match outcome {
        Err(error) if error.code() == Code::StoreBusy => Ok(()),
        outcome => outcome,
    }
}

fn is_machine(log_id: &Uid) -> bool {
    (1..=MACHINES).any(|machine| uid(machine as u8) == *log_id)
}

fn new_disk(disk_id: Uid) -> NewDisk {
    NewDisk { disk_id, name: format!("d{disk_id}"), role: "data".into(), sector_bytes: 512 }
}

fn uid(number: u8) -> Uid {
    let mut bytes = [0; 16];
    bytes[15] = number;
    bytes[0] = 1;
    Uid(bytes)
}
