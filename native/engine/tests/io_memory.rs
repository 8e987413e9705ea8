//! What a crash leaves of a file system in memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use stillpoint_engine::error::Code;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::io::{FileKind, Io, IoFile, OpenMode};
use stillpoint_engine::random::Seeded;
use support::create;

/// What the power cuts of many seeds leave of a file.
fn states_of(io: &MemoryIo, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..2_000).map(|seed| io.crash(CrashChoice::Seeded(seed)).read_file(path)).collect()
}

fn create_durably(io: &MemoryIo, path: &str, bytes: &[u8]) -> Arc<dyn IoFile> {
    let file = create(io, path, bytes);
    file.sync().unwrap();
    io.sync_directory(Path::new(path).parent().unwrap()).unwrap();
    file
}

fn open(io: &MemoryIo, path: &str) -> Arc<dyn IoFile> {
    io.open(Path::new(path), OpenMode::ReadWrite).unwrap()
}

fn rename_replace(io: &MemoryIo, from: &str, to: &str) {
    io.rename_replace(Path::new(from), Path::new(to)).unwrap();
}

#[test]
fn what_was_synced_in_content_and_name_is_never_lost() {
    let io = MemoryIo::new();
    create_durably(&io, "/file", b"durable");
    assert_eq!(io.unsynced_count(), 0);
    assert_eq!(states_of(&io, "/file"), BTreeSet::from([Some(b"durable".to_vec())]));
    assert_eq!(io.crash(CrashChoice::LoseUnsynced).digest(), io.digest());
}

#[test]
fn an_unsynced_write_may_be_kept_lost_or_torn_at_sectors() {
    let io = MemoryIo::new();
    let file = create_durably(&io, "/file", &[1; 1536]);
    file.write_at(&[2; 1536], 0).unwrap();
    let states = states_of(&io, "/file");
    assert_eq!(states.len(), 8, "each of the three sectors is old or new");
    for bytes in states.into_iter().flatten() {
        assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
    }
    assert_eq!(io.crash(CrashChoice::LoseUnsynced).read_file("/file").unwrap(), [1; 1536]);
    assert_eq!(io.crash(CrashChoice::KeepAll).read_file("/file").unwrap(), [2; 1536]);
}

#[test]
fn a_later_write_may_survive_an_earlier_one() {
    let io = MemoryIo::new();
    let file = create_durably(&io, "/file", b"..");
    file.write_at(b"a", 0).unwrap();
    file.write_at(b"b", 1).unwrap();
    let states = states_of(&io, "/file");
    let texts: Vec<&str> = states.iter().flatten().map(|bytes| std::str::from_utf8(bytes).unwrap()).collect();
    assert_eq!(texts, ["..", ".b", "a.", "ab"]);
}

#[test]
fn an_appended_file_may_have_its_length_without_its_bytes() {
    let io = MemoryIo::new();
    let file = create_durably(&io, "/file", b"");
    file.write_at(&[9; 600], 0).unwrap();
    let states = states_of(&io, "/file");
    assert!(states.contains(&Some(Vec::new())));
    assert!(states.contains(&Some(vec![0; 600])));
    assert!(states.contains(&Some(vec![9; 512])));
    assert!(states.contains(&Some([vec![0; 512], vec![9; 88]].concat())));
}

#[test]
fn an_unsynced_length_may_be_lost() {
    let io = MemoryIo::new();
    let file = create_durably(&io, "/file", b"abc");
    file.set_length(1).unwrap();
    file.zero_range(0, 1).unwrap();
    let expected = [b"abc".to_vec(), b"a".to_vec(), b"\0bc".to_vec(), b"\0".to_vec()];
    assert_eq!(states_of(&io, "/file"), expected.into_iter().map(Some).collect());
}

#[test]
fn a_synced_file_whose_directory_was_not_synced_may_have_no_name() {
    let io = MemoryIo::new();
    create(&io, "/file", b"content").sync().unwrap();
    assert_eq!(states_of(&io, "/file"), BTreeSet::from([None, Some(b"content".to_vec())]));
    assert!(io.crash(CrashChoice::LoseUnsynced).files().is_empty());
}

#[test]
fn a_named_file_that_was_not_synced_may_be_empty() {
    let io = MemoryIo::new();
    create(&io, "/file", b"content");
    io.sync_directory(Path::new("/")).unwrap();
    let expected = [Vec::new(), vec![0; 7], b"content".to_vec()];
    assert_eq!(states_of(&io, "/file"), expected.into_iter().map(Some).collect());
}

