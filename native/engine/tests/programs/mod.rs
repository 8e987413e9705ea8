//! Programs that interop tests need. The rules are those of docs/testing.md: a missing one skips the test and says so at the
//! end of the run; with CI=true it fails.
#![allow(clippy::unwrap_used, reason = "a failure here is a failing test")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// Where a program is; `None` when it is missing.
///
/// # Panics
/// For a name that scripts/ci-packages.txt does not have; when it is missing in CI.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let list = include_str!("../../../../scripts/ci-packages.txt");
    let brings = |line: &&str| line.split_whitespace().skip(1).any(|program| program == name);
    let line = list.lines().filter(|line| !line.starts_with('#')).find(brings);
    let package = line.and_then(|line| line.split_whitespace().next());
    let package =
        package.unwrap_or_else(|| panic!("{name} is not in scripts/ci-packages.txt: add it with its package"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{name} is missing, and CI=true skips nothing: install {package}"
        );
        if let Ok(notices) = std::env::var("STILLPOINT_TEST_NOTICES") {
            let mut file = OpenOptions::new().append(true).create(true).open(notices).unwrap();
            writeln!(file, "skipped: tests that need {name} (Debian package {package})").unwrap();
        }
    }
    found
}
