//! Waiting for what another process does and tells nobody.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Between two looks: short beside what is waited for, long beside what a look costs.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something, at most for so long.
///
/// # Errors
/// [`Error::Timeout`], with `what` for the reader, or the error of a look.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > within {
            return Err(Error::Timeout { what: what.to_owned(), within });
        }
        thread::sleep(PAUSE);
    }
}
