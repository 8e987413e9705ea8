//! Law: a map that was edited is the map that is built anew of the same entries, at every moment; what it costs depends on
//! the places that change, not on the chunks below them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod layered;
mod simulation;

use std::collections::HashMap;
use std::sync::Arc;

use layered::{CHUNK, built, open, region};
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::block_map::{DiskVersion, MapEditor, MapReader, chunks_below, edited};
use stillpoint_engine::chunk_store::writer::Writer;
use stillpoint_engine::error::Code;
use stillpoint_engine::format::PackKind;
use stillpoint_engine::format::node::{Entry, Node, Root};
use stillpoint_engine::limits::{DISK_BYTES_MAX, NODE_FAN_OUT};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::ContentId;

const CHUNK_BYTES: u64 = CHUNK as u64;

/// A map as runs of alike entries: sorted, without gaps, from chunk 0 to the disk's end.
#[derive(Clone, Debug)]
struct Runs {
    size: u64,
    runs: Vec<(u64, u64, Entry)>, // first, count
}

impl Runs {
    fn empty(size: u64) -> Self {
        Self { size, runs: vec![(0, size.div_ceil(CHUNK_BYTES), Entry::Hole)] }
    }

    fn chunk_count(&self) -> u64 {
        self.size.div_ceil(CHUNK_BYTES)
    }

    /// With these changes, which are sorted.
    fn with(&self, size: u64, changes: &[(u64, u64, Entry)]) -> Self {
        let end = size.div_ceil(CHUNK_BYTES);
        let mut before = self.runs.clone();
        before.push((self.chunk_count(), end - self.chunk_count(), Entry::Hole));
        let mut runs = Vec::new();
        let mut at = 0;
        for (first, count, entry) in changes.iter().copied().chain([(end, 0, Entry::Hole)]) {
            for (run_first, run_count, run_entry) in &before {
                let (start, stop) = ((*run_first).max(at), (run_first + run_count).min(first));
                if start < stop {
                    runs.push((start, stop - start, *run_entry));
                }
            }
            if count > 0 {
                runs.push((first, count, entry));
            }
            at = first + count;
        }
        Self { size, runs }
    }

    /// The root by the definition: place by place from the top, with the nodes that it takes.
    fn root(&self, maps: &MapReader, nodes: &mut HashMap<ContentId, Vec<u8>>) -> Root {
        let height = Root::height_for(self.size, CHUNK as u32);
        let mut runs = self.runs.clone();
        runs.push((self.chunk_count(), u64::MAX - self.chunk_count(), Entry::Hole));
        Root { entry: place(&runs, height, 0, maps, nodes), height }
    }

    fn entry(&self, chunk: u64) -> Entry {
        self.runs
            .iter()
            .find(|(first, count, _)| (*first..first + count).contains(&chunk))
            .map_or(Entry::Hole, |run| run.2)
    }
}

fn place(
    runs: &[(u64, u64, Entry)],
    level: u8,
    first: u64,
    maps: &MapReader,
    nodes: &mut HashMap<ContentId, Vec<u8>>,
) -> Entry {
    let end = first + chunks_below(level);
    let inside: Vec<_> =
        runs.iter().copied().filter(|(start, count, _)| *start < end && start.saturating_add(*count) > first).collect();
    if let [(_, _, entry)] = inside.as_slice()
        && (level == 0 || !matches!(entry, Entry::Id(_)))
    {
        return *entry;
    }
    let below = chunks_below(level - 1);
    let entries: Vec<Entry> =
        (0..NODE_FAN_OUT as u64).map(|index| place(&inside, level - 1, first + index * below, maps, nodes)).collect();
    match Node::canonical(level, &entries) {
        Err(entry) => entry,
        Ok(node) => {
            let plain = node.encode();
            let id = maps.store().parameters().identity.id(PackKind::Nodes, &plain);
            nodes.insert(id, plain);
            Entry::Id(id)
        }
    }
}

fn draw_entry(random: &mut Seeded) -> Entry {
    match random.below(4) {
        0 => Entry::Hole,
        1 => Entry::Fill(random.below(2) as u8),
        _ => Entry::Id(ContentId([random.below(3) as u8 + 1; 32])),
    }
}

