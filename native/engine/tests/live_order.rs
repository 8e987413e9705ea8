//! Law: every cut is write-order consistent. What it holds is closed under "was acknowledged before that was submitted",
//! complete up to the cut's request, without anything submitted after its answer, and no block of it is torn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;
mod simulation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use live::stamps::{
    Bounds, Clock, DISK_BYTES, DISKS, Operation, ROUNDS_MAX, WRITERS, check_not_torn, check_point, disk, operation,
    shared_range,
};
use live::{World, cut_body};
use simulation::progress::{Counts, count, over_seeds};
use simulation::sized;
use stillpoint_engine::cut::View;
use stillpoint_engine::disk::{Cut, Group, Submission};
use stillpoint_engine::error::{Code, Result};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, Uid};

/// A cut, what is known about it, and what it read as the first time.
struct Point {
    lsn: Lsn,
    views: BTreeMap<Uid, View>,
    bounds: Bounds,
    first: Option<Vec<Vec<u8>>>,
}

impl Point {
    fn new(cut: Cut, bounds: Bounds) -> Self {
        Self { lsn: cut.lsn, views: cut.views, bounds, first: None }
    }

    /// Checks it; it must read the same every time.
    fn check(&mut self, group: &Group) -> u64 {
        let mut disks = Vec::new();
        for number in 0..DISKS {
            let mut bytes = vec![0xaa; DISK_BYTES as usize];
            group.read_view(&self.views[&disk(number)], 0, &mut bytes).unwrap();
            disks.push(bytes);
        }
        match &self.first {
            None => {
                let stamps = check_point(&disks, &self.bounds);
                self.first = Some(disks);
                stamps
            }
            Some(first) => {
                assert!(*first == disks, "the point {} reads differently the second time", self.lsn);
                0
            }
        }
    }
}

fn empty_disks() -> Vec<(Uid, Vec<u8>)> {
    (0..DISKS).map(|number| (disk(number), vec![0; DISK_BYTES as usize])).collect()
}

fn submit(group: &Group, operation: &Operation) -> Result<Submission> {
    match operation.bytes.is_empty() {
        true => group.submit_trim(&operation.disk_id, operation.offset, operation.length),
        false => group.submit_write(&operation.disk_id, operation.offset, &operation.bytes),
    }
}

/// One writer of the simulation, and its operation under way.
#[derive(Default)]
struct Writer {
    under_way: Option<(Submission, Operation)>,
}

#[test]
fn points_of_interleaved_submissions_are_write_order_consistent() {
    over_seeds("live-order", sized(15, 2_000), |seed, counts: &mut Counts| {
        let mut random = Seeded::new(seed);
        let world = World::new(seed);
        let group = world.create(&empty_disks());
        let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::default()).collect();
        let (mut acknowledged, mut submitted) = (Clock::default(), Clock::default());
        let mut points: Vec<Point> = Vec::new();
        let mut cutting: Vec<Submission> = Vec::new();
        for step in 0..1_500 {
            match random.below(200) {
                0 => {
                    let before = acknowledged;
                    match group.submit_cut(cut_body(step)) {
                        Ok((submission, cut)) => {
                            points.push(Point::new(cut, Bounds { acknowledged: before, submitted }));
                            cutting.push(submission);
                        }
                        Err(error) => assert_eq!(error.code(), Code::LayersFull),
                    }
                }
                1 => {
                    let at = random.below(9) as usize;
                    if let Some(layer) = group.stack().sealed().get(at) {
                        layer.sealed().unwrap().release_point();
                    }
                    group.merge_layers(random.one_in(2));
                }
                2 => drop(world.fold_oldest(&group)),
                3..10 => {
                    if !cutting.is_empty() {
                        let at = random.below(cutting.len() as u64) as usize;
                        group.append(&mut cutting.swap_remove(at), &[]).unwrap();
                    }
                }
                _ => {
                    let number = random.below(WRITERS as u64) as usize;
                    let writer = &mut writers[number];
                    if let Some((submission, operation)) = &mut writer.under_way {
                        if submission.is_appended() {
                            if group.is_done(submission).unwrap() {
                                acknowledged[number] += 1;
                                writer.under_way = None;
                            }
                        } else {
                            group.append_one(submission, &operation.bytes).unwrap();
                        }
                    } else if u64::from(submitted[number]) < ROUNDS_MAX * 3 {
                        submitted[number] += 1;
                        let operation = operation(number, submitted[number], &acknowledged, &mut random);
                        writer.under_way = Some((submit(&group, &operation).unwrap(), operation));
                    }
                }
            }
            if random.one_in(100) {
                let watermark = group.log().watermark();
                for point in points.iter_mut().filter(|point| point.lsn <= watermark) {
                    count(counts, "stamped blocks", point.check(&group));
                }
            }
        }
        for mut submission in cutting {
            group.append(&mut submission, &[]).unwrap();
        }
        for (submission, operation) in writers.iter_mut().filter_map(|writer| writer.under_way.as_mut()) {
            group.append(submission, &operation.bytes).unwrap();
        }
        for point in &mut points {
            count(counts, "stamped blocks", point.check(&group));
            point.check(&group);
        }
        count(counts, "points", points.len() as u64);
        count(counts, "operations", submitted.iter().map(|count| u64::from(*count)).sum());
    });
}

