//! The segments in force, by number.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::segment::Segment;

/// All of them, the prepared one included. A reader finds its segment here.
#[derive(Default)]
pub(super) struct Segments {
    by_number: RwLock<BTreeMap<u64, Arc<Segment>>>,
}

impl Segments {
    pub(super) fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        let by_number = segments.into_iter().map(|segment| (segment.number, segment)).collect();
        Self { by_number: RwLock::new(by_number) }
    }

    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.by_number.write().unwrap_or_else(PoisonError::into_inner).insert(segment.number, segment);
    }

    pub(super) fn remove(&self, number: u64) {
        self.by_number.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Segment>> {
        self.by_number.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// In the order of the log, those that `wanted` picks.
    pub(super) fn pick(&self, wanted: impl Fn(&Segment) -> bool) -> Vec<Arc<Segment>> {
        let by_number = self.by_number.read().unwrap_or_else(PoisonError::into_inner);
        by_number.values().filter(|segment| wanted(segment)).cloned().collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_of(|_| true)
    }

    /// Bytes of those that `wanted` picks.
    pub(super) fn bytes_of(&self, wanted: impl Fn(&Segment) -> bool) -> u64 {
        let by_number = self.by_number.read().unwrap_or_else(PoisonError::into_inner);
        by_number.values().filter(|segment| wanted(segment)).map(|segment| segment.segment_bytes).sum()
    }
}
