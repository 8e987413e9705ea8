//! Law: with any byte of a log changed nobody reads wrong bytes and nothing panics. Damage at or below what the log says is
//! durable is `LOG_DAMAGED`, at the opening or when it is read; above it, and only there, the log is shorter.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod log_world;
mod simulation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log_world::{Sequenced, log_one, open, open_memory, segment_files, slot};
use simulation::is_full;
use simulation::progress::{count, over_cases};
use stillpoint_engine::error::Code;
use stillpoint_engine::format::superblock::SLOT_NAMES;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::units::Lsn;
use stillpoint_engine::write_log::Replay;

/// What a log holds: two incarnations, full segments with summaries, and a tail in the page cache.
struct Sound {
    memory: MemoryIo,
    records: Vec<Sequenced>,
    durable: Lsn,
}

fn sound() -> Sound {
    let memory = MemoryIo::new();
    let log = log_world::create(Arc::new(memory.clone())).unwrap();
    for byte in 0..17 {
        log_one(&log, &[byte; 4096]);
    }
    log.try_flush().unwrap();
    drop(log);
    let (log, _) = open_memory(&memory);
    for byte in 20..36 {
        log_one(&log, &[byte; 4000]);
    }
    log.prepare().unwrap();
    log.try_flush().unwrap();
    log.change_superblock(|_| ()).unwrap(); // so that no single change makes anybody forget what is durable
    for byte in 40..46 {
        log_one(&log, &[byte; 700]);
    }
    drop(log);
    let (records, durable) = {
        let copy = memory.crash(CrashChoice::ProcessKilled);
        let (log, replay) = open_memory(&copy);
        (replay.records.iter().map(|record| log_world::read_back(&log, record)).collect(), replay.durable)
    };
    Sound { memory, records, durable }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Same,
    Shorter,
    DamagedWhenOpened,
    DamagedWhenRead,
}

fn examine(memory: &MemoryIo, sound: &Sound, context: &str) -> Outcome {
    let bytes_before: Vec<_> = memory.files().iter().map(|path| memory.read_file(path)).collect();
    let (log, replay): (_, Replay) = match open(Arc::new(memory.clone()), 3) {
        Ok(opened) => opened,
        Err(error) => {
            assert_eq!(error.code(), Code::LogDamaged, "{context}: {error}");
            return Outcome::DamagedWhenOpened;
        }
    };
    let mut is_read = true;
    for (record, expected) in replay.records.iter().zip(&sound.records) {
        let mut payload = vec![0; record.place.payload_bytes as usize];
        match log.read(&record.place, 0, &mut payload) {
            Ok(()) => {
                assert_eq!(payload, expected.payload, "{context}: wrong bytes");
                assert_eq!(
                    (record.lsn, record.offset, record.length),
                    (expected.lsn, expected.offset, expected.length)
                );
            }
            Err(error) => {
                assert_eq!(error.code(), Code::LogDamaged, "{context}: {error}");
                assert!(record.lsn <= sound.durable, "{context}: what was carried is sound");
                is_read = false;
            }
        }
    }
    assert!(replay.records.len() <= sound.records.len(), "{context}");
    if let Some(damage) = &replay.damage {
        assert_eq!(damage.code(), Code::LogDamaged, "{context}");
        let fenced = log.sequence(stillpoint_engine::write_log::Record::zero(log_world::DISK, 0, 1), drop).map(drop);
        assert_eq!(fenced.unwrap_err().code(), Code::LogDamaged, "{context}");
        let bytes_after: Vec<_> = memory.files().iter().map(|path| memory.read_file(path)).collect();
        assert!(bytes_before == bytes_after, "{context}: a damaged log was changed");
        return Outcome::DamagedWhenOpened;
    }
    if !is_read {
        return Outcome::DamagedWhenRead;
    }
    if replay.records.len() == sound.records.len() {
        return Outcome::Same;
    }
    let reached = replay.records.last().map_or(Lsn::ZERO, |record| record.lsn);
    assert!(reached >= sound.durable, "{context}: what was durable is missing and nobody says so");
    Outcome::Shorter
}

/// Every byte of the part of a file that was ever written.
fn written(memory: &MemoryIo, path: &Path) -> Vec<u64> {
    let bytes = memory.read_file(path).unwrap();
    let is_written = |at: usize| {
        let block = at / 64 * 64;
        bytes[block..(block + 64).min(bytes.len())].iter().any(|byte| *byte != 0)
    };
    (0..bytes.len()).filter(|at| is_written(*at)).map(|at| at as u64).collect()
}

