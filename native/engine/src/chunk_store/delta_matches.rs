//! What of a chunk stands in its base already: the matches that a delta is made of.
//!
//! Disks are written in place, so most of a chunk stands at the same place in its base, and that is compared first. Only
//! around what changed is anything else looked for: the page of the base that a change lies in is put into a small table
//! then, and so is what is new of the chunk. zstd's own search puts all of the base into its table before it begins, which
//! takes longer than all that is done here; and of several places that look alike it knows only the last, and loses step
//! with the base.
//!
//! What it costs: a comparison of the two, and some hundred nanoseconds for each kilobyte around a change.

/// Part of the base that a change makes looked at: databases move rows inside a page.
const PAGE_BYTES: usize = 8192;

/// Every so manieth place of such a page is remembered: what databases and file systems store is aligned so.
const PAGE_STEP_BYTES: usize = 4;

/// Places that are remembered: somewhat more than two pages have.
const TABLE_LOG: u32 = 12;

/// Bytes that are compared at a place that the table names: shorter matches save nothing.
const MATCH_BYTES_MIN: usize = 6;

/// The step through what matches nothing grows by one for so many bytes without a match.
const PATIENCE_BYTES: usize = 128;

const WORD_BYTES: usize = 8;

/// Bytes of the chunk that stand for themselves, then bytes that stand elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Bytes before it that match nothing.
    pub(super) literal_bytes: usize,
    /// Back from the match to where it is repeated from; the base ends where the chunk begins.
    pub(super) distance: usize,
    /// How many are repeated.
    pub(super) bytes: usize,
}

/// Finds matches; keeps its buffers.
pub(super) struct MatchFinder {
    table: Vec<u32>, // by hash: place behind the base's beginning, plus one
    is_page_known: Vec<bool>,
    found: Vec<Match>,
}

impl MatchFinder {
    pub(super) fn new() -> Self {
        Self { table: vec![0; 1 << TABLE_LOG], is_page_known: Vec::new(), found: Vec::new() }
    }

    /// The matches of a chunk, in order; what is behind the last one stands for itself.
    pub(super) fn find(&mut self, plain: &[u8], base: &[u8]) -> &[Match] {
        self.table.fill(0);
        self.is_page_known.clear();
        self.is_page_known.resize(base.len().div_ceil(PAGE_BYTES), false);
        self.found.clear();
        let (mut at, mut literals_at) = (0, 0);
        while at + WORD_BYTES <= plain.len() {
            let (source, from, distance) = match self.candidate(plain, base, at) {
                Some(Candidate::InBase(from)) => (base, from, base.len() + at - from),
                Some(Candidate::InPlain(from)) => (plain, from, at - from),
                None => {
                    at += 1 + (at - literals_at) / PATIENCE_BYTES;
                    continue;
                }
            };
            let before = common_suffix(&plain[literals_at..at], &source[..from]);
            let after = common_prefix(&plain[at..], &source[from..]);
            let literal_bytes = at - before - literals_at;
            self.found.push(Match { literal_bytes, distance, bytes: before + after });
            at += after;
            literals_at = at;
        }
        &self.found
    }

    /// Where what stands at `at` stands as well; the same place of the base first.
    fn candidate(&mut self, plain: &[u8], base: &[u8], at: usize) -> Option<Candidate> {
        let word = word_at(plain, at);
        if at + WORD_BYTES <= base.len() && word_at(base, at) == word {
            return Some(Candidate::InBase(at));
        }
        self.know_page(base, at / PAGE_BYTES);
        let slot = &mut self.table[slot_of(word)];
        let known = std::mem::replace(slot, (base.len() + at) as u32 + 1).checked_sub(1)? as usize;
        let (candidate, found) = match known.checked_sub(base.len()) {
            Some(from) => (Candidate::InPlain(from), word_at(plain, from)),
            None => (Candidate::InBase(known), word_at(base, known)),
        };
        is_match(word, found).then_some(candidate)
    }

    fn know_page(&mut self, base: &[u8], page: usize) {
        let Some(is_known) = self.is_page_known.get_mut(page) else { return };
        if std::mem::replace(is_known, true) {
            return;
        }
        let end = ((page + 1) * PAGE_BYTES).min(base.len().saturating_sub(WORD_BYTES));
        for at in (page * PAGE_BYTES..end).step_by(PAGE_STEP_BYTES) {
            self.table[slot_of(word_at(base, at))] = at as u32 + 1;
        }
    }
}

enum Candidate {
    InBase(usize),
    InPlain(usize),
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    let word = &bytes[at..at + WORD_BYTES];
    u64::from_le_bytes(word.try_into().expect("the range is a word long"))
}

/// The bytes of a word that count, the first ones, moved to its top.
const fn counting(word: u64) -> u64 {
    word << (8 * (WORD_BYTES - MATCH_BYTES_MIN))
}

const fn is_match(word: u64, other: u64) -> bool {
    counting(word ^ other) == 0
}

