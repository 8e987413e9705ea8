//! A view: what a reader of one disk reads, pinned.

use std::ops::Range;
use std::sync::Arc;

use super::base::Base;
use super::extent_map::ExtentContent;
use super::layer::Layer;
use crate::units::Uid;

/// One disk as of a cut, or live: layers over a base. Whoever has it keeps the layers' records and what the base names.
///
/// A view of a cut is final once the log's watermark has passed the cut. A view of a live disk shows what is written until
/// the next cut.
#[derive(Clone)]
pub struct View {
    /// The disk.
    pub disk_id: Uid,
    layers: Vec<Arc<Layer>>, // newest first
    base: Option<Arc<Base>>, // below all of them; none when the disk joined in one
}

/// Where the bytes of a range are.
pub struct Resolved {
    /// Extents of layers, in no order, disjoint.
    pub extents: Vec<(Range<u64>, ExtentContent)>,
    /// What no layer has: to be read from the base.
    pub below: Vec<Range<u64>>,
    /// What is below; `None` is a disk that reads as zero there.
    pub base: Option<Arc<Base>>,
}

impl View {
    /// Layers, newest first, over a base.
    #[must_use]
    pub const fn new(disk_id: Uid, layers: Vec<Arc<Layer>>, base: Option<Arc<Base>>) -> Self {
        Self { disk_id, layers, base }
    }

    /// The layers, newest first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// Size of the disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        size(self.layers.iter(), self.base.as_ref(), &self.disk_id)
    }

    /// What its layers stand on: the base of the newest reset or join in them, else the disk's.
    #[must_use]
    pub fn bottom(&self) -> Option<Arc<Base>> {
        let resets = self.layers.iter().filter_map(|layer| layer.disk(&self.disk_id)?.bottom());
        resets.into_iter().next().or_else(|| self.base.clone())
    }

    /// What its layers say behind `from`, in order and disjoint: at most `count_max` extents (which is not 0), and none only
    /// where there is none. An extent that begins before `from` is cut off there.
    #[must_use]
    pub fn extents(&self, from: u64, count_max: usize) -> Vec<(Range<u64>, ExtentContent)> {
        assert!(count_max > 0);
        let mut horizon = u64::MAX; // up to here every layer is known with as many extents
        for disk in self.layers.iter().filter_map(|layer| layer.disk(&self.disk_id)) {
            horizon = disk.end_of(from, count_max).map_or(horizon, |end| horizon.min(end));
            if disk.bottom().is_some() {
                break;
            }
        }
        let mut extents = self.resolve(from..horizon).extents;
        extents.sort_unstable_by_key(|(range, _)| range.start);
        extents.truncate(count_max);
        extents
    }

    /// Where the bytes of a range are.
    #[must_use]
    pub fn resolve(&self, range: Range<u64>) -> Resolved {
        resolve(self.layers.iter(), self.base.as_ref(), &self.disk_id, range)
    }
}

/// Size of a disk that has these layers, newest first, over a base.
pub fn size<'a>(layers: impl Iterator<Item = &'a Arc<Layer>>, base: Option<&Arc<Base>>, disk_id: &Uid) -> u64 {
    let mut sizes = layers.filter_map(|layer| layer.disk(disk_id)?.size());
    sizes.next().unwrap_or_else(|| base.map_or(0, |base| base.size))
}

/// Where the bytes of a disk's range are, newest layer first. Stops at a layer that resets the disk.
pub fn resolve<'a>(
    layers: impl Iterator<Item = &'a Arc<Layer>>,
    base: Option<&Arc<Base>>,
    disk_id: &Uid,
    range: Range<u64>,
) -> Resolved {
    let mut open = vec![range];
    let mut extents = Vec::new();
    for layer in layers {
        let Some(disk) = layer.disk(disk_id) else { continue };
        let reset = disk.look_up(&mut open, &mut extents);
        if reset.is_some() {
            return Resolved { extents, below: open, base: reset };
        }
        if open.is_empty() {
            break;
        }
    }
    Resolved { extents, below: open, base: base.cloned() }
}
