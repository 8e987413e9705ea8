//! The hot paths, a fixed number of times each, for `npm run bench:instructions` to run under callgrind.
//!
//! Every path is one function named `measured_…`: callgrind counts from its beginning to its end and leaves out all
//! else, so nothing but the path itself may stand in one. What is printed is how many operations each of them does. It
//! runs the stages' own code; content and ids come from a seed, so that every run does the same.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![allow(clippy::print_stdout, reason = "what it prints is read by the driver")]

use std::hint::black_box;

use stillpoint_engine::chunk_store::ChunkStore;
use stillpoint_engine::chunk_store::codec::{Base, Decoder, Encoded, Encoder};
use stillpoint_engine::chunk_store::identity::Identity;
use stillpoint_engine::chunk_store::pack_reader::check_frame_into;
use stillpoint_engine::chunk_store::writer::{EncodedFrame, Writer};
use stillpoint_engine::format::frame::FrameHeader;
use stillpoint_engine::format::{Codec, PackKind, checksum};
use stillpoint_engine::probe::{Probe, Spread};
use stillpoint_engine::random::Seeded;
use stillpoint_engine::scan::fill_value;
use stillpoint_engine::units::ContentId;

const CHUNK: usize = 64 << 10;
const LEVEL: i32 = 2; // what stores have that were not asked
const CHUNKS: usize = 8;
const INDEXED: usize = 10_000;
const LOOK_UPS: usize = 1_000;
/// 64 leaves and their root.
const MAP_CHUNKS: u64 = 64 * 64;
const MAP_NODES: u64 = 64 + 1;
const CHANGES: u64 = 32;

/// A chunk and the same one later: most of it text, so that it compresses about as disks do, with 8 KiB changed.
struct Sample {
    before: Vec<u8>,
    before_stored_bytes: u32,
    after: Vec<u8>,
}

fn text(random: &mut Seeded, length: usize) -> Vec<u8> {
    let mut words = Vec::new();
    for _ in 0..400 {
        let letters = 2 + random.below(9);
        words.push((0..letters).map(|_| b'a' + random.below(26) as u8).collect::<Vec<u8>>());
    }
    let mut bytes = Vec::with_capacity(length + 12);
    while bytes.len() < length {
        bytes.extend_from_slice(&words[random.below(400) as usize]);
        bytes.push(b' ');
    }
    bytes.truncate(length);
    bytes
}

fn samples() -> Vec<Sample> {
    let (mut random, mut encoder) = (Seeded::new(1), Encoder::new(Codec::Zstd, LEVEL));
    let mut sample = || {
        let mut before = text(&mut random, CHUNK);
        random.fill(&mut before[..CHUNK / 4]);
        let mut after = before.clone();
        random.fill(&mut after[CHUNK / 2..CHUNK / 2 + (8 << 10)]);
        let before_stored_bytes = encoder.encode(&before).unwrap().stored.len() as u32;
        Sample { before, before_stored_bytes, after }
    };
    (0..CHUNKS).map(|_| sample()).collect()
}

fn id(random: &mut Seeded) -> ContentId {
    let mut id = [0; 32];
    random.fill(&mut id);
    ContentId(id)
}

/// A frame as a pack holds it.
struct Frame {
    header: FrameHeader,
    stored: Vec<u8>,
    base: Option<Vec<u8>>,
}

fn frames(encoder: &mut Encoder, identity: &Identity, samples: &[Sample], as_deltas: bool) -> Vec<Frame> {
    let frame = |sample: &Sample| {
        let base = Base {
            id: identity.id(PackKind::Chunks, &sample.before),
            plain: &sample.before,
            stored_bytes: sample.before_stored_bytes,
        };
        let encoded = encoder.encode_against(&sample.after, as_deltas.then_some(base)).unwrap();
        assert_eq!(encoded.codec == Codec::ZstdDelta, as_deltas);
        let header = FrameHeader {
            kind: PackKind::Chunks,
            codec: encoded.codec,
            id: identity.id(PackKind::Chunks, &sample.after),
            plain_bytes: CHUNK as u32,
            stored_bytes: encoded.stored.len() as u32,
            stored_checksum: checksum(encoded.stored),
            base: encoded.base,
        };
        Frame { header, stored: encoded.stored.to_vec(), base: as_deltas.then(|| sample.before.clone()) }
    };
    samples.iter().map(frame).collect()
}

/// Chunks of a few bytes under made-up ids: the index does not look at content.
fn fill_index(store: &ChunkStore, random: &mut Seeded) -> Vec<ContentId> {
    let ids: Vec<ContentId> = (0..INDEXED).map(|_| id(random)).collect();
    let mut writer = Writer::new(store);
    for id in &ids {
        let encoded = Encoded { codec: Codec::None, base: None, stored: b"content" };
        writer.add_chunk(&EncodedFrame::new(PackKind::Chunks, *id, 7, encoded)).unwrap();
    }
    writer.commit().unwrap();
    ids
}

#[inline(never)]
fn measured_hash(identity: &Identity, samples: &[Sample]) {
    for sample in samples {
        black_box(identity.id(PackKind::Chunks, black_box(&sample.before)));
    }
}

#[inline(never)]
fn measured_fill_test(fill: &[u8]) {
    for _ in 0..CHUNKS {
        assert_eq!(fill_value(black_box(fill), CHUNK as u64), Some(0));
    }
}

#[inline(never)]
fn measured_zstd_encode(encoder: &mut Encoder, samples: &[Sample]) {
    encode(black_box("zstd"), encoder, samples);
}

