//! Disks as exports: what NBD clients read, write and are told of live disks and of points.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live_store;

use std::sync::Arc;

use live_store::{
    CHUNK_BYTES, Store, attached, code, copy, cut, delete, disk, machine, new_disk, no_control, point, random_bytes,
    uid,
};
use stillpoint_engine::clock::Clock;
use stillpoint_engine::engine::{DiskLimits, DiskReference, Engine, ExportBitmap, ExportLabel};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::Io;
use stillpoint_engine::limits::LAYERS_SEALED_MAX;
use stillpoint_engine::nbd::{Export, StatusExtent};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::Uid;

const SIZE: u64 = 1 << 20;
const SECTOR: u64 = 512;
const ALLOCATION: &str = "base:allocation";
const DEPTH: &str = "qemu:allocation-depth";

fn label(name: &str) -> ExportLabel {
    ExportLabel { name: name.to_owned(), description: format!("the export {name}") }
}

fn of(point_id: Uid) -> DiskReference {
    DiskReference { point_id, disk_id: disk() }
}

fn live(engine: &Arc<Engine>) -> Arc<dyn Export> {
    engine.export_disk(&disk(), label("live")).unwrap()
}

fn since(point_id: Uid, name: &str) -> ExportBitmap {
    ExportBitmap { name: name.to_owned(), since: of(point_id), is_listed: true }
}

fn store() -> (Store, Arc<Engine>) {
    let store = Store::new(7).without_window();
    let engine = store.open();
    engine.create_machine_log(&machine()).unwrap();
    attached(&engine, disk(), machine(), SIZE);
    (store, engine)
}

fn all(export: &dyn Export) -> Vec<u8> {
    let mut bytes = vec![0xaa; export.facts().size as usize];
    export.read(0, &mut bytes).unwrap();
    bytes
}

/// Everything that a context says of a disk, asked for as this seed has it, as flags of sectors.
fn flags(export: &dyn Export, context: &str, seed: u64) -> Vec<u64> {
    let size = export.facts().size;
    let mut random = Seeded::new(seed);
    let mut flags = Vec::new();
    let mut at = 0;
    while at < size {
        let length = (SECTOR * (1 + random.below(4096))).min(size - at);
        let extents_max = 1 + random.below(5) as usize;
        let said = export.status(context, at, length, extents_max).unwrap();
        assert!(!said.is_empty() && said.len() <= extents_max, "{} extents of {extents_max}", said.len());
        for StatusExtent { length, flags: of } in said {
            assert!(length > 0 && length.is_multiple_of(SECTOR), "whole sectors");
            let new = (length / SECTOR).min((size - at) / SECTOR);
            flags.extend((0..new).map(|_| of));
            at += new * SECTOR;
        }
    }
    flags
}

fn sectors(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(SECTOR as usize)
}

/// What is told is true of the bytes, and as much as a map of chunks can tell.
#[track_caller]
fn check_allocation(export: &dyn Export, bytes: &[u8], seed: u64) {
    let (said, depths) = (flags(export, ALLOCATION, seed), flags(export, DEPTH, seed + 1));
    assert_eq!(said.len(), bytes.len() / SECTOR as usize);
    for (index, sector) in sectors(bytes).enumerate() {
        let is_zero = sector.iter().all(|byte| *byte == 0);
        assert!(said[index] & 2 == 0 || is_zero, "sector {index} has bytes and is said to be zero");
        assert!(matches!(said[index], 0 | 2 | 3), "a hole reads as zero");
        assert_eq!(depths[index] == 0, said[index] == 3, "sector {index}: both contexts mean the same by a hole");
    }
}

#[track_caller]
fn check_changes(export: &dyn Export, name: &str, (before, after): (&[u8], &[u8]), seed: u64) {
    let context = format!("qemu:dirty-bitmap:{name}");
    assert!(export.has_context(&context).unwrap());
    let said = flags(export, &context, seed);
    let chunk_sectors = live_store::CHUNK_BYTES as usize / SECTOR as usize;
    let differing: Vec<bool> = sectors(before).zip(sectors(after)).map(|(before, after)| before != after).collect();
    for (chunk, (said, differing)) in said.chunks(chunk_sectors).zip(differing.chunks(chunk_sectors)).enumerate() {
        let differs = differing.contains(&true);
        assert!(said.iter().all(|flags| *flags == u64::from(differs)), "chunk {chunk} differs: {differs}");
    }
}

