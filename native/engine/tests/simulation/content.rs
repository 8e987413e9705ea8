//! What disks are filled with: what compresses and what does not, and what could be taken for something else.

use stillpoint_engine::random::Seeded;

/// Bytes to write, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Does not compress.
    Random(u64),
    /// Compresses well.
    Text(u64),
    /// One value.
    Fill(u8),
    /// Allocated zeros.
    Zero,
    /// A copy of what lies elsewhere on the same disk.
    CopyFrom(u64),
    /// A copy of the beginning of a pack of the store itself: header and whole frames.
    OwnPack(u64),
    /// Frame marks without a frame.
    FrameMarks,
    /// Begins as a trained zstd dictionary does.
    Dictionary(u64),
}

impl Content {
    /// Any content.
    pub(crate) fn draw(random: &mut Seeded) -> Self {
        match random.below(16) {
            0..5 => Self::Random(random.next_u64()),
            5..8 => Self::Text(random.next_u64()),
            8 => Self::Fill(random.below(256) as u8),
            9 | 10 => Self::Zero,
            11 | 12 => Self::CopyFrom(random.next_u64()),
            13 => Self::OwnPack(random.next_u64()),
            14 => Self::FrameMarks,
            _ => Self::Dictionary(random.next_u64()),
        }
    }

    /// The bytes. `disk` is the disk as it is, `packs` are the store's pack files.
    pub(crate) fn bytes(self, length: usize, disk: &[u8], packs: &[Vec<u8>]) -> Vec<u8> {
        let repeat = |source: &[u8]| source.iter().copied().cycle().take(length).collect::<Vec<u8>>();
        match self {
            Self::Random(seed) => random_bytes(seed, length),
            Self::Text(seed) => text(seed, length),
            Self::Fill(value) => vec![value; length],
            Self::Zero => vec![0; length],
            Self::CopyFrom(place) => {
                let at = (place % disk.len() as u64) as usize / 512 * 512;
                repeat(&disk[at..])
            }
            Self::OwnPack(choice) => match packs {
                [] => repeat(b"STILLPAK"),
                packs => {
                    let pack = &packs[(choice % packs.len() as u64) as usize];
                    // From the first frame on, so that a frame may stand at the front of a chunk.
                    repeat(pack.get(64..).filter(|frames| !frames.is_empty()).unwrap_or(b"STILLPAK"))
                }
            },
            Self::FrameMarks => repeat(b"SPFR\x01\x01\0\0"),
            Self::Dictionary(seed) => {
                let mut bytes = random_bytes(seed, length);
                let mark = [0x37, 0xA4, 0x30, 0xEC];
                let count = mark.len().min(length);
                bytes[..count].copy_from_slice(&mark[..count]);
                bytes
            }
        }
    }
}

pub(crate) fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Seeded::new(seed).fill(&mut bytes);
    bytes
}

fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = ["snapshot ", "block ", "restore ", "point ", "disk ", "\n", "0000 ", "chunk "];
    let mut random = Seeded::new(seed);
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(words[random.below(words.len() as u64) as usize].as_bytes());
    }
    bytes.truncate(length);
    bytes
}
