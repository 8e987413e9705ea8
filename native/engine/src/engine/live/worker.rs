//! A thread that works on the logs of an open engine when it is woken, or after a rest.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::super::Engine;
use crate::control::Control;
use crate::error::{Code, Error, Result};

/// The thread, running or not.
#[derive(Default)]
pub(super) struct Worker {
    state: Mutex<State>,
    changed: Condvar,
    control: Control, // of the step that runs
}

#[derive(Default)]
struct State {
    is_running: bool,
    is_wanted: bool,
    is_ending: bool,
}

impl Worker {
    /// Starts the thread. It takes a step when it is woken, and after the rest that the last step gave; without one only when
    /// it is woken. It ends with the engine.
    ///
    /// # Errors
    /// No thread could be started.
    pub(super) fn start(
        self: &Arc<Self>,
        name: &str,
        engine: Weak<Engine>,
        step: impl Fn(&Engine, &Control) -> Option<Duration> + Send + 'static,
    ) -> Result<()> {
        let worker = Arc::clone(self);
        let work = move || {
            let running = Running(worker);
            let (worker, mut rest) = (&running.0, None);
            while worker.rest(rest) {
                let Some(engine) = engine.upgrade() else { break };
                rest = step(&engine, &worker.control);
            }
        };
        self.state().is_running = true;
        self.wake(); // there may be something to do
        match std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(_) => Ok(()),
            Err(cause) => {
                self.ended();
                Err(Error::new(Code::Internal, format!("cannot start a thread: {cause}")))
            }
        }
    }

    /// Whether there is a thread.
    pub(super) fn is_running(&self) -> bool {
        self.state().is_running
    }

    /// Has the thread take a step at once; whether there is one.
    pub(super) fn wake(&self) -> bool {
        let mut state = self.state();
        if !state.is_wanted {
            state.is_wanted = true;
            self.changed.notify_all();
        }
        state.is_running
    }

    /// The thread ends; its step is cancelled.
    pub(super) fn end(&self) {
        self.state().is_ending = true;
        self.control.cancel();
        self.changed.notify_all();
    }

    /// Waits until the thread has ended.
    pub(super) fn wait(&self) {
        let mut state = self.state();
        while state.is_running {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Rests until it is woken; returns whether to go on.
    fn rest(&self, rest: Option<Duration>) -> bool {
        let mut state = self.state();
        while !state.is_wanted && !state.is_ending {
            let Some(rest) = rest else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            (state, _) = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner);
            break;
        }
        state.is_wanted = false;
        !state.is_ending
    }

    fn ended(&self) {
        self.state().is_running = false;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread as long as it runs, a panic included.
struct Running(Arc<Worker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended();
    }
}
