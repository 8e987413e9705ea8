//! Cuts: one position of the log as the consistent point of all its disks, and the layers between them.
//!
//! ```text
//! newest  | active layer | <- records get their LSN, find this layer, and go in when they are in the log
//!         | sealed, cut c2 |
//!         | sealed, cut c1 |  <- the background copy folds the oldest one into new bases
//! oldest  | base of each disk |
//! ```
//!
//! What it is: [`extent_map`] holds where the bytes of one disk are, [`layer`] those of all disks between two cuts,
//! [`stack`] all layers over their bases, [`view`] what a reader of one disk pins.
//! What it guarantees: a record goes into the layer that was active when it got its LSN, however late it comes, and where
//! records overlap the higher LSN shows. Sealing is two pointers, whatever was written.
//! What it must not import: `disk`, `block_map`, the chunk store: a base is a value here that somebody else reads.

pub mod base;
pub mod extent_map;
pub mod layer;
pub mod members;
pub mod stack;
pub mod touched;
pub mod view;

pub use base::{Base, Pin};
pub use extent_map::{ExtentContent, ExtentMap};
pub use layer::{DiskLayer, Layer, Sealed};
pub use members::{Member, Members, not_found};
pub use stack::Stack;
pub use touched::{Touch, Touched};
pub use view::{Resolved, View, resolve, size};
