//! Chance, injected: a seeded generator for simulations, and the source of ids.
//!
//! What it guarantees: the same seed gives the same numbers on every machine and in every version, so a seed in a
//! bug report is enough to repeat a run. What it must not import: anything but the operating system's generator.

use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Where random bytes for ids and salts come from.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's generator, fit for ids and keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    /// # Panics
    /// When the kernel has no getrandom(2) (before Linux 3.17): ids from a weaker source could collide or be guessed.
    fn fill(&self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match getrandom(&mut *rest, GetRandomFlags::empty()) {
                Ok(count) => rest = &mut rest[count..],
                Err(Errno::INTR) => {}
                Err(errno) => panic!("getrandom(2) failed: {errno}"),
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): 8 bytes of state, every seed is a good one. Not for keys.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
}

impl Seeded {
    /// A generator whose numbers follow from `seed` alone.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit - 1`; the bias of at most `limit / 2^64` does not matter to a simulation.
    ///
    /// # Panics
    /// When `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below 0");
        let product = u128::from(self.next_u64()) * u128::from(limit);
        (product >> 64) as u64
    }

    /// True once in `count` times.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}

/// A seeded generator that several threads may share.
impl Random for Mutex<Seeded> {
    fn fill(&self, bytes: &mut [u8]) {
        self.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        // First outputs of the reference implementation (prng.di.unimi.it/splitmix64.c) for seed 1234567.
        let mut random = Seeded::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
        assert_eq!(random.next_u64(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn below_reaches_every_number_under_its_limit_and_no_other() {
        let mut random = Seeded::new(1);
        let mut seen = [false; 7];
        for _ in 0..1_000 {
            seen[usize::try_from(random.below(7)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn fill_gives_the_same_bytes_for_the_same_seed_at_every_length() {
        for length in 0..40 {
            let (mut one, mut other) = (vec![0u8; length], vec![1u8; length]);
            Seeded::new(9).fill(&mut one);
            Mutex::new(Seeded::new(9)).lock().unwrap().fill(&mut other);
            assert_eq!(one, other);
        }
    }

    #[test]
    fn two_ids_of_the_system_differ() {
        let (mut one, mut other) = ([0u8; 16], [0u8; 16]);
        SystemRandom.fill(&mut one);
        SystemRandom.fill(&mut other);
        assert_ne!(one, other);
    }
}