const fn slot_of(word: u64) -> usize {
    (counting(word).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - TABLE_LOG)) as usize
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const LINE_BYTES: usize = 32;
    let lines = a.as_chunks::<LINE_BYTES>().0.iter().zip(b.as_chunks::<LINE_BYTES>().0);
    let line_bytes = LINE_BYTES * lines.take_while(|(a, b)| is_equal(a, b)).count();
    let rest = a[line_bytes..].iter().zip(&b[line_bytes..]);
    line_bytes + rest.take_while(|(a, b)| a == b).count()
}

/// Word by word without a branch, which becomes two vector comparisons; `==` would be a call of `memcmp`.
fn is_equal<const BYTES: usize>(a: &[u8; BYTES], b: &[u8; BYTES]) -> bool {
    let words = a.as_chunks::<WORD_BYTES>().0.iter().zip(b.as_chunks::<WORD_BYTES>().0);
    words.fold(0, |differing, (a, b)| differing | (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b))) == 0
}

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

const _: () = assert!(2 * (crate::limits::CHUNK_BYTES_MAX as u64) < u32::MAX as u64); // places fit the table

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    /// What the matches say the chunk is.
    fn rebuilt(matches: &[Match], plain: &[u8], base: &[u8]) -> Vec<u8> {
        let mut all = base.to_vec();
        for found in matches {
            let at = all.len() - base.len();
            all.extend_from_slice(&plain[at..at + found.literal_bytes]);
            for _ in 0..found.bytes {
                all.push(all[all.len() - found.distance]);
            }
        }
        let at = all.len() - base.len();
        all.extend_from_slice(&plain[at..]);
        all.split_off(base.len())
    }

    fn find(plain: &[u8], base: &[u8]) -> Vec<Match> {
        let found = MatchFinder::new().find(plain, base).to_vec();
        assert_eq!(rebuilt(&found, plain, base), plain);
        found
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Seeded::new(seed).fill(&mut bytes);
        bytes
    }

    #[test]
    fn an_equal_chunk_is_one_match() {
        let base = noise(1, 65536);
        assert_eq!(find(&base, &base), [Match { literal_bytes: 0, distance: 65536, bytes: 65536 }]);
    }

    #[test]
    fn a_change_is_literal_to_the_byte_and_what_is_behind_it_matches_in_place() {
        let base = noise(1, 65536);
        let mut plain = base.clone();
        for byte in &mut plain[1000..6001] {
            *byte ^= 0x55;
        }
        let behind = Match { literal_bytes: 5001, distance: 65536, bytes: 65536 - 6001 };
        assert_eq!(find(&plain, &base), [Match { literal_bytes: 0, distance: 65536, bytes: 1000 }, behind]);
    }

    #[test]
    fn what_moved_inside_its_page_is_found_there() {
        let base = noise(1, 65536);
        let mut plain = base.clone();
        plain.copy_within(8192..12288, 8192 + 512);
        let literal_bytes: usize = find(&plain, &base).iter().map(|found| found.literal_bytes).sum();
        assert!(literal_bytes < 64, "{literal_bytes} bytes are taken as new");
    }

    #[test]
    fn what_repeats_itself_in_the_new_part_is_found_there() {
        let (base, mut plain) = (noise(1, 65536), noise(1, 65536));
        let row = noise(2, 100);
        for at in 0..40 {
            plain[4096 + 100 * at..4196 + 100 * at].copy_from_slice(&row);
        }
        let literal_bytes: usize = find(&plain, &base).iter().map(|found| found.literal_bytes).sum();
        assert!(literal_bytes < 200, "{literal_bytes} bytes are taken as new");
    }

    #[test]
    fn matches_say_what_the_chunk_is_whatever_the_two_are() {
        for seed in 0..2_000 {
            let mut random = Seeded::new(seed);
            let base = mixture(&mut random, None);
            let plain = mixture(&mut random, Some(&base));
            find(&plain, &base);
        }
    }

    /// Runs of noise, of one value, and of what stands in the base or before, of lengths short and long.
    fn mixture(random: &mut Seeded, base: Option<&[u8]>) -> Vec<u8> {
        let mut next = |below: usize| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            usize::from_le_bytes(bytes) % below
        };
        let length = [0, 1, 7, 8, 9, 100, 5_000, 20_000][next(8)];
        let mut all = Vec::new();
        while all.len() < length {
            let count = [1, 3, 7, 40, 3_000][next(5)].min(length - all.len());
            match (next(4), base) {
                (0, _) => all.extend((0..count).map(|_| next(256) as u8)),
                (1, _) => all.resize(all.len() + count, next(256) as u8),
                (2, Some(base)) if all.len() + count <= base.len() => {
                    all.extend_from_slice(&base[all.len()..all.len() + count]);
                }
                _ if !all.is_empty() => {
                    let from = next(all.len());
                    all.extend_from_within(from..all.len().min(from + count));
                }
                _ => all.push(next(256) as u8),
            }
        }
        all
    }
}
