//! One call: a thread, a promise, and what is still running when a handle is closed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use napi::bindgen_prelude::{Either, Object, ToNapiValue};
use napi::{Env, Result};

use crate::failure::Failure;

/// What a call settles with.
pub(crate) type Outcome<T> = std::result::Result<T, Box<Failure>>;

/// Counts the calls of a handle that are under way.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<(Mutex<usize>, Condvar)>);

pub(crate) struct RunningCall(Running);

impl Running {
    pub(crate) fn enter(&self) -> RunningCall {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        RunningCall(self.clone())
    }

    /// Waits until no call is under way.
    pub(crate) fn wait(&self) {
        let mut count = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *count > 0 {
            count = self.0.1.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl RunningCall {
    /// One more beside it.
    pub(crate) fn another(&self) -> Self {
        self.0.enter()
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let running = &self.0.0;
        *running.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        running.1.notify_all();
    }
}

/// Runs `work` on a thread of its own and returns the promise of its outcome.
pub(crate) fn start<'env, T>(env: &'env Env, work: impl FnOnce() -> Outcome<T> + Send + 'static) -> Result<Object<'env>>
where
    T: ToNapiValue + Send + 'static,
{
    let (settle, promise) = promise(env)?;
    spawn(move || settle(caught(work)))?;
    Ok(promise)
}

/// Runs `first` and after it `second` on one thread, and returns the promises of both outcomes. What `first` fails with, the
/// second promise has too.
pub(crate) fn start_both<'env, A, B>(
    env: &'env Env,
    first: impl FnOnce() -> Outcome<A> + Send + 'static,
    second: impl FnOnce() -> Outcome<B> + Send + 'static,
) -> Result<(Object<'env>, Object<'env>)>
where
    A: ToNapiValue + Send + 'static,
    B: ToNapiValue + Send + 'static,
{
    let ((settle_first, first_promise), (settle_second, second_promise)) = (promise(env)?, promise(env)?);
    spawn(move || {
        let outcome = caught(first);
        let failure = outcome.as_ref().err().cloned();
        settle_first(outcome);
        settle_second(failure.map_or_else(|| caught(second), Err));
    })?;
    Ok((first_promise, second_promise))
}

/// A promise, and what settles it, from any thread.
fn promise<'env, T>(env: &'env Env) -> Result<(impl FnOnce(Outcome<T>) + Send + 'static, Object<'env>)>
where
    T: ToNapiValue + Send + 'static,
{
    type Resolver<T> = Box<dyn FnOnce(Env) -> Result<Either<T, Failure>> + Send>;
    let (deferred, promise) = env.create_deferred::<Either<T, Failure>, Resolver<T>>()?;
    let settle = move |outcome: Outcome<T>| {
        deferred.resolve(Box::new(move |_| {
            Ok(match outcome {
                Ok(value) => Either::A(value),
                Err(failure) => Either::B(*failure),
            })
        }));
    };
    Ok((settle, promise))
}

/// What `work` gives; a panic is a failure.
fn caught<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(Box::new(Failure::panicked(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message"))))
    })
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name("stillpoint".into())
        .spawn(work)
        .map_err(|error| napi::Error::from_reason(format!("cannot start a thread: {error}")))?;
    Ok(())
}
