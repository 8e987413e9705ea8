//! Law: every point of live disks is write-order consistent, through the engine, with copies, releases, deletions,
//! collections, clones and upkeep beside the writers; and so is what a crash leaves. Checked without an oracle inside the
//! engine (tests/live/stamps.rs).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;
mod live_store;
mod simulation;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use live::stamps::{
    Bounds, Clock, DISK_BYTES, DISKS, Operation, WRITERS, check_not_torn, check_point, disk, operation, shared_range,
};
use live_store::{Store, attached, copy, cut, delete, new_disk, no_control, read_disk, read_point, uid};
use simulation::progress::{Counts, count, over_seeds};
use simulation::sized;
use stillpoint_engine::engine::{DiskReference, Engine};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::io::fault::FaultPlan;
use stillpoint_engine::io::memory::CrashChoice;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;

fn machine() -> Uid {
    uid(1)
}

/// One machine with all the disks, closed.
fn eight_disks() -> Store {
    let store = Store::new(1);
    let engine = store.open();
    engine.create_machine_log(&machine()).unwrap();
    for number in 0..DISKS {
        attached(&engine, disk(number), machine(), DISK_BYTES);
    }
    engine.settle_logs(&no_control()).unwrap();
    drop(engine);
    store
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Cut,
    Copied,
    Released,
}

struct Point {
    id: Uid,
    bounds: Bounds,
    state: State,
    first: Option<Vec<Vec<u8>>>,
}

impl Point {
    fn check(&mut self, engine: &Engine) -> u64 {
        let disks: Vec<Vec<u8>> =
            (0..DISKS).map(|number| read_point(engine, self.id, disk(number), DISK_BYTES).unwrap()).collect();
        match &self.first {
            None => {
                let stamps = check_point(&disks, &self.bounds);
                self.first = Some(disks);
                stamps
            }
            Some(first) => {
                assert!(*first == disks, "the point {} reads differently the second time", self.id);
                0
            }
        }
    }
}

fn carry_out(engine: &Engine, operation: &Operation, fua: bool) -> Result<()> {
    match operation.bytes.is_empty() {
        true => engine.zero_disk(&operation.disk_id, operation.offset, operation.length, true, fua).map(drop),
        false => engine.write_disk(&operation.disk_id, operation.offset, &operation.bytes, fua).map(drop),
    }
}

fn all_live(engine: &Engine) -> Vec<Vec<u8>> {
    (0..DISKS).map(|number| read_disk(engine, disk(number), DISK_BYTES).unwrap()).collect()
}

fn busy_is_fine<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            assert!(matches!(error.code(), Code::StoreBusy | Code::LayersFull), "{error}");
            false
        }
    }
}

/// Everything beside the writers, as one step of a schedule.
struct Beside {
    points: Vec<Point>,
    clones: Vec<(Uid, Vec<u8>)>,
    next: u64,
}

impl Beside {
    fn step(&mut self, engine: &Engine, random: &mut Seeded, done: Clock, counts: &mut Counts) -> bool {
        self.next += 1;
        match random.below(12) {
            0..=2 => {
                let id = uid(1_000 + self.next);
                if busy_is_fine(cut(engine, machine(), id)) {
                    let bounds = Bounds { acknowledged: done, submitted: done };
                    self.points.push(Point { id, bounds, state: State::Cut, first: None });
                    return true;
                }
            }
            3 | 4 => {
                if let Some(point) = self.points.iter_mut().find(|point| point.state == State::Cut)
                    && busy_is_fine(copy(engine, point.id))
                {
                    point.state = State::Copied;
                }
            }
            5 => {
                if let Some(point) = self.points.iter_mut().find(|point| point.state == State::Copied) {
                    engine.release_cut(&point.id).unwrap();
                    point.state = State::Released;
                }
            }
            6 => {
                if !self.points.is_empty() {
                    let at = random.below(self.points.len() as u64) as usize;
                    let point = self.points.swap_remove(at);
                    if busy_is_fine(delete(engine, point.id)) {
                        self.points.sort_by_key(|point| point.id);
                    } else {
                        self.points.push(point);
                    }
                }
            }
            7 => {
                engine.collect(false, &no_control()).unwrap();
            }
            8 => {
                busy_is_fine(engine.upkeep(&no_control()));
            }
            9 => {
                if self.clones.len() < 2
                    && let Some(point) = self.points.last()
                {
                    let (id, from) = (uid(5_000 + self.next), disk(random.below(DISKS)));
                    let reference = DiskReference { point_id: point.id, disk_id: from };
                    engine.create_disk(&new_disk(id), 0, Some(&reference)).unwrap();
                    let bytes = read_point(engine, point.id, from, DISK_BYTES).unwrap();
                    self.clones.push((id, bytes));
                } else if let Some((id, bytes)) = self.clones.pop() {
                    assert!(read_disk(engine, id, DISK_BYTES).unwrap() == bytes);
                    engine.delete_disk(&id).unwrap();
                }
            }
            _ => {
                if !self.points.is_empty() {
                    let at = random.below(self.points.len() as u64) as usize;
                    count(counts, "stamped blocks", self.points[at].check(engine));
                }
            }
        }
        false
    }

