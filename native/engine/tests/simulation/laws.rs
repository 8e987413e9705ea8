//! What must hold of any diff, checked against the bytes alone.

use stillpoint_engine::diff::{Extent, ExtentKind};

/// Checks the extents of a diff from `before` to `after`. `block` is the granularity, or the chunk size with `coarse`.
pub(crate) fn check_diff(
    before: &[u8],
    after: &[u8],
    extents: &[Extent],
    block: u64,
    coarse: bool,
) -> Result<(), String> {
    let size_after = after.len() as u64;
    let mut applied = before.to_vec();
    applied.resize(after.len(), 0);
    let older = applied.clone();
    let mut last: Option<&Extent> = None;
    for extent in extents {
        if extent.length == 0 || extent.end() > size_after {
            return Err(format!("{extent:?} is empty or past the end {size_after}"));
        }
        if last.is_some_and(|last| last.end() > extent.offset) {
            return Err(format!("{last:?} and {extent:?} are not sorted and disjoint"));
        }
        if last.is_some_and(|last| last.end() == extent.offset && last.kind == extent.kind) {
            return Err(format!("{last:?} and {extent:?} are not maximal"));
        }
        let aligned = |at: u64| at.is_multiple_of(block) || at == size_after;
        if !extent.offset.is_multiple_of(block) || !aligned(extent.end()) {
            return Err(format!("{extent:?} is not aligned to {block}"));
        }
        let range = extent.offset as usize..extent.end() as usize;
        check_kinds(extent, &older[range.clone()], &after[range.clone()], block, coarse)?;
        match extent.kind {
            ExtentKind::Data => applied[range.clone()].copy_from_slice(&after[range]),
            ExtentKind::Zero => applied[range].fill(0),
        }
        last = Some(extent);
    }
    if applied != after {
        let at = applied.iter().zip(after).position(|(one, other)| one != other);
        return Err(format!("the diff applied to the older version differs from the newer one at {at:?}"));
    }
    Ok(())
}

fn check_kinds(extent: &Extent, older: &[u8], newer: &[u8], block: u64, coarse: bool) -> Result<(), String> {
    for (index, (old, new)) in older.chunks(block as usize).zip(newer.chunks(block as usize)).enumerate() {
        let zero = new.iter().all(|byte| *byte == 0);
        if coarse {
            if extent.kind == ExtentKind::Zero && !zero {
                return Err(format!("{extent:?} is not zero in its chunk {index}"));
            }
            continue;
        }
        if old == new {
            return Err(format!("{extent:?} holds no differing byte in its block {index}"));
        }
        if zero != (extent.kind == ExtentKind::Zero) {
            return Err(format!("{extent:?} has the wrong kind in its block {index}"));
        }
    }
    Ok(())
}