/// A point, its bytes, and exports of it that were opened at one time or another.
struct Kept {
    point_id: Uid,
    bytes: Vec<u8>,
    is_copied: bool,
    is_deleted: bool,
    exports: Vec<Arc<dyn Export>>,
}

fn history(seed: u64) {
    let (_store, engine) = store();
    let mut random = Seeded::new(seed);
    let mut model = vec![0; SIZE as usize];
    let mut points: Vec<Kept> = Vec::new();
    let client = live(&engine);
    for step in 0..60 {
        let offset = SECTOR * random.below(SIZE / SECTOR);
        let longest = if random.below(4) == 0 { 256 } else { 8 };
        let length = (SECTOR * (1 + random.below(longest))).min(SIZE - offset);
        let range = offset as usize..(offset + length) as usize;
        let durable = random.below(2) == 0;
        match random.below(9) {
            0..=2 => {
                let bytes = random_bytes(seed * 1000 + step, length);
                client.write(offset, &bytes, durable).unwrap();
                model[range].copy_from_slice(&bytes);
            }
            3 => {
                client.write_zeroes(offset, length, durable).unwrap();
                model[range].fill(0);
            }
            4 => {
                client.trim(offset, length, durable).unwrap();
                model[range].fill(0);
            }
            5 => {
                let point_id = point(points.len() as u64);
                if let Err(error) = cut(&engine, machine(), point_id) {
                    let waiting = points.iter().filter(|kept| !kept.is_copied).count();
                    assert_eq!(error.code(), Code::LayersFull, "{error}");
                    assert!(waiting >= LAYERS_SEALED_MAX, "{waiting} wait");
                    continue;
                }
                let (is_copied, is_deleted, exports) = (false, false, Vec::new());
                points.push(Kept { point_id, bytes: model.clone(), is_copied, is_deleted, exports });
            }
            6 => {
                if let Some(next) = points.iter_mut().find(|kept| !kept.is_copied && !kept.is_deleted) {
                    copy(&engine, next.point_id).unwrap();
                    engine.release_cut(&next.point_id).unwrap();
                    next.is_copied = true;
                }
            }
            7 if !points.is_empty() => {
                let at = random.below(points.len() as u64) as usize;
                let kept = &mut points[at];
                if !kept.is_deleted {
                    delete(&engine, kept.point_id).unwrap();
                    kept.is_deleted = true;
                    engine.collect(false, &no_control()).unwrap();
                }
            }
            _ if !points.is_empty() => {
                let at = random.below(points.len() as u64) as usize;
                let older = (0..at).filter(|older| !points[*older].is_deleted);
                let bitmaps = older.map(|older| since(points[older].point_id, &older.to_string())).collect();
                let kept = &mut points[at];
                let opened = engine.export_point(of(kept.point_id), label("point"), bitmaps);
                match opened {
                    Ok(export) => kept.exports.push(export),
                    Err(error) => assert!(kept.is_deleted && error.code() == Code::PointNotFound, "{error}"),
                }
            }
            _ => client.flush().unwrap(),
        }
        assert_eq!(all(client.as_ref()), model, "step {step}");
        check_allocation(client.as_ref(), &model, seed + step);
        for (at, kept) in points.iter().enumerate() {
            for export in &kept.exports {
                assert_eq!(all(export.as_ref()), kept.bytes, "point {at} at step {step}");
                check_allocation(export.as_ref(), &kept.bytes, seed + step);
            }
            let Some(export) = kept.exports.last().filter(|_| !kept.is_deleted && at > 0) else { continue };
            let older = random.below(at as u64) as usize;
            if export.contexts().contains(&format!("qemu:dirty-bitmap:{older}")) && !points[older].is_deleted {
                let bytes = (points[older].bytes.as_slice(), kept.bytes.as_slice());
                check_changes(export.as_ref(), &older.to_string(), bytes, seed + step);
            }
        }
    }
}

#[test]
fn exports_of_any_history_agree_with_its_model() {
    let count = if std::env::var("STILLPOINT_TEST_SIZE").is_ok_and(|size| size == "full") { 2_000 } else { 40 };
    (0..count).for_each(history);
}

