//! Law: any byte of a store may rot. Verification finds it and names exactly the ranges that can no longer be read;
//! nobody ever reads wrong bytes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::{Path, PathBuf};

use simulation::damage::{Small, examine, small_store, small_store_with_lz4};
use simulation::progress::{count, over_cases};
use simulation::sized;
use simulation::store::{OPEN, READ_ONLY, STORE, memory_parts, store_files, uid};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::Engine;
use stillpoint_engine::error::Code;
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};

/// A prime, so that the sampled bytes wander through every structure.
const STRIDE: u64 = 17;

fn copy(small: &Small) -> MemoryIo {
    small.memory.crash(CrashChoice::ProcessKilled)
}

/// Every byte of every file, or a sample.
fn bytes_to_flip(small: &Small) -> Vec<(PathBuf, u64)> {
    let files = store_files(&small.memory).into_iter();
    let stride = sized(STRIDE, 1) as usize;
    files
        .flat_map(|path| {
            let length = small.memory.read_file(&path).unwrap().len() as u64;
            let all: Vec<_> = (0..length).step_by(stride).map(|at| (path.clone(), at)).collect();
            all
        })
        .collect()
}

#[test]
fn every_flipped_byte_is_found_with_what_it_hits() {
    let flipped = flip_every_byte(&small_store(1));
    over_cases("engine-rot", 1, |_, counts| count(counts, "flipped bytes", flipped));
}

#[test]
fn every_flipped_byte_of_a_store_with_lz4_is_found_with_what_it_hits() {
    let flipped = flip_every_byte(&small_store_with_lz4(1));
    over_cases("engine-rot-lz4", 1, |_, counts| count(counts, "flipped bytes", flipped));
}

/// Flips a bit of each byte in its own copy of the store, and says how many those were.
fn flip_every_byte(small: &Small) -> u64 {
    let sound = examine(&copy(small), &small.contents, READ_ONLY).unwrap();
    assert!(sound.findings.is_empty() && sound.unreadable.is_empty() && sound.listed.len() == 3);
    let flips = bytes_to_flip(small);
    for (path, at) in &flips {
        let memory = copy(small);
        memory.flip_bit(path, *at, (at % 8) as u8).unwrap();
        let options = if at.is_multiple_of(3) { OPEN } else { READ_ONLY };
        let what = format!("byte {at} of {}", path.display());
        let examined = examine(&memory, &small.contents, options).unwrap_or_else(|| panic!("{what}: not opened"));
        let file = path.strip_prefix(STORE).unwrap().to_str().unwrap();
        assert!(examined.findings.iter().any(|finding| finding.file == file), "{what}: {:?}", examined.findings);
        assert_eq!(examined.hits(), examined.unreadable, "{what}: {:?}", examined.findings);
        let unlisted = 3 - examined.listed.len();
        assert_eq!(unlisted, usize::from(file.ends_with(".manifest")), "{what}");
    }
    flips.len() as u64
}

#[test]
fn an_open_store_finds_what_rots_under_it() {
    let small = small_store(1);
    for (path, at) in bytes_to_flip(&small).into_iter().step_by(sized(3, 1) as usize) {
        let memory = copy(&small);
        let engine = Engine::open(memory_parts(&memory, 1), Path::new(STORE), OPEN).unwrap();
        memory.flip_bit(&path, at, (at % 8) as u8).unwrap();
        let report = engine.verify(true, &Control::default()).unwrap();
        let file = path.strip_prefix(STORE).unwrap().to_str().unwrap();
        let finding = report.findings.iter().find(|finding| finding.file == file);
        let finding = finding.unwrap_or_else(|| panic!("byte {at} of {file}: {:?}", report.findings));
        if finding.code == Code::ManifestDamaged {
            assert!(!finding.hits.is_empty(), "the whole point is hit: {finding:?}");
        }
    }
}

#[test]
fn without_data_verification_still_walks_every_map() {
    let small = small_store(1);
    let nodes =
        store_files(&small.memory).into_iter().filter(|path| path.extension().is_some_and(|end| end == "nodes"));
    for path in nodes {
        let memory = copy(&small);
        memory.flip_bit(&path, 64 + 72 + 8, 0).unwrap(); // in the plain bytes of the first node
        let engine = Engine::open(memory_parts(&memory, 1), Path::new(STORE), OPEN).unwrap();
        let report = engine.verify(false, &Control::default()).unwrap();
        assert!(report.findings.iter().any(|finding| !finding.hits.is_empty()), "{:?}", report.findings);
    }
}

