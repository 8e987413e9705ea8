//! What a view's layers say of a disk, as ranges in order: what the background copy folds, and what a point whose copy still
//! runs is compared and restored by.

use std::sync::Arc;

use crate::block_map::{LayerContent, LayerRange, LayerSource};
use crate::cut::{ExtentContent, View};
use crate::error::{Code, Error, Result};
use crate::units::{u64_from, usize_from};
use crate::write_log::WriteLog;

/// The layers of a view without what they stand on: [`View::bottom`]. The log's watermark has passed the view's cut.
pub struct ViewSource {
    log: Arc<WriteLog>,
    view: View,
}

impl ViewSource {
    /// What the view's layers say; their records are in this log.
    #[must_use]
    pub const fn new(log: Arc<WriteLog>, view: View) -> Self {
        Self { log, view }
    }
}

impl LayerSource for ViewSource {
    fn ranges(&self, from: u64, count_max: usize) -> Result<Vec<LayerRange>> {
        let range_of = |(range, content): (std::ops::Range<u64>, ExtentContent)| {
            let content = match content {
                ExtentContent::Data { .. } => LayerContent::Data,
                ExtentContent::Zero => LayerContent::Zero,
                ExtentContent::Hole => LayerContent::Hole,
            };
            LayerRange { offset: range.start, length: range.end - range.start, content }
        };
        Ok(self.view.extents(from, count_max).into_iter().map(range_of).collect())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let resolved = self.view.resolve(offset..offset + u64_from(buffer.len()));
        for (range, content) in &resolved.extents {
            let part = &mut buffer[usize_from(range.start - offset)..usize_from(range.end - offset)];
            match content {
                ExtentContent::Data { place, skip } => self.log.read(place, u64::from(*skip), part)?,
                ExtentContent::Zero | ExtentContent::Hole => part.fill(0),
            }
        }
        match resolved.below.first() {
            None => Ok(()),
            Some(below) => {
                let message = format!("the layers of disk {} have nothing at {}", self.view.disk_id, below.start);
                Err(Error::new(Code::Internal, message).with("offset", below.start))
            }
        }
    }
}
