//! Laws of everything that is decoded from a file, whatever its bytes are:
//!
//! - decoding never panics, overflows or allocates more than its input is worth;
//! - what it accepts is what encoding gives, byte for byte, so no two files say the same and no byte is ignored;
//! - with any number of bytes of any files changed, nobody reads wrong bytes, and verification names what is hit.
//!
//! Method: sound bytes, changed at random from a seed. Half of the time their checksums are made to hold again, so that
//! what stands behind them is reached: a defect of a writer, or somebody who means it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::path::{Path, PathBuf};

use simulation::content::random_bytes;
use simulation::damage::{Small, examine, small_store, small_store_with_lz4};
use simulation::progress::{count, over_seeds};
use simulation::sized;
use simulation::store::{OPEN, READ_ONLY, STORE, memory_parts, store_files, uid};
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::Engine;
use stillpoint_engine::error::{Code, Kind};
use stillpoint_engine::format::config::{BLOCK_BYTES, Config};
use stillpoint_engine::format::frame::FrameHeader;
use stillpoint_engine::format::index_list::{IndexList, ListedSegment};
use stillpoint_engine::format::index_segment::{
    self, PAGE_BYTES, SegmentEntry, SegmentHeader, check_page, decode_page_into, decode_tables, encode_page_into,
    encode_tables, search_page,
};
use stillpoint_engine::format::log_body::{CutBody, Membership, ResetDisk, ResetList};
use stillpoint_engine::format::log_record::{
    RecordHeader, RecordKind, chain, encode_unchained, peek_header_bytes, salted_checksum,
};
use stillpoint_engine::format::log_segment::{self, Footer, Incarnation, SummaryEntry};
use stillpoint_engine::format::manifest::{Manifest, ManifestDisk};
use stillpoint_engine::format::node::{Entry, Node, Root};
use stillpoint_engine::format::pack::{self, PackEntry, PackFooter, PackHeader, encode_trailer};
use stillpoint_engine::format::superblock::{
    BaseContent, CopyCursor, FirstRecord, ListedIncarnation, ListedLogSegment, Resolution, Superblock, SuperblockDisk,
    WindowBase,
};
use stillpoint_engine::format::{Codec, Defect, PackKind, checksum};
use stillpoint_engine::io::memory::{CrashChoice, MemoryIo};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::units::{ContentId, Lsn};

/// Changed inputs of one structure for one seed.
const INPUTS: usize = 400;

/// Numbers that lengths, counts and offsets go wrong at.
const EDGES: [u64; 12] = [0, 1, 7, 8, 63, 64, 255, 65_535, u32::MAX as u64 - 1, u32::MAX as u64, 1 << 46, u64::MAX];

const CODECS: [Codec; 4] = [Codec::None, Codec::Zstd, Codec::Lz4, Codec::ZstdDelta];

fn id(random: &mut Seeded) -> ContentId {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&random_bytes(random.next_u64(), 32));
    ContentId(bytes)
}

/// Changes bytes: a bit, a byte, a number, a run; cuts off, puts in, takes out, doubles.
fn change(bytes: &mut Vec<u8>, random: &mut Seeded) {
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            bytes.push(random.below(256) as u8);
            continue;
        }
        let at = random.below(bytes.len() as u64) as usize;
        let run = (1 + random.below(40) as usize).min(bytes.len() - at);
        match random.below(10) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.below(256) as u8,
            3..6 => {
                let number = EDGES[random.below(EDGES.len() as u64) as usize].to_le_bytes();
                let width = [1, 2, 4, 8][random.below(4) as usize].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            6 => bytes[at..at + run].fill(0),
            7 => bytes.truncate(at),
            8 => {
                let copied = bytes[at..at + run].to_vec();
                let to = random.below(bytes.len() as u64) as usize;
                bytes.splice(to..to, copied);
            }
            _ => {
                bytes.drain(at..at + run);
            }
        }
    }
}

