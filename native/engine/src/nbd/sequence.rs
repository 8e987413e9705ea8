//! Clients that read one range behind another: what is worth reading before they ask for it.

use std::ops::Range;

/// Reads behind one another before anything is read ahead: two of them may be chance.
const READS_MIN: u64 = 3;

/// What is read ahead at first, and at most; in between twice what was read in order.
const AHEAD_BYTES_MIN: u64 = 128 << 10;
const AHEAD_BYTES_MAX: u64 = 2 << 20;

/// The reads of one client.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// Where the last read ended.
    end: u64,
    /// How many reads came in order, and how long they are together.
    reads: u64,
    bytes: u64,
    /// Up to where something was read ahead.
    ahead_to: u64,
}

impl Sequence {
    /// Notes a read of a disk of `size` bytes. What should be read ahead now, if anything: never the same twice in one sequence.
    /// A client that has more requests under way (`is_alone` is false) is ahead by itself.
    pub(super) fn note(&mut self, offset: u64, length: u64, size: u64, is_alone: bool) -> Option<Range<u64>> {
        if offset != self.end {
            *self = Self::default();
        }
        self.end = offset + length;
        self.reads += 1;
        self.bytes += length;
        if self.reads < READS_MIN || !is_alone {
            return None;
        }
        let window = (2 * self.bytes).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX);
        let (from, to) = (self.ahead_to.max(self.end), (self.end + window).min(size));
        // By halves of the window: not a piece for every read.
        if from >= to || from - self.end > window / 2 {
            return None;
        }
        self.ahead_to = to;
        Some(from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    const SIZE: u64 = 64 << 20;

    #[test]
    fn what_is_read_in_order_is_read_ahead_once_and_never_past_the_end() {
        for length in [4096, 65_536, 1 << 20] {
            let (mut sequence, mut ahead_to, mut hints) = (Sequence::default(), 0, 0);
            for number in 0..SIZE / length {
                let offset = number * length;
                let hint = sequence.note(offset, length, SIZE, true);
                if number >= READS_MIN {
                    assert!(ahead_to >= offset + length || hint.is_some(), "{length}: {offset} was not read ahead");
                }
                let Some(hint) = hint else { continue };
                assert!(hint.start >= ahead_to.max(offset + length) && hint.end <= SIZE, "{length}: {hint:?}");
                assert!(hint.end - offset <= length + AHEAD_BYTES_MAX);
                ahead_to = hint.end;
                hints += 1;
            }
            assert_eq!(ahead_to, SIZE);
            assert!(hints <= 8 + SIZE / (AHEAD_BYTES_MAX / 2).max(length), "{length}: {hints} hints");
        }
    }

    #[test]
    fn reads_out_of_order_and_those_of_clients_with_more_under_way_ask_for_nothing() {
        let (mut sequence, mut random) = (Sequence::default(), Seeded::new(1));
        for _ in 0..10_000 {
            assert_eq!(sequence.note(random.below(SIZE / 4096) * 4096, 4096, SIZE, true), None);
        }
        let mut sequence = Sequence::default();
        assert!((0..1000).all(|number| sequence.note(number * 4096, 4096, SIZE, false).is_none()));
        assert!(sequence.note(4096 * 1000, 4096, SIZE, true).is_some(), "as soon as it is alone");
    }

    #[test]
    fn a_new_place_begins_a_new_sequence() {
        let mut sequence = Sequence::default();
        let hints = (0..10).filter(|number| sequence.note(number * 4096, 4096, SIZE, true).is_some()).count();
        assert!(hints > 0);
        assert_eq!(sequence.note(SIZE / 2, 4096, SIZE, true), None);
        assert_eq!(sequence.note(SIZE / 2 + 4096, 4096, SIZE, true), None);
        assert!(sequence.note(SIZE / 2 + 8192, 4096, SIZE, true).is_some());
    }
}
