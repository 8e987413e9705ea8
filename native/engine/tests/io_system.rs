//! What only the operating system has: FIFOs, full devices, block devices, other processes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use stillpoint_engine::error::Code;
use stillpoint_engine::io::file::FileIo;
use stillpoint_engine::io::{FileKind, Io, OpenMode};
use support::{Folder, create, read_all};

#[test]
fn opening_a_fifo_does_not_wait() {
    let folder = Folder::new();
    let path = folder.path.join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(FileIo.identify(&path).unwrap().unwrap().kind, FileKind::Other);
    let fifo = FileIo.open(&path, OpenMode::Read).unwrap();
    assert_eq!(fifo.identity().unwrap().kind, FileKind::Other);
    assert!(fifo.read_at(&mut [0; 4], 0).is_err());
}

#[test]
fn a_full_device_is_no_space() {
    let full = FileIo.open(Path::new("/dev/full"), OpenMode::ReadWrite).unwrap();
    assert_eq!(full.write_at(b"x", 0).unwrap_err().code(), Code::NoSpace);
}

#[test]
fn names_that_are_not_utf_8_and_links_to_nowhere_do_not_stop_a_listing() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    create(&FileIo, folder.path.join(std::ffi::OsStr::from_bytes(b"\xff")), b"");
    std::os::unix::fs::symlink("nowhere", folder.path.join("link")).unwrap();
    create(&FileIo, folder.path.join("target"), b"123");
    std::os::unix::fs::symlink("target", folder.path.join("to-target")).unwrap();
    let entries = FileIo.list_directory(&folder.path).unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.size)).collect();
    let regular = FileKind::Regular;
    assert_eq!(seen, [("link", FileKind::Other, 0), ("target", regular, 3), ("to-target", regular, 3)]);
}

#[test]
fn a_lock_is_seen_by_other_processes() {
    let folder = Folder::new();
    let path = folder.path.join("lock");
    create(&FileIo, &path, b"");
    let held_elsewhere = |path: &Path| {
        let status =
            Command::new("flock").args(["--nonblock", "--conflict-exit-code", "9"]).arg(path).arg("true").status();
        status.ok().and_then(|status| status.code())
    };
    if held_elsewhere(&path) != Some(0) {
        return skip("flock(1) is not installed");
    }
    let guard = FileIo.lock(&path).unwrap().unwrap();
    assert_eq!(held_elsewhere(&path), Some(9));
    drop(guard);
    assert_eq!(held_elsewhere(&path), Some(0));
}

#[test]
fn a_block_device_has_its_size_zeros_and_one_exclusive_holder() {
    const SIZE: u64 = 8 << 20;
    let folder = Folder::new();
    let backing = create(&FileIo, folder.path.join("backing"), b"");
    backing.set_length(SIZE).unwrap();
    let Some(device) = LoopDevice::over(&folder.path.join("backing")) else {
        return skip("losetup cannot make a loop device");
    };

    let identity = FileIo.identify(&device.path).unwrap().unwrap();
    assert_eq!((identity.kind, identity.size), (FileKind::BlockDevice, SIZE));
    let held = FileIo.open(&device.path, OpenMode::ReadWriteExclusive).unwrap();
    let error = FileIo.open(&device.path, OpenMode::ReadExclusive).err().unwrap();
    assert_eq!(error.cause().unwrap().kind(), ErrorKind::ResourceBusy);

    held.write_at(&[7; 3 << 20], 1 << 20).unwrap();
    held.zero_range(1 << 20, 1 << 20).unwrap();
    held.zero_range((2 << 20) + 5, 1000).unwrap();
    held.zero_range(SIZE - 512, 1 << 20).unwrap();
    held.start_writeback(0, SIZE).unwrap();
    held.write_back(0, SIZE).unwrap();
    held.sync().unwrap();
    let bytes = read_all(&*held);
    for (at, &byte) in bytes.iter().enumerate() {
        let written = (2 << 20..4 << 20).contains(&at) && !((2 << 20) + 5..(2 << 20) + 1005).contains(&at);
        assert_eq!(byte, if written { 7 } else { 0 }, "at {at}");
    }
    assert_eq!(held.next_data(4096).unwrap(), Some(4096..SIZE));
    assert_eq!(held.next_data(SIZE).unwrap(), None);
    assert_eq!(held.write_at(&[1; 1024], SIZE - 512).unwrap_err().code(), Code::NoSpace);
    assert!(held.set_length(SIZE / 2).is_err());
    drop(held);
    assert!(FileIo.open(&device.path, OpenMode::ReadExclusive).is_ok());
}

/// A loop device that is detached when the test ends.
struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    fn over(backing: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(backing).output().ok()?;
        let path = String::from_utf8(made.stdout).ok()?;
        made.status.success().then(|| Self { path: PathBuf::from(path.trim()) })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("--detach").arg(&self.path).status();
        assert!(detached.is_ok_and(|status| status.success()), "{} stays attached", self.path.display());
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not tried")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