#[test]
fn a_point_that_is_exported_while_its_copy_runs_holds_no_log_once_that_has_ended() {
    let log_bytes_after = |exports: bool| {
        let (_store, engine) = store();
        let client = live(&engine);
        client.write(0, &random_bytes(1, SIZE), true).unwrap();
        cut(&engine, machine(), point(1)).unwrap();
        let open = || engine.export_point(of(point(1)), label("point"), Vec::new()).unwrap();
        let exported = exports.then(open);
        client.write(0, &random_bytes(2, SECTOR), true).unwrap();
        copy(&engine, point(1)).unwrap();
        engine.release_cut(&point(1)).unwrap();
        engine.upkeep(&no_control()).unwrap();
        let log_bytes = engine.pressure().unwrap().log_bytes;
        if let Some(export) = exported {
            assert_eq!(all(export.as_ref()), random_bytes(1, SIZE));
        }
        log_bytes
    };
    assert_eq!(log_bytes_after(true), log_bytes_after(false));
}

#[test]
fn a_disk_that_clients_may_write_is_neither_reset_nor_deleted() {
    let (_store, engine) = store();
    cut(&engine, machine(), point(1)).unwrap();
    let (one, two) = (live(&engine), live(&engine));
    let reset = || engine.reset_disks(&machine(), &[(disk(), of(point(1)))]);
    assert_eq!(code(reset()), Code::DiskExported);
    drop(one);
    assert_eq!(code(reset()), Code::DiskExported);
    drop(two);
    reset().unwrap();
    let other = uid(77);
    engine.create_disk(&new_disk(other), SIZE, None).unwrap();
    let export = engine.export_disk(&other, label("other")).unwrap();
    assert_eq!(code(engine.delete_disk(&other)), Code::DiskExported);
    drop(export);
    engine.delete_disk(&other).unwrap();
    assert_eq!(code(engine.export_disk(&other, label("other"))), Code::DiskNotFound);
    engine.export_point(of(point(1)), label("point"), Vec::new()).unwrap();
    reset().unwrap(); // a point can only be read
}

#[test]
fn an_exported_disk_moves_between_logs_under_its_clients() {
    let (_store, engine) = store();
    let client = live(&engine);
    client.write(0, &random_bytes(1, 8192), true).unwrap();
    engine.detach_disk(&disk()).unwrap();
    client.write(8192, &random_bytes(2, 8192), false).unwrap();
    client.flush().unwrap();
    engine.attach_disk(&disk(), &machine(), "data").unwrap();
    assert_eq!(all(client.as_ref())[..16384], [random_bytes(1, 8192), random_bytes(2, 8192)].concat());
}

#[test]
fn facts_say_what_a_disk_is_and_points_cannot_be_written() {
    let (_store, engine) = store();
    let client = live(&engine);
    assert_eq!((client.facts().size, client.facts().sector_bytes, client.facts().is_read_only), (SIZE, 512, false));
    assert_eq!(client.contexts(), [ALLOCATION, DEPTH]);
    assert!(!client.has_context("qemu:dirty-bitmap:p").unwrap());
    cut(&engine, machine(), point(1)).unwrap();
    cut(&engine, machine(), point(2)).unwrap();
    let hidden = ExportBitmap { is_listed: false, ..since(point(1), "hidden") };
    let export = engine.export_point(of(point(2)), label("point"), vec![since(point(1), "one"), hidden]).unwrap();
    assert_eq!(export.facts().name, "point");
    assert!(export.facts().is_read_only);
    assert_eq!(export.contexts(), [ALLOCATION, DEPTH, "qemu:dirty-bitmap:one"]);
    assert!(export.has_context("qemu:dirty-bitmap:hidden").unwrap());
    assert!(!export.has_context("qemu:dirty-bitmap:two").unwrap());
    assert_eq!(code(export.write(0, &[1; 512], true)), Code::StoreReadOnly);
    assert_eq!(code(export.write_zeroes(0, 512, true)), Code::StoreReadOnly);
    assert_eq!(code(export.trim(0, 512, true)), Code::StoreReadOnly);
    export.flush().unwrap();
    let nobody = DiskReference { point_id: point(2), disk_id: uid(99) };
    assert_eq!(code(engine.export_point(nobody, label("point"), Vec::new())), Code::ArgumentInvalid);
    assert_eq!(code(engine.export_point(of(point(3)), label("point"), Vec::new())), Code::PointNotFound);
}