#[test]
fn an_unsynced_rename_happened_or_not() {
    let io = MemoryIo::new();
    create_durably(&io, "/list", b"old");
    create_durably(&io, "/list.tmp", b"new");
    rename_replace(&io, "/list.tmp", "/list");
    for seed in 0..200 {
        let after = io.crash(CrashChoice::Seeded(seed));
        match after.read_file("/list.tmp") {
            Some(bytes) => assert_eq!((bytes, after.read_file("/list").unwrap()), (b"new".to_vec(), b"old".to_vec())),
            None => assert_eq!(after.read_file("/list").unwrap(), b"new"),
        }
    }
    assert_eq!(states_of(&io, "/list").len(), 2);
    io.sync_directory(Path::new("/")).unwrap();
    assert_eq!(states_of(&io, "/list"), BTreeSet::from([Some(b"new".to_vec())]));
}

#[test]
fn renaming_before_syncing_the_content_can_leave_an_empty_file_in_place_of_the_old_one() {
    let io = MemoryIo::new();
    create_durably(&io, "/list", b"old");
    create(&io, "/list.tmp", b"new");
    rename_replace(&io, "/list.tmp", "/list");
    io.sync_directory(Path::new("/")).unwrap();
    assert!(states_of(&io, "/list").contains(&Some(Vec::new())));
}

#[test]
fn a_rename_between_directories_is_durable_when_both_are_synced() {
    let io = MemoryIo::new();
    io.install_file("/a/file", b"x").unwrap();
    io.install_file("/b/other", b"y").unwrap();
    io.rename_new(Path::new("/a/file"), Path::new("/b/file")).unwrap();
    io.sync_directory(Path::new("/a")).unwrap();
    for seed in 0..100 {
        let after = io.crash(CrashChoice::Seeded(seed));
        assert!(after.read_file("/a/file").is_some() != after.read_file("/b/file").is_some());
    }
    assert!(io.crash(CrashChoice::LoseUnsynced).read_file("/a/file").is_some());
    io.sync_directory(Path::new("/b")).unwrap();
    assert!(io.crash(CrashChoice::LoseUnsynced).read_file("/b/file").is_some());
}

#[test]
fn a_name_that_a_rename_freed_is_not_reused_without_that_rename() {
    let io = MemoryIo::new();
    io.install_file("/a/file", b"old").unwrap();
    io.install_file("/b/other", b"").unwrap();
    io.rename_new(Path::new("/a/file"), Path::new("/b/file")).unwrap();
    create(&io, "/a/file", b"new").sync().unwrap();
    for seed in 0..200 {
        let after = io.crash(CrashChoice::Seeded(seed));
        let here = after.read_file("/a/file");
        let there = after.read_file("/b/file");
        assert!(here == Some(b"old".to_vec()) || there == Some(b"old".to_vec()), "seed {seed}");
    }
    io.sync_directory(Path::new("/a")).unwrap();
    let after = io.crash(CrashChoice::LoseUnsynced);
    assert_eq!(after.read_file("/a/file").unwrap(), b"new");
    assert_eq!(after.read_file("/b/file").unwrap(), b"old");
}

#[test]
fn independent_removals_survive_in_any_combination() {
    let io = MemoryIo::new();
    for name in ["/1", "/2", "/3"] {
        io.install_file(name, b"").unwrap();
        io.remove_file(Path::new(name)).unwrap();
    }
    let states: BTreeSet<_> = (0..500).map(|seed| io.crash(CrashChoice::Seeded(seed)).files()).collect();
    assert_eq!(states.len(), 8);
}

#[test]
fn a_directory_without_a_name_takes_its_files_along() {
    let io = MemoryIo::new();
    io.create_directory(Path::new("/folder")).unwrap();
    create(&io, "/folder/file", b"x").sync().unwrap();
    io.sync_directory(Path::new("/folder")).unwrap();
    let after = io.crash(CrashChoice::LoseUnsynced);
    assert!(after.files().is_empty());
    assert_eq!(after.list_directory(Path::new("/")).unwrap(), []);
    io.sync_directory(Path::new("/")).unwrap();
    assert_eq!(io.crash(CrashChoice::LoseUnsynced).read_file("/folder/file").unwrap(), b"x");
}

#[test]
fn a_killed_process_loses_nothing_but_its_locks() {
    let io = MemoryIo::new();
    create(&io, "/lock", b"");
    let _guard = io.lock(Path::new("/lock")).unwrap().unwrap();
    let unsynced = io.unsynced_count();
    let after = io.crash(CrashChoice::ProcessKilled);
    assert_eq!((after.digest(), after.unsynced_count()), (io.digest(), unsynced));
    assert!(after.lock(Path::new("/lock")).unwrap().is_some());
    assert!(io.lock(Path::new("/lock")).unwrap().is_none());
    assert!(after.crash(CrashChoice::LoseUnsynced).files().is_empty());
}

