//! Law of LZ4 blocks (format.md 4.3): a block decodes to exactly what the document says, or is refused; and that whatever
//! its bytes are, without a panic.
//!
//! The oracle is the document once more, read byte by byte by a decoder that has no fast path.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use simulation::content::{Content, random_bytes};
use simulation::progress::{count, over_seeds};
use simulation::sized;
use stillpoint_engine::chunk_store::codec::{Decoder, Encoder};
use stillpoint_engine::format::Codec;
use stillpoint_engine::random::Seeded;

/// Changed blocks for one seed.
const INPUTS: u64 = 200;

fn decode(stored: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0xee; plain_bytes];
    Decoder::new().decode(Codec::Lz4, stored, None, &mut plain).ok().map(|()| plain)
}

/// The document's steps; `None` where it calls a block damaged.
fn oracle(stored: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    let (mut bytes, mut plain) = (stored.iter().copied(), Vec::new());
    loop {
        let token = usize::from(bytes.next()?);
        for _ in 0..whole_length(token >> 4, &mut bytes)? {
            plain.push(bytes.next()?);
        }
        if bytes.len() == 0 {
            return (plain.len() == plain_bytes).then_some(plain);
        }
        let offset = usize::from(u16::from_le_bytes([bytes.next()?, bytes.next()?]));
        let length = whole_length(token & 15, &mut bytes)? + 4;
        if offset == 0 || offset > plain.len() || plain.len() + length > plain_bytes {
            return None;
        }
        for _ in 0..length {
            plain.push(plain[plain.len() - offset]);
        }
    }
}

fn whole_length(four_bits: usize, bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut length = four_bits;
    let mut goes_on = four_bits == 15;
    while goes_on {
        let byte = bytes.next()?;
        length += usize::from(byte);
        goes_on = byte == 255;
    }
    Some(length)
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn every_listed_block_decodes_to_what_the_list_says() {
    let list = include_str!("../../../test/portable/fixtures/lz4-blocks.txt");
    let cases: Vec<Vec<&str>> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert!(cases.len() > 30);
    for case in cases {
        let [name, plain_bytes, stored, expected] = case[..] else { panic!("{case:?}") };
        let (plain_bytes, stored) = (plain_bytes.parse().unwrap(), from_hex(stored));
        let expected = (expected != "refused").then(|| from_hex(expected));
        assert_eq!(oracle(&stored, plain_bytes), expected, "the oracle, {name}");
        assert_eq!(decode(&stored, plain_bytes), expected, "{name}");
    }
}

/// Content of a chunk: what compresses a little, a lot, or only far back.
fn content(random: &mut Seeded) -> Vec<u8> {
    let length = [1 + random.below(200), 1 + random.below(5_000), 1 + random.below(80_000)];
    let length = length[random.below(3) as usize] as usize;
    match random.below(4) {
        0 => Content::Text(random.next_u64()).bytes(length, &[], &[]),
        1 => random_bytes(random.next_u64(), 1 + random.below(40) as usize).into_iter().cycle().take(length).collect(),
        2 => {
            let piece = random_bytes(random.next_u64(), length.div_ceil(2));
            piece.repeat(2)[..length].to_vec()
        }
        _ => random_bytes(random.next_u64(), length).iter().map(|byte| byte & 3).collect(),
    }
}

/// Changes where it hurts: lengths and offsets are all over a block, so any byte will do.
fn change(stored: &mut Vec<u8>, random: &mut Seeded) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(stored.len() as u64) as usize;
        match random.below(6) {
            0 => stored[at] ^= 1 << random.below(8),
            1 => stored[at] = [0, 1, 0x0f, 0xf0, 0xff][random.below(5) as usize],
            2 => stored[at] = random.below(256) as u8,
            3 if at > 0 => stored.truncate(at),
            4 => stored.insert(at, 0xff),
            _ => {
                stored.remove(at);
            }
        }
        if stored.is_empty() {
            return;
        }
    }
}

#[test]
fn a_changed_block_decodes_as_the_document_says_or_is_refused_as_it_says() {
    over_seeds("engine-fuzz-lz4", sized(30, 3_000), |seed, counts| {
        let mut random = Seeded::new(seed);
        let mut encoder = Encoder::new(Codec::Lz4, 0);
        for _ in 0..INPUTS {
            let plain = content(&mut random);
            let encoded = encoder.encode(&plain).unwrap();
            if encoded.codec != Codec::Lz4 {
                continue;
            }
            let mut stored = encoded.stored.to_vec();
            assert_eq!(oracle(&stored, plain.len()).as_ref(), Some(&plain), "seed {seed}");
            change(&mut stored, &mut random);
            // Every few also into a room that is wrong, which a header with a right checksum may claim.
            let room = if random.one_in(5) { 1 + random.below(2 * plain.len() as u64) as usize } else { plain.len() };
            let (expected, found) = (oracle(&stored, room), decode(&stored, room));
            assert_eq!(found, expected, "seed {seed}, {} stored bytes for {room}", stored.len());
            count(counts, "changed blocks", 1);
            count(counts, "of them decoded", u64::from(found.is_some()));
        }
    });
}