/// Changes all over the disk: single chunks, whole places, runs that begin and end anywhere.
fn draw_changes(random: &mut Seeded, size: u64) -> Vec<(u64, u64, Entry)> {
    let chunk_count = size.div_ceil(CHUNK_BYTES);
    let mut changes: Vec<(u64, u64, Entry)> = Vec::new();
    for _ in 0..random.below(12) {
        let level = random.below(u64::from(Root::height_for(size, CHUNK as u32)) + 1) as u8;
        let mut first = random.below(chunk_count);
        let mut count = 1;
        let mut entry = draw_entry(random);
        if random.one_in(2) && !matches!(entry, Entry::Id(_)) {
            first -= first % chunks_below(level);
            count = chunks_below(level) * (1 + random.below(3));
            if random.one_in(3) {
                first += random.below(chunks_below(level));
            }
            if random.one_in(4) {
                count = u64::MAX / 2;
            }
        } else if random.one_in(8) {
            count = 1 + random.below(200);
        }
        count = count.min(chunk_count.saturating_sub(first));
        // A short last chunk is no fill but of zero.
        if first + count == chunk_count && !size.is_multiple_of(CHUNK_BYTES) && entry == Entry::Fill(1) {
            entry = Entry::Fill(0);
        }
        if count > 0 {
            changes.push((first, count, entry));
        }
    }
    changes.sort_by_key(|(first, _, _)| *first);
    let mut end = 0;
    changes.retain(|(first, count, _)| {
        let is_behind = *first >= end;
        if is_behind {
            end = first + count;
        }
        is_behind
    });
    changes
}

/// A size of this height.
fn draw_size(random: &mut Seeded, height: u8) -> u64 {
    let chunks_max = chunks_below(height).min(DISK_BYTES_MAX / CHUNK_BYTES);
    let chunks_min = if height == 0 { 0 } else { chunks_below(height - 1) };
    let chunks = match random.below(4) {
        0 => chunks_max,
        1 => chunks_min + 1,
        _ => chunks_min + 1 + random.below(chunks_max - chunks_min),
    };
    let short = if random.one_in(2) { random.below(CHUNK_BYTES / 512) * 512 } else { 0 };
    chunks * CHUNK_BYTES - short
}

fn store_nodes(maps: &MapReader, nodes: &HashMap<ContentId, Vec<u8>>) {
    let mut writer = Writer::new(maps.store());
    for (id, plain) in nodes {
        writer.add_node(*id, plain).unwrap();
    }
    writer.commit().unwrap();
}

#[test]
fn an_edited_map_is_the_one_that_is_built_of_the_same_entries() {
    let memory = region();
    let mut maps = open(&memory);
    over_seeds("engine-map-edits", sized(3_000, 100_000), |seed, counts| {
        if seed.is_multiple_of(200) {
            maps = open(&region()); // a store of its own, so that it does not grow without end
        }
        let mut random = Seeded::new(seed);
        let height = random.below(7) as u8;
        let mut size = draw_size(&mut random, height);
        let mut before = Runs::empty(size);
        for _ in 0..1 + random.below(3) {
            let mut nodes = HashMap::new();
            let root = before.root(&maps, &mut nodes);
            store_nodes(&maps, &nodes);
            let version = DiskVersion { root, size };
            if random.one_in(3) {
                let taller = (root.height + random.below(3) as u8).min(6);
                size = size.max(draw_size(&mut random, taller));
            }
            let changes = draw_changes(&mut random, size);
            let expected = before.with(size, &changes);
            let expected_root = expected.root(&maps, &mut HashMap::new());
            let mut made = HashMap::new();
            let root = edited(&maps, version, size, changes.iter().copied(), &mut |id, plain| {
                made.insert(id, plain.to_vec());
                Ok(())
            });
            assert_eq!(root.unwrap(), expected_root, "seed {seed}: {before:?} with {changes:?}");
            let chunk_count = size.div_ceil(CHUNK_BYTES);
            if chunk_count <= 64 * 64 * 8 {
                let entries: Vec<Entry> =
                    expected.runs.iter().flat_map(|run| std::iter::repeat_n(run.2, run.1 as usize)).collect();
                assert_eq!(built(&maps, size, &entries), expected_root, "seed {seed}: the reference itself");
                count(counts, "built by the builder", 1);
            }
            check_read(&maps, &mut random, &expected, expected_root, &made);
            check_parts(&maps, &mut random, version, &before, size, &changes);
            count(counts, "edits", 1);
            before = expected;
        }
    });
}

