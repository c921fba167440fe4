//! How many labs live at once: two, in all test programs of this build together. More would only wait for each other's
//! processors, and time out.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

const SLOTS: usize = 2;

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A permission to have a lab, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _lock: File,
}

impl Slot {
    /// Waits for a slot.
    pub(super) fn take(folder: &Path) -> Result<Self, Error> {
        let open = |slot: usize| {
            let path = folder.join(format!("lab-slot-{slot}.lock"));
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            file.map_err(Error::io(format!("opening {}", path.display())))
        };
        for slot in 0..SLOTS {
            let lock = open(slot)?;
            if lock.try_lock().is_ok() {
                return Ok(Self { _lock: lock });
            }
        }
        let lock = open(NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS)?;
        lock.lock().map_err(Error::io("waiting for another test's lab to end"))?;
        Ok(Self { _lock: lock })
    }
}
