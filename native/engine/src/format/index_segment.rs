//! The parts of an index segment (format.md 8.2). Where they lie in the file is [`Layout`]'s to say.

use super::{Codec, Defect, Fields, FieldsMut, PackKind, VERSION, checksum};
use crate::units::{ContentId, Uid, u64_from};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
/// Entries of a full page.
pub const PAGE_ENTRIES: usize = 77;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 32;
/// Bytes of a block of the filter.
pub const FILTER_BLOCK_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"STILLSEG";
const PACK_BYTES: usize = 24;
const BASE_BYTES: usize = 32;
const ENTRY_BYTES: usize = 52;
const NO_BASE: u32 = u32::MAX;
const COUNT_AT: usize = PAGE_ENTRIES * ENTRY_BYTES;

const _: () = assert!(COUNT_AT + 4 <= PAGE_BYTES - 8);

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store that it belongs to.
    pub store_id: Uid,
    /// Packs that it covers.
    pub pack_count: u32,
    /// Entries in its pages.
    pub entry_count: u64,
    /// Ids in its base table.
    pub base_count: u64,
    /// Bytes of its filter.
    pub filter_bytes: u64,
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldsMut::with_capacity(HEADER_BYTES);
        fields.slice(MAGIC).u16(VERSION).u16(0).u32(self.pack_count).u64(self.entry_count).u64(self.base_count);
        fields.slice(&self.store_id.0).u64(self.filter_bytes).checksum_from(0);
        let bytes = fields.finish();
        assert_eq!(bytes.len(), HEADER_BYTES);
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// It is damaged or newer.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Defect> {
        let (body, sum) = bytes.split_at(HEADER_BYTES - 8);
        if checksum(body) != Fields::new(sum).u64()? {
            return Err(Defect::Wrong("the segment header's checksum does not hold"));
        }
        let mut fields = Fields::new(body);
        fields.magic_and_version(MAGIC)?;
        fields.zero(2)?;
        let (pack_count, entry_count, base_count) = (fields.u32()?, fields.u64()?, fields.u64()?);
        let (store_id, filter_bytes) = (Uid(fields.array()?), fields.u64()?);
        if filter_bytes % u64_from(FILTER_BLOCK_BYTES) != 0 || (filter_bytes == 0) != (entry_count == 0) {
            return Err(Defect::Wrong("the segment's filter has no allowed length"));
        }
        Ok(Self { store_id, pack_count, entry_count, base_count, filter_bytes })
    }

    /// Where the parts lie.
    ///
    /// # Errors
    /// The counts are too large for any file.
    pub fn layout(&self) -> Result<Layout, Defect> {
        let too_large = Defect::Wrong("the segment's counts are too large");
        let page_count = self.entry_count.div_ceil(u64_from(PAGE_ENTRIES));
        let pages_at = u64_from(HEADER_BYTES);
        let tables_at = page_count
            .checked_mul(u64_from(PAGE_BYTES))
            .and_then(|bytes| bytes.checked_add(pages_at))
            .ok_or(too_large)?;
        let bases = self.base_count.checked_mul(u64_from(BASE_BYTES)).ok_or(too_large)?;
        let tables_bytes = (u64::from(self.pack_count) * u64_from(PACK_BYTES)).checked_add(bases).ok_or(too_large)?;
        let fences_at = tables_bytes.checked_add(8).and_then(|bytes| bytes.checked_add(tables_at)).ok_or(too_large)?;
        let filter_at = page_count.checked_mul(8).and_then(|bytes| bytes.checked_add(fences_at)).ok_or(too_large)?;
        let footer_at = filter_at.checked_add(self.filter_bytes).ok_or(too_large)?;
        let file_bytes = footer_at.checked_add(u64_from(FOOTER_BYTES)).ok_or(too_large)?;
        Ok(Layout { page_count, pages_at, tables_at, tables_bytes, fences_at, filter_at, footer_at, file_bytes })
    }
}

/// Offsets in a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Pages.
    pub page_count: u64,
    /// The first page.
    pub pages_at: u64,
    /// Pack table, then base table.
    pub tables_at: u64,
    /// Their length, without the checksum behind them.
    pub tables_bytes: u64,
    /// The fences.
    pub fences_at: u64,
    /// The filter.
    pub filter_at: u64,
    /// The footer.
    pub footer_at: u64,
    /// The file's length.
    pub file_bytes: u64,
}