/// Puts the checksum of everything before them into the last 8 bytes.
fn seal(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(8) {
        let sum = checksum(&bytes[..at]);
        bytes[at..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A structure: sound bytes, how its checksums are made to hold, and a check of changed bytes that says whether they
/// were accepted.
struct Structure {
    name: &'static str,
    sound: fn(&mut Seeded) -> Vec<u8>,
    seal: fn(&mut [u8]),
    accepts: fn(&[u8]) -> bool,
}

fn config(random: &mut Seeded) -> Vec<u8> {
    let mut identity_key = [0; 32];
    identity_key.copy_from_slice(&random_bytes(random.next_u64(), 32));
    let config = Config {
        store_id: uid(random.next_u64()),
        created_ms: random.next_u64(),
        chunk_bytes: 16 << (10 + 2 * random.below(4)),
        codec: Codec::Zstd, // the only one with a level, so that every field says something
        level: 2,
        identity_key,
    };
    config.encode()[..BLOCK_BYTES].to_vec()
}

fn accepts_config(bytes: &[u8]) -> bool {
    let Ok(config) = Config::decode_block(bytes) else { return false };
    assert_eq!(&config.encode()[..BLOCK_BYTES], bytes);
    true
}

fn frame(random: &mut Seeded) -> Vec<u8> {
    let codec = CODECS[random.below(4) as usize];
    let kind = if codec == Codec::None && random.one_in(2) { PackKind::Nodes } else { PackKind::Chunks };
    let plain_bytes = 8 + random.below(2_000) as u32;
    let stored_bytes = if codec == Codec::None { plain_bytes } else { 1 + random.below(u64::from(plain_bytes)) as u32 };
    let base = (codec == Codec::ZstdDelta).then(|| id(random));
    let stored_checksum = random.next_u64();
    let header = FrameHeader { kind, codec, id: id(random), plain_bytes, stored_bytes, stored_checksum, base };
    let mut bytes = Vec::new();
    header.encode_into(&mut bytes);
    bytes
}

fn seal_frame(bytes: &mut [u8]) {
    if bytes.len() < 72 {
        return;
    }
    let base = if bytes[4] == 3 { bytes.get(72..104).unwrap_or_default().to_vec() } else { Vec::new() };
    let sum = checksum(&[&bytes[..64], &base].concat());
    bytes[64..72].copy_from_slice(&sum.to_le_bytes());
}

fn accepts_frame(bytes: &[u8]) -> bool {
    let Ok(header) = FrameHeader::decode(bytes) else { return false };
    let mut again = Vec::new();
    header.encode_into(&mut again);
    assert_eq!(again, bytes[..again.len()]);
    assert!(FrameHeader::frame_bytes(header.codec, header.stored_bytes) < pack_bytes_max());
    true
}

const fn pack_bytes_max() -> u64 {
    stillpoint_engine::limits::PACK_BYTES_MAX
}

fn pack_header(random: &mut Seeded) -> Vec<u8> {
    let (pack_id, store_id) = (uid(random.next_u64()), uid(random.next_u64()));
    PackHeader { kind: PackKind::ALL[random.below(2) as usize], chunk_bytes: 65_536, pack_id, store_id }.encode()
}

fn accepts_pack_header(bytes: &[u8]) -> bool {
    let Some(Ok(header)) = bytes.try_into().ok().map(PackHeader::decode) else { return false };
    assert_eq!(header.encode(), bytes);
    true
}

/// A whole pack of chunks, whose frames are not looked at here: header's place, frames' place, trailer, footer.
fn trailer(random: &mut Seeded) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut offset = pack::HEADER_BYTES as u64;
    for _ in 0..random.below(6) {
        let codec = CODECS[random.below(4) as usize];
        let plain_bytes = 1 + random.below(60) as u32;
        let stored_bytes = if codec == Codec::None { plain_bytes } else { 1 };
        let base = (codec == Codec::ZstdDelta).then(|| id(random));
        let entry = PackEntry { id: id(random), offset: offset as u32, stored_bytes, plain_bytes, codec, base };
        offset = entry.end();
        entries.push(entry);
    }
    [vec![0; offset as usize], encode_trailer(&entries, offset)].concat()
}

/// Where footer and trailer of a pack say that they lie.
fn trailer_range(bytes: &[u8]) -> Option<(usize, usize)> {
    let footer_at = bytes.len().checked_sub(pack::FOOTER_BYTES)?;
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[footer_at + 16..footer_at + 24]);
    let trailer_at = usize::try_from(u64::from_le_bytes(number)).ok()?;
    (trailer_at <= footer_at).then_some((trailer_at, footer_at))
}

fn seal_trailer(bytes: &mut [u8]) {
    if let Some((trailer_at, footer_at)) = trailer_range(bytes) {
        let sum = checksum(&bytes[trailer_at..footer_at]);
        bytes[footer_at + 32..footer_at + 40].copy_from_slice(&sum.to_le_bytes());
        seal(&mut bytes[footer_at..]);
    }
}

fn accepts_trailer(bytes: &[u8]) -> bool {
    let Some(footer_at) = bytes.len().checked_sub(pack::FOOTER_BYTES) else { return false };
    let footer = bytes[footer_at..].try_into().unwrap();
    let Ok(footer) = PackFooter::decode(footer, bytes.len() as u64) else { return false };
    let trailer_at = footer.trailer_at as usize;
    let Ok(entries) = footer.decode_trailer(PackKind::Chunks, &bytes[trailer_at..footer_at]) else { return false };
    assert_eq!(encode_trailer(&entries, footer.trailer_at), bytes[trailer_at..]);
    true
}

fn entries(random: &mut Seeded) -> Vec<Entry> {
    let draw = |random: &mut Seeded| match random.below(3) {
        0 => Entry::Hole,
        1 => Entry::Fill(random.below(3) as u8),
        _ => Entry::Id(id(random)),
    };
    (0..1 + random.below(64)).map(|_| draw(random)).collect()
}

fn node(random: &mut Seeded) -> Vec<u8> {
    let level = 1 + random.below(6) as u8;
    match Node::canonical(level, &entries(random)) {
        Ok(node) => node.encode(),
        Err(_) => node(random),
    }
}

fn accepts_node(bytes: &[u8]) -> bool {
    let Ok(node) = Node::decode(bytes) else { return false };
    assert_eq!(node.encode(), bytes);
    true
}

fn manifest(random: &mut Seeded) -> Vec<u8> {
    let chunk_bytes = 16 << 10;
    let disk = |random: &mut Seeded| {
        let size = (1 + random.below(1 << 30)) * 512;
        let entry = match random.below(3) {
            0 => Entry::Hole,
            1 => Entry::Fill(random.below(256) as u8),
            _ => Entry::Id(id(random)),
        };
        let root = Root { entry, height: Root::height_for(size, chunk_bytes) };
        ManifestDisk { disk_id: uid(random.next_u64()), size, sector_bytes: 512, root, lsn: random.next_u64() }
    };
    let disks = (0..1 + random.below(4)).map(|_| disk(random)).collect();
    let detail = b"{\"name\":\"rp1\"}".to_vec();
    let (point_id, store_id) = (uid(random.next_u64()), uid(random.next_u64()));
    Manifest { point_id, store_id, created_ms: random.next_u64(), chunk_bytes, disks, detail }.encode()
}

fn accepts_manifest(bytes: &[u8]) -> bool {
    let Ok(manifest) = Manifest::decode(bytes) else { return false };
    assert_eq!(manifest.encode(), bytes);
    true
}

fn index_list(random: &mut Seeded) -> Vec<u8> {
    let segment = |number| ListedSegment { number, entry_count: 77, file_bytes: 8_000 };
    let segments = (0..random.below(5)).map(segment).collect();
    IndexList { store_id: uid(random.next_u64()), sequence: random.next_u64() >> 1, segments }.encode()
}

fn accepts_index_list(bytes: &[u8]) -> bool {
    let Ok(list) = IndexList::decode(bytes) else { return false };
    assert_eq!(list.encode(), bytes);
    true
}

fn segment_header(random: &mut Seeded) -> Vec<u8> {
    let blocks = random.below(4);
    SegmentHeader {
        store_id: uid(random.next_u64()),
        pack_count: random.below(9) as u32,
        entry_count: blocks * 40,
        base_count: random.below(9),
        filter_bytes: blocks * 64,
    }
    .encode()
}

fn accepts_segment_header(bytes: &[u8]) -> bool {
    let Some(Ok(header)) = bytes.try_into().ok().map(SegmentHeader::decode) else { return false };
    assert_eq!(header.encode(), bytes);
    if let Ok(layout) = header.layout() {
        let parts = [layout.pages_at, layout.tables_at, layout.fences_at, layout.filter_at, layout.footer_at];
        assert!(parts.is_sorted() && layout.footer_at < layout.file_bytes, "{layout:?}");
    }
    true
}

/// Three packs and two bases: what [`accepts_tables`] expects.
fn tables(random: &mut Seeded) -> Vec<u8> {
    let packs: Vec<_> = (0..3).map(|pack| (uid(random.next_u64()), PackKind::ALL[pack % 2])).collect();
    encode_tables(&packs, &[id(random), id(random)])
}

fn accepts_tables(bytes: &[u8]) -> bool {
    let header = SegmentHeader { store_id: uid(1), pack_count: 3, entry_count: 0, base_count: 2, filter_bytes: 0 };
    let Ok((packs, bases)) = decode_tables(&header, bytes) else { return false };
    assert_eq!(encode_tables(&packs, &bases), bytes);
    true
}

fn page(random: &mut Seeded) -> Vec<u8> {
    let entry = |random: &mut Seeded| {
        let base = random.one_in(3).then(|| random.below(9) as u32);
        let codec = if base.is_some() { Codec::ZstdDelta } else { Codec::Zstd };
        let (pack, offset) = (random.below(9) as u32, random.below(1 << 26) as u32);
        SegmentEntry { id: id(random), pack, offset, stored_bytes: 9, codec, base }
    };
    let mut entries: Vec<_> = (0..1 + random.below(77)).map(|_| entry(random)).collect();
    entries.sort_by_key(|entry| entry.id);
    page_of(&entries)
}

fn page_of(entries: &[SegmentEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_page_into(entries, &mut bytes);
    bytes
}

fn found_in(page: &[u8; PAGE_BYTES], id: &ContentId) -> Result<Vec<SegmentEntry>, Defect> {
    let mut found = Vec::new();
    check_page(page)?;
    search_page(page, id, |entry| {
        found.push(entry);
        Ok(())
    })?;
    Ok(found)
}

fn accepts_page(bytes: &[u8]) -> bool {
    let page: Result<&[u8; PAGE_BYTES], _> = bytes.try_into();
    let mut entries = Vec::new();
    if decode_page_into(bytes, &mut entries).is_err() {
        // It accepts more, since it looks at few entries; and what was not checked does no harm either.
        let _ =
            page.map(|page| (found_in(page, &ContentId([7; 32])), search_page(page, &ContentId([7; 32]), |_| Ok(()))));
        return false;
    }
    assert_eq!(page_of(&entries), bytes);
    for entry in &entries {
        assert!(found_in(page.unwrap(), &entry.id).unwrap().contains(entry), "a search misses what a page holds");
    }
    true
}

const SALT: [u8; 16] = [7; 16];

fn log_record(random: &mut Seeded) -> Vec<u8> {
    let payload = random_bytes(random.next_u64(), 1 + random.below(20_000) as usize);
    let length = payload.len() as u64;
    let mut header =
        encode_unchained(RecordKind::Write, uid(random.next_u64()), random.below(1 << 40), length, &payload);
    let lsn = 1 + random.below(1 << 40);
    let (time_ms, durable, predecessor) = (random.next_u64(), Lsn(random.below(lsn)), random.next_u64());
    chain(&mut header, &SALT, Lsn(lsn), time_ms, durable, predecessor);
    header
}

fn seal_salted(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(8) {
        let sum = salted_checksum(&SALT, &bytes[..at]);
        bytes[at..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Where the header ends is what it says itself.
fn seal_log_record(bytes: &mut [u8]) {
    if let Some(header) = peek_header_bytes(bytes).ok().and_then(|length| bytes.get_mut(..length)) {
        seal_salted(header);
    }
}

fn accepts_log_record(bytes: &[u8]) -> bool {
    let Ok((header, sum)) = RecordHeader::decode(bytes, &SALT) else { return false };
    let length = peek_header_bytes(bytes).unwrap();
    let mut again = encode_unchained(header.kind, header.disk_id, header.offset, header.length, &[]);
    let zeros = vec![0; header.payload_bytes as usize];
    if !zeros.is_empty() {
        again = encode_unchained(header.kind, header.disk_id, header.offset, header.length, &zeros);
        again[80..length - 8].copy_from_slice(&bytes[80..length - 8]); // checksums of another payload
    }
    let sum_again = chain(&mut again, &SALT, header.lsn, header.time_ms, header.durable, header.predecessor);
    assert_eq!((sum_again, again.as_slice()), (sum, &bytes[..length]));
    length == bytes.len()
}

fn incarnation(random: &mut Seeded, counter: u64) -> Incarnation {
    let predecessor = random.below(1 << 40);
    let (carried_first, carried_last) = (Lsn(predecessor + 5), Lsn(predecessor + 5 + random.below(100)));
    Incarnation {
        counter,
        salt: uid(random.next_u64()).0,
        predecessor_lsn: Lsn(predecessor),
        predecessor_sum: random.next_u64(),
        carried_first,
        carried_last,
        lowest: Lsn(carried_last.0 + (1 << 32)),
    }
}

fn log_segment(random: &mut Seeded) -> Vec<u8> {
    let header = log_segment::SegmentHeader {
        store_id: uid(random.next_u64()),
        log_id: uid(random.next_u64()),
        number: random.next_u64(),
        segment_bytes: 4096 * (4 + random.below(1 << 10)),
        incarnation: incarnation(random, 3),
        created_ms: random.next_u64(),
    };
    header.encode()
}

fn accepts_log_segment(bytes: &[u8]) -> bool {
    let Ok(header) = log_segment::SegmentHeader::decode(bytes) else { return false };
    assert_eq!(header.encode(), bytes);
    true
}

/// Summary and footer, one behind the other.
fn log_summary(random: &mut Seeded) -> Vec<u8> {
    let entries: Vec<SummaryEntry> = (1..=1 + random.below(20))
        .map(|number| SummaryEntry {
            position: 4096 * number as u32,
            kind: RecordKind::ALL[random.below(8) as usize],
            lsn: Lsn(number),
            disk_id: uid(random.next_u64()),
            offset: random.next_u64(),
            length: random.next_u64(),
            payload_bytes: random.below(1 << 20) as u32,
            time_ms: random.next_u64(),
        })
        .collect();
    let mut bytes = log_segment::encode_summary(&entries);
    let footer = Footer {
        position: 4096 * 30,
        count: entries.len() as u32,
        summary_sum: checksum(&bytes),
        predecessor: random.next_u64(),
        last: random.next_u64(),
    };
    bytes.extend_from_slice(&footer.encode(&SALT));
    bytes
}

fn seal_log_summary(bytes: &mut [u8]) {
    let Some((summary, footer)) = bytes.len().checked_sub(48).map(|at| bytes.split_at_mut(at)) else { return };
    footer[16..24].copy_from_slice(&checksum(summary).to_le_bytes());
    seal_salted(footer);
}

fn accepts_log_summary(bytes: &[u8]) -> bool {
    let Some((summary, end)) = bytes.len().checked_sub(48).map(|at| bytes.split_at(at)) else { return false };
    let Ok(footer) = Footer::decode(end, &SALT, 1 << 20) else { return false };
    let Ok(entries) = log_segment::decode_summary(summary, &footer) else { return false };
    assert_eq!([log_segment::encode_summary(&entries), footer.encode(&SALT)].concat(), bytes);
    true
}

fn base(random: &mut Seeded) -> BaseContent {
    if random.one_in(2) {
        return BaseContent::Point { point_id: uid(random.next_u64()), disk_id: uid(random.next_u64()) };
    }
    BaseContent::Map(Root { entry: Entry::Id(id(random)), height: random.below(7) as u8 })
}

fn reset(random: &mut Seeded) -> Vec<u8> {
    let disks = (0..1 + random.below(5))
        .map(|_| ResetDisk { disk_id: uid(random.next_u64()), base: base(random), size: random.below(1 << 40) })
        .collect();
    ResetList { disks }.encode()
}

fn accepts_reset(bytes: &[u8]) -> bool {
    let Ok(list) = ResetList::decode(bytes) else { return false };
    assert_eq!(list.encode(), bytes);
    true
}

fn membership(random: &mut Seeded) -> Vec<u8> {
    let membership = Membership {
        disk_id: uid(random.next_u64()),
        generation: random.next_u64(),
        name: "données".repeat(random.below(9) as usize),
        role: "os".to_owned(),
        sector_bytes: 4096,
        size: random.below(1 << 40),
        base: base(random),
    };
    membership.encode()
}

fn accepts_membership(bytes: &[u8]) -> bool {
    let Ok(membership) = Membership::decode(bytes) else { return false };
    assert_eq!(membership.encode(), bytes);
    true
}

fn cut(random: &mut Seeded) -> Vec<u8> {
    let cut = CutBody {
        point_id: uid(random.next_u64()),
        machine_id: uid(random.next_u64()),
        collection: "daily".to_owned(),
        point: "p".repeat(random.below(9) as usize),
        detail: random_bytes(random.next_u64(), random.below(500) as usize),
    };
    cut.encode()
}

fn accepts_cut(bytes: &[u8]) -> bool {
    let Ok(cut) = CutBody::decode(bytes) else { return false };
    assert_eq!(cut.encode(), bytes);
    true
}

fn superblock(random: &mut Seeded) -> Vec<u8> {
    let ended = |incarnation: Incarnation| ListedIncarnation { incarnation, end: Some(incarnation.carried_last) };
    let first = Some(FirstRecord { lsn: Lsn(1 + random.below(99)), predecessor: random.next_u64() });
    let root = Root { entry: Entry::Id(id(random)), height: 3 };
    let disk_id = uid(random.next_u64());
    let superblock = Superblock {
        store_id: uid(random.next_u64()),
        log_id: uid(random.next_u64()),
        machine_id: uid(random.next_u64()),
        sequence: random.next_u64(),
        durable: Lsn(random.next_u64()),
        incarnations: vec![
            ended(incarnation(random, 3)),
            ListedIncarnation { incarnation: incarnation(random, 4), end: None },
        ],
        segments: vec![
            ListedLogSegment { number: 4, incarnation: 3, first },
            ListedLogSegment { number: 9, incarnation: 4, first: None },
        ],
        disks: vec![SuperblockDisk {
            disk_id,
            generation: random.next_u64(),
            name: "disk".to_owned(),
            role: "data".to_owned(),
            sector_bytes: 512,
            size: random.below(1 << 40),
            base: base(random),
            base_lsn: Lsn(random.next_u64()),
        }],
        window: vec![WindowBase { disk_id, root, size: random.below(1 << 40), lsn: Lsn(random.next_u64()) }],
        resolutions: vec![Resolution { point_id: uid(random.next_u64()), disk_id, root, size: 1 << 30 }],
        cursors: vec![CopyCursor { cut: Lsn(random.next_u64()), disk_id, root, next_chunk: random.next_u64() }],
    };
    superblock.encode()
}

fn accepts_superblock(bytes: &[u8]) -> bool {
    let Ok(superblock) = Superblock::decode(bytes) else { return false };
    let again = superblock.encode();
    assert_eq!(again, bytes[..again.len()]);
    again.len() == bytes.len()
}

const STRUCTURES: [Structure; 17] = [
    Structure { name: "config", sound: config, seal, accepts: accepts_config },
    Structure { name: "frame", sound: frame, seal: seal_frame, accepts: accepts_frame },
    Structure { name: "pack header", sound: pack_header, seal, accepts: accepts_pack_header },
    Structure { name: "trailer", sound: trailer, seal: seal_trailer, accepts: accepts_trailer },
    Structure { name: "node", sound: node, seal: |_| {}, accepts: accepts_node },
    Structure { name: "manifest", sound: manifest, seal, accepts: accepts_manifest },
    Structure { name: "index list", sound: index_list, seal, accepts: accepts_index_list },
    Structure { name: "segment header", sound: segment_header, seal, accepts: accepts_segment_header },
    Structure { name: "segment tables", sound: tables, seal, accepts: accepts_tables },
    Structure { name: "segment page", sound: page, seal, accepts: accepts_page },
    Structure { name: "log record", sound: log_record, seal: seal_log_record, accepts: accepts_log_record },
    Structure { name: "log segment header", sound: log_segment, seal, accepts: accepts_log_segment },
    Structure { name: "log summary", sound: log_summary, seal: seal_log_summary, accepts: accepts_log_summary },
    Structure { name: "superblock", sound: superblock, seal, accepts: accepts_superblock },
    Structure { name: "reset", sound: reset, seal: |_| {}, accepts: accepts_reset },
    Structure { name: "membership", sound: membership, seal: |_| {}, accepts: accepts_membership },
    Structure { name: "cut", sound: cut, seal: |_| {}, accepts: accepts_cut },
];

#[test]
fn what_a_decoder_accepts_is_what_its_encoder_gives() {
    over_seeds("engine-fuzz-structures", sized(20, 2_000), |seed, counts| {
        for structure in &STRUCTURES {
            let mut random = Seeded::new(seed);
            let mut accepted = 0;
            for _ in 0..INPUTS {
                let mut bytes = (structure.sound)(&mut random);
                assert!((structure.accepts)(&bytes), "{} refuses its own, seed {seed}", structure.name);
                let sound = bytes.clone();
                change(&mut bytes, &mut random);
                if random.one_in(2) {
                    (structure.seal)(&mut bytes);
                    accepted += u64::from((structure.accepts)(&bytes));
                } else if bytes != sound && (structure.accepts)(&bytes) {
                    // A node has no checksum of its own: its id is the proof. Frames and packs may have more behind them.
                    // What records say is proven by the record's checksums.
                    let unproven = ["node", "frame", "trailer", "reset", "membership", "cut"].contains(&structure.name);
                    assert!(unproven, "{} accepts changed bytes, seed {seed}", structure.name);
                }
            }
            count(counts, "changed inputs", INPUTS as u64);
            count(counts, "accepted after their checksums were made to hold", accepted);
        }
    });
}

fn copy(small: &Small) -> MemoryIo {
    small.memory.crash(CrashChoice::ProcessKilled)
}

/// One of the store's files, at random.
fn any_file(memory: &MemoryIo, random: &mut Seeded) -> PathBuf {
    let files = store_files(memory);
    files[random.below(files.len() as u64) as usize].clone()
}

/// Changes a file as rot, torn sectors and misdirected writes do.
fn rot(memory: &MemoryIo, path: &Path, random: &mut Seeded) {
    let mut bytes = memory.read_file(path).unwrap();
    if bytes.is_empty() {
        return;
    }
    let sector = random.below(bytes.len() as u64) as usize / 512 * 512;
    let sector = sector..(sector + 512).min(bytes.len());
    match random.below(6) {
        0 => bytes[sector].fill(0),
        1 => {
            let noise = random_bytes(random.next_u64(), sector.len());
            bytes[sector].copy_from_slice(&noise);
        }
        2 => {
            let other = any_file(memory, random);
            let from = memory.read_file(other).unwrap();
            if let Some(from) = from.get(sector.clone()) {
                bytes[sector].copy_from_slice(from);
            }
        }
        3 => bytes.truncate(sector.start),
        _ => change(&mut bytes, random),
    }
    memory.install_file(path, &bytes).unwrap();
}

#[test]
fn with_any_files_changed_at_random_nobody_reads_wrong_bytes() {
    let stores = [small_store(1), small_store_with_lz4(1)];
    over_seeds("engine-fuzz-rot", sized(300, 20_000), |seed, counts| {
        let small = &stores[usize::from(seed % 3 == 0)];
        let mut random = Seeded::new(seed);
        let memory = copy(small);
        for _ in 0..1 + random.below(4) {
            let path = any_file(&memory, &mut random);
            rot(&memory, &path, &mut random);
        }
        let options = if random.one_in(2) { OPEN } else { READ_ONLY };
        count(counts, "damaged stores", 1);
        let Some(examined) = examine(&memory, &small.contents, options) else { return };
        assert_eq!(examined.hits(), examined.unreadable, "seed {seed}: {:?}", examined.findings);
        count(counts, "of them opened", 1);
    });
}

/// Puts right all checksums that a file has of itself.
fn seal_file(path: &Path, bytes: &mut [u8]) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("chunks" | "nodes") => {
            if let Some(header) = bytes.get_mut(..pack::HEADER_BYTES) {
                seal(header);
            }
            seal_trailer(bytes);
        }
        Some("segment") => seal_segment(bytes),
        _ if name == "config" => bytes.chunks_mut(BLOCK_BYTES).for_each(seal),
        _ => seal(bytes),
    }
}

fn seal_segment(bytes: &mut [u8]) {
    let Some(header) = bytes.get_mut(..index_segment::HEADER_BYTES) else { return };
    seal(header);
    let Ok(layout) = SegmentHeader::decode(&(*header).try_into().unwrap()).and_then(|header| header.layout()) else {
        return;
    };
    if layout.file_bytes != bytes.len() as u64 {
        return;
    }
    let (tables_at, fences_at, footer_at) =
        (layout.tables_at as usize, layout.fences_at as usize, layout.footer_at as usize);
    bytes[layout.pages_at as usize..tables_at].chunks_mut(index_segment::PAGE_BYTES).for_each(seal);
    seal(&mut bytes[tables_at..fences_at]);
    let footer = index_segment::encode_footer(checksum(&bytes[fences_at..footer_at]), layout.file_bytes);
    bytes[footer_at..].copy_from_slice(&footer);
}

#[test]
fn a_store_whose_checksums_hold_and_whose_words_are_wrong_gives_errors_and_no_panic() {
    let stores = [small_store(1), small_store_with_lz4(1)];
    over_seeds("engine-fuzz-forged", sized(300, 20_000), |seed, counts| {
        let small = &stores[usize::from(seed % 3 == 0)];
        let mut random = Seeded::new(seed);
        let memory = copy(small);
        for _ in 0..1 + random.below(3) {
            let path = any_file(&memory, &mut random);
            let mut bytes = memory.read_file(&path).unwrap();
            change(&mut bytes, &mut random);
            seal_file(&path, &mut bytes);
            memory.install_file(&path, &bytes).unwrap();
        }
        count(counts, "forged stores", 1);
        let Ok(engine) = Engine::open(memory_parts(&memory, 1), Path::new(STORE), OPEN) else { return };
        count(counts, "of them opened", 1);
        engine.verify(true, &Control::default()).unwrap();
        for manifest in engine.manifests() {
            for disk in &manifest.disks {
                let version =
                    stillpoint_engine::engine::DiskReference { point_id: manifest.point_id, disk_id: disk.disk_id };
                if let Err(error) = engine.read(&version, 0, disk.size.min(1 << 20)) {
                    assert_eq!(error.kind(), Kind::FixData, "seed {seed}: {error}");
                }
            }
        }
        // What writes and merges the index meets all of it too.
        let captured = simulation::store::capture(&engine, uid(77), &[0], None);
        let collected = engine.collect(false, &Control::default()).map(drop);
        for error in [captured, collected].into_iter().filter_map(Result::err) {
            let said = error.kind() == Kind::FixData || matches!(error.code(), Code::StoreFenced | Code::IoFailed);
            assert!(said, "seed {seed}: {error}");
        }
    });
}
