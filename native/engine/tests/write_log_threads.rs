//! Many threads at once: every law of one thread holds, and nobody waits for ever.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use log_world::{
    DIRECTORY, DISK, IDENTITY, SEGMENT_BYTES, create, disk, log_one, open_memory, parts, read_back, segment_files,
};
use stillpoint_engine::format::log_segment::FOOTER_BYTES;
use stillpoint_engine::io::fault::{Call, Detail, Failure, Fault, FaultIo, FaultPlan, Lasting, Verb};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{Lsn, u64_from};
use stillpoint_engine::write_log::{LogParameters, LogParts, Record, WriteLog};

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

#[test]
fn somebody_else_than_the_writer_has_the_disk_begin_with_each_mib_once() {
    let fault = FaultIo::over_memory(&MemoryIo::new(), FaultPlan::none());
    let told = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&told);
    let writeback_due: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let parts = LogParts { writeback_due: Some(writeback_due), ..parts(Arc::new(fault.clone()), 1) };
    let parameters = LogParameters { segment_bytes: 16 << 20 };
    let log = WriteLog::create(parts, PathBuf::from(DIRECTORY), IDENTITY, parameters, vec![disk()]).unwrap();
    let begun = || -> Vec<(PathBuf, u64)> {
        let calls = fault.calls().into_iter().filter(|call| call.verb == Verb::StartWriteback);
        let each_mib = |call: Call| match call.detail {
            Detail::Range { offset, length } => {
                (offset..offset + length).step_by(1 << 20).map(move |offset| (call.path.to_path_buf(), offset))
            }
            other => panic!("{other:?}"),
        };
        calls.flat_map(each_mib).collect()
    };
    for _ in 0..3 {
        let before = told.load(Ordering::Relaxed);
        for _ in 0..13 {
            log_one(&log, &[1; 256 << 10]);
        }
        let due = told.load(Ordering::Relaxed);
        assert!(due >= before + 2);
        while log.write_back().unwrap() {}
        let places = begun();
        assert!(u64_from(places.len()) + 1 >= due, "all that was told of; once it was a rollover");
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len(), "each once");
    }
    assert_eq!(log.durable(), Lsn(7), "the full segment, of 2 MiB, is synced behind that");
}

#[test]
fn full_segments_get_their_summaries_also_where_each_write_is_flushed() {
    for flushes in [false, true] {
        let memory = MemoryIo::new();
        let fault = FaultIo::over_memory(&memory, FaultPlan::none());
        let log = create(Arc::new(fault.clone())).unwrap();
        for byte in 0..200 {
            let lsn = log_one(&log, &[byte; 4096]);
            if flushes {
                log.flush(lsn).unwrap();
            }
            log.prepare_when_due().unwrap();
            while log.write_back().unwrap() {}
        }
        let footer = SEGMENT_BYTES - u64_from(FOOTER_BYTES);
        let is_footer = |call: &Call| {
            call.verb == Verb::WriteAt && matches!(call.detail, Detail::Range { offset, .. } if offset == footer)
        };
        let footers = fault.calls().iter().filter(|call| is_footer(call)).count();
        let others = 2; // the active one, and the next
        assert!(footers + others >= segment_files(&memory).len() && footers > 20, "{footers}");
    }
}

#[test]
fn any_number_of_threads_may_write_back() {
    let log = create(Arc::new(MemoryIo::new())).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    log.write_back().unwrap();
                }
            });
        }
        for byte in 0..400 {
            log_one(&log, &[byte as u8; 16 << 10]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(log.try_flush().unwrap() == Lsn(400));
}