/// Where one content lies, as a segment knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// The content's id.
    pub id: ContentId,
    /// The pack, as an index into the pack table.
    pub pack: u32,
    /// Where the frame begins in the pack.
    pub offset: u32,
    /// Bytes behind its header.
    pub stored_bytes: u32,
    /// How it is stored.
    pub codec: Codec,
    /// With a delta: its base, as an index into the base table.
    pub base: Option<u32>,
}

/// The tables' bytes with their checksum.
#[must_use]
pub fn encode_tables(packs: &[(Uid, PackKind)], bases: &[ContentId]) -> Vec<u8> {
    let mut fields = FieldsMut::with_capacity(packs.len() * PACK_BYTES + bases.len() * BASE_BYTES + 8);
    for (id, kind) in packs {
        fields.slice(&id.0).u8(kind.number()).slice(&[0; 7]);
    }
    for base in bases {
        fields.slice(&base.0);
    }
    fields.checksum_from(0);
    fields.finish()
}

/// Reads the tables; `bytes` ends with their checksum.
///
/// # Errors
/// They are damaged.
#[allow(clippy::type_complexity)] // a pair of lists, named by the document
pub fn decode_tables(header: &SegmentHeader, bytes: &[u8]) -> Result<(Vec<(Uid, PackKind)>, Vec<ContentId>), Defect> {
    let (body, sum) = bytes.split_at_checked(bytes.len().wrapping_sub(8)).ok_or(Defect::Wrong("it is too short"))?;
    if checksum(body) != Fields::new(sum).u64()? {
        return Err(Defect::Wrong("the segment tables' checksum does not hold"));
    }
    let mut fields = Fields::new(body);
    let mut packs = Vec::new();
    for _ in 0..header.pack_count {
        let id = Uid(fields.array()?);
        let kind =
            PackKind::from_number(fields.u8()?).ok_or(Defect::Wrong("the segment names an unknown pack kind"))?;
        fields.zero(7)?;
        packs.push((id, kind));
    }
    let mut bases = Vec::new();
    for _ in 0..header.base_count {
        bases.push(ContentId(fields.array()?));
    }
    if !fields.rest().is_empty() {
        return Err(Defect::Wrong("something stands behind the segment's tables"));
    }
    Ok((packs, bases))
}

