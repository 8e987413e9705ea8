//! What becomes of the index when packs come or go: new segments, durable, then the list that names them.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::merge::Merge;
use super::plan::groups;
use super::run::Run;
use super::{Index, Merged, Segment, Staged, list};
use crate::chunk_store::pack_set::{PackHandle, PackSet};
use crate::error::{Code, Error, Result};
use crate::format::Defect;
use crate::format::index_list::{IndexList, ListedSegment};
use crate::format::pack::PackEntry;
use crate::units::u64_from;

/// What changes in a commit.
#[derive(Clone, Copy, Default)]
pub struct Changes<'a> {
    /// New packs with their frames.
    pub added: &'a [(PackHandle, &'a [PackEntry])],
    /// New segments of further packs, which must be known by now.
    pub staged: &'a [Arc<Staged>],
    /// Packs whose entries go.
    pub retired: Option<&'a HashSet<PackHandle>>,
}

/// A segment of the next list.
enum Next {
    /// As it is, under its name.
    Kept(Arc<Segment>),
    /// As it is, from its temporary name.
    Staged(Arc<Segment>),
    /// Written now, under a temporary name.
    Written(ListedSegment),
}

impl Next {
    fn listed(&self) -> ListedSegment {
        match self {
            Self::Kept(segment) | Self::Staged(segment) => segment.listed(),
            Self::Written(listed) => *listed,
        }
    }
}

impl Index {
    /// Brings everything recent and what is new into segments, merged with what is small beside it, and makes them
    /// durable; the entries of `retired` packs are in none of them. One call at a time; the new packs are known to look-ups
    /// when it has succeeded, not before.
    ///
    /// Cost: what is new is written once, and fewer older entries than one segment may have are rewritten; with
    /// `retired`, every segment that has entries of these packs, one at a time. Where there is no space to merge, what is new
    /// is written alone, so that it takes what it was charged for and nothing for what others left; a later commit merges.
    ///
    /// # Errors
    /// What reading and writing give; a damaged segment is an error here, inside. The index is then as before.
    pub fn commit(&self, packs: &PackSet, changes: &Changes<'_>) -> Result<Merged<()>> {
        self.commit_with(packs, changes, true)
    }

    fn commit_with(&self, packs: &PackSet, changes: &Changes<'_>, merges: bool) -> Result<Merged<()>> {
        let (mut segments, mut runs) = {
            let state = self.read();
            (state.segments.clone(), state.recent.runs().to_vec())
        };
        let in_force = segments.len();
        for staged in changes.staged {
            let listed = staged.listed();
            segments.push(Arc::new(self.open_written(&self.temporary_path(listed.number), listed, packs)?));
        }
        if !changes.added.is_empty() {
            runs.push(Arc::new(Run::of(changes.added.iter().copied())));
        }
        let planned = self.plan(&segments, in_force, &runs, changes.retired, merges);
        if changes.staged.is_empty() && planned.iter().all(|group| !group.is_written) {
            return Ok(Ok(()));
        }
        let mut next = Vec::with_capacity(planned.len());
        for group in &planned {
            let kept = segments[group.segments.clone()].first().filter(|_| !group.is_written);
            if let Some(kept) = kept {
                let kept = Arc::clone(kept);
                next.push(if group.segments.start < in_force { Next::Kept(kept) } else { Next::Staged(kept) });
                continue;
            }
            let number = self.draw_segment_number();
            let merge = Merge {
                segments: &segments[group.segments.clone()],
                runs: if group.takes_runs { &runs } else { &[] },
                retired: changes.retired,
            };
            let path = self.temporary_path(number);
            match merge.write(self.io.as_ref(), &path, (self.store_id, number), packs) {
                Ok(Ok(written)) => next.extend(written.map(Next::Written)),
                unwritten => {
                    let _ = self.io.remove_file(&path); // the next open would
                    self.remove_written(&next); // nothing has its name yet
                    let is_full = unwritten.as_ref().is_err_and(|error| error.code() == Code::NoSpace);
                    if is_full && merges && changes.retired.is_none() {
                        return self.commit_with(packs, changes, false);
                    }
                    let unwritten = unwritten.map(|inner| inner.map(drop));
                    return match unwritten {
                        // Nobody can go around what no list names.
                        Ok(Err((segment, damage))) if !self.holds(&segment) => Err(unreadable(&path, damage.defect)),
                        unwritten => unwritten,
                    };
                }
            }
        }
        if let Err(error) = self.name_and_list(&next) {
            self.remove_written(&next); // nobody lists them
            return Err(error);
        }
        self.io.sync_directory(&self.directory)?;
        let reopened = next.into_iter().map(|next| match next {
            Next::Kept(segment) | Next::Staged(segment) => Ok(segment),
            Next::Written(listed) => self.open_written(&self.path(listed.number), listed, packs).map(Arc::new),
        });
        let reopened = reopened.collect::<Result<Vec<_>>>()?;
        let mut state = self.write();
        state.segments = reopened;
        state.recent = Default::default();
        drop(state);
        for index in planned.into_iter().filter(|group| group.is_written).flat_map(|group| group.segments) {
            let number = segments[index].listed().number;
            let path = if index < in_force { self.path(number) } else { self.temporary_path(number) };
            let _ = self.io.remove_file(&path);
        }
        Ok(Ok(()))
    }