#[test]
fn what_was_read_ahead_is_at_hand() {
    let (_store, engine) = store();
    let client = live(&engine);
    client.write(0, &random_bytes(1, SIZE), false).unwrap();
    assert!(client.is_at_hand(0, SIZE), "it is in the log");
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    let export = engine.export_point(of(point(1)), label("point"), Vec::new()).unwrap();
    assert!(!export.is_at_hand(4096, 8192));
    let mut part = vec![0; 8192];
    export.read(4096, &mut part).unwrap();
    assert!(export.is_at_hand(4096, 8192), "part of a chunk stays");
    assert!(client.is_at_hand(4096, 8192), "and is there for all who stand on it");
    assert!(!client.is_at_hand(SIZE / 2, 8192));
    export.cache(SIZE / 2 + 4096, 512).unwrap();
    assert!(export.is_at_hand(SIZE / 2, CHUNK_BYTES.into()), "less than a chunk");
    client.read_ahead(SIZE - 512, 512).unwrap();
    assert!(client.is_at_hand(SIZE - 512, 512), "the end of the disk");
}

#[test]
fn a_hint_takes_its_part_of_the_cache_also_where_the_log_has_some_of_each_chunk() {
    let (mut store, engine) = store();
    drop(engine);
    store.chunk_cache_bytes = SIZE / 2;
    let engine = store.open();
    let client = live(&engine);
    client.write(0, &random_bytes(1, SIZE), false).unwrap();
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    let chunk_bytes = u64::from(CHUNK_BYTES);
    let chunks = || (0..SIZE).step_by(chunk_bytes as usize);
    chunks().for_each(|offset| client.write(offset + 4096, &[2; 512], false).unwrap());
    for hint in [Export::cache, Export::read_ahead] {
        hint(client.as_ref(), 0, SIZE).unwrap();
        let at_hand: Vec<u64> = chunks().filter(|offset| client.is_at_hand(*offset, chunk_bytes)).collect();
        // A quarter of the generation that stays whatever comes.
        assert_eq!(at_hand, chunks().take(4).collect::<Vec<_>>());
    }
}

#[test]
fn a_hint_has_a_limit_however_large_the_cache_is() {
    let (mut store, engine) = store();
    drop(engine);
    store.chunk_cache_bytes = 1 << 30;
    let engine = store.open();
    let (size, most) = (40 << 20, 16 << 20);
    attached(&engine, uid(50), machine(), size);
    let client = engine.export_disk(&uid(50), label("large")).unwrap();
    let places = [0, most - 4096, most, size - 4096];
    places.iter().for_each(|offset| client.write(*offset, &random_bytes(*offset, 4096), false).unwrap());
    cut(&engine, machine(), point(1)).unwrap();
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    let reference = DiskReference { point_id: point(1), disk_id: uid(50) };
    let export = engine.export_point(reference, label("point"), Vec::new()).unwrap();
    for export in [&client, &export] {
        // Rates count no more than that, and nobody who closes a store waits for more.
        export.cache(0, size).unwrap();
        assert_eq!(places.map(|offset| export.is_at_hand(offset, 4096)), [true, true, false, false]);
    }
}

#[test]
fn an_exports_requests_keep_to_the_disks_rates() {
    let (store, engine) = store();
    let client = live(&engine);
    let limits = DiskLimits { operations_per_second: Some(10), bytes_per_second: None };
    engine.limit_disk(&disk(), limits).unwrap();
    let before = store.clock.now_ns();
    (0..21).for_each(|_| client.write(0, &[1; 512], false).unwrap());
    assert!(store.clock.now_ns() - before >= 1_800_000_000, "two seconds' worth, but for what was saved up");
    client.flush().unwrap();
}