#[test]
fn any_byte_changed_gives_the_same_a_shorter_log_above_what_is_durable_or_an_error() {
    let sound = sound();
    let slots = SLOT_NAMES.map(slot);
    let files: Vec<PathBuf> = segment_files(&sound.memory).into_iter().chain(slots).collect();
    assert!(files.len() >= 7, "{files:?}");
    over_cases("write-log-flips", files.len() as u64, |number, counts| {
        let path = &files[number as usize];
        let stride = if is_full() { 1 } else { 7 };
        for at in written(&sound.memory, path).into_iter().step_by(stride) {
            let memory = sound.memory.crash(CrashChoice::ProcessKilled);
            memory.flip_bit(path, at, (at % 8) as u8).unwrap();
            let context = format!("byte {at} of {}", path.display());
            let outcome = examine(&memory, &sound, &context);
            if slots_hold(path) {
                assert_eq!(outcome, Outcome::Same, "{context}: the other slot is whole");
            }
            count(counts, &format!("{outcome:?}"), 1);
        }
    });
}

fn slots_hold(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension != "segment")
}

#[test]
fn a_segment_cut_off_anywhere_or_missing_gives_no_wrong_bytes() {
    let sound = sound();
    for path in segment_files(&sound.memory) {
        let bytes = sound.memory.read_file(&path).unwrap();
        for length in (0..bytes.len()).step_by(1021) {
            let memory = sound.memory.crash(CrashChoice::ProcessKilled);
            memory.install_file(&path, &bytes[..length]).unwrap();
            examine(&memory, &sound, &format!("{} cut off at {length}", path.display()));
        }
        let memory = sound.memory.crash(CrashChoice::ProcessKilled);
        stillpoint_engine::io::Io::remove_file(&memory, &path).unwrap();
        examine(&memory, &sound, &format!("{} missing", path.display()));
    }
}

#[test]
fn damage_below_what_is_durable_is_told_with_lsns_and_what_comes_before_is_read() {
    let sound = sound();
    // The first record of the segment that was being filled at the end: it has no summary yet.
    let is_filled = |path: &PathBuf| sound.memory.read_file(path).unwrap()[4096..4100] == *b"SPLR";
    let path = segment_files(&sound.memory).into_iter().rev().find(is_filled).unwrap();
    let memory = sound.memory.crash(CrashChoice::ProcessKilled);
    memory.flip_bit(path, 4096 + 10, 1).unwrap();
    let (log, replay) = open(Arc::new(memory), 3).unwrap();
    let damage = replay.damage.unwrap();
    assert!(damage.message().contains("was durable"), "{damage}");
    assert!(!replay.records.is_empty());
    for record in &replay.records {
        log_world::read_back(&log, record);
    }
    assert_eq!(log.is_fenced().unwrap().code(), Code::LogDamaged);
    assert_eq!(log.prepare().unwrap_err().code(), Code::LogDamaged);
    assert_eq!(log.release(Lsn(1)).unwrap_err().code(), Code::LogDamaged);
    assert_eq!(log.change_superblock(|_| ()).unwrap_err().code(), Code::LogDamaged);
}

#[test]
fn a_full_segment_is_opened_by_its_summary_and_without_it_by_its_records() {
    let sound = sound();
    let with_summary = segment_files(&sound.memory)[0].clone();
    let bytes = sound.memory.read_file(&with_summary).unwrap();
    assert_eq!(&bytes[bytes.len() - 48..bytes.len() - 44], b"SPLE", "there is a summary");
    // A header that only the summary can stand in for.
    let memory = sound.memory.crash(CrashChoice::ProcessKilled);
    memory.flip_bit(&with_summary, 4096 + 4192 + 20, 1).unwrap();
    assert_eq!(examine(&memory, &sound, "a header"), Outcome::DamagedWhenRead);
    // A summary that only the records can stand in for.
    let memory = sound.memory.crash(CrashChoice::ProcessKilled);
    memory.flip_bit(&with_summary, bytes.len() as u64 - 20, 1).unwrap();
    assert_eq!(examine(&memory, &sound, "a footer"), Outcome::Same);
    // Neither.
    memory.flip_bit(&with_summary, 4096 + 4192 + 20, 1).unwrap();
    assert_eq!(examine(&memory, &sound, "both"), Outcome::DamagedWhenOpened);
}

#[test]
fn the_first_record_of_a_later_segment_says_that_something_before_it_was_durable() {
    let memory = MemoryIo::new();
    let log = log_world::create(Arc::new(memory.clone())).unwrap();
    log.prepare().unwrap();
    for byte in 0..6 {
        log_one(&log, &[byte; 4096]); // as many as fill a segment
    }
    log.try_flush().unwrap();
    log_one(&log, &[7; 4096]);
    assert_eq!(log.superblock().durable, Lsn::ZERO, "only that record knows");
    drop(log);
    let first = segment_files(&memory)[0].clone();
    // The fifth record is gone, as if it had never been: a power cut cannot have done that.
    memory.corrupt(first, 4096 + 4 * 4192, &[0; 4192]).unwrap();
    let (_, replay) = open(Arc::new(memory), 3).unwrap();
    assert_eq!(replay.records.len(), 4);
    assert!(replay.damage.is_some());
}