    /// Gives new segments their names, durably, before the list may say them: no power cut leaves a list that names a
    /// missing file. Then puts the list in place; its name is durable with the next sync of the directory.
    fn name_and_list(&self, next: &[Next]) -> Result<()> {
        let mut is_any_new = false;
        for next in next.iter().filter(|next| !matches!(next, Next::Kept(_))) {
            let number = next.listed().number;
            self.io.rename_new(&self.temporary_path(number), &self.path(number))?;
            is_any_new = true;
        }
        if is_any_new {
            self.io.sync_directory(&self.directory)?;
        }
        let list = IndexList {
            store_id: self.store_id,
            sequence: self.draw_list_sequence(),
            segments: next.iter().map(Next::listed).collect(),
        };
        list::replace(self.io.as_ref(), &self.directory, &list)
    }

    /// Removes the files of a commit that failed. What stays, the next open removes.
    fn remove_written(&self, next: &[Next]) {
        for next in next.iter().filter(|next| !matches!(next, Next::Kept(_))) {
            let number = next.listed().number;
            let _ = self.io.remove_file(&self.path(number));
            if matches!(next, Next::Written(_)) {
                let _ = self.io.remove_file(&self.temporary_path(number)); // a staged one is its writer's still
            }
        }
    }

    /// Opens a segment that was just written.
    pub(super) fn open_written(&self, path: &Path, listed: ListedSegment, packs: &PackSet) -> Result<Segment> {
        Segment::open(self.io.as_ref(), path, listed, self.store_id, packs)?.map_err(|defect| unreadable(path, defect))
    }

    fn plan(
        &self,
        segments: &[Arc<Segment>],
        in_force: usize,
        runs: &[Arc<Run<PackHandle>>],
        retired: Option<&HashSet<PackHandle>>,
        merges: bool,
    ) -> Vec<Group> {
        let mut entry_counts: Vec<u64> = segments.iter().map(|segment| segment.listed().entry_count).collect();
        if !runs.is_empty() {
            entry_counts.push(runs.iter().map(|run| u64_from(run.entries.len())).sum());
        }
        // A collection touches all segments anyway: it also brings those together that earlier ones made small.
        let first_new = match (retired, merges) {
            (Some(_), _) => 0,
            (None, true) => in_force,
            (None, false) => usize::MAX, // each stays alone
        };
        let group = |range: Range<usize>| {
            let takes_runs = range.end > segments.len();
            let range = range.start..range.end.min(segments.len());
            let loses = |segment: &Arc<Segment>| {
                // A pack that was gone when the segment was opened has no handle any more.
                let goes = |pack: &Option<PackHandle>| {
                    pack.is_none_or(|pack| retired.is_some_and(|retired| retired.contains(&pack)))
                };
                retired.is_some() && segment.handles().iter().any(goes)
            };
            let is_written = takes_runs || range.len() > 1 || segments[range.clone()].iter().any(loses);
            Group { segments: range, takes_runs, is_written }
        };
        groups(&entry_counts, first_new, self.limits.segment_entries).into_iter().map(group).collect()
    }
}

fn unreadable(path: &Path, defect: Defect) -> Error {
    let message = format!("{} does not read back as it was written: {defect}", path.display());
    Error::new(Code::IoFailed, message).with("path", path)
}

/// Neighbours that become one segment of the next list.
struct Group {
    segments: Range<usize>,
    takes_runs: bool,
    is_written: bool, // else it is one segment, as it is
}
