//! A diff under way.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use napi::bindgen_prelude::{Float64Array, Object};
use napi::{Env, Result};
use napi_derive::napi;
use stillpoint_engine::control::Control;
use stillpoint_engine::engine::{Diff, Engine, ExtentKind};
use stillpoint_engine::limits::DIFF_PAGE_EXTENTS_MAX;

use crate::convert::number;
use crate::failure::Failure;
use crate::task::{Running, start};

/// A diff's extents, page by page. It does not keep the store open.
#[napi]
pub struct NativeDiff {
    engine: Weak<Engine>,
    diff: Arc<Mutex<Option<Diff>>>,
    control: Arc<Control>,
    running: Running,
    size_before: f64,
    size_after: f64,
}

impl NativeDiff {
    pub(crate) fn new(engine: &Arc<Engine>, diff: Diff, control: Arc<Control>, running: Running) -> Self {
        Self {
            engine: Arc::downgrade(engine),
            size_before: number(diff.size_before),
            size_after: number(diff.size_after),
            diff: Arc::new(Mutex::new(Some(diff))),
            control,
            running,
        }
    }
}

#[napi]
impl NativeDiff {
    /// Size of the older version.
    #[napi(getter)]
    #[must_use]
    pub fn size_before(&self) -> f64 {
        self.size_before
    }

    /// Size of the newer version.
    #[napi(getter)]
    #[must_use]
    pub fn size_after(&self) -> f64 {
        self.size_after
    }

    /// The next extents as (offset, length, kind) triples, kind 0 data and 1 zero; empty at the end.
    ///
    /// # Errors
    /// No thread could be started.
    #[napi(ts_return_type = "Promise<Float64Array | Failure>")]
    pub fn next<'env>(&self, env: &'env Env) -> Result<Object<'env>> {
        let (engine, diff, control) = (self.engine.upgrade(), Arc::clone(&self.diff), Arc::clone(&self.control));
        let call = self.running.enter();
        start(env, move || {
            let engine = engine.ok_or_else(|| Failure::closed("the store"))?;
            let mut held = diff.lock().unwrap_or_else(PoisonError::into_inner);
            let diff = held.as_mut().ok_or_else(|| Failure::closed("the diff"))?;
            let extents =
                engine.diff_page(diff, DIFF_PAGE_EXTENTS_MAX, &control).map_err(|error| Failure::boxed(&error))?;
            drop(engine);
            drop(call);
            let mut packed = Vec::with_capacity(extents.len() * 3);
            for extent in extents {
                let kind = match extent.kind {
                    ExtentKind::Data => 0.0,
                    ExtentKind::Zero => 1.0,
                };
                packed.extend([number(extent.offset), number(extent.length), kind]);
            }
            Ok(Float64Array::from(packed))
        })
    }

    /// Ends the diff.
    #[napi]
    pub fn close(&self) {
        self.control.cancel();
        if let Ok(mut diff) = self.diff.try_lock() {
            diff.take();
        }
    }
}
