//! The background copy: a sealed layer of one disk becomes chunks and a block map.
//!
//! What it is: [`Fold`] goes through what the layer touches in bounded steps. A new chunk is the old one with the layer's
//! bytes over it; one with equal bytes is no change; what the store does not have is encoded, as a delta on the old chunk
//! where that helps, and handed to a [`Writer`]. [`Pace`] says how fast, by the [`CopyLoad`] that all copies share, and can stop it.
//! What it guarantees: nothing here is a commit. Whoever runs it commits the writer when it likes, and has a
//! [`Checkpoint`] for that moment: a map of what is folded so far, from which another fold can go on, after a crash too
//! (I-44). Chunks, map and root are those that one fold without a stop makes.
//! What it costs: memory for one step; each touched chunk is put together and hashed once, and its old bytes are read when
//! they show, or a delta may stand on them.
//! What it must not import: the engine's top, `scan`, `disk`. Who folds holds a lease on the base and on the checkpoint's
//! root since before the first step, and until the layer is released: the chunks that it counts on stay (I-16).

mod fold;
mod load;
mod pace;

pub use fold::{Checkpoint, Fold, Folded, Progress};
pub use load::{CopyLoad, Hurry, Request};
pub use pace::{Pace, ROOM_PARTS, STEP_BYTES};
