//! What every `Io` promises, tried on the operating system, in memory, and through an idle fault layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

/// Runs each law of [`laws`] over each implementation.
macro_rules! contract {
    ($($law:ident,)+) => {
        mod the_operating_system {
            $(#[test]
            fn $law() {
                let folder = super::support::Folder::new();
                super::laws::$law(&stillpoint_engine::io::file::FileIo, &folder.path);
            })+
        }

        mod memory {
            $(#[test]
            fn $law() {
                let io = stillpoint_engine::io::memory::MemoryIo::new();
                super::laws::$law(&io, std::path::Path::new("/"));
            })+
        }

        mod faults_without_a_plan {
            use stillpoint_engine::io::{fault::{FaultIo, FaultPlan}, memory::MemoryIo};

            $(#[test]
            fn $law() {
                let io = FaultIo::over_memory(&MemoryIo::new(), FaultPlan::none());
                super::laws::$law(&io, std::path::Path::new("/"));
            })+
        }
    };
}

contract! {
    a_reader_sees_every_write_at_once,
    a_read_ends_at_the_end_of_the_file,
    a_write_past_the_end_leaves_zeros_between,
    a_shortened_file_shows_nothing_old_when_it_grows,
    holes_are_told_from_data,
    allocated_space_reads_as_zero_and_is_taken,
    a_zeroed_range_reads_as_zero_and_keeps_the_length,
    a_handle_for_reading_refuses_to_change_the_file,
    create_new_refuses_a_taken_name,
    a_missing_file_is_not_found,
    rename_new_refuses_a_taken_name_and_changes_nothing,
    rename_replace_takes_the_place_of_a_file,
    a_removed_file_can_be_read_through_an_open_handle,
    a_directory_lists_its_entries_by_name,
    a_directory_cannot_be_made_twice,
    only_an_empty_directory_is_removed,
    syncs_of_files_and_directories_succeed,
    a_lock_is_held_once_and_free_after_its_guard,
    identity_follows_the_file_and_not_the_name,
    a_write_moves_the_times_or_leaves_them,
    an_exclusive_open_of_a_regular_file_is_an_ordinary_one,
    there_is_space,
    advice_and_early_writeback_change_nothing,
    a_whole_file_is_read_up_to_a_limit,
}

mod laws {
    use std::path::Path;

    use crate::support::{create, read, read_all};
    use stillpoint_engine::error::Code;
    use stillpoint_engine::io::{FileKind, Io, OpenMode, read_exact_at, read_whole};

    pub(super) fn a_reader_sees_every_write_at_once(io: &dyn Io, root: &Path) {
        let path = root.join("file");
        let writer = create(io, &path, b"hello");
        let reader = io.open(&path, OpenMode::Read).unwrap();
        writer.write_at(b"EL", 1).unwrap();
        assert_eq!(read_all(&*reader), b"hELlo");
        let other = io.open(&path, OpenMode::ReadWrite).unwrap();
        other.write_at(b"!", 5).unwrap();
        assert_eq!(read_all(&*reader), b"hELlo!");
    }