    fn check_all(&mut self, engine: &Engine, counts: &mut Counts) {
        for point in &mut self.points {
            count(counts, "stamped blocks", point.check(engine));
        }
        for (id, bytes) in &self.clones {
            assert!(read_disk(engine, *id, DISK_BYTES).unwrap() == *bytes, "the clone {id}");
        }
    }
}

#[test]
fn points_cut_at_any_step_of_a_schedule_are_write_order_consistent_and_outlive_a_crash() {
    let base = eight_disks();
    let mut seen = HashSet::new();
    over_seeds("live-engine-order", sized(1_000, 100_000), |seed, counts: &mut Counts| {
        let mut random = Seeded::new(seed ^ 0x0de7);
        let store = base.killed().with_seed(seed + 1_000);
        let engine = store.open();
        let (mut done, mut durable) = (Clock::default(), Clock::default());
        let mut beside = Beside { points: Vec::new(), clones: Vec::new(), next: 0 };
        for _ in 0..40 + random.below(40) {
            match random.below(10) {
                0..=1 => {
                    if beside.step(&engine, &mut random, done, counts) {
                        durable = done;
                    }
                }
                2 if random.one_in(3) => {
                    engine.flush_disk(&disk(random.below(DISKS))).unwrap();
                    durable = done;
                }
                _ => {
                    let writer = random.below(WRITERS as u64) as usize;
                    let operation = operation(writer, done[writer] + 1, &done, &mut random);
                    let fua = random.one_in(20);
                    carry_out(&engine, &operation, fua).unwrap();
                    done[writer] += 1;
                    if fua {
                        durable = done;
                    }
                }
            }
        }
        let choice = match random.below(4) {
            0 => CrashChoice::ProcessKilled,
            1 => CrashChoice::LoseUnsynced,
            _ => CrashChoice::Seeded(seed),
        };
        let acknowledged = if choice == CrashChoice::ProcessKilled { done } else { durable };
        drop(engine);
        let store = store.after(choice, FaultPlan::none());
        let engine = store.open();
        let live = all_live(&engine);
        count(counts, "stamped blocks", check_point(&live, &Bounds { acknowledged, submitted: done }));
        beside.check_all(&engine, counts);
        let mut hash = DefaultHasher::new();
        let states: Vec<(Uid, u8)> = beside.points.iter().map(|point| (point.id, point.state as u8)).collect();
        (&live, states, beside.clones.len()).hash(&mut hash);
        count(counts, "distinct states", u64::from(seen.insert(hash.finish())));
        count(counts, "points", beside.points.len() as u64);
        count(counts, "operations", done.iter().map(|count| u64::from(*count)).sum());
    });
}

/// Ends the others, also when a check fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn clock_of(counters: &[AtomicU32; WRITERS]) -> Clock {
    std::array::from_fn(|writer| counters[writer].load(Ordering::SeqCst))
}

#[test]
fn points_cut_under_writing_threads_are_write_order_consistent_beside_copies_and_upkeep() {
    let base = eight_disks();
    over_seeds("live-engine-threads", sized(2, 200), |seed, counts: &mut Counts| {
        let store = base.killed().with_seed(seed + 1_000);
        let engine = store.open();
        engine.start_upkeep().unwrap();
        let (acknowledged, submitted) = (<[AtomicU32; WRITERS]>::default(), <[AtomicU32; WRITERS]>::default());
        let has_ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ends = Ends(&has_ended);
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (engine, acknowledged, submitted) = (Arc::clone(&engine), &acknowledged, &submitted);
                    scope.spawn(move || {
                        let mut random = Seeded::new(seed * 100 + writer as u64);
                        for number in 1..=300 {
                            let operation = operation(writer, number, &clock_of(acknowledged), &mut random);
                            submitted[writer].store(number, Ordering::SeqCst);
                            carry_out(&engine, &operation, random.one_in(50)).unwrap();
                            acknowledged[writer].store(number, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                let (mut random, shared) = (Seeded::new(seed), shared_range());
                let mut buffer = vec![0; (shared.end - shared.start) as usize];
                while !has_ended.load(Ordering::SeqCst) {
                    engine.read_disk(&disk(random.below(DISKS)), shared.start, &mut buffer).unwrap();
                    check_not_torn(&buffer);
                }
            });
            let mut random = Seeded::new(seed);
            let mut beside = Beside { points: Vec::new(), clones: Vec::new(), next: 0 };
            while !writers.iter().all(|writer| writer.is_finished()) {
                let before = clock_of(&acknowledged);
                if beside.step(&engine, &mut random, before, counts)
                    && let Some(point) = beside.points.last_mut()
                {
                    point.bounds.submitted = clock_of(&submitted);
                }
            }
            drop(ends);
            beside.check_all(&engine, counts);
            count(counts, "points", beside.points.len() as u64);
        });
        let done = clock_of(&acknowledged);
        check_point(&all_live(&engine), &Bounds { acknowledged: done, submitted: done });
        count(counts, "operations", done.iter().map(|count| u64::from(*count)).sum());
    });
}

