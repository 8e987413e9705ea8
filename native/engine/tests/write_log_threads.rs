//! Many threads at once: every law of one thread holds, and nobody waits for ever.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use log_world::{DISK, create, open_memory, read_back};
use stillpoint_engine::io::fault::{Failure, Fault, FaultIo, FaultPlan, Lasting};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Lsn;
use stillpoint_engine::write_log::{Record, WriteLog};

const THREADS: u64 = 8;
const WRITES: u64 = 150;

/// Writes stamped with thread and number, each one after the one before was acknowledged; flushes now and then.
fn writer(
    log: &Arc<WriteLog>,
    thread: u64,
    given: &Mutex<BTreeMap<Lsn, (u64, u64)>>,
) -> stillpoint_engine::error::Result<()> {
    let mut random = Seeded::new(thread);
    let mut before = Lsn::ZERO;
    for number in 0..WRITES {
        let mut payload = vec![thread as u8; 16 + random.below(5000) as usize];
        payload[..8].copy_from_slice(&thread.to_le_bytes());
        payload[8..16].copy_from_slice(&number.to_le_bytes());
        let (ticket, lsn) = log.sequence(Record::write(DISK, 0, &payload), |lsn| {
            given.lock().unwrap().insert(lsn, (thread, number));
            lsn
        })?;
        assert!(lsn > before);
        before = lsn;
        log.append(&ticket, &payload)?;
        log.complete(ticket);
        log.wait_until_logged(lsn)?;
        if random.one_in(5) {
            log.flush(lsn)?;
            assert!(log.durable() >= lsn);
        }
    }
    Ok(())
}

#[test]
fn what_many_threads_write_replays_in_the_order_that_they_saw() {
    let memory = MemoryIo::new();
    let log = create(Arc::new(memory.clone())).unwrap();
    let given = Mutex::new(BTreeMap::new());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let background = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                log.prepare().unwrap();
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let (log, given) = (&log, &given);
                    move || writer(log, thread, given)
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        background.join().unwrap();
    });
    assert_eq!(log.watermark(), Lsn(THREADS * WRITES));
    log.flush(log.watermark()).unwrap();
    drop(log);
    let (log, replay) = open_memory(&memory.crash(CrashChoice::LoseUnsynced));
    let given = given.into_inner().unwrap();
    assert_eq!(replay.records.len(), given.len());
    for (record, (lsn, (thread, number))) in replay.records.iter().zip(&given) {
        let payload = read_back(&log, record).payload;
        assert_eq!(
            (record.lsn, &payload[..8], &payload[8..16]),
            (*lsn, &thread.to_le_bytes()[..], &number.to_le_bytes()[..])
        );
    }
}

#[test]
fn everybody_who_waits_is_told_when_the_log_is_fenced() {
    for call in (30..200).step_by(17) {
        let memory = MemoryIo::new();
        let plan = FaultPlan::one(Fault::FailCall { call, failure: Failure::Device, lasting: Lasting::Once });
        let Ok(log) = create(Arc::new(FaultIo::over_memory(&memory, plan))) else { continue };
        let given = Mutex::new(BTreeMap::new());
        let ended: Vec<_> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn({
                        let (log, given) = (&log, &given);
                        move || writer(log, thread, given)
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(ended.iter().all(Result::is_err), "call {call}: all of them are told");
        let acknowledged = log.watermark();
        drop(log);
        let (_, replay) = open_memory(&memory.crash(CrashChoice::ProcessKilled));
        assert!(replay.records.last().map_or(Lsn::ZERO, |record| record.lsn) >= acknowledged, "call {call}");
    }
}
