//! Rates of single disks, by a clock that moves only when somebody waits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use stillpoint_engine::clock::{Clock, ManualClock};
use stillpoint_engine::engine::{Codec, CreateOptions, DiskLimits, DiskRequest, Engine, NewDisk, OpenOptions, Parts};
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

/// Seconds that the clock moved meanwhile.
fn seconds(clock: &ManualClock, work: impl FnOnce()) -> f64 {
    let before = clock.now_ns();
    work();
    (clock.now_ns() - before) as f64 / SECOND as f64
}

#[test]
fn a_disk_has_no_more_operations_a_second_than_it_may_and_its_neighbour_on_the_log_does_not_wait() {
    let (engine, clock) = store();
    engine.limit_disk(&uid(2), DiskLimits { operations_per_second: Some(100), bytes_per_second: None }).unwrap();
    let mut buffer = [0; 512];
    let limited = seconds(&clock, || {
        for at in 0..500 {
            match at % 3 {
                0 => assert!(engine.write_disk(&uid(2), 0, &[1; 512], false).is_ok()),
                1 => engine.read_disk(&uid(2), 0, &mut buffer).unwrap(),
                _ => assert!(engine.zero_disk(&uid(2), 0, 4096, true, false).is_ok()),
            }
        }
    });
    assert!((4.8..=5.1).contains(&limited), "{limited} s");
    let free = seconds(&clock, || {
        for _ in 0..500 {
            engine.write_disk(&uid(3), 0, &[1; 512], false).unwrap();
        }
    });
    assert!(free == 0.0, "{free} s");
    engine.limit_disk(&uid(2), DiskLimits::default()).unwrap();
    let free = seconds(&clock, || assert!(engine.write_disk(&uid(2), 0, &[1; 512], false).is_ok()));
    assert!(free == 0.0, "{free} s");
}

#[test]
fn a_disk_has_no_more_bytes_a_second_than_it_may_one_by_one_and_in_batches() {
    let (engine, clock) = store();
    let limits = DiskLimits { operations_per_second: None, bytes_per_second: Some(1 << 20) };
    engine.limit_disk(&uid(2), limits).unwrap();
    let bytes = vec![7; 64 << 10];
    let one_by_one = seconds(&clock, || {
        for _ in 0..64 {
            engine.write_disk(&uid(2), 0, &bytes, false).unwrap();
        }
    });
    assert!((3.8..=4.1).contains(&one_by_one), "{one_by_one} s");
    let batched = seconds(&clock, || {
        for _ in 0..8 {
            let mut buffer = vec![0; 64 << 10];
            let mut requests = vec![DiskRequest::Read { offset: 0, buffer: &mut buffer }];
            requests.extend((0..7).map(|_| DiskRequest::Write { offset: 0, bytes: &bytes, fua: false }));
            engine.batch_disk(&uid(2), &mut requests).unwrap();
        }
    });
    assert!((3.8..=4.1).contains(&batched), "{batched} s");
}

#[test]
fn rates_go_with_a_disk_that_is_moved_and_a_disk_that_is_none_has_none() {
    let (engine, clock) = store();
    engine.limit_disk(&uid(2), DiskLimits { operations_per_second: Some(10), bytes_per_second: None }).unwrap();
    engine.detach_disk(&uid(2)).unwrap();
    let limited = seconds(&clock, || {
        for _ in 0..20 {
            engine.write_disk(&uid(2), 0, &[1; 512], false).unwrap();
        }
    });
    assert!((1.8..=2.1).contains(&limited), "{limited} s");
    let refused = engine.limit_disk(&uid(9), DiskLimits::default()).unwrap_err();
    assert_eq!(refused.code(), Code::DiskNotFound);
}

fn uid(number: u8) -> Uid {
    let mut bytes = [0; 16];
    bytes[15] = number;
    Uid(bytes)
}