/// Appends a page; at most [`PAGE_ENTRIES`] entries.
pub fn encode_page_into(entries: &[SegmentEntry], bytes: &mut Vec<u8>) {
    assert!((1..=PAGE_ENTRIES).contains(&entries.len()));
    let start = bytes.len();
    for entry in entries {
        let mut encoded = [0; ENTRY_BYTES];
        encoded[..32].copy_from_slice(&entry.id.0);
        encoded[32..36].copy_from_slice(&entry.pack.to_le_bytes());
        encoded[36..40].copy_from_slice(&entry.offset.to_le_bytes());
        encoded[40..44].copy_from_slice(&entry.stored_bytes.to_le_bytes());
        encoded[44..48].copy_from_slice(&entry.base.unwrap_or(NO_BASE).to_le_bytes());
        encoded[48] = entry.codec.number();
        bytes.extend_from_slice(&encoded);
    }
    bytes.resize(start + COUNT_AT, 0);
    bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    bytes.resize(start + PAGE_BYTES - 8, 0);
    let sum = checksum(&bytes[start..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// Reads a page, appending its entries.
///
/// # Errors
/// It is damaged.
pub fn decode_page_into(bytes: &[u8], entries: &mut Vec<SegmentEntry>) -> Result<(), Defect> {
    let page: &[u8; PAGE_BYTES] = bytes.try_into().map_err(|_| Defect::Wrong("a page is cut off"))?;
    let (body, sum) = page.split_at(PAGE_BYTES - 8);
    if checksum(body) != Fields::new(sum).u64()? {
        return Err(Defect::Wrong("a page's checksum does not hold"));
    }
    let mut tail = Fields::new(&body[COUNT_AT..]);
    let count = tail.u32()? as usize;
    tail.zero(PAGE_BYTES - 8 - COUNT_AT - 4)?;
    if !(1..=PAGE_ENTRIES).contains(&count) {
        return Err(Defect::Wrong("a page's number of entries is not allowed"));
    }
    let mut fields = Fields::new(&body[..COUNT_AT]);
    for _ in 0..count {
        entries.push(decode_entry(&mut fields)?);
    }
    fields.zero((PAGE_ENTRIES - count) * ENTRY_BYTES)?;
    let first = entries.len() - count;
    if !entries[first..].is_sorted_by_key(|entry| entry.id) {
        return Err(Defect::Wrong("a page's entries are not in order")); // a search would miss some of them
    }
    Ok(())
}

/// Checks a page as a whole, before [`search_page`].
///
/// # Errors
/// The page is damaged.
pub fn check_page(page: &[u8; PAGE_BYTES]) -> Result<(), Defect> {
    let (body, sum) = page.split_at(PAGE_BYTES - 8);
    if checksum(body) != Fields::new(sum).u64()? {
        return Err(Defect::Wrong("a page's checksum does not hold"));
    }
    page_count(page).map(drop)
}

/// Hands over the entries of a checked page that have this id, without decoding the others.
///
/// # Errors
/// Such an entry is damaged; what `take` gives.
pub fn search_page(
    page: &[u8; PAGE_BYTES],
    id: &ContentId,
    mut take: impl FnMut(SegmentEntry) -> Result<(), Defect>,
) -> Result<(), Defect> {
    let entry_id = |index: usize| &page[index * ENTRY_BYTES..][..32];
    let count = page_count(page)?;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        if entry_id(middle) < id.0.as_slice() { low = middle + 1 } else { high = middle }
    }
    while low < count && entry_id(low) == id.0 {
        take(decode_entry(&mut Fields::new(&page[low * ENTRY_BYTES..][..ENTRY_BYTES]))?)?;
        low += 1;
    }
    Ok(())
}

fn page_count(page: &[u8; PAGE_BYTES]) -> Result<usize, Defect> {
    let count = Fields::new(&page[COUNT_AT..]).u32()? as usize;
    if !(1..=PAGE_ENTRIES).contains(&count) {
        return Err(Defect::Wrong("a page's number of entries is not allowed"));
    }
    Ok(count)
}

fn decode_entry(fields: &mut Fields<'_>) -> Result<SegmentEntry, Defect> {
    let id = ContentId(fields.array()?);
    let (pack, offset, stored_bytes, base) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let codec = Codec::from_number(fields.u8()?).ok_or(Defect::Wrong("a page names an unknown codec"))?;
    fields.zero(3)?;
    if (codec == Codec::ZstdDelta) != (base != NO_BASE) {
        return Err(Defect::Wrong("a page's entry has a base where it must not, or none where it must"));
    }
    let base = (base != NO_BASE).then_some(base);
    Ok(SegmentEntry { id, pack, offset, stored_bytes, codec, base })
}

/// The footer over fences and filter.
#[must_use]
pub fn encode_footer(fences_and_filter_checksum: u64, file_bytes: u64) -> Vec<u8> {
    let mut fields = FieldsMut::with_capacity(FOOTER_BYTES);
    fields.slice(MAGIC).u64(fences_and_filter_checksum).u64(file_bytes).checksum_from(0);
    fields.finish()
}

/// Checks the footer against the checksum of fences and filter as they are.
///
/// # Errors
/// One of them is damaged.
pub fn check_footer(footer: &[u8], fences_and_filter_checksum: u64, file_bytes: u64) -> Result<(), Defect> {
    if footer != encode_footer(fences_and_filter_checksum, file_bytes) {
        return Err(Defect::Wrong("the checksum of the segment's fences and filter does not hold"));
    }
    Ok(())
}

/// The bits of an id in the filter: which block, and six bits in it.
#[must_use]
pub fn filter_bits(id: &ContentId, block_count: u64) -> (usize, [u16; 6]) {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&id.0[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let block = ((word(8) >> 32) * block_count) >> 32;
    let source = word(16);
    let mut bits = [0; 6];
    for (group, bit) in bits.iter_mut().enumerate() {
        *bit = ((source >> (9 * group)) & 511) as u16;
    }
    (block as usize, bits)
}

/// Whether the filter leaves it open that the id is there.
#[must_use]
pub fn filter_may_hold(filter: &[u8], id: &ContentId) -> bool {
    if filter.is_empty() {
        return false;
    }
    let (block, bits) = filter_bits(id, u64_from(filter.len() / FILTER_BLOCK_BYTES));
    let block = &filter[block * FILTER_BLOCK_BYTES..][..FILTER_BLOCK_BYTES];
    bits.iter().all(|bit| block[usize::from(bit / 8)] & (1 << (bit % 8)) != 0)
}

/// Adds an id to the filter.
pub fn filter_add(filter: &mut [u8], id: &ContentId) {
    let (block, bits) = filter_bits(id, u64_from(filter.len() / FILTER_BLOCK_BYTES));
    let block = &mut filter[block * FILTER_BLOCK_BYTES..][..FILTER_BLOCK_BYTES];
    for bit in bits {
        block[usize::from(bit / 8)] |= 1 << (bit % 8);
    }
}
