//! What processes have used: CPU time and memory, as the kernel accounts it.
//!
//! Where the kernel samples user and system time by ticks, it still scales both to the time that the scheduler measured, so
//! their sum is exact. The work that a process causes in soft interrupts on its own processor is in it.

use std::fs;
use std::ops::Sub;

use anyhow::Context;

pub(crate) mod bpf;

/// The kernel gives times in hundredths of a second (USER_HZ), whatever its own clock is.
const TICKS: f64 = 100.0;

/// CPU time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, earlier: Cpu) -> Cpu {
        Cpu { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// The CPU time of these processes so far, that of their ended threads included.
pub(crate) fn cpu(processes: &[u32]) -> anyhow::Result<Cpu> {
    let mut sum = Cpu::default();
    for pid in processes {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid}, which is on the measured path, is gone"))?;
        // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| -> Option<f64> { fields.get(at)?.parse().ok() };
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            anyhow::bail!("/proc/{pid}/stat is not as proc(5) says: {stat}");
        };
        sum.user += user / TICKS;
        sum.system += system / TICKS;
    }
    Ok(sum)
}

/// The memory that these processes hold, in KiB: resident, and their share of what is shared.
pub(crate) fn memory(processes: &[u32]) -> anyhow::Result<Memory> {
    let mut sum = Memory::default();
    for pid in processes {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("the memory of process {pid}"))?;
        let kib = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        sum.resident += kib("Rss:");
        sum.proportional += kib("Pss:");
    }
    Ok(sum)
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
}

/// A process and all that descend from it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut family = vec![root];
    let mut at = 0;
    while let Some(&pid) = family.get(at) {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn cpu_time_grows_with_work() {
        let own = [std::process::id()];
        let before = cpu(&own).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(begun.elapsed());
        }
        let used = (cpu(&own).unwrap() - before).total();
        // Other tests run beside this one, and the machine may be busy.
        assert!(used > 0.02, "{used} s were accounted for 0.2 s of work");
    }

    #[test]
    fn memory_of_this_process_is_read() {
        let memory = memory(&[std::process::id()]).unwrap();
        assert!(memory.resident > 500 && memory.proportional > 100, "{memory:?}");
    }
}