#[test]
fn a_file_of_any_other_length_is_found() {
    let small = small_store(1);
    for path in store_files(&small.memory) {
        let bytes = small.memory.read_file(&path).unwrap();
        let length = bytes.len();
        let shorter = [0, 1, 7, 63, 64, 65, 72, 136, length / 2, length.saturating_sub(49), length.saturating_sub(1)];
        let longer = [bytes.as_slice(), &[0; 100]].concat();
        let cut = shorter.iter().filter(|to| **to < length).map(|to| bytes[..*to].to_vec());
        for changed in cut.chain([longer]).filter(|_| !path.ends_with("lock")) {
            check_changed(&small, &path, &changed);
        }
    }
}

#[test]
fn a_file_of_another_place_or_store_is_found() {
    let (small, other) = (small_store(1), small_store(2));
    let files = store_files(&small.memory);
    let foreign = store_files(&other.memory);
    for path in files.iter().filter(|path| !path.ends_with("lock")) {
        let same_kind = |other: &&PathBuf| other.extension() == path.extension() && other.parent() == path.parent();
        let is_config = path.ends_with("config"); // another store's config makes it that store
        for own in files.iter().filter(same_kind).filter(|other| *other != path) {
            // Two segments of one shape may change places: together they say the same.
            if path.extension().is_some_and(|end| end == "segment") {
                continue;
            }
            check_changed(&small, path, &small.memory.read_file(own).unwrap());
        }
        for theirs in foreign.iter().filter(same_kind).filter(|_| !is_config) {
            check_changed(&small, path, &other.memory.read_file(theirs).unwrap());
        }
    }
}

fn check_changed(small: &Small, path: &Path, bytes: &[u8]) {
    let memory = copy(small);
    memory.install_file(path, bytes).unwrap();
    let what = format!("{} with {} bytes", path.display(), bytes.len());
    let Some(examined) = examine(&memory, &small.contents, OPEN) else {
        assert!(path.ends_with("config"), "{what}: not opened");
        return;
    };
    let file = path.strip_prefix(STORE).unwrap().to_str().unwrap();
    let named = |finding: &stillpoint_engine::verify::Finding| finding.file == file;
    assert!(examined.findings.iter().any(named), "{what}: {:?}", examined.findings);
    assert_eq!(examined.hits(), examined.unreadable, "{what}: {:?}", examined.findings);
}

#[test]
fn a_missing_file_is_found_unless_nothing_needs_it() {
    let small = small_store(1);
    for path in store_files(&small.memory) {
        let memory = copy(&small);
        let name = path.file_name().unwrap().to_str().unwrap();
        stillpoint_engine::io::Io::remove_file(&memory, &path).unwrap();
        let Some(examined) = examine(&memory, &small.contents, OPEN) else {
            assert_eq!(name, "config");
            continue;
        };
        assert_eq!(examined.hits(), examined.unreadable, "without {name}: {:?}", examined.findings);
        match path.extension().and_then(|extension| extension.to_str()) {
            // The manifest is the point; that there was one, the catalog knows.
            Some("manifest") => assert_eq!(examined.listed.len(), 2),
            Some("chunks" | "nodes") => assert!(!examined.unreadable.is_empty(), "without {name}"),
            Some("segment") => assert!(!examined.findings.is_empty(), "without {name}"),
            _ => assert!(examined.findings.is_empty(), "without {name}, which is made again: {:?}", examined.findings),
        }
    }
}

#[test]
fn a_pack_or_manifest_that_goes_while_the_store_is_open_is_found() {
    let small = small_store(1);
    for path in store_files(&small.memory) {
        let memory = copy(&small);
        let engine = Engine::open(memory_parts(&memory, 1), Path::new(STORE), OPEN).unwrap();
        let disk = simulation::store::version(uid(1), 0);
        engine.read(&disk, 0, 20_000).unwrap(); // opens packs, fills caches
        stillpoint_engine::io::Io::remove_file(&memory, &path).unwrap();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("chunks" | "nodes" | "manifest")) {
            let report = engine.verify(true, &Control::default()).unwrap();
            assert!(report.findings.iter().any(|finding| !finding.hits.is_empty()), "{path:?}: {:?}", report.findings);
        }
    }
}