#[test]
fn bitmaps_that_were_asked_for_while_a_copy_runs_hold_no_log_once_that_has_ended() {
    let log_bytes_after = |asks: bool| {
        let (_store, engine) = store();
        let client = live(&engine);
        client.write(0, &random_bytes(1, SIZE), true).unwrap();
        cut(&engine, machine(), point(1)).unwrap();
        client.write(0, &random_bytes(2, SIZE / 2), true).unwrap();
        cut(&engine, machine(), point(2)).unwrap();
        let bitmaps = vec![since(point(1), "one")];
        let export = engine.export_point(of(point(2)), label("point"), bitmaps).unwrap();
        let (before, after) = (random_bytes(1, SIZE), [random_bytes(2, SIZE / 2), random_bytes(1, SIZE)].concat());
        let bytes = [&after[..SIZE as usize / 2], &before[SIZE as usize / 2..]].concat();
        if asks {
            check_changes(export.as_ref(), "one", (&before, &bytes), 1);
        }
        for number in [1, 2] {
            copy(&engine, point(number)).unwrap();
            engine.release_cut(&point(number)).unwrap();
        }
        engine.upkeep(&no_control()).unwrap();
        let log_bytes = engine.pressure().unwrap().log_bytes;
        check_changes(export.as_ref(), "one", (&before, &bytes), 2);
        log_bytes
    };
    assert_eq!(log_bytes_after(true), log_bytes_after(false));
}

#[test]
fn a_point_that_is_deleted_before_its_copy_while_a_client_has_it_open_holds_no_log() {
    let log_bytes_after = |is_open: bool| {
        let (_store, engine) = store();
        let client = live(&engine);
        client.write(0, &random_bytes(1, SIZE), true).unwrap();
        cut(&engine, machine(), point(1)).unwrap();
        let export = is_open.then(|| engine.export_point(of(point(1)), label("point"), Vec::new()).unwrap());
        client.write(0, &random_bytes(2, SIZE), true).unwrap();
        delete(&engine, point(1)).unwrap();
        cut(&engine, machine(), point(2)).unwrap();
        copy(&engine, point(2)).unwrap();
        engine.release_cut(&point(2)).unwrap();
        engine.upkeep(&no_control()).unwrap();
        if let Some(export) = export {
            assert_eq!(all(export.as_ref()), random_bytes(1, SIZE));
        }
        engine.pressure().unwrap().log_bytes
    };
    assert_eq!(log_bytes_after(true), log_bytes_after(false));
}

#[test]
fn a_point_that_is_deleted_behind_an_older_one_holds_no_log_though_clients_have_it_open() {
    let log_bytes_after = |is_open: bool| {
        let (_store, engine) = store();
        let client = live(&engine);
        let bytes = [1, 2, 3].map(|seed| random_bytes(seed, SIZE));
        let mut open = None;
        for (number, bytes) in (1..).zip(&bytes) {
            client.write(0, bytes, true).unwrap();
            cut(&engine, machine(), point(number)).unwrap();
            if number == 2 && is_open {
                open = Some(engine.export_point(of(point(2)), label("point"), vec![since(point(1), "one")]).unwrap());
            }
        }
        delete(&engine, point(2)).unwrap();
        if let Some(export) = &open {
            assert_eq!(all(export.as_ref()), bytes[1]);
            check_changes(export.as_ref(), "one", (&bytes[0], &bytes[1]), 1);
        }
        while engine.upkeep(&no_control()).unwrap() {}
        let behind = engine.pressure().unwrap().log_bytes;
        if let Some(export) = &open {
            assert_eq!(all(export.as_ref()), bytes[1], "from chunks, while the older point waits");
        }
        for number in [1, 3] {
            copy(&engine, point(number)).unwrap();
            engine.release_cut(&point(number)).unwrap();
            while engine.upkeep(&no_control()).unwrap() {}
        }
        engine.collect(false, &no_control()).unwrap();
        if let Some(export) = &open {
            assert_eq!(all(export.as_ref()), bytes[1]);
            check_changes(export.as_ref(), "one", (&bytes[0], &bytes[1]), 2);
        }
        (behind, engine.pressure().unwrap().log_bytes)
    };
    assert_eq!(log_bytes_after(true), log_bytes_after(false));
}

