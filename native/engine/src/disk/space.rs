//! Who says whether there is space for what logging makes necessary later.

use crate::error::Result;

/// One counter for all logs of a store: what folding their layers takes at most. A writer that would leave less free than
/// that gets `NO_SPACE` before its record has an LSN.
pub trait SpaceGate: Send + Sync {
    /// Adds to the debt.
    ///
    /// # Errors
    /// `NO_SPACE`: there would be less free than the debt and the reserve. Then nothing was added.
    fn charge(&self, bytes: u64) -> Result<()>;

    /// Whether so much can be taken beside the debt.
    ///
    /// # Errors
    /// `NO_SPACE`.
    fn check_room(&self, bytes: u64) -> Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Adds to the debt what is in the log already.
    fn charge_anyway(&self, bytes: u64);

    /// Takes from the debt.
    fn repay(&self, bytes: u64);
}

/// Counts nothing and refuses nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGate;

impl SpaceGate for NoGate {
    fn charge(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn charge_anyway(&self, _bytes: u64) {}

    fn repay(&self, _bytes: u64) {}
}