    pub(super) fn a_read_ends_at_the_end_of_the_file(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), b"0123456789");
        let mut buffer = [0u8; 8];
        assert_eq!(file.read_at(&mut buffer, 4).unwrap(), 6);
        assert_eq!(&buffer[..6], b"456789");
        assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
        assert_eq!(read_exact_at(&*file, &mut buffer, 2).unwrap(), Some(()));
        assert_eq!(read_exact_at(&*file, &mut buffer, 3).unwrap(), None);
    }

    pub(super) fn a_write_past_the_end_leaves_zeros_between(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), b"a");
        file.write_at(b"z", 10_000).unwrap();
        let bytes = read_all(&*file);
        assert_eq!((bytes.len(), bytes[0], bytes[10_000]), (10_001, b'a', b'z'));
        assert!(bytes[1..10_000].iter().all(|&byte| byte == 0));
        file.write_at(b"", 20_000).unwrap();
        assert_eq!(file.identity().unwrap().size, 10_001);
    }

    pub(super) fn a_shortened_file_shows_nothing_old_when_it_grows(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), &[7; 9_000]);
        file.set_length(4_100).unwrap();
        file.set_length(9_000).unwrap();
        let bytes = read_all(&*file);
        assert_eq!(bytes.len(), 9_000);
        assert!(bytes[..4_100].iter().all(|&byte| byte == 7) && bytes[4_100..].iter().all(|&byte| byte == 0));
    }

    pub(super) fn holes_are_told_from_data(io: &dyn Io, root: &Path) {
        const BLOCK: u64 = 1 << 20;
        let file = create(io, root.join("file"), b"");
        assert_eq!(file.next_data(0).unwrap(), None);
        file.set_length(8 * BLOCK).unwrap();
        file.write_at(&[1; 4096], 2 * BLOCK).unwrap();
        file.write_at(&[2; 4096], 5 * BLOCK).unwrap();
        file.sync().unwrap();
        let first = file.next_data(0).unwrap().unwrap();
        assert!(first.start <= 2 * BLOCK && first.end >= 2 * BLOCK + 4096 && first.end <= 5 * BLOCK);
        let second = file.next_data(first.end).unwrap().unwrap();
        assert!(second.start <= 5 * BLOCK && second.end >= 5 * BLOCK + 4096);
        assert_eq!(file.next_data(5 * BLOCK + 7).unwrap().unwrap().start, 5 * BLOCK + 7);
        assert!(file.next_data(second.end).unwrap().is_none_or(|range| range.start >= second.end));
        assert_eq!(file.next_data(8 * BLOCK).unwrap(), None);
        assert_eq!(file.next_data(9 * BLOCK).unwrap(), None);
    }

    pub(super) fn allocated_space_reads_as_zero_and_is_taken(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), &[7; 5_000]);
        file.allocate(300_000).unwrap();
        let bytes = read_all(&*file);
        assert_eq!(bytes.len(), 300_000);
        assert!(bytes[..5_000].iter().all(|&byte| byte == 7) && bytes[5_000..].iter().all(|&byte| byte == 0));
        file.write_at(&[8; 100], 200_000).unwrap();
        file.allocate(100).unwrap();
        assert_eq!((file.identity().unwrap().size, read_all(&*file)[200_000]), (300_000, 8));
        let reader = io.open(&root.join("file"), OpenMode::Read).unwrap();
        assert!(reader.allocate(400_000).is_err());
        assert_eq!(file.identity().unwrap().size, 300_000);
    }

    pub(super) fn a_zeroed_range_reads_as_zero_and_keeps_the_length(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), &[7; 20_000]);
        file.zero_range(100, 10_000).unwrap();
        file.zero_range(19_000, 50_000).unwrap();
        file.zero_range(30_000, 5).unwrap();
        file.zero_range(5, 0).unwrap();
        let bytes = read_all(&*file);
        assert_eq!(bytes.len(), 20_000);
        for (at, &byte) in bytes.iter().enumerate() {
            let zeroed = (100..10_100).contains(&at) || at >= 19_000;
            assert_eq!(byte, if zeroed { 0 } else { 7 }, "at {at}");
        }
    }

    pub(super) fn a_handle_for_reading_refuses_to_change_the_file(io: &dyn Io, root: &Path) {
        create(io, root.join("file"), b"x");
        let file = io.open(&root.join("file"), OpenMode::Read).unwrap();
        assert!(file.write_at(b"y", 0).is_err());
        assert!(file.set_length(0).is_err());
        assert!(file.zero_range(0, 1).is_err());
        assert_eq!(read_all(&*file), b"x");
    }

    pub(super) fn create_new_refuses_a_taken_name(io: &dyn Io, root: &Path) {
        create(io, root.join("file"), b"x");
        let error = io.open(&root.join("file"), OpenMode::CreateNew).err().unwrap();
        assert!(error.is_already_exists());
        assert_eq!(read(io, root.join("file")), b"x");
    }

    pub(super) fn a_missing_file_is_not_found(io: &dyn Io, root: &Path) {
        let path = root.join("missing");
        for mode in [OpenMode::Read, OpenMode::ReadWrite] {
            let error = io.open(&path, mode).err().unwrap();
            assert!(error.is_not_found());
            assert_eq!(error.code(), Code::IoFailed);
            assert!(error.message().contains("missing"));
        }
        assert!(io.open(&path.join("below"), OpenMode::CreateNew).err().unwrap().is_not_found());
        assert_eq!(io.identify(&path).unwrap(), None);
        assert!(io.remove_file(&path).unwrap_err().is_not_found());
        assert!(io.rename_new(&path, &root.join("other")).unwrap_err().is_not_found());
        assert!(io.rename_replace(&path, &root.join("other")).unwrap_err().is_not_found());
        assert!(io.list_directory(&path).unwrap_err().is_not_found());
        assert!(io.sync_directory(&path).unwrap_err().is_not_found());
        assert!(io.lock(&path).err().unwrap().is_not_found());
        create(io, root.join("file"), b"");
        assert_eq!(io.identify(&root.join("file/below")).unwrap(), None);
        assert!(io.sync_directory(&root.join("file")).is_err());
    }

    pub(super) fn rename_new_refuses_a_taken_name_and_changes_nothing(io: &dyn Io, root: &Path) {
        let (one, other) = (root.join("one"), root.join("other"));
        create(io, &one, b"1");
        create(io, &other, b"2");
        assert!(io.rename_new(&one, &other).unwrap_err().is_already_exists());
        assert_eq!((read(io, &one), read(io, &other)), (b"1".to_vec(), b"2".to_vec()));
        io.create_directory(&root.join("folder")).unwrap();
        io.rename_new(&one, &root.join("folder/third")).unwrap();
        assert_eq!(io.identify(&one).unwrap(), None);
        assert_eq!(read(io, root.join("folder/third")), b"1");
    }

    pub(super) fn rename_replace_takes_the_place_of_a_file(io: &dyn Io, root: &Path) {
        let (one, other) = (root.join("one"), root.join("other"));
        create(io, &one, b"1");
        let old = create(io, &other, b"2");
        io.rename_replace(&one, &other).unwrap();
        assert_eq!(io.identify(&one).unwrap(), None);
        assert_eq!(read(io, &other), b"1");
        assert_eq!(read_all(&*old), b"2");
        io.rename_replace(&other, &one).unwrap();
        assert_eq!(read(io, &one), b"1");
        io.create_directory(&root.join("folder")).unwrap();
        assert!(io.rename_replace(&one, &root.join("folder")).is_err());
    }

    pub(super) fn a_removed_file_can_be_read_through_an_open_handle(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), b"still here");
        io.remove_file(&root.join("file")).unwrap();
        assert_eq!(io.identify(&root.join("file")).unwrap(), None);
        assert_eq!(read_all(&*file), b"still here");
        file.write_at(b"S", 0).unwrap();
        file.sync().unwrap();
        create(io, root.join("file"), b"another");
        assert_eq!(read_all(&*file), b"Still here");
    }

    pub(super) fn a_directory_lists_its_entries_by_name(io: &dyn Io, root: &Path) {
        for name in ["b", "a10", "a2", "C"] {
            create(io, root.join(name), name.as_bytes());
        }
        io.create_directory(&root.join("folder")).unwrap();
        create(io, root.join("folder/inside"), b"");
        let entries = io.list_directory(root).unwrap();
        let seen: Vec<(&str, FileKind)> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind)).collect();
        let (file, folder) = (FileKind::Regular, FileKind::Directory);
        assert_eq!(seen, [("C", file), ("a10", file), ("a2", file), ("b", file), ("folder", folder)]);
        assert_eq!(entries[1].size, 3);
        assert!(io.list_directory(&root.join("b")).is_err());
    }

    pub(crate) fn only_an_empty_directory_is_removed(io: &dyn Io, folder: &Path) {
        let directory = folder.join("directory");
        io.create_directory(&directory).unwrap();
        io.open(&directory.join("file"), OpenMode::CreateNew).unwrap();
        io.remove_directory(&directory).unwrap_err();
        io.remove_file(&directory.join("file")).unwrap();
        io.remove_directory(&directory).unwrap();
        assert!(io.identify(&directory).unwrap().is_none());
        assert!(io.remove_directory(&directory).unwrap_err().is_not_found());
    }

    pub(super) fn a_directory_cannot_be_made_twice(io: &dyn Io, root: &Path) {
        io.create_directory(&root.join("folder")).unwrap();
        assert!(io.create_directory(&root.join("folder")).unwrap_err().is_already_exists());
        assert_eq!(io.identify(&root.join("folder")).unwrap().unwrap().kind, FileKind::Directory);
        assert!(io.remove_file(&root.join("folder")).is_err());
        assert!(io.open(&root.join("folder"), OpenMode::ReadWrite).is_err());
        let opened = io.open(&root.join("folder"), OpenMode::Read).unwrap();
        assert_eq!(opened.identity().unwrap().kind, FileKind::Directory);
        assert!(opened.read_at(&mut [0; 4], 0).is_err());
        io.rename_new(&root.join("folder"), &root.join("renamed")).unwrap();
        create(io, root.join("renamed/file"), b"");
    }

    pub(super) fn syncs_of_files_and_directories_succeed(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), b"x");
        file.sync().unwrap();
        file.set_length(100).unwrap();
        file.sync().unwrap();
        io.sync_directory(root).unwrap();
        io.open(&root.join("file"), OpenMode::Read).unwrap().sync().unwrap();
    }

    pub(super) fn a_lock_is_held_once_and_free_after_its_guard(io: &dyn Io, root: &Path) {
        let path = root.join("lock");
        create(io, &path, b"");
        let guard = io.lock(&path).unwrap();
        assert!(guard.is_some());
        assert!(io.lock(&path).unwrap().is_none());
        create(io, root.join("other"), b"");
        assert!(io.lock(&root.join("other")).unwrap().is_some());
        drop(guard);
        assert!(io.lock(&path).unwrap().is_some());
    }

    pub(super) fn identity_follows_the_file_and_not_the_name(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("one"), b"123");
        let before = file.identity().unwrap();
        assert_eq!((before.kind, before.size), (FileKind::Regular, 3));
        io.rename_new(&root.join("one"), &root.join("two")).unwrap();
        let after = io.identify(&root.join("two")).unwrap().unwrap();
        assert_eq!((after.device, after.inode, after.modified_ns), (before.device, before.inode, before.modified_ns));
        create(io, root.join("one"), b"123");
        assert_ne!(io.identify(&root.join("one")).unwrap().unwrap().inode, after.inode);
    }

    pub(super) fn a_write_moves_the_times_or_leaves_them(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("one"), b"123");
        let before = file.identity().unwrap();
        file.write_at(b"4", 0).unwrap();
        let after = file.identity().unwrap();
        assert!(after.modified_ns >= before.modified_ns && after.changed_ns >= before.changed_ns);
        read_all(&*file);
        assert_eq!(file.identity().unwrap(), after);
    }

    pub(super) fn an_exclusive_open_of_a_regular_file_is_an_ordinary_one(io: &dyn Io, root: &Path) {
        create(io, root.join("file"), b"x");
        let one = io.open(&root.join("file"), OpenMode::ReadExclusive).unwrap();
        let other = io.open(&root.join("file"), OpenMode::ReadWriteExclusive).unwrap();
        other.write_at(b"y", 0).unwrap();
        assert_eq!(read_all(&*one), b"y");
        assert!(one.write_at(b"z", 0).is_err());
    }

    pub(super) fn there_is_space(io: &dyn Io, root: &Path) {
        assert!(io.available_bytes(root).unwrap() > 0);
        assert!(io.capacity_bytes(root).unwrap() >= io.available_bytes(root).unwrap());
        assert!(io.capacity_bytes(&root.join("missing")).unwrap_err().is_not_found());
        assert!(io.available_bytes(&root.join("missing")).unwrap_err().is_not_found());
    }

    pub(super) fn advice_and_early_writeback_change_nothing(io: &dyn Io, root: &Path) {
        let file = create(io, root.join("file"), &[3; 10_000]);
        file.advise_sequential(true);
        file.advise_sequential(false);
        file.forget(0, 0);
        file.forget(0, 1 << 40);
        let size = file.identity().unwrap().size;
        file.expect_write(0, 0);
        file.expect_write(0, 8 << 10);
        file.expect_write(1 << 20, 4096);
        assert_eq!(file.identity().unwrap().size, size, "its length is the writers' affair");
        file.start_writeback(0, 8192).unwrap();
        file.start_writeback(8192, 0).unwrap();
        file.start_writeback(1 << 40, u64::MAX).unwrap();
        file.write_back(0, 8192).unwrap();
        file.write_back(8192, 0).unwrap();
        file.write_back(1 << 40, u64::MAX).unwrap();
        assert_eq!(read_all(&*file), [3; 10_000]);
    }

    pub(super) fn a_whole_file_is_read_up_to_a_limit(io: &dyn Io, root: &Path) {
        create(io, root.join("file"), b"12345");
        assert_eq!(read_whole(io, &root.join("file"), 5).unwrap(), Some(b"12345".to_vec()));
        assert_eq!(read_whole(io, &root.join("file"), 4).unwrap(), None);
    }
}