#[test]
fn a_bitmaps_point_that_is_deleted_before_its_copy_holds_no_log_and_changes_since_it_are_told_on() {
    for is_behind in [false, true] {
        let log_bytes_after = |asks: bool| {
            let (_store, engine) = store();
            let client = live(&engine);
            let bytes = [1, 2, 3].map(|seed| random_bytes(seed, SIZE));
            let since_number = if is_behind { 2 } else { 1 };
            for (number, bytes) in (1..).zip(&bytes) {
                client.write(0, bytes, true).unwrap();
                cut(&engine, machine(), point(number)).unwrap();
            }
            let bitmaps = vec![since(point(since_number), "since")];
            let export = engine.export_point(of(point(3)), label("point"), bitmaps).unwrap();
            let (before, after) = (&bytes[since_number as usize - 1], &bytes[2]);
            if asks {
                check_changes(export.as_ref(), "since", (before, after), 1);
            }
            delete(&engine, point(since_number)).unwrap();
            while engine.upkeep(&no_control()).unwrap() {}
            if asks {
                check_changes(export.as_ref(), "since", (before, after), 2);
            } else {
                assert_eq!(code(export.has_context("qemu:dirty-bitmap:since")), Code::PointNotFound);
            }
            for number in [1, 2, 3].into_iter().filter(|number| *number != since_number) {
                copy(&engine, point(number)).unwrap();
                engine.release_cut(&point(number)).unwrap();
                while engine.upkeep(&no_control()).unwrap() {}
            }
            if asks {
                check_changes(export.as_ref(), "since", (before, after), 3);
            }
            engine.pressure().unwrap().log_bytes
        };
        assert_eq!(log_bytes_after(true), log_bytes_after(false), "behind an older point: {is_behind}");
    }
}

#[test]
fn a_deleted_point_that_finds_no_space_for_its_maps_is_read_from_the_log_and_given_them_later() {
    let (store, engine) = store();
    let client = live(&engine);
    let bytes = random_bytes(2, SIZE);
    client.write(0, &random_bytes(1, SIZE), true).unwrap();
    cut(&engine, machine(), point(1)).unwrap();
    client.write(0, &bytes, true).unwrap();
    cut(&engine, machine(), point(2)).unwrap();
    let export = engine.export_point(of(point(2)), label("point"), Vec::new()).unwrap();
    delete(&engine, point(2)).unwrap();
    store.memory.set_capacity(Some(1 << 40));
    store.memory.set_capacity(Some((1 << 40) - store.memory.available_bytes(live_store::STORE.as_ref()).unwrap()));
    assert_eq!(code(engine.upkeep(&no_control())), Code::NoSpace);
    assert_eq!(all(export.as_ref()), bytes);
    store.memory.set_capacity(None);
    store.clock.wait_ns(11_000_000_000);
    assert!(engine.upkeep(&no_control()).unwrap());
    copy(&engine, point(1)).unwrap();
    engine.release_cut(&point(1)).unwrap();
    engine.settle_logs(&no_control()).unwrap();
    assert_eq!(all(export.as_ref()), bytes);
}

#[test]
fn nobody_waits_for_rates_once_they_are_lifted() {
    let (store, engine) = store();
    let client = live(&engine);
    let limits = DiskLimits { operations_per_second: Some(1), bytes_per_second: Some(1) };
    engine.limit_disk(&disk(), limits).unwrap();
    engine.lift_limits();
    let before = store.clock.now_ns();
    (0..100).for_each(|_| client.write(0, &[1; 4096], false).unwrap());
    assert_eq!(store.clock.now_ns(), before);
}

#[test]
fn changes_between_points_that_were_deleted_can_be_told_on_whatever_is_copied_meanwhile() {
    let (_store, engine) = store();
    let client = live(&engine);
    let (before, after) = (random_bytes(1, SIZE), random_bytes(2, SIZE));
    for (number, bytes) in [(1, &before), (2, &after)] {
        client.write(0, bytes, true).unwrap();
        cut(&engine, machine(), point(number)).unwrap();
        copy(&engine, point(number)).unwrap();
        engine.release_cut(&point(number)).unwrap();
    }
    let export = engine.export_point(of(point(2)), label("point"), vec![since(point(1), "one")]).unwrap();
    check_changes(export.as_ref(), "one", (&before, &after), 1);
    delete(&engine, point(1)).unwrap();
    delete(&engine, point(2)).unwrap();
    cut(&engine, machine(), point(3)).unwrap();
    copy(&engine, point(3)).unwrap();
    engine.release_cut(&point(3)).unwrap();
    engine.collect(false, &no_control()).unwrap();
    check_changes(export.as_ref(), "one", (&before, &after), 2);
}
