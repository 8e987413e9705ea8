//! Reading and writing little-endian fields in order, and the one checksum of the format.

use std::fmt;

/// XXH64 with seed 0.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, 0)
}

/// [`checksum`] of bytes that come in pieces.
#[derive(Clone)]
pub struct RunningChecksum {
    state: xxhash_rust::xxh64::Xxh64,
}

impl Default for RunningChecksum {
    fn default() -> Self {
        Self { state: xxhash_rust::xxh64::Xxh64::new(0) }
    }
}

impl RunningChecksum {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
    }

    /// The checksum of all pieces so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.state.digest()
    }
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Written by a newer format version, which is named.
    Newer(u16),
    /// Damaged, or never was one; the text completes "the file's ...".
    Wrong(&'static str),
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(version) => write!(f, "format version {version} is newer than {}", super::VERSION),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

/// Fields read in order; every read past the end is a defect.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// The input ends before them.
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], Defect> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Defect::Wrong("it is too short"))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// The input ends before them.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Defect> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Defect::Wrong("it is too short"))?;
        self.rest = rest;
        Ok(*head)
    }

    /// A byte.
    ///
    /// # Errors
    /// The input ends before it.
    pub fn u8(&mut self) -> Result<u8, Defect> {
        Ok(self.array::<1>()?[0])
    }

    /// A 2-byte integer.
    ///
    /// # Errors
    /// The input ends before it.
    pub fn u16(&mut self) -> Result<u16, Defect> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 4-byte integer.
    ///
    /// # Errors
    /// The input ends before it.
    pub fn u32(&mut self) -> Result<u32, Defect> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// An 8-byte integer.
    ///
    /// # Errors
    /// The input ends before it.
    pub fn u64(&mut self) -> Result<u64, Defect> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Bytes that must be zero.
    ///
    /// # Errors
    /// They are not, or the input ends before them.
    pub fn zero(&mut self, length: usize) -> Result<(), Defect> {
        if self.slice(length)?.iter().any(|byte| *byte != 0) {
            return Err(Defect::Wrong("bytes that must be zero are not"));
        }
        Ok(())
    }

    /// The magic and the format version, in the order in which a reader may trust them.
    ///
    /// # Errors
    /// Another magic, or a newer version.
    pub fn magic_and_version(&mut self, magic: &[u8; 8]) -> Result<(), Defect> {
        if self.array::<8>()? != *magic {
            return Err(Defect::Wrong("its magic is missing"));
        }
        match self.u16()? {
            super::VERSION => Ok(()),
            0 => Err(Defect::Wrong("its format version is 0")),
            version => Err(Defect::Newer(version)),
        }
    }
}

/// Fields appended in order.
#[derive(Default)]
pub struct FieldsMut {
    bytes: Vec<u8>,
}

impl FieldsMut {
    /// Starts empty.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// Appends bytes as they are.
    pub fn slice(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.slice(&[value])
    }

    /// Appends a 2-byte integer.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.slice(&value.to_le_bytes())
    }

    /// Appends a 4-byte integer.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.slice(&value.to_le_bytes())
    }

    /// Appends an 8-byte integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.slice(&value.to_le_bytes())
    }

    /// Appends zero bytes until the whole is `length` long.
    pub fn zero_to(&mut self, length: usize) -> &mut Self {
        debug_assert!(self.bytes.len() <= length);
        self.bytes.resize(length, 0);
        self
    }

    /// Appends the checksum of everything from `start` on.
    pub fn checksum_from(&mut self, start: usize) -> &mut Self {
        let sum = checksum(&self.bytes[start..]);
        self.u64(sum)
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}
