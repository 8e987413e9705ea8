//! Segments and entries in memory into one new segment, in one pass.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::run::{Run, compare};
use super::segment::{Checked, SegmentStream};
use super::segment_writer::SegmentWriter;
use super::{IndexDamage, Merged, Segment, file_name};
use crate::chunk_store::pack_set::{PackHandle, PackSet};
use crate::error::Result;
use crate::format::index_list::ListedSegment;
use crate::format::index_segment::SegmentEntry;
use crate::io::Io;
use crate::units::{ContentId, Uid, u64_from};

/// What a new segment is made of.
pub(super) struct Merge<'a> {
    pub(super) segments: &'a [Arc<Segment>],
    pub(super) runs: &'a [Arc<Run<PackHandle>>],
    /// Packs whose entries are left out.
    pub(super) retired: Option<&'a HashSet<PackHandle>>,
}

impl Merge<'_> {
    /// Writes the segment, durable but for its name; none when it would cover no pack.
    ///
    /// # Errors
    /// What reading and writing give; inside: a damaged segment.
    pub(super) fn write(
        &self,
        io: &dyn Io,
        path: &Path,
        (store_id, number): (Uid, u64),
        packs: &PackSet,
    ) -> Result<Merged<Option<ListedSegment>>> {
        let mut table = Vec::new();
        let mut numbers = HashMap::new();
        for handle in self.covered() {
            if let Some(pack) = packs.get(handle) {
                numbers.insert(handle, table.len() as u32);
                table.push((pack.id, pack.kind));
            }
        }
        if table.is_empty() {
            return Ok(Ok(None));
        }
        let mut sources: Vec<Source<'_>> = Vec::with_capacity(self.segments.len() + self.runs.len());
        for segment in self.segments {
            let packs = segment.handles().iter().map(|handle| numbers.get(handle.as_ref()?).copied()).collect();
            sources.push(Source { entries: Entries::Segment(segment, segment.stream()), packs, head: None });
        }
        for run in self.runs {
            let packs = run.packs.iter().map(|handle| numbers.get(handle).copied()).collect();
            sources.push(Source { entries: Entries::Run(run, 0), packs, head: None });
        }
        let mut writer = SegmentWriter::create(io, path, table, self.entry_count())?;
        for source in &mut sources {
            if let Err(damage) = source.advance()? {
                return Ok(Err(damage));
            }
        }
        // Few sources, so the smallest head is found by looking at all.
        while let Some((source, entry)) = smallest(&mut sources) {
            writer.push(entry, source.entries.base(&entry))?;
            if let Err(damage) = source.advance()? {
                return Ok(Err(damage));
            }
        }
        Ok(Ok(Some(writer.finish(store_id, number)?)))
    }

    fn covered(&self) -> Vec<PackHandle> {
        let segments = self.segments.iter().flat_map(|segment| segment.packs());
        let mut covered: Vec<PackHandle> =
            segments.chain(self.runs.iter().flat_map(|run| run.packs.iter().copied())).collect();
        covered.retain(|pack| self.retired.is_none_or(|retired| !retired.contains(pack)));
        covered.sort_unstable();
        covered.dedup();
        covered
    }

    fn entry_count(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.listed().entry_count).sum();
        segments + self.runs.iter().map(|run| u64_from(run.entries.len())).sum::<u64>()
    }
}

enum Entries<'a> {
    Segment(&'a Arc<Segment>, SegmentStream<'a>),
    Run(&'a Run<PackHandle>, usize),
}

impl<'a> Entries<'a> {
    fn next(&mut self) -> Checked<Option<SegmentEntry>> {
        match self {
            Self::Segment(_, stream) => stream.next_entry(),
            Self::Run(run, next) => {
                *next += 1;
                Ok(Ok(run.entries.get(*next - 1).copied()))
            }
        }
    }

    fn base(&self, entry: &SegmentEntry) -> Option<&'a ContentId> {
        match self {
            Self::Segment(segment, _) => entry.base.map(|base| &segment.bases()[base as usize]),
            Self::Run(run, _) => run.base(entry),
        }
    }
}

struct Source<'a> {
    entries: Entries<'a>,
    packs: Vec<Option<u32>>,    // numbers in the new segment; None: left out
    head: Option<SegmentEntry>, // its pack is the new segment's, its base still the source's
}

impl Source<'_> {
    /// Takes the next entry that is not left out as the head.
    fn advance(&mut self) -> Result<Merged<()>> {
        loop {
            match self.entries.next()? {
                Ok(None) => self.head = None,
                Ok(Some(mut entry)) => {
                    let Some(pack) = self.packs[entry.pack as usize] else { continue };
                    entry.pack = pack;
                    self.head = Some(entry);
                }
                Err(defect) => {
                    let Entries::Segment(segment, _) = &self.entries else { unreachable!("memory is not damaged") };
                    let file = file_name(segment.listed().number);
                    return Ok(Err((Arc::clone(segment), IndexDamage { file, defect })));
                }
            }
            return Ok(Ok(()));
        }
    }
}

fn smallest<'s, 'a>(sources: &'s mut [Source<'a>]) -> Option<(&'s mut Source<'a>, SegmentEntry)> {
    let mut smallest: Option<(usize, SegmentEntry)> = None;
    for (index, source) in sources.iter().enumerate() {
        if let Some(head) = source.head
            && smallest.is_none_or(|(_, least)| compare(&head, &least).is_lt())
        {
            smallest = Some((index, head));
        }
    }
    let (index, entry) = smallest?;
    Some((&mut sources[index], entry))
}