#[test]
fn a_crash_state_is_independent_of_what_it_was_taken_from() {
    let io = MemoryIo::new();
    let file = create_durably(&io, "/file", &[1; 10_000]);
    let after = io.crash(CrashChoice::KeepAll);
    file.write_at(&[2; 10_000], 0).unwrap();
    open(&after, "/file").write_at(&[3; 5], 0).unwrap();
    assert_eq!(io.read_file("/file").unwrap(), [2; 10_000]);
    assert_eq!(after.read_file("/file").unwrap()[..6], [3, 3, 3, 3, 3, 1]);
}

#[test]
fn what_a_failed_sync_gave_up_is_read_but_never_durable() {
    let io = MemoryIo::new();
    let file = create_durably(&io, "/file", b"....");
    file.write_at(b"a", 0).unwrap();
    io.abandon_unsynced(file.identity().unwrap().inode);
    file.write_at(b"b", 1).unwrap();
    assert_eq!(io.crash(CrashChoice::KeepAll).read_file("/file").unwrap(), b"ab..");
    file.sync().unwrap();
    file.write_at(b"c", 2).unwrap();
    file.sync().unwrap();
    assert_eq!(io.read_file("/file").unwrap(), b"abc.");
    for choice in [CrashChoice::KeepAll, CrashChoice::LoseUnsynced, CrashChoice::Seeded(1)] {
        assert_eq!(io.crash(choice).read_file("/file").unwrap(), b".bc.");
    }
}

#[test]
fn the_same_seed_gives_the_same_state_and_seeds_give_many() {
    let io = MemoryIo::new();
    for index in 0..5 {
        let file = create(&io, format!("/{index}"), &[index; 2_000]);
        file.write_at(b"x", 4_000).unwrap();
    }
    let digests: Vec<u64> = (0..300).map(|seed| io.crash(CrashChoice::Seeded(seed)).digest()).collect();
    let again: Vec<u64> = (0..300).map(|seed| io.crash(CrashChoice::Seeded(seed)).digest()).collect();
    assert_eq!(digests, again);
    assert!(BTreeSet::from_iter(digests).len() > 150);
}

#[test]
fn a_digest_tells_names_lengths_and_bytes_apart_but_not_holes_from_zeros() {
    let with = |path: &str, bytes: &[u8]| {
        let io = MemoryIo::new();
        io.install_file(path, bytes).unwrap();
        io.digest()
    };
    let digests = [with("/a", b""), with("/b", b""), with("/a", b"\0"), with("/a", b"1"), MemoryIo::new().digest()];
    assert_eq!(BTreeSet::from(digests).len(), 5);
    let io = MemoryIo::new();
    io.open(Path::new("/a"), OpenMode::CreateNew).unwrap().set_length(5_000).unwrap();
    assert_eq!(io.digest(), with("/a", &[0; 5_000]));
}

#[test]
fn a_full_file_system_refuses_new_pages_and_takes_old_ones() {
    let io = MemoryIo::new();
    io.set_capacity(Some(3 * 4096));
    let file = create(&io, "/file", &[1; 8_000]);
    assert_eq!(io.available_bytes(Path::new("/")).unwrap(), 4096);
    let error = file.write_at(&[2; 10_000], 8_000).unwrap_err();
    assert_eq!(error.code(), Code::NoSpace);
    assert_eq!(file.identity().unwrap().size, 3 * 4096);
    file.write_at(&[3; 12_000], 0).unwrap();
    assert_eq!(
        io.open(Path::new("/empty"), OpenMode::CreateNew).unwrap().write_at(b"x", 0).unwrap_err().code(),
        Code::NoSpace
    );
    file.zero_range(0, 4096).unwrap();
    create(&io, "/other", b"fits");
    drop(file);
    io.remove_file(Path::new("/file")).unwrap();
    assert_eq!(io.available_bytes(Path::new("/")).unwrap(), 2 * 4096);
}

#[test]
fn times_come_from_the_time_that_was_set() {
    let io = MemoryIo::new();
    io.set_time_ns(5);
    let file = create(&io, "/file", b"x");
    io.set_time_ns(9);
    let before = file.identity().unwrap();
    assert_eq!((before.modified_ns, before.changed_ns), (5, 5));
    io.rename_new(Path::new("/file"), Path::new("/renamed")).unwrap();
    let renamed = file.identity().unwrap();
    assert_eq!((renamed.modified_ns, renamed.changed_ns), (5, 9));
    io.set_time_ns(12);
    file.write_at(b"y", 0).unwrap();
    let after = io.crash(CrashChoice::KeepAll).identify(Path::new("/renamed")).unwrap().unwrap();
    assert_eq!((after.modified_ns, after.changed_ns), (12, 12));
}

