//! `weir lab down`: by the supervisor while it lives, and without it otherwise.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::{ask, print};
use crate::lab::control::{Answer, Request};
use crate::lab::layout::Layout;
use crate::lab::supervise::{locked_root, remove_root_if_empty};
use crate::lab::teardown;

pub(crate) fn down(layout: &Layout) -> anyhow::Result<ExitCode> {
    // Opened before the lab goes, since its file goes with it.
    let lock = File::open(layout.lock());
    match ask(layout, &Request::Down)? {
        Some(Answer::Refused(why)) => bail!("{why}"),
        Some(_) => {
            // The supervisor holds the lock for as long as it lives.
            lock.and_then(|lock| lock.lock()).context("waiting for the end of the lab's supervisor")?;
            print(&format!("lab {} is down\n", layout.name()))?;
        }
        None => remove_leftovers(layout)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Its supervisor is gone, or is only beginning or ending; what is left is removed under the lock that it would hold.
fn remove_leftovers(layout: &Layout) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let removed = runtime.block_on(async {
        let _alone = locked_root()?;
        let present = teardown::present()?;
        if teardown::is_alive(layout)? {
            bail!("lab {} is just beginning or ending: try again in a moment", layout.name());
        }
        let mut removed = Vec::new();
        for name in present {
            let lab = Layout::new(name);
            if !teardown::is_alive(&lab)? {
                teardown::remove(&lab)
                    .await
                    .with_context(|| format!("removing what is left of lab {}", lab.name()))?;
                removed.push(lab.name().clone());
            }
        }
        Ok(removed)
    })?;
    remove_root_if_empty()?;
    if removed.is_empty() {
        print(&format!("lab {} is not up\n", layout.name()))?;
    }
    for name in removed {
        print(&format!("what was left of lab {name} is removed\n"))?;
    }
    Ok(())
}
