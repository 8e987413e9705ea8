//! `condemned`: packs that are as good as removed (format.md section 10).

use super::{Defect, Fields, FieldsMut, PackKind, VERSION, checksum};
use crate::units::{Uid, u64_from};

const MAGIC: &[u8; 8] = b"STILLCND";
const HEADER_BYTES: usize = 32;
const ENTRY_BYTES: usize = 24;

/// The longest file: as many packs as a directory of 64 TiB of them holds.
pub const BYTES_MAX: u64 = (HEADER_BYTES + ENTRY_BYTES * (1 << 20) + 8) as u64;

/// The packs that a collection has done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CondemnedPacks {
    /// The store that they belong to.
    pub store_id: Uid,
    /// Id and kind of each.
    pub packs: Vec<(Uid, PackKind)>,
}

impl CondemnedPacks {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES + self.packs.len() * ENTRY_BYTES + 8);
        fields.slice(MAGIC).u16(VERSION).u16(0).u32(self.packs.len() as u32).slice(&self.store_id.0);
        for (id, kind) in &self.packs {
            fields.slice(&id.0).u8(kind.number()).slice(&[0; 7]);
        }
        fields.checksum_from(0);
        fields.finish()
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is damaged or newer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Defect> {
        let mut fields = Fields::new(bytes);
        fields.magic_and_version(MAGIC)?;
        fields.zero(2)?;
        let count = u64::from(fields.u32()?);
        if u64_from(bytes.len()) != u64_from(HEADER_BYTES) + count * u64_from(ENTRY_BYTES) + 8 {
            return Err(Defect::Wrong("its length contradicts its number of packs"));
        }
        let (body, sum) = bytes.split_at(bytes.len() - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("its checksum does not hold"));
        }
        let store_id = Uid(fields.array()?);
        let mut packs = Vec::new();
        for _ in 0..count {
            let id = Uid(fields.array()?);
            let kind = PackKind::from_number(fields.u8()?).ok_or(Defect::Wrong("a pack's kind is unknown"))?;
            fields.zero(7)?;
            packs.push((id, kind));
        }
        Ok(Self { store_id, packs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_every_flipped_bit_is_noticed() {
        let packs = vec![(Uid([1; 16]), PackKind::Chunks), (Uid([2; 16]), PackKind::Nodes)];
        let condemned = CondemnedPacks { store_id: Uid([7; 16]), packs };
        let bytes = condemned.encode();
        assert_eq!(CondemnedPacks::decode(&bytes), Ok(condemned));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(CondemnedPacks::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