/// The nodes that were made, and those of before, are all that it takes to read the map.
fn check_read(
    maps: &Arc<MapReader>,
    random: &mut Seeded,
    expected: &Runs,
    root: Root,
    made: &HashMap<ContentId, Vec<u8>>,
) {
    store_nodes(maps, made);
    let ends = expected.runs.iter().flat_map(|(first, count, _)| [*first, (first + count).saturating_sub(1)]);
    let mut chunks: Vec<u64> = ends.chain((0..20).map(|_| random.below(expected.chunk_count().max(1)))).collect();
    chunks.sort_unstable();
    let version = DiskVersion { root, size: expected.size };
    let entries = maps.entries(&version, &chunks).unwrap();
    for (chunk, entry) in chunks.into_iter().zip(entries) {
        assert_eq!(entry, expected.entry(chunk), "chunk {chunk}");
        assert_eq!(maps.entries(&version, &[chunk]).unwrap(), [entry]);
    }
}

/// After each change the editor has the map of the changes so far; another one goes on from there.
fn check_parts(
    maps: &MapReader,
    random: &mut Seeded,
    version: DiskVersion,
    before: &Runs,
    size: u64,
    changes: &[(u64, u64, Entry)],
) {
    let mut editor = MapEditor::new(maps, version, size);
    for done in 0..=changes.len() {
        let mut nodes = HashMap::new();
        let root = editor.root(maps, &mut |id, plain| {
            nodes.insert(id, plain.to_vec());
            Ok(())
        });
        let root = root.unwrap();
        assert_eq!(root, before.with(size, &changes[..done]).root(maps, &mut HashMap::new()), "{done} of {changes:?}");
        if random.one_in(3) {
            store_nodes(maps, &nodes);
            editor = MapEditor::new(maps, DiskVersion { root, size }, size);
        }
        if let Some((first, count, entry)) = changes.get(done) {
            let mut made = HashMap::new();
            let set = editor.set(maps, *first, *count, *entry, &mut |id, plain| {
                made.insert(id, plain.to_vec());
                Ok(())
            });
            set.unwrap();
            store_nodes(maps, &made);
        }
    }
}

#[test]
fn a_run_over_terabytes_costs_its_places() {
    let maps = open(&region());
    let size = DISK_BYTES_MAX - 512;
    let chunk_count = size.div_ceil(CHUNK_BYTES);
    let version = DiskVersion { root: Root::empty(size, CHUNK as u32), size };
    let mut node_count = 0;
    let mut forget = |_, _: &[u8]| {
        node_count += 1;
        Ok(())
    };
    let id = Entry::Id(ContentId([7; 32]));
    let changes =
        [(0, 1, id), (1, chunk_count / 2, Entry::Fill(0)), (chunk_count / 2 + 1, chunk_count / 3, Entry::Fill(9))];
    edited(&maps, version, size, changes, &mut forget).unwrap();
    assert!(node_count <= 3 * 6, "{node_count} nodes for three ends of runs");
    let nothing = edited(&maps, version, size, [(5, chunk_count - 5, Entry::Hole)], &mut |_, _| Ok(()));
    assert_eq!(nothing.unwrap(), version.root);
}

#[test]
fn what_lies_below_a_place_that_is_replaced_is_not_read() {
    let maps = open(&region());
    let size = CHUNK_BYTES * (64 * 64 + 9);
    let lost = Entry::Id(ContentId([9; 32]));
    let mut nodes = HashMap::new();
    let top = Node::canonical(3, &[lost, Entry::Hole, Entry::Fill(1)]).unwrap();
    let id = maps.store().parameters().identity.id(PackKind::Nodes, &top.encode());
    nodes.insert(id, top.encode());
    store_nodes(&maps, &nodes);
    let version = DiskVersion { root: Root { entry: Entry::Id(id), height: 3 }, size };
    let mut forget = |_, _: &[u8]| Ok(());
    let whole = edited(&maps, version, size, [(0, 64 * 64, Entry::Fill(3))], &mut forget);
    assert!(whole.is_ok(), "{whole:?}");
    let part = edited(&maps, version, size, [(1, 64 * 64 - 1, Entry::Fill(3))], &mut forget);
    assert_eq!(part.unwrap_err().code(), Code::NodeMissing);
}