#[test]
fn bit_rot_changes_one_bit_and_no_time() {
    let io = MemoryIo::new();
    io.install_file("/file", &[0; 5_000]).unwrap();
    let before = io.identify(Path::new("/file")).unwrap();
    io.flip_bit("/file", 4_999, 3).unwrap();
    let mut expected = vec![0; 5_000];
    expected[4_999] = 8;
    assert_eq!(io.read_file("/file").unwrap(), expected);
    assert_eq!(io.crash(CrashChoice::LoseUnsynced).read_file("/file").unwrap(), expected);
    assert_eq!(io.identify(Path::new("/file")).unwrap(), before);
    assert!(io.flip_bit("/file", 5_000, 0).is_err());
    io.corrupt("/file", 10, b"rotten").unwrap();
    assert_eq!(&io.read_file("/file").unwrap()[9..17], b"\0rotten\0");
}

#[test]
fn a_device_is_opened_exclusively_by_one_and_has_a_fixed_size() {
    let io = MemoryIo::new();
    io.install_device("/dev/disk", &[1; 8192]).unwrap();
    let path = Path::new("/dev/disk");
    let identity = io.identify(path).unwrap().unwrap();
    assert_eq!((identity.kind, identity.size), (FileKind::BlockDevice, 8192));
    let held = io.open(path, OpenMode::ReadExclusive).unwrap();
    let error = io.open(path, OpenMode::ReadWriteExclusive).err().unwrap();
    assert_eq!(error.cause().unwrap().kind(), ErrorKind::ResourceBusy);
    assert!(io.open(path, OpenMode::Read).is_ok());
    drop(held);
    let device = io.open(path, OpenMode::ReadWriteExclusive).unwrap();
    assert_eq!(device.write_at(&[2; 2], 8191).unwrap_err().code(), Code::NoSpace);
    assert!(device.set_length(1).is_err());
    device.zero_range(0, 4096).unwrap();
    assert_eq!(device.next_data(0).unwrap(), Some(0..8192));
    assert_eq!(io.read_file(path).unwrap()[..4096], [0; 4096]);
}

/// Law: after any history and any power cut, a file whose last change of content and of name was followed by a sync
/// of the file and of the directory is there with exactly that content; and no file holds bytes that were never its.
#[test]
fn no_history_loses_what_was_synced() {
    for seed in 0..400 {
        let mut random = Seeded::new(seed);
        let io = MemoryIo::new();
        // Per name: the byte that fills the file now in it, and whether its content and its name are durable.
        let mut model: BTreeMap<String, (u8, bool, bool)> = BTreeMap::new();
        for step in 0..25u8 {
            let name = format!("/{}", random.below(4));
            let to = format!("/{}", random.below(4));
            match (random.below(6), model.contains_key(&name)) {
                (0 | 1, false) => {
                    create(&io, &name, &vec![step + 1; 1_300]);
                    model.insert(name, (step + 1, false, false));
                }
                (0, true) => {
                    open(&io, &name).write_at(&vec![step + 1; 1_300], 0).unwrap();
                    let (_, _, named) = model[&name];
                    model.insert(name, (step + 1, false, named));
                }
                (1 | 2, true) => {
                    open(&io, &name).sync().unwrap();
                    model.get_mut(&name).unwrap().1 = true;
                }
                (3, true) if to != name => {
                    rename_replace(&io, &name, &to);
                    let (fill, synced, _) = model.remove(&name).unwrap();
                    model.insert(to, (fill, synced, false));
                }
                (4, true) if random.one_in(2) => {
                    io.remove_file(Path::new(&name)).unwrap();
                    model.remove(&name);
                }
                (5, _) => {
                    io.sync_directory(Path::new("/")).unwrap();
                    model.values_mut().for_each(|(_, _, named)| *named = true);
                }
                _ => {}
            }
        }
        for cut in 0..20 {
            let after = io.crash(CrashChoice::Seeded(cut));
            for (name, &(fill, synced, named)) in &model {
                if synced && named {
                    assert_eq!(after.read_file(name).unwrap(), vec![fill; 1_300], "seed {seed}, cut {cut}, {name}");
                }
            }
            assert_eq!(after.unsynced_count(), 0);
            assert_eq!(after.crash(CrashChoice::Seeded(cut)).digest(), after.digest());
        }
        assert_eq!(io.crash(CrashChoice::KeepAll).digest(), io.digest(), "seed {seed}");
    }
}