#[inline(never)]
fn measured_lz4_encode(encoder: &mut Encoder, samples: &[Sample]) {
    encode(black_box("lz4"), encoder, samples);
}

/// `name` keeps the functions above apart: the compiler makes one of those that do the same.
fn encode(name: &str, encoder: &mut Encoder, samples: &[Sample]) {
    black_box(name);
    for sample in samples {
        black_box(encoder.encode(black_box(&sample.after)).unwrap());
    }
}

#[inline(never)]
fn measured_delta_encode(encoder: &mut Encoder, samples: &[Sample]) {
    for sample in samples {
        let base = Base { id: ContentId([7; 32]), plain: &sample.before, stored_bytes: sample.before_stored_bytes };
        let encoded = encoder.encode_against(black_box(&sample.after), Some(base)).unwrap();
        assert_eq!(encoded.codec, Codec::ZstdDelta);
    }
}

#[inline(never)]
fn measured_zstd_decode(decoder: &mut Decoder, identity: &Identity, frames: &[Frame], plain: &mut [u8]) {
    decode(black_box("zstd"), decoder, identity, frames, plain);
}

#[inline(never)]
fn measured_lz4_decode(decoder: &mut Decoder, identity: &Identity, frames: &[Frame], plain: &mut [u8]) {
    decode(black_box("lz4"), decoder, identity, frames, plain);
}

#[inline(never)]
fn measured_delta_decode(decoder: &mut Decoder, identity: &Identity, frames: &[Frame], plain: &mut [u8]) {
    decode(black_box("delta"), decoder, identity, frames, plain);
}

fn decode(name: &str, decoder: &mut Decoder, identity: &Identity, frames: &[Frame], plain: &mut [u8]) {
    black_box(name);
    for Frame { header, stored, base } in frames {
        check_frame_into(header, black_box(stored), identity, decoder, base.as_deref(), plain).unwrap();
    }
}

#[inline(never)]
fn measured_index_hit(store: &ChunkStore, ids: &[ContentId]) {
    for id in ids {
        assert_eq!(store.locate(black_box(id)).unwrap().len(), 1);
    }
}

#[inline(never)]
fn measured_index_miss(store: &ChunkStore, ids: &[ContentId]) {
    for id in ids {
        assert!(!store.contains(black_box(id)).unwrap());
    }
}

#[inline(never)]
fn measured_map_build(probe: &Probe) {
    probe.build_map(MAP_CHUNKS).unwrap();
}

#[inline(never)]
fn measured_diff(probe: &Probe) -> u64 {
    probe.diff().unwrap()
}

#[inline(never)]
fn measured_append(writer: &mut Writer<'_>, ids: &[ContentId], stored: &[u8]) {
    for id in ids {
        let encoded = Encoded { codec: Codec::Zstd, base: None, stored: black_box(stored) };
        writer.add_chunk(&EncodedFrame::new(PackKind::Chunks, *id, CHUNK as u32, encoded)).unwrap();
    }
}

fn main() {
    let identity = Identity::new(&[2; 32]);
    let (samples, mut random) = (samples(), Seeded::new(2));
    let done = |name: &str, operations: usize| println!("{name} {operations}");

    measured_hash(&identity, &samples);
    done("hash", CHUNKS);
    measured_fill_test(&vec![0; CHUNK]);
    done("fill_test", CHUNKS);

    // Contexts are made and grow to their size at their first chunk; a capture does that once for each thread.
    let (mut zstd, mut lz4) = (Encoder::new(Codec::Zstd, LEVEL), Encoder::new(Codec::Lz4, 0));
    let (mut decoder, mut plain) = (Decoder::new(), vec![0; CHUNK]);
    let full = frames(&mut zstd, &identity, &samples, false);
    let deltas = frames(&mut zstd, &identity, &samples, true);
    let blocks = frames(&mut lz4, &identity, &samples, false);
    decode("first", &mut decoder, &identity, &full[..1], &mut plain);
    decode("first", &mut decoder, &identity, &deltas[..1], &mut plain);

    measured_zstd_encode(&mut zstd, &samples);
    done("zstd_encode", CHUNKS);
    measured_lz4_encode(&mut lz4, &samples);
    done("lz4_encode", CHUNKS);
    measured_delta_encode(&mut zstd, &samples);
    done("delta_encode", CHUNKS);
    measured_zstd_decode(&mut decoder, &identity, &full, &mut plain);
    done("zstd_decode", CHUNKS);
    measured_lz4_decode(&mut decoder, &identity, &blocks, &mut plain);
    done("lz4_decode", CHUNKS);
    measured_delta_decode(&mut decoder, &identity, &deltas, &mut plain);
    done("delta_decode", CHUNKS);

    let mut probe = Probe::new(CHUNK as u32, LEVEL).unwrap();
    let known = fill_index(probe.store(), &mut random);
    let step = INDEXED / LOOK_UPS;
    let known: Vec<ContentId> = known.into_iter().step_by(step).collect();
    let unknown: Vec<ContentId> = (0..LOOK_UPS).map(|_| id(&mut random)).collect();
    measured_index_hit(probe.store(), &known);
    done("index_hit", known.len());
    measured_index_miss(probe.store(), &unknown);
    done("index_miss", unknown.len());

    let mut writer = Writer::new(probe.store());
    measured_append(&mut writer, &unknown[..64], &full[0].stored);
    done("append", 64);
    drop(writer);

    measured_map_build(&probe);
    done("map_build", MAP_NODES as usize);
    probe.make_maps(MAP_CHUNKS, CHANGES, Spread::Random).unwrap();
    let extents = measured_diff(&probe);
    done("diff", extents as usize);
}
