//! Which segments are merged: what a commit costs, and how many segments a look-up asks.
//!
//! A new segment takes in its older neighbours as long as it holds at least a quarter of what the next one does, and
//! as long as the whole stays below a limit. So each entry is rewritten a few times (ten when captures add a thousandth
//! of the limit, two when they add a quarter) until it is in a segment near the limit, which no commit touches again; no
//! commit rewrites more than that limit beyond what it adds; and there are about as many segments as the entries are
//! limits, plus a few small ones.
//!
//! Rejected: one ever larger segment. Fewer filters are asked, but now and then a commit rewrote all of it (one of a
//! million entries beside 16.8 million: 12 seconds), with both filters in memory meanwhile.

use std::ops::Range;

/// A segment is merged into the newer ones once they hold a quarter of what it does.
const MERGE_RATIO: u64 = 4;

/// The groups into which a list of segments goes, by their entries: groups of more than one are merged. Those before
/// `first_new` stay as they are unless newer ones take them in.
pub(super) fn groups(entry_counts: &[u64], first_new: usize, entry_count_max: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<(Range<usize>, u64)> = Vec::with_capacity(entry_counts.len());
    for (index, count) in entry_counts.iter().enumerate() {
        let mut group = (index..index + 1, *count);
        while index >= first_new
            && let Some((older, count)) = groups.pop_if(|(_, older)| {
                group.1.saturating_mul(MERGE_RATIO) >= *older && group.1 + *older <= entry_count_max
            })
        {
            group = (older.start..group.0.end, group.1 + count);
        }
        groups.push(group);
    }
    groups.into_iter().map(|(range, _)| range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;

    const MAX: u64 = 1_000;

    /// Commits of these sizes, one after the other; the sizes of the segments after each, and what each rewrote.
    fn after(commits: impl IntoIterator<Item = u64>) -> Vec<(Vec<u64>, u64)> {
        let mut segments: Vec<u64> = Vec::new();
        let commit = |added: u64| {
            let before = segments.len();
            segments.push(added);
            let groups = groups(&segments, before, MAX);
            let merged = groups.iter().filter(|group| group.len() > 1).flat_map(|group| segments[group.clone()].iter());
            let rewritten = merged.sum::<u64>();
            segments = groups.into_iter().map(|group| segments[group].iter().sum()).collect();
            (segments.clone(), rewritten)
        };
        commits.into_iter().map(commit).collect()
    }

    #[test]
    fn no_commit_rewrites_more_than_the_limit() {
        let mut random = Seeded::new(1);
        for (_, rewritten) in after((0..5_000).map(|_| 1 + random.below(40))) {
            assert!(rewritten <= MAX);
        }
    }

    #[test]
    fn segments_are_few_and_each_entry_is_rewritten_a_few_times() {
        for size in [1, 7, 40, 300, 999, 5_000] {
            let commits = 100_000 / size;
            let steps = after((0..commits).map(|_| size));
            let total = commits * size;
            let (segments, _) = steps.last().unwrap();
            assert_eq!(segments.iter().sum::<u64>(), total);
            // Two neighbours hold more than the limit, or the newer less than a quarter.
            assert!((segments.len() as u64) <= 2 * (total / MAX) + 6, "{size}: {segments:?}");
            // A thousandth of the limit at a time is the worst of these: ten times.
            assert!(steps.iter().map(|(_, rewritten)| rewritten).sum::<u64>() <= total * 11, "{size}");
        }
    }

    #[test]
    fn many_new_segments_at_once_are_merged_up_to_the_limit() {
        assert_eq!(groups(&[900, 300, 300, 300, 300, 50], 1, MAX), [0..1, 1..4, 4..5, 5..6]);
        assert_eq!(groups(&[100, 300, 5], 1, MAX), [0..2, 2..3]);
        assert_eq!(groups(&[], 0, MAX), []);
        // Old ones are left alone.
        assert_eq!(groups(&[10, 10, 10, 1], 3, MAX), [0..1, 1..2, 2..3, 3..4]);
    }
}
