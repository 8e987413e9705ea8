//! Whether a file system is on another machine.
//!
//! statfs(2) tells kinds of file systems apart by a number. Everything in user space has one number; which it is stands in the
//! list of mounts only (proc(5), mountinfo), by the device number that its files have.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};
use rustix::io::retry_on_intr;

/// Numbers of statfs(2), and of linux/magic.h where that has none.
const NETWORK: &[(u32, &str)] = &[
    (0x6969, "nfs"),
    (0x517b, "smbfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "kafs"),
    (0x7375_7245, "coda"),
    (0x564c, "ncp"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
];

/// Of all file systems in user space.
const USER_SPACE: u32 = 0x6573_5546;

/// Those of them that keep files on another machine.
const NETWORK_IN_USER_SPACE: &[&str] = &[
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.curlftpfs",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.goofys",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
];

/// The name of the network file system that holds `path`; `None` for a local one, and where nobody can tell.
pub(super) fn of_path(path: &Path) -> std::io::Result<Option<String>> {
    let number = retry_on_intr(|| rustix::fs::statfs(path))?.f_type as u32; // signed or longer on some machines
    let device = std::fs::metadata(path)?.dev();
    let device = format!("{}:{}", major(device), minor(device));
    Ok(name_of(number, &device, || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()))
}

fn name_of(number: u32, device: &str, mounts: impl FnOnce() -> String) -> Option<String> {
    if number != USER_SPACE {
        return NETWORK.iter().find(|(network, _)| *network == number).map(|(_, name)| (*name).to_owned());
    }
    let mounts = mounts();
    let kind = mounts.lines().find_map(|line| kind_of(line, device))?;
    NETWORK_IN_USER_SPACE.contains(&kind).then(|| kind.to_owned())
}

/// The kind of file system that a line of mountinfo is about, if it is the one with this device number.
fn kind_of<'a>(line: &'a str, device: &str) -> Option<&'a str> {
    let (place, what) = line.split_once(" - ")?;
    (place.split(' ').nth(2) == Some(device)).then(|| what.split(' ').next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /far rw,nosuid shared:20 - fuse.sshfs someone@far:disks rw,user_id=0
41 22 0:36 / /near rw - fuse.bindfs near rw
42 22 0:37 / /odd\\040name rw shared:3 master:2 - fuseblk /dev/sdb1 rw
";

    fn name(number: u32, device: &str) -> Option<String> {
        name_of(number, device, || MOUNTS.to_owned())
    }

    #[test]
    fn network_file_systems_are_known_by_their_numbers_and_local_ones_are_none() {
        assert_eq!(name(0x6969, "0:50").as_deref(), Some("nfs"));
        assert_eq!(name(0xff53_4d42, "0:50").as_deref(), Some("cifs"));
        assert_eq!(name(0x0102_1997, "0:50").as_deref(), Some("9p"));
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994] {
            assert_eq!(name(local, "8:1"), None, "{local:x}: ext4, xfs, btrfs, tmpfs");
        }
    }

    #[test]
    fn file_systems_in_user_space_are_known_by_the_list_of_mounts() {
        assert_eq!(name(USER_SPACE, "0:35").as_deref(), Some("fuse.sshfs"));
        for local in ["0:36", "0:37", "0:99"] {
            assert_eq!(name(USER_SPACE, local), None, "{local}");
        }
        assert_eq!(name_of(USER_SPACE, "0:35", String::new), None, "nobody can tell");
    }

    #[test]
    fn the_folder_for_temporary_files_is_local() {
        assert_eq!(of_path(&std::env::temp_dir()).unwrap(), None);
        assert!(of_path(Path::new("/nowhere/at/all")).is_err());
    }
}
