//! The chunks that points need, with their holders: an open-addressing table of 20 bytes a place.
//!
//! An id is told by its first 16 bytes: ids are keyed hashes, so that two of 2^40 are the same in them is less likely than
//! 2^-48. The table is made for as many as the index has entries, four fifths full at most; it grows where more chunks
//! are reached than the index knows, which only a damaged store does.

use super::holders::{HOLDER_LIMIT, Holder, Holders};
use crate::units::{ContentId, u64_from, usize_from};

/// A point reaches it by a map.
const REACHED: u32 = HOLDER_LIMIT;
/// A delta that somebody needs stands on it.
const BASE: u32 = HOLDER_LIMIT << 1;
/// A frame of it was counted.
const COUNTED: u32 = HOLDER_LIMIT << 2;

type Key = [u8; 16];

/// The table.
pub(super) struct Contents {
    keys: Vec<Key>,
    words: Vec<u32>, // holder and flags; 0 where the place is free
    count: usize,
}

impl Contents {
    /// A table that takes so many without growing.
    pub(super) fn with_room_for(count: u64) -> Self {
        Self::with_places(usize_from(count.saturating_mul(5) / 4 + 16))
    }

    fn with_places(places: usize) -> Self {
        Self { keys: vec![[0; 16]; places], words: vec![0; places], count: 0 }
    }

    /// Chunks in it.
    pub(super) fn len(&self) -> u64 {
        u64_from(self.count)
    }

    /// The place of a chunk; `None` when nobody needs it.
    pub(super) fn find(&self, id: &ContentId) -> Option<usize> {
        let at = self.place(&key(id));
        (self.words[at] != 0).then_some(at)
    }

    pub(super) fn holder(&self, at: usize) -> Holder {
        Holder::from_bits(self.words[at] & (HOLDER_LIMIT - 1))
    }

    pub(super) fn is_reached(&self, at: usize) -> bool {
        self.words[at] & REACHED != 0
    }

    pub(super) fn is_base(&self, at: usize) -> bool {
        self.words[at] & BASE != 0
    }

    /// Notes that a frame of it was counted; whether it is the first.
    pub(super) fn count(&mut self, at: usize) -> bool {
        let is_first = self.words[at] & COUNTED == 0;
        self.words[at] |= COUNTED;
        is_first
    }

    /// Adds somebody who reaches it.
    pub(super) fn join(&mut self, id: &ContentId, holder: Holder, holders: &mut Holders) {
        self.add(id, holder, REACHED, holders);
    }

    /// Adds somebody who needs it as a base.
    pub(super) fn join_base(&mut self, id: &ContentId, holder: Holder, holders: &mut Holders) {
        self.add(id, holder, BASE, holders);
    }

    fn add(&mut self, id: &ContentId, holder: Holder, flag: u32, holders: &mut Holders) {
        assert!(holder != Holder::NOBODY, "somebody needs it");
        let key = key(id);
        let mut at = self.place(&key);
        if self.words[at] == 0 {
            if (self.count + 1) * 8 > self.keys.len() * 7 {
                self.grow();
                at = self.place(&key);
            }
            self.count += 1;
            self.keys[at] = key;
        }
        let word = self.words[at];
        let flags = word & !(HOLDER_LIMIT - 1) | flag;
        self.words[at] = flags | holders.join(Holder::from_bits(word & (HOLDER_LIMIT - 1)), holder).bits();
    }

    /// Where the key is, or would be. There is always a free place.
    fn place(&self, key: &Key) -> usize {
        let mut first = [0; 8];
        first.copy_from_slice(&key[..8]);
        let places = self.keys.len();
        // The high half of the product: evenly spread over any number of places, without a division.
        let mut at = ((u128::from(u64::from_le_bytes(first)) * u128::from(u64_from(places))) >> 64) as usize;
        while self.words[at] != 0 && self.keys[at] != *key {
            at = if at + 1 == places { 0 } else { at + 1 };
        }
        at
    }

    fn grow(&mut self) {
        let mut larger = Self::with_places(self.keys.len() + self.keys.len() / 2);
        for (key, word) in self.keys.iter().zip(&self.words).filter(|(_, word)| **word != 0) {
            let at = larger.place(key);
            larger.keys[at] = *key;
            larger.words[at] = *word;
        }
        larger.count = self.count;
        *self = larger;
    }
}

fn key(id: &ContentId) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&id.0[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ContentId {
        ContentId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn a_table_that_grows_keeps_what_it_holds() {
        let mut holders = Holders::new(vec![0, 1]);
        let mut contents = Contents::with_room_for(0);
        for number in 0..5_000 {
            contents.join(&id(number), Holder::of_point((number % 2) as usize), &mut holders);
        }
        assert_eq!(contents.len(), 5_000);
        for number in 0..5_000 {
            let at = contents.find(&id(number)).unwrap();
            assert_eq!(contents.holder(at).point(), Some((number % 2) as usize));
            assert!(contents.is_reached(at) && !contents.is_base(at));
            assert!(contents.count(at) && !contents.count(at));
        }
        assert_eq!(contents.find(&id(5_000)), None);
    }
}
