//! A running call as JavaScript follows and stops it.

use std::sync::Arc;

use napi_derive::napi;
use stillpoint_engine::control::Control;

use crate::convert::number;

/// Progress and cancellation of one call. Polled: the engine never calls back.
#[napi]
pub struct NativeOperation {
    control: Arc<Control>,
}

impl Default for NativeOperation {
    fn default() -> Self {
        Self::new()
    }
}

#[napi]
impl NativeOperation {
    /// Makes the operation of a call that is about to be made.
    #[napi(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self { control: Arc::default() }
    }

    /// Asks the call to stop.
    #[napi]
    pub fn cancel(&self) {
        self.control.cancel();
    }

    /// Bytes worked through so far.
    #[napi(getter)]
    #[must_use]
    pub fn done_bytes(&self) -> f64 {
        number(self.control.done_bytes())
    }

    /// Bytes to work through, as far as known.
    #[napi(getter)]
    #[must_use]
    pub fn total_bytes(&self) -> f64 {
        number(self.control.total_bytes())
    }

    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }
}
