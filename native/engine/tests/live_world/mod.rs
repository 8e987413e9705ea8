//! A store with live disks on a file system in memory, and its model. One seed drives everything:
//! `STILLPOINT_SEED=n` repeats one history.
#![allow(dead_code, reason = "each test binary uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::ManualClock;
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{
    Codec, CopyRequest, CreateOptions, CutRequest, DiskReference, Engine, NewDisk, OpenOptions, Parts, TargetRequest,
};
use stillpoint_engine::error::{Code, Error};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;
use stillpoint_engine::write_log::LogParameters;

const STORE: &str = "/store";
const CHUNK_BYTES: u32 = 16 << 10;
const SECTOR: u64 = 512;
const MACHINES: u64 = 2;

pub(crate) fn sized(quick: u64, full: u64) -> u64 {
    if std::env::var("STILLPOINT_TEST_SIZE").is_ok_and(|size| size == "full") { full } else { quick }
}

pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("STILLPOINT_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("STILLPOINT_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

/// What became of a point, as the coordinator knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Cut,
    Copied,
    Released,
}

#[derive(Clone, Debug)]
struct Point {
    machine: Uid,
    state: State,
    disks: BTreeMap<Uid, Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Disk {
    machine: Option<Uid>,
    bytes: Vec<u8>,
}

pub(crate) struct World {
    seed: u64,
    random: Seeded,
    ids: Arc<Mutex<Seeded>>,
    io: MemoryIo,
    clock: Arc<ManualClock>,
    engine: Option<Arc<Engine>>,
    disks: BTreeMap<Uid, Disk>,
    points: BTreeMap<Uid, Point>,
    next_id: u8,
    log: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let io = MemoryIo::new();
        let clock = Arc::new(ManualClock::new(1_800_000_000_000_000_000));
        let mut world = Self {
            seed,
            random: Seeded::new(seed ^ 0x11fe),
            ids: Arc::new(Mutex::new(Seeded::new(seed))),
            io,
            clock,
            engine: None,
            disks: BTreeMap::new(),
            points: BTreeMap::new(),
            next_id: 10,
            log: Vec::new(),
        };
        let options = CreateOptions { chunk_bytes: CHUNK_BYTES, codec: Codec::Zstd, level: 1 };
        Engine::create(&world.parts(), Path::new(STORE), &options).unwrap();
        world.open();
        for machine in 1..=MACHINES {
            world.engine().create_machine_log(&uid(machine as u8)).unwrap();
        }
        world
    }

    fn parts(&self) -> Parts {
        let random = Arc::clone(&self.ids) as Arc<_>;
        Parts { io: Arc::new(self.io.clone()), clock: Arc::clone(&self.clock) as Arc<_>, random }
    }

    fn open(&mut self) {
        let options = OpenOptions {
            pack_bytes_target: 64 << 10,
            reserve_bytes_max: 0,
            log: LogParameters { segment_bytes: 64 << 10 },
            ..OpenOptions::default()
        };
        let opened = Engine::open(self.parts(), Path::new(STORE), options);
        self.engine = Some(opened.unwrap_or_else(|error| self.fail(&format!("opening failed: {error}"))));
    }

    fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\nSTILLPOINT_SEED={}\n{}", self.seed, self.log.join("\n"));
    }

    fn ok<T>(&self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| self.fail(&format!("{error}")))
    }

    fn id(&mut self) -> Uid {
        self.next_id += 1;
        uid(self.next_id)
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.random.below(of.len() as u64) as usize])
    }

    fn any_disk(&mut self) -> Option<Uid> {
        let ids: Vec<Uid> = self.disks.keys().copied().collect();
        self.one_of(&ids)
    }

    fn any_point(&mut self, wanted: impl Fn(&Point) -> bool) -> Option<Uid> {
        let ids: Vec<Uid> = self.points.iter().filter(|(_, point)| wanted(point)).map(|(id, _)| *id).collect();
        self.one_of(&ids)
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

    pub(crate) fn step(&mut self) {
        let kind = self.random.below(100);
        match kind {
            0..=4 => self.create_disk(),
            5..=44 => self.write(),
            45..=50 => self.zero(),
            51..=52 => self.grow(),
            53..=62 => self.cut(),
            63..=68 => self.copy(),
            69..=74 => self.release(),
            75..=78 => self.drop_or_delete(),
            79..=81 => self.clone_disk(),
            82..=83 => self.reset(),
            84..=86 => self.attach(),
            87..=88 => self.detach(),
            89 => self.delete_disk(),
            90..=91 => {
                self.log.push("upkeep".into());
                match self.engine().upkeep(&Control::default()) {
                    Ok(_) => {}
                    Err(error) if error.code() == Code::StoreBusy => {}
                    Err(error) => self.fail(&format!("{error}")),
                }
            }
            92 => {
                self.log.push("collect".into());
                self.ok(self.engine().collect(false, &Control::default()));
            }
            93..=94 => self.check_point(),
            95 => self.check_diff(),
            96 => {
                self.log.push("flush".into());
                if let Some(disk) = self.any_disk() {
                    self.ok(self.engine().flush_disk(&disk));
                }
            }
            _ => self.reopen(),
        }
    }

    fn create_disk(&mut self) {
        if self.disks.len() >= 5 {
            return;
        }
        let (disk_id, sectors) = (self.id(), 1 + self.random.below(400));
        self.log.push(format!("create {disk_id} of {sectors} sectors"));
        self.ok(self.engine().create_disk(&new_disk(disk_id), sectors * SECTOR, None));
        self.disks.insert(disk_id, Disk { machine: None, bytes: vec![0; (sectors * SECTOR) as usize] });
        if !self.random.one_in(3) {
            let machine = uid(1 + self.random.below(MACHINES) as u8);
            self.attach_to(disk_id, machine);
        }
    }

    fn write(&mut self) {
        let Some(disk_id) = self.any_disk() else { return };
        let (offset, length) = self.any_range(self.disks[&disk_id].bytes.len() as u64);
        let bytes = self.any_bytes(length);
        self.log.push(format!("write {disk_id} {length} at {offset}"));
        let fua = self.random.one_in(10);
        self.ok(self.engine().write_disk(&disk_id, offset, &bytes, fua));
        let place = offset as usize..(offset + length) as usize;
        self.disks.get_mut(&disk_id).unwrap().bytes[place].copy_from_slice(&bytes);
        if self.random.one_in(4) {
            self.check_disk(disk_id);
        }
    }

    fn zero(&mut self) {
        let Some(disk_id) = self.any_disk() else { return };
        let (offset, length) = self.any_range(self.disks[&disk_id].bytes.len() as u64);
        let trims = self.random.one_in(2);
        self.log.push(format!("zero {disk_id} {length} at {offset} {trims}"));
        self.ok(self.engine().zero_disk(&disk_id, offset, length, trims, false));
        let place = offset as usize..(offset + length) as usize;
        self.disks.get_mut(&disk_id).unwrap().bytes[place].fill(0);
    }

    fn grow(&mut self) {
        let Some(disk_id) = self.any_disk() else { return };
        let more = self.random.below(100) * SECTOR;
        let size = self.disks[&disk_id].bytes.len() as u64 + more;
        self.log.push(format!("grow {disk_id} to {size}"));
        self.ok(self.engine().grow_disk(&disk_id, size));
        self.disks.get_mut(&disk_id).unwrap().bytes.resize(size as usize, 0);
    }

    fn cut(&mut self) {
        let machine = uid(1 + self.random.below(MACHINES) as u8);
        let point_id = self.id();
        self.log.push(format!("cut {machine} as {point_id}"));
        let request = CutRequest {
            machine_id: machine,
            point_id,
            collection: "default".into(),
            name: format!("p{point_id}"),
            detail: b"{}".to_vec(),
        };
        match self.engine().cut(request) {
            Ok(_) => {}
            Err(error) if error.code() == Code::LayersFull => return,
            Err(error) if error.code() == Code::ArgumentInvalid => {
                assert!(self.disks.values().all(|disk| disk.machine != Some(machine)), "{error}");
                return;
            }
            Err(error) => self.fail(&format!("{error}")),
        }
        self.ok(self.engine().make_cut_durable(&point_id));
        let disks = self.disks.iter().filter(|(_, disk)| disk.machine == Some(machine));
        let disks = disks.map(|(id, disk)| (*id, disk.bytes.clone())).collect();
        self.points.insert(point_id, Point { machine, state: State::Cut, disks });
    }

    /// Copies the oldest cut of a machine.
    fn copy(&mut self) {
        let machine = uid(1 + self.random.below(MACHINES) as u8);
        let pending = self.engine().pending_cuts();
        let Some(oldest) = pending.iter().find(|cut| cut.machine_id == machine && self.points.contains_key(&cut.point_id)) else { return };
        let point_id = oldest.point_id;
        self.log.push(format!("copy {point_id}"));
        let request =
            CopyRequest { point_id, created_ms: oldest.time_ms, detail: b"{}".to_vec(), excluded: Vec::new() };
        match self.engine().copy(&request, &Control::default()) {
            Ok(_) => self.points.get_mut(&point_id).unwrap().state = State::Copied,
            // A disk of it stands on a point of the other machine, before which older ones wait.
            Err(error) if error.code() == Code::StoreBusy => {}
            Err(error) => self.fail(&format!("{error}")),
        }
    }

    fn release(&mut self) {
        let Some(point_id) = self.any_point(|point| point.state == State::Copied) else { return };
        self.log.push(format!("release {point_id}"));
        self.ok(self.engine().release_cut(&point_id));
        self.points.get_mut(&point_id).unwrap().state = State::Released;
    }

    fn drop_or_delete(&mut self) {
        let Some(point_id) = self.any_point(|_| true) else { return };
        self.log.push(format!("delete {point_id}"));
        if self.points[&point_id].state == State::Cut {
            match self.engine().drop_cut(&point_id, &Control::default()) {
                Ok(()) => {}
                Err(error) if error.code() == Code::StoreBusy => return, // pinned, and older ones wait
                Err(error) => self.fail(&format!("{error}")),
            }
        } else {
            self.ok(self.engine().release_cut(&point_id));
            self.ok(self.engine().remove_point(&point_id));
        }
        self.points.remove(&point_id);
    }

    fn clone_disk(&mut self) {
        if self.disks.len() >= 6 {
            return;
        }
        let Some(point_id) = self.any_point(|point| !point.disks.is_empty()) else { return };
        let ids: Vec<Uid> = self.points[&point_id].disks.keys().copied().collect();
        let (from, disk_id) = (self.one_of(&ids).unwrap(), self.id());
        self.log.push(format!("clone {disk_id} from {point_id}/{from}"));
        let reference = DiskReference { point_id, disk_id: from };
        self.ok(self.engine().create_disk(&new_disk(disk_id), 0, Some(&reference)));
        let bytes = self.points[&point_id].disks[&from].clone();
        self.disks.insert(disk_id, Disk { machine: None, bytes });
        self.check_disk(disk_id);
        if self.random.one_in(2) {
            let machine = uid(1 + self.random.below(MACHINES) as u8);
            self.attach_to(disk_id, machine);
        }
    }

    fn reset(&mut self) {
        let Some(point_id) = self.any_point(|point| !point.disks.is_empty()) else { return };
        let machine = uid(1 + self.random.below(MACHINES) as u8);
        let targets: Vec<Uid> =
            self.disks.iter().filter(|(_, disk)| disk.machine == Some(machine)).map(|(id, _)| *id).collect();
        if targets.is_empty() {
            return;
        }
        let sources: Vec<Uid> = self.points[&point_id].disks.keys().copied().collect();
        let mut list = Vec::new();
        for target in targets {
            let from = self.one_of(&sources).unwrap();
            list.push((target, DiskReference { point_id, disk_id: from }));
        }
        self.log.push(format!("reset {list:?}"));
        self.ok(self.engine().reset_disks(&machine, &list));
        for (target, from) in list {
            self.disks.get_mut(&target).unwrap().bytes = self.points[&point_id].disks[&from.disk_id].clone();
            self.check_disk(target);
        }
    }

    fn attach(&mut self) {
        let Some(disk_id) = self.any_disk().filter(|id| self.disks[id].machine.is_none()) else { return };
        let machine = uid(1 + self.random.below(MACHINES) as u8);
        self.attach_to(disk_id, machine);
    }

    fn attach_to(&mut self, disk_id: Uid, machine: Uid) {
        self.log.push(format!("attach {disk_id} to {machine}"));
        match self.engine().attach_disk(&disk_id, &machine, &format!("r{disk_id}")) {
            Ok(()) => self.disks.get_mut(&disk_id).unwrap().machine = Some(machine),
            // It stands on a point before which older ones wait.
            Err(error) if error.code() == Code::StoreBusy => {}
            Err(error) => self.fail(&format!("{error}")),
        }
        self.check_disk(disk_id);
    }

    fn detach(&mut self) {
        let Some(disk_id) = self.any_disk().filter(|id| self.disks[id].machine.is_some()) else { return };
        self.log.push(format!("detach {disk_id}"));
        match self.engine().detach_disk(&disk_id) {
            Ok(()) => self.disks.get_mut(&disk_id).unwrap().machine = None,
            Err(error) if error.code() == Code::StoreBusy || error.code() == Code::LayersFull => {}
            Err(error) => self.fail(&format!("{error}")),
        }
        self.check_disk(disk_id);
    }

    fn delete_disk(&mut self) {
        let Some(disk_id) = self.any_disk().filter(|id| self.disks[id].machine.is_none()) else { return };
        self.log.push(format!("delete {disk_id}"));
        self.ok(self.engine().delete_disk(&disk_id));
        self.disks.remove(&disk_id);
    }

    /// Closes the store, or kills the process, and opens it again.
    fn reopen(&mut self) {
        let kills = self.random.one_in(2);
        self.log.push(format!("reopen, killed: {kills}"));
        if kills {
            self.io = self.io.crash(CrashChoice::ProcessKilled);
            let dead = self.engine.take().unwrap();
            self.open();
            drop(dead);
        } else {
            self.engine = None;
            self.open();
        }
        // As the coordinator does: cuts that nobody knows are dropped.
        for cut in self.engine().pending_cuts() {
            if !self.points.contains_key(&cut.point_id) {
                match self.engine().drop_cut(&cut.point_id, &Control::default()) {
                    Err(error) if error.code() != Code::StoreBusy => self.fail(&format!("{error}")),
                    _ => {}
                }
            }
        }
        self.check_all();
    }

    pub(crate) fn check_all(&mut self) {
        for disk_id in self.disks.keys().copied().collect::<Vec<_>>() {
            self.check_disk(disk_id);
        }
        let pending: Vec<Uid> = self.engine().pending_cuts().iter().map(|cut| cut.point_id).collect();
        for (point_id, point) in &self.points {
            let is_pending = pending.contains(point_id);
            let has_manifest = self.engine().manifests().iter().any(|manifest| manifest.point_id == *point_id);
            match point.state {
                State::Cut if !is_pending => self.fail(&format!("the cut {point_id} is lost")),
                State::Copied | State::Released if !has_manifest => self.fail(&format!("the point {point_id} is lost")),
                _ => {}
            }
        }
        for disk in self.engine().live_disks() {
            match self.disks.get(&disk.disk_id) {
                Some(known) if known.machine == disk.machine_id => {}
                known => self.fail(&format!("{disk:?} is not as known: {:?}", known.map(|known| known.machine))),
            }
        }
        for point_id in self.points.keys().copied().collect::<Vec<_>>() {
            self.check(point_id);
        }
    }

    fn check_disk(&self, disk_id: Uid) {
        let expected = &self.disks[&disk_id].bytes;
        let mut found = vec![0xaa; expected.len()];
        self.ok(self.engine().read_disk(&disk_id, 0, &mut found));
        if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
            self.fail(&format!("disk {disk_id} has {} at {at}, not {}", found[at], expected[at]));
        }
    }

    fn check_point(&mut self) {
        if let Some(point_id) = self.any_point(|_| true) {
            self.log.push(format!("check {point_id}"));
            self.check(point_id);
        }
    }

    fn check(&self, point_id: Uid) {
        for (disk_id, expected) in &self.points[&point_id].disks {
            let reference = DiskReference { point_id, disk_id: *disk_id };
            let found = self.ok(self.engine().read(&reference, 0, expected.len() as u64));
            if let Some(at) = (0..found.len()).find(|at| found[*at] != expected[*at]) {
                let what = format!("{} at {at}, not {}", found[at], expected[at]);
                self.fail(&format!("point {point_id} has of disk {disk_id} {what}"));
            }
        }
    }

    /// What a diff says has changed is what has changed, and what it restores is the point.
    fn check_diff(&mut self) {
        let Some(after) = self.any_point(|point| !point.disks.is_empty()) else { return };
        let Some(before) = self.any_point(|point| !point.disks.is_empty()) else { return };
        let shared = self.points[&after].disks.keys().find(|id| self.points[&before].disks.contains_key(id)).copied();
        let Some(disk_id) = shared else { return };
        self.log.push(format!("diff {before} {after} of {disk_id}"));
        let reference = |point_id| DiskReference { point_id, disk_id };
        let mut diff = self.ok(self.engine().diff(&reference(before), &reference(after), Some(512)));
        let mut applied = self.points[&before].disks[&disk_id].clone();
        let expected = self.points[&after].disks[&disk_id].clone();
        applied.resize(expected.len(), 0);
        loop {
            let page = self.ok(self.engine().diff_page(&mut diff, 7, &Control::default()));
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
        let target = TargetRequest { path: format!("/out{}", self.next_id).into(), overwrite: false, sync: true };
        self.next_id += 1;
        self.ok(self.engine().restore(&reference(after), &target, &Control::default()));
        if self.io.read_file(&target.path) != Some(expected) {
            self.fail("what was restored is not the point");
        }
    }
}

pub(crate) fn history(world: &mut World, steps: u64) {
    for _ in 0..steps {
        world.step();
    }
    world.check_all();
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