const SMALL: u64 = 64 << 10;

/// What threads tell each other of a point: its id, and the byte that fills its disks.
type Told = std::sync::Mutex<Option<(Uid, u8)>>;

fn told(told: &Told) -> Option<(Uid, u8)> {
    *told.lock().unwrap()
}

#[test]
fn captures_moves_clones_and_deletions_beside_each_other_lose_no_point_and_no_clone() {
    over_seeds("live-engine-races", sized(6, 400), |seed, counts: &mut Counts| {
        let store = Store::new(seed);
        let engine = store.open();
        engine.create_machine_log(&machine()).unwrap();
        for number in 0..2 {
            attached(&engine, disk(number), machine(), SMALL);
        }
        engine.start_upkeep().unwrap();
        let (latest, has_ended): (Told, AtomicBool) = (Told::default(), AtomicBool::new(false));
        let mut clones: Vec<(Uid, u8)> = Vec::new();
        let mut kept: Vec<(Uid, u8)> = Vec::new();
        std::thread::scope(|scope| {
            let ends = Ends(&has_ended);
            let mover = scope.spawn(|| {
                let mut moves = 0u64;
                while !has_ended.load(Ordering::SeqCst) {
                    moves += u64::from(busy_is_fine(engine.detach_disk(&disk(1))));
                    if engine.live_disks().iter().any(|live| live.disk_id == disk(1) && live.machine_id.is_none()) {
                        moves += u64::from(busy_is_fine(engine.attach_disk(&disk(1), &machine(), "data")));
                    }
                }
                moves
            });
            let cloner = scope.spawn(|| {
                let mut made = Vec::new();
                while !has_ended.load(Ordering::SeqCst) {
                    let Some((point_id, byte)) = told(&latest) else { continue };
                    let (disk_id, from) = (uid(7_000 + made.len() as u64), disk(0));
                    let reference = DiskReference { point_id, disk_id: from };
                    match engine.create_disk(&new_disk(disk_id), 0, Some(&reference)) {
                        Ok(()) => {
                            assert!(read_disk(&engine, disk_id, SMALL).unwrap() == [byte; SMALL as usize]);
                            made.push((disk_id, byte));
                        }
                        Err(error) => assert_eq!(error.code(), Code::PointNotFound, "{error}"),
                    }
                    if made.len() > 25 {
                        break;
                    }
                }
                made
            });
            let mut random = Seeded::new(seed);
            for number in 1..=20u8 {
                engine.write_disk(&disk(0), 0, &[number; SMALL as usize], false).unwrap();
                let point_id = uid(1_000 + u64::from(number));
                cut(&engine, machine(), point_id).unwrap();
                *latest.lock().unwrap() = Some((point_id, number));
                let copies = random.one_in(2);
                if copies {
                    copy(&engine, point_id).unwrap();
                }
                assert!(read_point(&engine, point_id, disk(0), SMALL).unwrap() == [number; SMALL as usize]);
                if copies && random.one_in(2) {
                    engine.release_cut(&point_id).unwrap();
                    kept.push((point_id, number));
                } else {
                    delete(&engine, point_id).unwrap();
                }
                if random.one_in(3) {
                    engine.collect(false, &no_control()).unwrap();
                }
            }
            drop(ends);
            count(counts, "moves", mover.join().unwrap());
            clones = cloner.join().unwrap();
        });
        engine.settle_logs(&no_control()).unwrap();
        engine.collect(false, &no_control()).unwrap();
        drop(engine);
        let store = store.killed();
        let engine = store.open();
        assert!(engine.findings().is_empty() && engine.pending_cuts().is_empty());
        for (disk_id, byte) in &clones {
            assert!(read_disk(&engine, *disk_id, SMALL).unwrap() == [*byte; SMALL as usize], "the clone {disk_id}");
        }
        for (point_id, byte) in &kept {
            assert!(read_point(&engine, *point_id, disk(0), SMALL).unwrap() == [*byte; SMALL as usize]);
        }
        count(counts, "clones", clones.len() as u64);
        count(counts, "points", kept.len() as u64);
    });
}