/// Ends the readers, also when a check fails.
struct EndsReaders<'a>(&'a AtomicBool);

impl Drop for EndsReaders<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn clock_of(counters: &[AtomicU32; WRITERS]) -> Clock {
    std::array::from_fn(|writer| counters[writer].load(Ordering::SeqCst))
}

#[test]
fn points_cut_under_many_writing_threads_are_write_order_consistent() {
    over_seeds("live-threads", sized(3, 200), |seed, counts: &mut Counts| {
        let world = World::new(seed);
        let group = world.create(&empty_disks());
        let (acknowledged, submitted) = (<[AtomicU32; WRITERS]>::default(), <[AtomicU32; WRITERS]>::default());
        let has_ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ends_readers = EndsReaders(&has_ended);
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (group, acknowledged, submitted) = (Arc::clone(&group), &acknowledged, &submitted);
                    scope.spawn(move || {
                        let mut random = Seeded::new(seed * 100 + writer as u64);
                        for number in 1..=(ROUNDS_MAX / 2 * 3) as u32 {
                            let operation = operation(writer, number, &clock_of(acknowledged), &mut random);
                            submitted[writer].store(number, Ordering::SeqCst);
                            let mut submission = submit(&group, &operation).unwrap();
                            group.append(&mut submission, &operation.bytes).unwrap();
                            group.log().wait_until_logged(submission.lsn()).unwrap();
                            acknowledged[writer].store(number, Ordering::SeqCst);
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                let (mut random, shared) = (Seeded::new(seed), shared_range());
                let mut buffer = vec![0; (shared.end - shared.start) as usize];
                while !has_ended.load(Ordering::SeqCst) {
                    group.read(&disk(random.below(DISKS)), shared.start, &mut buffer).unwrap();
                    check_not_torn(&buffer);
                }
            });
            let mut random = Seeded::new(seed);
            let mut points: Vec<Point> = Vec::new();
            while !writers.iter().all(|writer| writer.is_finished()) {
                let before = clock_of(&acknowledged);
                match group.cut(cut_body(points.len() as u64)) {
                    Ok(cut) => {
                        let bounds = Bounds { acknowledged: before, submitted: clock_of(&submitted) };
                        let mut point = Point::new(cut, bounds);
                        group.log().wait_until_logged(point.lsn).unwrap();
                        count(counts, "stamped blocks", point.check(&group));
                        points.push(point);
                    }
                    Err(error) => assert_eq!(error.code(), Code::LayersFull),
                }
                if random.one_in(3) || group.layer_count() > 7 {
                    world.fold_oldest(&group);
                }
                if random.one_in(3) {
                    for layer in group.stack().sealed().iter().filter(|_| random.one_in(2)) {
                        layer.sealed().unwrap().release_point();
                    }
                    group.merge_layers(random.one_in(2));
                }
                if points.len() > 12 {
                    points.remove(random.below(12) as usize).check(&group);
                }
            }
            drop(ends_readers);
            for mut point in points {
                point.check(&group);
                count(counts, "points", 1);
            }
        });
        let done = clock_of(&acknowledged);
        let mut last = Point::new(group.cut(cut_body(0)).unwrap(), Bounds { acknowledged: done, submitted: done });
        last.check(&group);
        assert_eq!(group.debt_bytes(), world.gate.owed());
        count(counts, "operations", done.iter().map(|count| u64::from(*count)).sum());
    });
}
