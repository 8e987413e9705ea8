//! Rates of single disks, by a clock that moves only when somebody waits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::engine::{
    Codec, Cost, CreateOptions, DiskLimits, Engine, NewDisk, OpenOptions, Parts, Turn, Turns,
};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::memory::MemoryIo;
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;

const SECOND: i128 = 1_000_000_000;

fn store() -> (Arc<Engine>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(1_800_000_000 * SECOND));
    let random = Arc::new(Mutex::new(Seeded::new(1)));
    let parts = Parts { io: Arc::new(MemoryIo::new()), clock: Arc::clone(&clock) as Arc<_>, random };
    let options = CreateOptions { chunk_bytes: 16 << 10, codec: Codec::None, level: 0 };
    Engine::create(&parts, Path::new("/store"), &options).unwrap();
    let engine = Engine::open(parts, Path::new("/store"), OpenOptions::default()).unwrap();
    engine.create_machine_log(&uid(1)).unwrap();
    for number in [2, 3] {
        let disk = NewDisk { disk_id: uid(number), name: format!("d{number}"), role: "data".into(), sector_bytes: 512 };
        engine.create_disk(&disk, 1 << 20, None).unwrap();
        engine.attach_disk(&uid(number), &uid(1), &format!("r{number}")).unwrap();
    }
    (engine, clock)
}

type Queue = Turns<Uid, (Cost, u64)>;

/// Has a disk write, so many bytes each time.
fn push(queue: &mut Queue, number: u8, count: u64, bytes: u64) {
    for _ in 0..count {
        queue.push(uid(number), (Cost { operations: 1, bytes }, bytes));
    }
}

/// Carries out all that waits, one by one; returns when the last request of each disk began, in seconds from now.
fn carry_out(engine: &Engine, clock: &ManualClock, queue: &mut Queue) -> BTreeMap<Uid, f64> {
    let begin_ns = clock.now_ns();
    let mut ends = BTreeMap::new();
    loop {
        match queue.begin(|disk_id, (cost, _)| engine.begin_request(disk_id, *cost)) {
            Turn::Begins(disk_id, (_, bytes)) => {
                engine.write_disk(&disk_id, 0, &vec![1; bytes as usize], false).unwrap();
                ends.insert(disk_id, (clock.now_ns() - begin_ns) as f64 / SECOND as f64);
                queue.done(&disk_id);
            }
            Turn::Later(nanoseconds) => engine.wait_ns(nanoseconds),
            Turn::Nothing => return ends,
        }
    }
}

fn operations(rate: u64) -> DiskLimits {
    DiskLimits { operations_per_second: Some(rate), bytes_per_second: None }
}

#[test]
fn a_disk_has_no_more_operations_a_second_than_it_may_and_its_neighbour_on_the_log_does_not_wait() {
    let (engine, clock) = store();
    engine.limit_disk(&uid(2), operations(100)).unwrap();
    let mut queue = Queue::new(4);
    push(&mut queue, 2, 500, 512);
    push(&mut queue, 3, 500, 512);
    let ends = carry_out(&engine, &clock, &mut queue);
    assert!((4.8..=5.1).contains(&ends[&uid(2)]), "{ends:?}");
    assert!(ends[&uid(3)] == 0.0, "{ends:?}");
}

#[test]
fn a_disk_has_no_more_bytes_a_second_than_it_may_whatever_the_size_of_its_requests() {
    let (engine, clock) = store();
    for (count, bytes) in [(64, 64 << 10), (8, 512 << 10), (1024, 4096)] {
        let limits = DiskLimits { operations_per_second: None, bytes_per_second: Some(1 << 20) };
        engine.limit_disk(&uid(2), limits).unwrap();
        let mut queue = Queue::new(4);
        push(&mut queue, 2, count, bytes);
        push(&mut queue, 2, 1, 512);
        let ends = carry_out(&engine, &clock, &mut queue);
        assert!((3.8..=4.1).contains(&ends[&uid(2)]), "{count} of {bytes}: {ends:?}");
    }
}

#[test]
fn rates_that_are_changed_or_taken_away_count_for_requests_that_wait_already() {
    let (engine, clock) = store();
    engine.limit_disk(&uid(2), operations(1)).unwrap();
    let mut queue = Queue::new(4);
    push(&mut queue, 2, 40, 512);
    let ask = |queue: &mut Queue| queue.begin(|disk_id, (cost, _)| engine.begin_request(disk_id, *cost));
    assert!(matches!(ask(&mut queue), Turn::Begins(..)));
    assert_eq!(ask(&mut queue), Turn::Later(1_000_000_000));
    engine.limit_disk(&uid(2), operations(10)).unwrap();
    queue.done(&uid(2));
    let ends = carry_out(&engine, &clock, &mut queue);
    assert!((3.7..=3.9).contains(&ends[&uid(2)]), "{ends:?}");
    push(&mut queue, 2, 40, 512);
    engine.limit_disk(&uid(2), DiskLimits::default()).unwrap();
    assert!(carry_out(&engine, &clock, &mut queue)[&uid(2)] == 0.0);
}

#[test]
fn a_request_that_is_taken_back_counts_as_nothing_and_neither_does_a_flush() {
    let (engine, clock) = store();
    engine.limit_disk(&uid(2), operations(1)).unwrap();
    let mut queue = Queue::new(4);
    push(&mut queue, 2, 3, 512);
    assert!(matches!(queue.begin(|disk_id, (cost, _)| engine.begin_request(disk_id, *cost)), Turn::Begins(..)));
    queue.done(&uid(2));
    assert!(queue.take_back(&uid(2), |_| true).is_some());
    let ends = carry_out(&engine, &clock, &mut queue);
    assert!(ends[&uid(2)] == 1.0, "{ends:?}");
    assert_eq!(engine.begin_request(&uid(2), Cost::default()), 0);
}

#[test]
fn rates_go_with_a_disk_that_is_moved_and_a_disk_that_is_none_has_none() {
    let (engine, clock) = store();
    engine.limit_disk(&uid(2), operations(10)).unwrap();
    engine.detach_disk(&uid(2)).unwrap();
    let mut queue = Queue::new(4);
    push(&mut queue, 2, 20, 512);
    let ends = carry_out(&engine, &clock, &mut queue);
    assert!((1.8..=2.1).contains(&ends[&uid(2)]), "{ends:?}");
    assert_eq!(engine.limit_disk(&uid(9), DiskLimits::default()).unwrap_err().code(), Code::DiskNotFound);
    assert_eq!(engine.limit_disk(&uid(2), operations(0)).unwrap_err().code(), Code::ArgumentInvalid);
    assert_eq!(engine.begin_request(&uid(9), Cost { operations: 1, bytes: 0 }), 0);
}

fn uid(number: u8) -> Uid {
    let mut bytes = [0; 16];
    bytes[15] = number;
    Uid(bytes)
}
