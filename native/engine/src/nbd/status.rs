//! The arithmetic of `BLOCK_STATUS`, in one place: a server that got it wrong crashed on it (CVE-2025-47712).
//!
//! What is answered has at least one extent, none of length 0, none past the end of the request, neighbours that differ, and
//! exactly one for `REQ_ONE`.

use super::export::StatusExtent;

/// Makes what an export said of `length` bytes into what may be answered.
///
/// # Panics
/// If the export said nothing, which its contract forbids.
#[must_use]
pub(super) fn answerable(said: &[StatusExtent], length: u64, is_one: bool) -> Vec<StatusExtent> {
    let mut left = length;
    let mut answer: Vec<StatusExtent> = Vec::with_capacity(said.len());
    for extent in said {
        let length = extent.length.min(left);
        if length == 0 {
            continue;
        }
        left -= length;
        match answer.last_mut() {
            Some(last) if last.flags == extent.flags => last.length += length,
            Some(_) if is_one => break,
            _ => answer.push(StatusExtent { length, flags: extent.flags }),
        }
    }
    assert!(!answer.is_empty(), "an export says something of every byte");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(of: &[(u64, u64)]) -> Vec<StatusExtent> {
        of.iter().map(|&(length, flags)| StatusExtent { length, flags }).collect()
    }

    #[test]
    fn neighbours_are_merged_and_the_end_is_cut_off() {
        let said = extents(&[(10, 1), (5, 1), (0, 3), (7, 0), (100, 2)]);
        assert_eq!(answerable(&said, 30, false), extents(&[(15, 1), (7, 0), (8, 2)]));
        assert_eq!(answerable(&said, 22, false), extents(&[(15, 1), (7, 0)]));
        assert_eq!(answerable(&said, 3, false), extents(&[(3, 1)]));
    }

    #[test]
    fn one_extent_is_whole_and_not_longer_than_asked() {
        let said = extents(&[(10, 1), (5, 1), (7, 0)]);
        assert_eq!(answerable(&said, 100, true), extents(&[(15, 1)]));
        assert_eq!(answerable(&said, 12, true), extents(&[(12, 1)]));
    }
}
